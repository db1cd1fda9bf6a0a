"""taskd.yaml → plain values, expanded, with file, line and column."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError

from taskd.config.expand import expand
from taskd.config.given import Given, KeyPath, dotted
from taskd.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema: `on`, `12:30` and `007` are text, as they look."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own interface, replaced whole

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ComposerError(
                problem="aliases aren't supported here; write the value again", problem_mark=mark
            )
        return super().compose_node(parent, index)


for _tag, _shape, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+", list("-+0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_shape})\Z"), _first)


def read(path: Path, variables: Mapping[str, str]) -> Given:
    """What the file at `path` gives; raises ConfigError where that isn't even a mapping."""
    return _Reader(path, variables).given()


class _Reader:
    def __init__(self, path: Path, variables: Mapping[str, str]) -> None:
        self._path, self._variables, self._folder = path, variables, path.absolute().parent
        self._loader = _loader(path)
        self._given = Given()

    def given(self) -> Given:
        try:
            root = self._loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise ConfigError(f"{self._place(mark)}: {error.problem or error.context}") from error
        tree = self._value(root, ()) if root else {}
        if not isinstance(tree, dict) and not self._given.errors:
            raise ConfigError(f"{self._path}: settings are a mapping, such as 'timezone: Europe/Berlin'")
        self._given.tree = tree or {}
        return self._given

    def _value(self, node: yaml.Node, at: KeyPath) -> Any:
        self._given.origins.setdefault(at, self._place(node.start_mark))
        plain = getattr(node, "style", None) is None
        implicit = self._loader.resolve(type(node), node.value, (plain, not plain))  # type: ignore[no-untyped-call]
        if node.tag != implicit:
            return self._refuse(at, f"the tag {node.tag} isn't supported")
        match node:
            case yaml.MappingNode():
                return self._mapping(node, at)
            case yaml.SequenceNode():
                return [self._value(item, (*at, place)) for place, item in enumerate(node.value)]
            case _:
                return self._scalar(self._loader.construct_object(node), at)

    def _mapping(self, node: yaml.MappingNode, at: KeyPath) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            below, place = (*at, key), self._place(key_node.start_mark)
            if key in tree:
                self._refuse(below, f"given again at {place}")
                continue
            self._given.origins[below] = place
            tree[key] = self._value(value_node, below)
        return tree

    def _scalar(self, value: Any, at: KeyPath) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return _anchored(expand(value, self._variables, self._folder), at, self._folder)
        except ConfigError as error:
            return self._refuse(at, str(error))

    def _refuse(self, at: KeyPath, reason: str) -> None:
        self._given.errors.append(f"{self._given.origins[at]}: {dotted(at)}: {reason}")

    def _place(self, mark: yaml.Mark | None) -> str:
        return f"{self._path}:{mark.line + 1}:{mark.column + 1}" if mark else str(self._path)


def _anchored(text: str, at: KeyPath, folder: Path) -> str:
    """`text` with a path in it made absolute: in a file, paths are relative to that file."""
    match at:
        case ("state_dir",) | ("schedules", "paths", _) | ("http", "tokens", _, "file"):
            return str(folder / text)
        case ("schedules", "paths"):
            return ",".join(str(folder / part.strip()) for part in text.split(","))
        case ("http", "bind") if text.startswith("unix:"):
            return f"unix:{folder / text.removeprefix('unix:')}"
        case ("database", "url") if text.startswith("sqlite:///") and not text.endswith(("/", ":memory:")):
            return f"sqlite:///{folder / text.removeprefix('sqlite:///')}"
    return text


def _loader(path: Path) -> _Loader:
    try:
        return _Loader(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"can't read {path}: it isn't UTF-8 ({error.reason} at byte {error.start})"
        ) from error
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"can't read {path}: {error.reason} at character {error.position}") from error
