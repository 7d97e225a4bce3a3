"""The bodies of requests: strict JSON, and its check against a model."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from aiohttp import hdrs, web
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from potoserver.errors import FieldError, ProblemError
from potoserver.web.keys import CORE

MAX_DEPTH = 64
"""How deep a body's objects and lists may nest."""
MAX_VALUES = 50_000
"""How many values a body may hold: each costs time, in which nobody else is served."""
MAX_ERRORS = 50
"""How many bad fields an answer names at most."""
MAX_FIELD_CHARS = 200
"""A field's path is the caller's own text: cut in the answer."""
_MOST_CLEANED_BYTES = 1024 * 1024
"""How large a body may be to be written anew, which holds up everybody: for other faults to be told beside
texts that are none, and for `1.0` to be a whole number."""
_EXACT = 2**53
"""Below it each whole number has a float of its own."""

_Model = TypeVar("_Model", bound=BaseModel)
_Path = tuple[str | int, ...]

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
"""Up to the end where the closing quote is missing: tried again from within, that would take the square."""
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not known here",
    "string_type": "must be a text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "dataclass_type": "must be an object",
    "none_required": "must be null",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "value_error": "{error}",
}
"""By pydantic's type of error; the names in them are those of its context."""


@dataclass(frozen=True, slots=True)
class Body:
    """A body that is JSON.

    Attributes:
        raw: Its bytes; `{}` where it was empty.
        value: What they say.
    """

    raw: bytes
    value: Any


async def read_body(request: web.Request, most_bytes: int | None = None) -> Body:
    """Reads a body of strict JSON (RFC 8259, and unique names as in RFC 7493). An empty one is `{}`.

    Args:
        request: Brings it.
        most_bytes: Where `limits.body_bytes` is more than is needed: a limit of the route's own.

    Raises:
        ProblemError: 400 for what is not JSON, 408 when it does not come, 413 when it exceeds the route's own
            limit, 415 for another content type or a content encoding.
        aiohttp.web.HTTPRequestEntityTooLarge: It exceeds the limit of all.
    """
    raw = await read_raw(request, most_bytes)
    return Body(raw, parse_json(raw))


async def read_raw(request: web.Request, most_bytes: int | None = None) -> bytes:
    """Reads a body that says it is JSON; raises what `read_body` does but for what is not JSON.

    Args:
        request: Brings it.
        most_bytes: A limit of the route's own, instead of that of all.
    """
    core = request.app[CORE]
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        # A megabyte can stand for a thousand, and all of them would have to be unpacked to be thrown away.
        raise ProblemError(
            415, "The body must not be compressed.", headers={hdrs.ACCEPT_ENCODING: "identity"}
        )
    if most_bytes is not None and most_bytes != request.client_max_size:
        try:
            return await read_raw(request.clone(client_max_size=most_bytes))
        except web.HTTPRequestEntityTooLarge:
            raise ProblemError(413, f"A body may have at most {most_bytes} bytes here.") from None
    limit_s = core.settings.limits.body_timeout_s
    try:
        if request.content.is_eof():  # it came with the head, as small ones do
            raw = await request.read()
        else:
            async with core.clock.timeout(limit_s):
                raw = await request.read()
    except TimeoutError:
        core.alarms.set("slow-senders", lapses=True)
        # What is still to come of the body is not looked at any more, so nothing can follow it.
        raise ProblemError(
            408, f"The body did not come within {limit_s:g} s.", headers={hdrs.CONNECTION: "close"}
        ) from None
    if not raw:
        return b"{}"
    charset = (request.charset or "utf-8").lower()
    if request.content_type != "application/json" or charset not in ("utf-8", "utf8"):
        raise ProblemError(
            415,
            "The body must be JSON, with Content-Type: application/json.",
            headers={"Accept": "application/json"},
        )
    return raw


def parse_json(raw: bytes, most_values: int = MAX_VALUES) -> Any:
    """What strict JSON says.

    Args:
        raw: Its bytes.
        most_values: How many values it may hold.

    Raises:
        ProblemError: 400; the detail says what is wrong, never what was sent.
    """
    _check_shape(raw, most_values)
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise _not_json("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        what = "it begins with a byte order mark" if raw.startswith(b"\xef\xbb\xbf") else error.msg
        raise _not_json(f"{what} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise _not_json("it nests too deeply") from None
    except ValueError:  # from int(), of more digits than Python converts
        raise _not_json("a number has too many digits") from None
    return value


def _check_shape(raw: bytes, most_values: int) -> None:
    """Refuses what would take long to read, before it is read."""
    bare = _STRINGS.sub(b"", raw)
    brackets = bare.translate(None, delete=_NO_BRACKETS)
    if bare.count(b",") + len(brackets) // 2 > most_values:
        raise _not_json("it holds too many values")
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise _not_json("it nests too deeply")


def validate_body(model: type[_Model], body: Body) -> _Model:
    """An instance of the model, by wire names.

    Raises:
        ProblemError: 422, with one entry per bad field.
    """
    if not isinstance(body.value, dict):
        raise _invalid([FieldError("", "must be a JSON object")])
    raw = body.raw
    bad: dict[str, str] = {}
    if _SURROGATE_ESCAPE.search(raw):
        # No file and no answer can hold a lone surrogate: it has no UTF-8.
        for path, text in _walk(body.value):
            if isinstance(text, str) and _SURROGATE.search(text):
                bad[_dotted(path)] = "holds a lone surrogate, which is no Unicode text"
                if len(bad) == MAX_ERRORS:
                    raise _told(bad)
        if bad:
            if len(raw) > _MOST_CLEANED_BYTES:
                raise _told(bad)
            raw = json.dumps(_clean(body.value)).encode()
    of_text = frozenset(bad)
    valid = _validate(model, raw)
    if isinstance(valid, list):
        for each in valid[:MAX_ERRORS]:
            field = _dotted(_resolved(each["loc"], body.value))
            message = _message_of(each)
            if field not in of_text:
                bad[field] = f"{bad[field]}; or: {message}" if field in bad else message
    if bad or isinstance(valid, list):
        raise _told(bad)
    return valid


def _validate(model: type[_Model], raw: bytes) -> _Model | list[ErrorDetails]:
    """An instance of the model, or what is wrong.

    `1.0` is a whole number, as in JSON Schema (2020-12, section 6.1.1).
    """
    found = _instance_of(model, raw)
    if not isinstance(found, list) or len(raw) > _MOST_CLEANED_BYTES:
        return found
    if not any(each["type"] == "int_type" for each in found):
        return found
    return _instance_of(model, json.dumps(json.loads(raw, parse_float=_whole)).encode())


def _instance_of(model: type[_Model], raw: bytes) -> _Model | list[ErrorDetails]:
    try:
        return model.model_validate_json(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        return error.errors(include_url=False, include_input=False)


def _whole(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def _message_of(error: ErrorDetails) -> str:
    context = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in error.get("ctx", {}).items()
    }
    if context.get("min_length") == 1:
        return "must not be empty"
    template = _MESSAGES.get(error["type"])
    return error["msg"] if template is None else template.format_map(context)


def _told(bad: dict[str, str]) -> ProblemError:
    return _invalid([FieldError(field, message) for field, message in bad.items()])


def _invalid(errors: list[FieldError]) -> ProblemError:
    return ProblemError(422, "The arguments are not valid.", errors=errors[:MAX_ERRORS])


def _not_json(what: str) -> ProblemError:
    return ProblemError(400, f"The body is not JSON: {what}.")


def _refuse_constant(_name: str) -> NoReturn:
    raise _not_json("NaN and Infinity are no JSON numbers")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _not_json("a number is out of range")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_VALUES:
        # Also in a larger body: a fault is told of each that is not expected, before any can be left out.
        raise _not_json("an object has too many names")
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _not_json("an object has a name twice")
    return found


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique)


def _walk(value: Any) -> Iterator[tuple[_Path, Any]]:
    """Every key and every value with its path; a key's path is that of its value."""
    waiting: list[tuple[_Path, Any]] = [((), value)]
    while waiting:
        path, item = waiting.pop()
        yield path, item
        if isinstance(item, dict):
            for key, inner in item.items():
                yield (*path, key), key
                waiting.append(((*path, key), inner))
        elif isinstance(item, list):
            waiting.extend(((*path, index), inner) for index, inner in enumerate(item))


def _clean(value: Any) -> Any:
    """The value with every lone surrogate replaced, so that its other fields can be checked."""
    if isinstance(value, dict):
        return {_SURROGATE.sub("�", key): _clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return _SURROGATE.sub("�", value) if isinstance(value, str) else value


def _resolved(location: tuple[str | int, ...], value: Any) -> _Path:
    """Where pydantic means, without the names of a union's members that it puts between."""
    path: list[str | int] = []
    for position, step in enumerate(location):
        if isinstance(value, dict):
            if step in value:
                value = value[step]
            elif position < len(location) - 1:
                continue
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            continue
        path.append(step)
    return tuple(path)


def _dotted(path: _Path) -> str:
    return _SURROGATE.sub("�", ".".join(map(str, path)))[:MAX_FIELD_CHARS]
