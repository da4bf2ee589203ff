"""Command line: `run` for jobs; every other verb is for people.

python -m pipeline run results/stages/KEY.json --log LOG     one stage, with or without Snakemake
python -m pipeline start [--configfile FILE]                 the whole chain here, resumed if it was killed
python -m pipeline plan [--configfile FILE]                  what would run and why
python -m pipeline init --name NAME --source-images FOLDER --source-labels FOLDER --target-images FOLDER
python -m pipeline predict --model FOLDER --images FOLDER --out FOLDER
"""

import io
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from pipeline.artifacts.errors import SegadaptError
from pipeline.commands.verbs import module_of, parser_of


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
