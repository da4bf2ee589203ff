"""Every command that a document shows is taken by its program, and chooses a configuration that is valid."""

import ast
import re
from pathlib import Path

import pytest
from documented import Command, commands, documented
from snakemake.cli import get_argument_parser, parse_config

from pipeline.commands.verbs import VERBS, parser_of
from pipeline.config.load import load_config, parse_assignments

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = commands()
PIPELINE = [("python", "-m", "pipeline"), ("segadapt",)]
VARIABLE = re.compile(r"\$\w+")


def verbs_of(command: Command) -> tuple[str, ...] | None:
    """A verb and its options; None where another program is meant."""
    for start in PIPELINE:
        if command.words[: len(start)] == start:
            return command.words[len(start) :]
    return None


OURS = [command for command in COMMANDS if verbs_of(command)]
SNAKEMAKE = [command for command in COMMANDS if command.words[0] == "snakemake"]
SCRIPTS = [
    command for command in COMMANDS if re.match(r"python \w+/\S+\.py|pytest ", " ".join(command.words))
]
MADE = {
    "config/mine.yaml",
    "config/study.yaml",
    *documented(),
    *(f"config/{words[words.index('--name') + 1]}.yaml" for one in OURS if "--name" in (words := one.words)),
}
"""Suites that the documents have their reader write; `configuration.md` names the first two."""


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def check_configuration(files, assignments):
    """The files are here, or the documents make them; those that are here are valid with what is laid over them."""
    missing = [str(file) for file in files if not Path(file).is_file()]
    assert set(missing) <= MADE
    if not missing:
        load_config(files, assignments)


def test_every_program_is_seen():
    assert len(OURS) > 35 and len(SNAKEMAKE) > 8 and len(SCRIPTS) > 8
    assert {command.page for command in OURS} >= {"README.md", "docs/own-data.md", "docs/passing-on.md"}


@pytest.mark.parametrize("command", OURS, ids=str)
def test_a_verb_takes_what_is_shown(command):
    words = verbs_of(command)
    assert words[0] in VERBS
    if len(words) == 1:
        return  # named, not shown
    chosen = parser_of(words[0]).parse_args(words)
    over = {key: getattr(chosen, key, []) for key in ("only", "seeds")}
    laid_over = parse_assignments(getattr(chosen, "config", [])) | {
        key: one for key, one in over.items() if one
    }
    check_configuration(getattr(chosen, "configfile", []), laid_over)


@pytest.mark.parametrize("command", SNAKEMAKE, ids=str)
def test_snakemake_takes_what_is_shown(command):
    words = [word for word in command.words[1:] if not VARIABLE.fullmatch(word)]
    chosen = get_argument_parser().parse_args(words)
    check_configuration(chosen.configfile or [], parse_config(chosen.config))
    if chosen.workflow_profile:
        assert (ROOT / chosen.workflow_profile / "profile.yaml").is_file()


@pytest.mark.parametrize("command", SCRIPTS, ids=str)
def test_a_script_is_there_with_its_options(command):
    path = next(word for word in command.words[1:] if not word.startswith("-"))
    assert (ROOT / path).exists()
    options = [word for word in command.words if word.startswith("--")]
    assert command.words[0] == "pytest" or all(
        f'"{one}"' in (ROOT / path).read_text("utf-8") for one in options
    )


def test_what_python_is_given_is_python():
    texts = [one.words[2] for one in COMMANDS if one.words[:2] == ("python", "-c")]
    assert texts and all(ast.parse(text) for text in texts)
