"""Reading YAML safely: plain data only, duplicate keys refused, size and depth limited."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pipeline.artifacts.errors import ConfigError
from pipeline.artifacts.files import why_no_file
from pipeline.schema.names import similar

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and aliases (which can blow a small file up without limit).

    Keys are text as they are written, and only true and false are truth values, as in YAML 1.2: `no: 3` names
    a class `no`, and `010` is not 8.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise ConfigError(
                f"line {mark.line + 1}: YAML aliases (*name) are not supported; write the value out"
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"line {line}: a key must be a plain word, found a list or a mapping")
            key_node.tag = "tag:yaml.org,2002:str"
            key = key_node.value
            if key in seen:
                raise ConfigError(
                    f"line {line}: key `{key}` is given twice (first on line {seen[key]}); remove one"
                )
            seen[key] = line
        return super().construct_mapping(node, deep)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?i:true|false)\Z"), list("tTfF"))


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(item) for item in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(item) for item in value), default=0)
    return 0


def parse_value(text: str, location: str) -> Any:
    """Parse one YAML value; `location` names the place in errors.

    Raises ConfigError for a syntax error, a duplicate key, an alias, or nesting beyond 32 levels.
    """
    try:
        # yaml.load is safe here: the loader derives from SafeLoader and makes plain data only.
        value = yaml.load(text, Loader=_StrictLoader)
    except ConfigError as error:
        raise ConfigError(f"{location}: {error}") from None
    except yaml.YAMLError as error:
        # The parser knows the text alone, not the file that it comes from.
        where = str(error).replace('in "<unicode string>", ', "")
        raise ConfigError(f"{location}: not valid YAML: {where}") from None
    except (ValueError, LookupError, AttributeError) as error:  # of the loader, for a day such as 2020-13-45
        raise ConfigError(
            f"{location}: not valid YAML: a date or number that is none ({error}); put text in quotes"
        ) from None
    except RecursionError:
        raise ConfigError(f"{location}: nested deeper than {MAX_DEPTH} levels") from None
    if _depth(value) > MAX_DEPTH:
        raise ConfigError(f"{location}: nested deeper than {MAX_DEPTH} levels")
    return value


def parse_yaml(text: str, location: str) -> dict[str, Any]:
    """Parse one YAML mapping; `location` names the file in errors.

    Raises ConfigError as `parse_value`, and for anything that is not a mapping with text keys.
    """
    value = parse_value(text, location)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{location}: needs `key: value` lines at the top, found a {type(value).__name__}")
    return value


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML file as a mapping; ConfigError names the file and what is wrong with it."""
    try:
        # A shell's <(command) is a pipe below /dev; another pipe would be waited for without end.
        if (why := why_no_file(path)) and not path.is_relative_to("/dev"):
            raise ConfigError(f"{path}: cannot be read: {why}")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(f"{path}: {size} bytes; a configuration file may have {MAX_BYTES} at most")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        close = similar(path.stem, [other.stem for other in path.parent.glob("*.yaml")])
        hint = f"; did you mean {path.with_stem(close)}?" if close else ""
        raise ConfigError(f"{path}: no such file{hint}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error})") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_yaml(text, str(path))


def merge(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """Lay `overlay` over `base`: mappings merge key by key, everything else (lists too) is replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged
