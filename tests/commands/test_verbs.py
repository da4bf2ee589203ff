"""The command line itself."""

import pytest

from pipeline.__main__ import main
from pipeline.commands.verbs import VERBS


def test_without_a_verb_all_of_them_are_told(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert set(VERBS) <= {line.split()[0] for line in told.splitlines() if line.startswith("    ")}
    assert "label" in told


def test_a_verb_that_does_not_exist_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["strat"])
    assert ended.value.code == 2
    assert "start" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys):
    from importlib import metadata

    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"segadapt {metadata.version('segadapt')}\n"
