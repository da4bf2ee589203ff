import pytest

from pipeline.artifacts.errors import ConfigError
from pipeline.config.yaml_files import merge, parse_yaml, read_yaml


def test_a_duplicate_key_is_refused_with_both_lines():
    with pytest.raises(ConfigError, match=r"x\.yaml: line 3: key `steps` is given twice \(first on line 1\)"):
        parse_yaml("steps: 1\nother: 2\nsteps: 3\n", "x.yaml")


def test_a_nested_duplicate_key_is_refused():
    with pytest.raises(ConfigError, match="`lr` is given twice"):
        parse_yaml("a:\n  lr: 1\n  lr: 2\n", "x.yaml")


def test_aliases_are_refused_because_they_can_grow_without_limit():
    with pytest.raises(ConfigError, match="aliases"):
        parse_yaml("a: &a [1]\nb: [*a, *a]\n", "x.yaml")


def test_python_objects_are_not_made():
    with pytest.raises(ConfigError, match="not valid YAML"):
        parse_yaml("a: !!python/object/apply:os.getcwd []\n", "x.yaml")


@pytest.mark.parametrize(("text", "complaint"), [("- a\n", "found a list"), ("a: [\n", "not valid YAML")])
def test_what_is_no_mapping_is_named(text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        parse_yaml(text, "x.yaml")


def test_a_mistake_of_yaml_is_placed():
    with pytest.raises(ConfigError, match=r"^x\.yaml: not valid YAML: (.*\n)+  line 2, column 1:\n"):
        parse_yaml("a: 1\n\tb: 2\n", "x.yaml")


@pytest.mark.parametrize("value", ["2020-13-45", "!!int x", "!!bool x", "!!timestamp x"])
def test_a_date_or_number_that_is_none_is_refused(value):
    with pytest.raises(ConfigError, match=r"x\.yaml: not valid YAML: a date or number that is none .*quotes"):
        parse_yaml(f"a: {value}\n", "x.yaml")


def test_deep_nesting_is_refused():
    with pytest.raises(ConfigError, match="nested deeper"):
        parse_yaml("a: " + "[" * 40 + "]" * 40, "x.yaml")


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "town.yaml").touch()
    with pytest.raises(ConfigError, match=r"twon.yaml: no such file; did you mean .*/town.yaml\?"):
        read_yaml(tmp_path / "twon.yaml")
    with pytest.raises(ConfigError, match=r"no such file$"):
        read_yaml(tmp_path / "elsewhere.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_yaml(binary)
    large = tmp_path / "large.yaml"
    large.write_text("# " + "x" * (4 * 1024 * 1024))
    with pytest.raises(ConfigError, match="may have"):
        read_yaml(large)


def test_merge_replaces_lists_and_merges_mappings():
    base = {"experiments": ["a", "b"], "run": {"threads": 2, "workers": 1}}
    assert merge(base, {"experiments": ["c"], "run": {"threads": 4}}) == {
        "experiments": ["c"],
        "run": {"threads": 4, "workers": 1},
    }
    assert base["run"]["threads"] == 2
