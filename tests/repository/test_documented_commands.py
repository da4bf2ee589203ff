"""Every command that a document shows is taken by its program, and plans what its configuration asks for.

Not planned are suites of data that are not built in, and those that the reader makes of their own data.
"""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from documented import PAGES, Command, commands, documented, inline
from snakemake.cli import get_argument_parser, parse_config

from pipeline.commands.verbs import VERBS, parser_of
from pipeline.config.load import Config, load_config, parse_assignments
from pipeline.plan.planner import Planner

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
    "config/study.yaml",
    *documented(),
    *(f"config/{words[words.index('--name') + 1]}.yaml" for one in OURS if "--name" in (words := one.words)),
}
"""Suites that the documents have their reader write; `tests/workflow/test_study.py` runs the first."""


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def check_configuration(files, assignments):
    """The files are here, or the documents make them; those that are here are valid with what is laid over them."""
    missing = [str(file) for file in files if not Path(file).is_file()]
    assert set(missing) <= MADE
    if not missing:
        config = load_config(files, assignments)
        if is_built_in(config):
            assert Planner(config).plan()


def is_built_in(config: Config) -> bool:
    """Whether all selected experiments are of the built-in world."""
    return {one.task for one in config.experiments.values()} == {"streets"}


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


@pytest.mark.slow
@pytest.mark.parametrize("command", [one for one in SNAKEMAKE if "config/streets.yaml" in one.words], ids=str)
def test_snakemake_plans_what_is_shown(command, tmp_path):
    for name in ("config", "workflow", "profiles", "Snakefile"):
        (tmp_path / name).symlink_to(ROOT / name)
    words = [word for word in command.words[1:] if not VARIABLE.fullmatch(word)]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "executor" in done.stderr and "slurm" in words[1]:
        pytest.skip("snakemake-executor-plugin-slurm is not installed (extra slurm)")
    assert done.returncode == 0, done.stderr
    assert "This was a dry-run" in done.stdout + done.stderr


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.words[0] == "make"], ids=str)
def test_make_has_the_target(command):
    done = subprocess.run(
        ["make", "--dry-run", *command.words[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_extras_to_install_are_declared():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    shown = {name for names in re.findall(r"install .*\[([\w,]+)\]", text) for name in names.split(",")}
    assert shown and shown <= set(extras)


def test_a_verb_without_its_program_takes_the_options_shown():
    shown = [words for words in inline() if words[0] in VERBS and words[1].startswith("--")]
    assert ("plan", "--cost") in shown
    for words in shown:
        options = [word for word in words if word.startswith("--")]
        assert set(options) <= _options_of(words[0]), words


def _options_of(verb: str) -> set[str]:
    """The long options of a verb."""
    (verbs,) = (one for one in parser_of(verb)._actions if one.dest == "verb")
    return {option for action in verbs.choices[verb]._actions for option in action.option_strings}


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
