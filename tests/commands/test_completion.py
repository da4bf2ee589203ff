"""What a shell completes: asked of a real bash, as it does when Tab is pressed."""

import shlex
import subprocess

import pytest

from pipeline.__main__ import main
from pipeline.commands.verbs import VERBS, options_of


@pytest.fixture
def lines(capsys):
    def printed(shell):
        assert main(["completion", shell]) == 0
        return capsys.readouterr().out

    return printed


def completed(script, *words):
    """What bash offers for the last of the words behind the command."""
    typed = " ".join(shlex.quote(word) for word in ("segadapt", *words))
    ask = f'{script}\nCOMP_WORDS=({typed}); COMP_CWORD={len(words)}; _segadapt; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_verbs_options_and_choices(lines):
    script = lines("bash")
    assert completed(script, "st") == ["start"]
    assert set(completed(script, "")) == {*VERBS, "--help", "--version"}
    assert completed(script, "plan", "--conf") == ["--configfile", "--config"]
    assert completed(script, "table", "--suite", "x", "--format", "l") == ["latex"]
    assert completed(script, "completion", "") == ["bash", "zsh", "fish"]
    assert completed(script, "predict", "--model", "results/e") == [], "left to bash, which knows files"


def test_bash_knows_every_option_of_every_verb(lines):
    script = lines("bash")
    for verb in VERBS:
        known = [name for action in options_of(verb) for name in action.option_strings]
        assert completed(script, verb, "-") == [*known, "--help"], verb


def test_bash_is_told_to_use_the_function(lines):
    ask = f"{lines('bash')}\ncomplete -p segadapt"
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout == "complete -o default -F _segadapt segadapt\n"


def test_zsh_takes_the_function_of_bash(lines):
    script = lines("zsh")
    assert script.startswith("autoload -U +X bashcompinit") and lines("bash") in script


def test_fish_gets_a_line_for_each_verb_and_option(lines):
    script = lines("fish")
    for verb in VERBS:
        assert f" -a {verb} -d '" in script
        for action in options_of(verb):
            for name in action.option_strings:
                assert f"from {verb}' -l {name[2:]} " in script
    assert "parameters\\' declarations'" in script
