"""A workflow run as the commands run it."""

from argparse import Namespace

from pipeline.commands import main_process
from pipeline.commands.run_lock import nobody_else


def options(**values):
    return Namespace(
        **{"cores": "2", "configfile": [], "config": [], "only": [], "seeds": [], "profile": None, **values}
    )


def run_workflow(arguments, *targets, watch=None):
    """Run it as the commands do."""
    with nobody_else() as lock:
        return main_process.run_workflow(arguments, lock, *targets, watch=watch)
