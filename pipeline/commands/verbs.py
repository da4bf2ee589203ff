"""The verbs of the command line, and their options as argparse knows them."""

import argparse
from importlib import import_module
from keyword import iskeyword

from pipeline import __version__
from pipeline.artifacts.program import program

VERBS = {
    "run": "run one stage file (what jobs do)",
    "start": "run the selected experiments, here or on a cluster, going on where an earlier run was stopped",
    "plan": "print the stages: done, to run, and why",
    "preview": "look at a suite's data before training: labels over images, class frequencies, warnings",
    "init": "write a ready configuration for two folders of your own",
    "doctor": "say which datasets, software and devices are found, and what is wrong",
    "suggest": "say which target images are most worth labelling",
    "predict": "apply a finished model to a folder of pictures",
    "export": "write a finished model as one ONNX or torch.export file",
    "evaluate": "score a finished model on a labelled dataset",
    "table": "print a suite's figures as LaTeX, Markdown or CSV",
    "verify": "re-hash artifacts, follow links, report what is damaged, missing or orphaned",
    "clean": "list, and with --yes remove, stages",
    "archive": "write everything of a finished experiment into one file, to pass on",
    "import": "take in an experiment that `archive` wrote elsewhere",
    "docs": "write docs/parameters.md from the parameters' declarations",
    "completion": "print what makes a shell complete verbs and options",
}


def module_of(verb: str) -> str:
    """Name of the module of a verb; one that is a keyword of Python has an underscore behind it."""
    return f"pipeline.commands.{verb}{'_' * iskeyword(verb)}"


def parser_of(wanted: str | None) -> argparse.ArgumentParser:
    """The parser of the command line; of the verb `wanted` alone it knows the options."""
    parser = argparse.ArgumentParser(prog=program(), description="segadapt: from simulator to camera.")
    parser.add_argument("--version", action="version", version=f"segadapt {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, text in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text)
        if name == wanted:
            # Only the verb that runs is imported: a job must not wait for what it does not need.
            import_module(module_of(name)).add_arguments(verb)
    return parser


def options_of(verb: str) -> list[argparse.Action]:
    """What a verb takes, its own options alone."""
    parser = argparse.ArgumentParser(add_help=False)
    import_module(module_of(verb)).add_arguments(parser)
    return parser._actions  # argparse has no public list of them
