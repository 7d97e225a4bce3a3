"""What people wrote, and where: the settings file, JSON and plain text of the environment, flags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from potoserver.settings.errors import SettingsError

_MAX_DEPTH = 32
_TEXT_TAGS = frozenset({"str", "timestamp", "value"})
_VALUE_TAGS = frozenset({"null", "bool", "int", "float"})


@dataclass(frozen=True, slots=True)
class Given:
    """A value somebody gave.

    Attributes:
        value: A JSON value, or the text of a variable or flag.
        source: Where it was read, for people.
        is_text: It is untyped text, to be read as whatever the key takes.
        children: For a mapping: each key's value by itself.
    """

    value: Any
    source: str
    is_text: bool = False
    children: Mapping[str, Given] | None = None

    def at(self, inside: tuple[int | str, ...]) -> Given:
        """The innermost known value on the way to a place inside this one."""
        if inside and self.children is not None and inside[0] in self.children:
            return self.children[str(inside[0])].at(inside[1:])
        return self


def read_yaml(path: Path, label: str) -> dict[str, Given]:
    """Reads a settings file: one YAML mapping, nothing in it but mappings, lists and plain values.

    Args:
        path: The file.
        label: What it is called in messages.

    Raises:
        SettingsError: The file can't be read, is no such YAML, or gives a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SettingsError(label, "", "expected UTF-8 text") from None
    except OSError as error:
        raise SettingsError(label, "", f"can't be read: {error.strerror}") from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        given = _YamlReader(loader, label).read(node, "", _MAX_DEPTH) if node is not None else None
    except RecursionError:
        raise SettingsError(label, "", "nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{label} line {mark.line + 1}" if mark is not None else label
        raise SettingsError(place, "", f"not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise SettingsError(label, "", f"not valid YAML: {getattr(error, 'reason', 'unreadable')}") from None
    if given is None or (given.value is None and given.children is None):
        return {}
    if given.children is None:
        raise SettingsError(given.source, "", "expected a mapping of settings, `key: value`")
    return dict(given.children)


class _YamlReader:
    """Turns a file's YAML nodes into values that know their line."""

    def __init__(self, loader: yaml.SafeLoader, label: str) -> None:
        self._loader = loader
        self._label = label
        self._seen: set[int] = set()

    def read(self, node: yaml.Node, where: str, depth: int) -> Given:
        """Reads what stands at the key `where`, nested no deeper than `depth`."""
        source = f"{self._label} line {node.start_mark.line + 1}"
        key = where or "the file"
        if not depth:
            raise SettingsError(key, source, "nested too deeply")
        if id(node) in self._seen:
            # A few aliases of aliases would be a file of any size, or one without an end.
            raise SettingsError(key, source, "aliases are not read here, write the value again")
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            children = self._read_mapping(node, where, depth)
            return Given({name: each.value for name, each in children.items()}, source, children=children)
        if isinstance(node, yaml.SequenceNode):
            return Given([self.read(each, where, depth - 1).value for each in node.value], source)
        tag = _tag(node)
        if tag in _TEXT_TAGS:
            return Given(node.value, source)
        if tag not in _VALUE_TAGS:
            raise SettingsError(key, source, f"expected a plain value, not one tagged {node.tag}")
        try:
            return Given(self._loader.construct_object(node), source)
        except (ValueError, LookupError, ArithmeticError):  # PyYAML checks no value that has an explicit tag
            raise SettingsError(key, source, f"expected a plain value, this is no {tag}") from None

    def _read_mapping(self, node: yaml.MappingNode, where: str, depth: int) -> dict[str, Given]:
        children: dict[str, Given] = {}
        for key_node, value_node in node.value:
            line = f"{self._label} line {key_node.start_mark.line + 1}"
            if not isinstance(key_node, yaml.ScalarNode) or _tag(key_node) not in _TEXT_TAGS:
                raise SettingsError(where or "the file", line, "expected a text as key; put it in quotes")
            name = key_node.value
            inner = f"{where}.{_shown_name(where, name)}" if where else name
            if name in children:
                first = children[name].source.rpartition(" ")[2]
                raise SettingsError(inner, line, f"given twice, first in line {first}")
            child = self.read(value_node, inner, depth - 1)
            children[name] = Given(child.value, line, children=child.children)
        return children


def _tag(node: yaml.Node) -> str:
    return str(node.tag).removeprefix("tag:yaml.org,2002:")


def _shown_name(where: str, name: str) -> str:
    # A token is a key too.
    return "…" if where == "auth.tokens" else name


def read_json(text: str, key: str, source: str) -> Given:
    """Reads a list or a mapping from a variable or flag.

    Raises:
        SettingsError: It is not JSON, or gives a key twice.
    """

    def pairs_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise SettingsError(key, source, "a key is given twice in the JSON")
        return dict(pairs)

    try:
        return from_json(json.loads(text, object_pairs_hook=pairs_once), source)
    except (ValueError, RecursionError):
        raise SettingsError(key, source, "expected JSON, a list or a mapping") from None


def from_json(value: Any, source: str) -> Given:
    """A JSON value that was given at one place."""
    if isinstance(value, dict):
        return Given(value, source, children={name: from_json(each, source) for name, each in value.items()})
    return Given(value, source)
