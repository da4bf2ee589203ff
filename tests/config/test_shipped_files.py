"""A folder that lacks a file of the configuration has the package's, and its own file comes first."""

from pathlib import Path

import pytest

from pipeline.artifacts.errors import ConfigError
from pipeline.config.load import Library, load_config, suites_in
from pipeline.config.named_files import files_of
from pipeline.plan.planner import Planner
from pipeline.report.archiving import Contents, _inside

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_empty_folder_runs_the_suite_that_the_packages_settings_name(project):
    config = load_config()
    assert [suite.file for suite in config.suites] == [str(ROOT / "config/demo.yaml")]
    assert list(project.iterdir()) == []


def test_a_suite_of_the_package_is_given_by_its_place(project):
    (suite,) = load_config(["config/streets.yaml"]).suites
    assert suite.file == str(ROOT / "config/streets.yaml")
    with pytest.raises(ConfigError, match=r"config/street\.yaml"):
        load_config(["config/street.yaml"])


def test_keys_do_not_say_where_the_configuration_lies(project, monkeypatch):
    def keys():
        return [stage.key for run in Planner(load_config()).plan() for stage in run.all_stages()]

    away = keys()
    monkeypatch.chdir(ROOT)
    assert keys() == away


def test_a_projects_own_file_comes_first(project):
    own = project / "config/networks/small.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("backbone: small\nchannels: 8\n")
    library = Library(Path("config"))
    assert library.file("networks", "small") == Path("config/networks/small.yaml")
    with pytest.raises(ConfigError, match=r"^config/networks/small.yaml: channels"):
        library.network("small", "test")
    assert library.file("networks", "resnet50") == ROOT / "config/networks/resnet50.yaml"


def test_own_suites_stand_beside_the_packages(project):
    (project / "config").mkdir()
    for name in ("mine", "demo"):
        text = f"task: streets\nnetwork: small\nexperiments: {{{name}: {{recipe: advent}}}}\n"
        (project / f"config/{name}.yaml").write_text(text)
    files = {suite.name: suite.file for suite in suites_in(Path("config"))}
    assert (files["mine"], files["demo"]) == ("config/mine.yaml", "config/demo.yaml")
    assert files["streets"] == str(ROOT / "config/streets.yaml")


def test_a_name_that_neither_has_is_refused_with_the_nearest_of_both(project):
    with pytest.raises(ConfigError, match=r"no config/recipes/advnt.yaml; did you mean `advent`"):
        Library(Path("config")).recipe("advnt", "test")


def test_a_list_of_the_package_is_found(project):
    config = load_config(["config/streets.yaml"], {"only": "streets-ass-suggested-20"})
    assert len(Planner(config).plan()) == 3


def test_an_archive_has_the_packages_files_where_a_project_would_have_them(project):
    config = load_config()
    contents = Contents()
    for path in files_of(config, config.suites[0], []):
        contents.add(path, _inside(path))
    assert {"config/config.yaml", "config/demo.yaml", "config/recipes/intrada-plus.yaml"} <= set(
        contents.files
    )
    assert all(name.startswith("config/") for name in contents.files)
