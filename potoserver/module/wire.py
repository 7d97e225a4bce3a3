"""How what a method returns becomes JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic_core import to_jsonable_python

from potoserver.events import to_json


@dataclasses.dataclass(frozen=True, slots=True)
class Encoded:
    """A method's result, or an item of its stream, that is JSON already: on one line."""

    json: str


def encode_result(value: Any) -> str:
    """A method's result, or an item of its stream, as JSON on one line.

    Raises:
        ValueError: It holds something that JSON has no form for.
    """
    if isinstance(value, Encoded):
        return value.json
    return to_json(_to_wire(value))


def _to_wire(value: Any) -> Any:
    """JSON values alone. Dataclasses become objects with camelCase names, wherever they stand.

    Done here, by the value and not by the annotation, so that an `Any` in a signature changes nothing.
    """
    # Enums of str and int are values of these types too, and json writes those as their name.
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            to_camel(each.name): _to_wire(getattr(value, each.name)) for each in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): _to_wire(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_to_wire(item) for item in value]
    return to_jsonable_python(value)
