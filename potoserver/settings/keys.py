"""The keys of a settings model, and what each one takes, in words."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import annotated_types
from pydantic import BaseModel, SecretStr, TypeAdapter
from pydantic.fields import FieldInfo

ENV_PREFIX = "POTO_"
CLIENT_VARIABLES = frozenset({"POTO_URL", "POTO_TOKEN"})
"""No settings, though they begin like ones: commands that talk to a server read them."""
ENV_SEPARATOR = "__"


@dataclass(frozen=True, slots=True)
class SettingKey:
    """One setting.

    Attributes:
        path: Its key in parts: `("chat", "journal", "fsync")`.
        field: Its field in the model.
    """

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def dotted(self) -> str:
        """The key as people write it: `chat.journal.fsync`."""
        return ".".join(self.path)

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that set it: `POTO_CHAT__JOURNAL__FSYNC`, then one of its own."""
        own = self._extra("env")
        return (variable_of(self.path), *([str(own)] if own else []))

    @property
    def secret(self) -> bool:
        """Whether no value of it may be shown."""
        return bool(self._extra("secret")) or _bare(self.field.annotation) is SecretStr

    @property
    def is_path(self) -> bool:
        """Whether its value is a path in the file system."""
        return _bare(self.field.annotation) is Path

    @property
    def takes_json(self) -> bool:
        """Whether it is a list or a mapping, which the environment gives as JSON."""
        bare = _bare(self.field.annotation)
        origin = typing.get_origin(bare) or bare
        return isinstance(origin, type) and issubclass(origin, tuple | list | dict | set | BaseModel)

    @property
    def adapter(self) -> TypeAdapter[Any]:
        """Checks a value of it."""
        annotation: Any = self.field.annotation
        for constraint in self.field.metadata:
            annotation = Annotated[annotation, constraint]
        return TypeAdapter(annotation)

    def expected(self, inside: Sequence[int | str] = ()) -> str:
        """What it takes, in words; or what stands at a place inside its value."""
        if not inside:
            return describe(self.field.annotation, self.field.metadata)
        return describe(self._annotation_at(inside))

    def names_at(self, inside: Sequence[int | str]) -> list[str]:
        """The keys that a mapping at a place inside its value may have; empty for any."""
        found = self._annotation_at(inside)
        return list(found.model_fields) if _is_model(found) else []

    def _annotation_at(self, inside: Sequence[int | str]) -> Any:
        found = _bare(self.field.annotation)
        for step in inside:
            arguments = typing.get_args(found)
            if _is_model(found):
                field = found.model_fields.get(str(step))
                found = _bare(field.annotation) if field is not None else Any
            elif arguments:
                found = _bare(arguments[-1] if typing.get_origin(found) is dict else arguments[0])
        return found

    def _extra(self, name: str) -> Any:
        extra = self.field.json_schema_extra
        return extra.get(name) if isinstance(extra, dict) else None


def keys_of(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[SettingKey]:
    """Every setting of a model, those of the sections inside it too, in the order of their definition."""
    for name, field in model.model_fields.items():
        if _is_model(field.annotation):
            yield from keys_of(typing.cast("type[BaseModel]", field.annotation), (*prefix, name))
        else:
            yield SettingKey((*prefix, name), field)


def variable_of(path: Sequence[str]) -> str:
    """`POTO_CHAT__JOURNAL__FSYNC` for a key's parts."""
    return ENV_PREFIX + ENV_SEPARATOR.join(path).upper()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`, did you mean …?` for a name that is close to a known one, else nothing."""
    # The prefix that all variables share makes none of them close.
    rest = name.removeprefix(ENV_PREFIX)
    if rest != name:
        by_rest = {each.removeprefix(ENV_PREFIX): each for each in known if each.startswith(ENV_PREFIX)}
        close = difflib.get_close_matches(rest, by_rest, n=1, cutoff=0.7)
        return f", did you mean {by_rest[close[0]]}?" if close else ""
    candidates = list(known)
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.7)
    if not close:
        last = name.rpartition(".")[2]
        close = [each for each in candidates if each.rpartition(".")[2] == last][:1]
    return f", did you mean {close[0]}?" if close else ""


def describe(annotation: Any, constraints: Iterable[Any] = ()) -> str:
    """What a type takes, in words: `a whole number from 0 to 65535`."""
    bare = _bare(annotation)
    origin = typing.get_origin(bare)
    arguments = typing.get_args(bare)
    if origin is typing.Literal:
        return " or ".join(str(each) for each in arguments)
    if bare in (int, float):
        return ("a whole number" if bare is int else "a number") + _bounds(constraints)
    if origin in (tuple, list, set):
        inner = describe(arguments[0])
        return f"a list, each {inner}"
    if origin is dict or _is_model(bare):
        return "a mapping"
    return {bool: "true or false", Path: "a path"}.get(bare, "a text")


def _bounds(constraints: Iterable[Any]) -> str:
    low = high = ""
    for each in constraints:
        if isinstance(each, annotated_types.Gt):
            low = f" above {each.gt}"
        elif isinstance(each, annotated_types.Ge):
            low = f" from {each.ge}"
        elif isinstance(each, annotated_types.Le):
            high = f" to {each.le}"
        elif isinstance(each, annotated_types.Lt):
            high = f" below {each.lt}"
    if low.startswith(" from") and not high:
        return f", {low.split()[1]} or more"
    return f"{low} up{high}" if low.startswith(" above") and high.startswith(" to") else low + high


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _bare(annotation: Any) -> Any:
    """The type without `Annotated` and `| None`."""
    if typing.get_origin(annotation) is Annotated:
        return _bare(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [each for each in typing.get_args(annotation) if each is not type(None)]
        return _bare(rest[0]) if len(rest) == 1 else annotation
    return annotation
