"""What comes with the package: the workflow, the config library, the profiles; and what a project has in their place.

In `pipeline/_shipped/` are links to the top folders of the repository; a wheel has the files themselves.
"""

from pathlib import Path

from pipeline.artifacts.errors import ConfigError
from pipeline.artifacts.program import MODULE

_PACKAGE = Path(__file__).resolve().parents[1]
_SHIPPED = _PACKAGE / "_shipped"


def shipped(place: str | Path) -> Path:
    """The absolute path of what the package has at a place such as `config/demo.yaml`, there or not."""
    return (_SHIPPED / place).resolve()


def check_package(folder: Path) -> None:
    """Raise ConfigError where Python in `folder` would take another package `pipeline` for this one, as jobs do."""
    for found in (folder / "pipeline/__init__.py", folder / "pipeline.py"):
        if found.is_file() and found.resolve() != _PACKAGE / "__init__.py":
            raise ConfigError(
                f"{found.absolute()}: jobs would take it for this program's package of the same name, {_PACKAGE}; "
                f"work in another folder, or rename it (a clone of this program has its own: type `{MODULE}`)"
            )


def config_file(root: Path, place: str | Path) -> Path:
    """The file at a place below the project's folder `root`, else below the package's `config/`.

    Where there is none it is the project's, which messages name.
    """
    own, other = root / place, shipped(Path("config", place))
    return other if other.is_file() and not own.exists() else own


def config_names(root: Path, folder: str) -> list[str]:
    """Names of the YAML files in a folder below `root` and below the package's `config/`, sorted."""
    files = [path for base in (root, shipped("config")) for path in (base / folder).glob("*.yaml")]
    return sorted({path.stem for path in files})


def place_of_shipped(path: Path) -> Path | None:
    """Where a project would have a file of the package, such as `config/demo.yaml`; None for a file that is none."""
    config = shipped("config")
    return "config" / path.relative_to(config) if path.is_relative_to(config) else None
