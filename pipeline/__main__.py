"""Command line: `run` for jobs; every other verb is for people.

python -m pipeline run results/stages/KEY.json --log LOG     one stage, with or without Snakemake
python -m pipeline start [--configfile FILE]                 the whole chain here, resumed if it was killed
python -m pipeline plan [--configfile FILE]                  what would run and why
python -m pipeline init --name NAME --source-images FOLDER --source-labels FOLDER --target-images FOLDER
python -m pipeline predict --model FOLDER --images FOLDER --out FOLDER
"""

import argparse
import io
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword

from pipeline import __version__
from pipeline.artifacts.errors import SegadaptError
from pipeline.commands.program import program

VERBS = {
    "run": "run one stage file (what jobs do)",
    "start": "run the selected experiments on this machine, going on where an earlier run was stopped",
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. Errors meant for the user are printed without a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may hold what is no text
    # Without a verb, argparse would only say that one is required, not which there are.
    chosen = parser_of(words[0] if words else None).parse_args(words or ["--help"])
    try:
        code: int = import_module(module_of(chosen.verb)).execute(chosen)
    except SegadaptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    except PermissionError as error:
        print(f"error: {error.filename}: permission denied; let its owner allow it", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    return code


if __name__ == "__main__":
    sys.exit(main())
