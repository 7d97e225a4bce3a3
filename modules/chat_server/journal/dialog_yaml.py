"""The file format: a dialog as YAML that grows by appending, written and read.

A file is a head (`conversation`, `user`, `started`, where they are set `title` and `pinned`,
`messages:`), the messages, and, once the dialog has ended, a footer (`ended`, `reason`, `message_count`).
Each part is YAML of its own, so appending one to a valid file gives a valid file.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import yaml

from potoserver import iso_utc

from .records import Conversation, Dialog, Message, Reason
from .titles import as_title

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""No dialog grows beyond this, and no larger file is read whole."""
MAX_MESSAGES: Final = 10_000
"""No dialog holds more: what reading costs goes by messages too, however short they are."""
MAX_VALUES: Final = 32 * MAX_MESSAGES
"""What no file may hold more of; a message has eleven fields at most."""
_MAX_DIGITS: Final = 20

_MAX_DEPTH: Final = 8
"""A dialog nests three deep. The C loader recurses, and a file of 200 000 brackets would end the process."""

_OWN_FORM: Final = re.compile(
    rb"(?>(?:- |  )?[a-z_]+:"
    rb"(?: (?:\"[^\n]*\"|true|\d+)| \|-\n(?:(?:    [^\n]*+)?\n)*    [^\n]*+)?(?:\n|\Z))*+"
)
"""What `emit_…` writes: quoted scalars on one line each, and literal blocks. Nothing in it nests deeper."""

_FIELD: Final = re.compile(rb"^(?:- |  )?[a-z_]+:", re.MULTILINE)
"""A field in that form. Lines of a literal block are indented by four."""

_NOT_LITERAL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_AS_IT_IS: Final = re.compile(r"[ !#-\[\]-~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]*")
"""What the emitter writes between double quotes without an escape."""
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")
_STAND_INS: Final = range(0xE000, 0xF900)
_ISO_MS: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


class NotADialogError(Exception):
    """The bytes are no YAML, or YAML of another shape; the message says what was found."""


class _Quoted(str):
    """A string to be written in double quotes."""


class _Literal(str):
    """A string to be written as a literal block."""


class _Loader(yaml.CSafeLoader):
    """PyYAML's safe C loader, for numbers no longer than ours.

    `1:1:1…` is a number to the base of 60 in YAML 1.1; a megabyte of it takes minutes.
    """

    def construct_short_number(self, node: yaml.ScalarNode) -> object:
        """A number."""
        if len(node.value) > _MAX_DIGITS:
            raise NotADialogError("a number has too many digits")
        whole = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_short_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_short_number)


class _Dumper(yaml.CSafeDumper):
    """PyYAML's C emitter with the two styles that this format uses."""


_Dumper.add_representer(
    _Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
)
_Dumper.add_representer(
    _Literal, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")
)


def emit_head(
    conversation: Conversation, user_id: str, title: str | None = None, *, pinned: bool = False
) -> bytes:
    """The lines before the first message."""
    head: dict[str, object] = {
        "conversation": _Quoted(conversation.id),
        "user": _Quoted(user_id),
        "started": _Quoted(iso_utc(conversation.started_ms)),
    }
    return _dump(head) + emit_marks(title, pinned=pinned) + b"messages:\n"


def emit_marks(title: str | None, *, pinned: bool) -> bytes:
    """The lines of a head that its user may change: the title that was given, and whether it is pinned."""
    marks: dict[str, object] = {}
    if title is not None:
        marks["title"] = _Quoted(title)
    if pinned:
        marks["pinned"] = True
    return _dump(marks) if marks else b""


def emit_message(message: Message) -> bytes:
    """One item of `messages`; its last line is `timestamp`, so that a torn one is recognised.

    Raises:
        ValueError: A text holds a lone surrogate.
    """
    item: dict[str, object] = {"role": _Quoted(message.role), "content": _text(message.content)}
    if message.model is not None:
        item["model"] = _Quoted(message.model)
    if message.reasoning is not None:
        item["reasoning"] = _text(message.reasoning)
    if message.finish_reason is not None:
        item["finish_reason"] = _Quoted(message.finish_reason)
    if message.interrupted:
        item["interrupted"] = True
    for key in ("reply_to", "idempotency_key", "request_digest"):
        value = getattr(message, key)
        if value is not None:
            item[key] = _Quoted(value)
    item["id"] = _Quoted(message.id)
    item["timestamp"] = _Quoted(iso_utc(message.timestamp_ms))
    return _dump([item])


def emit_field(name: str, value: str) -> bytes:
    """One quoted field of a head or a message, without indentation and line end."""
    return _dump({name: _Quoted(value)}).rstrip(b"\n")


def emit_footer(ended_ms: int, reason: Reason, message_count: int) -> bytes:
    """The lines that end a dialog."""
    return _dump(
        {"ended": _Quoted(iso_utc(ended_ms)), "reason": _Quoted(reason.value), "message_count": message_count}
    )


def _text(text: str) -> str:
    """A literal block where every reader agrees on it, else double quotes."""
    lines = text.split("\n")
    readable = (
        len(lines) > 1
        and lines[0] != ""
        and lines[-1] != ""
        and not _NOT_LITERAL.search(text)
        and all(line == line.strip() for line in lines)
    )
    return _Literal(text) if readable else _Quoted(text)


def _dump(part: dict[str, object] | list[dict[str, object]]) -> bytes:
    return _written(part) or _emitted(part)


def _written(part: dict[str, object] | list[dict[str, object]]) -> bytes | None:
    """What `_emitted` gives, at a tenth of its cost, for texts on one line without an escape; else None."""
    begins, joint, fields = ("- ", "\n  ", part[0]) if isinstance(part, list) else ("", "\n", part)
    lines = []
    for name, value in fields.items():
        if type(value) is int:
            lines.append(f"{name}: {value}")
        elif isinstance(value, _Quoted) and _AS_IT_IS.fullmatch(value):
            lines.append(f'{name}: "{value}"')
        else:
            return None
    return f"{begins}{joint.join(lines)}\n".encode()


def _emitted(part: dict[str, object] | list[dict[str, object]]) -> bytes:
    # The C emitter takes characters beyond the BMP for unprintable: it escapes them and refuses a literal
    # block. So that emoji stay readable, each is written as a private character that the part does not
    # use, and put back afterwards.
    text = _dump_text(part)
    if "\\U" in text:
        stood_in, originals = _stand_in(part)
        if stood_in is not None:
            text = _dump_text(stood_in).translate(originals)
    return text.encode()


def _dump_text(part: object) -> str:
    # A width of -1 keeps each quoted scalar on one line, however long.
    try:
        emitted: str = yaml.dump(part, Dumper=_Dumper, width=-1, allow_unicode=True, sort_keys=False)
    except UnicodeEncodeError:
        raise ValueError("text must not hold a lone surrogate") from None
    return emitted


def _stand_in(part: object) -> tuple[object | None, dict[int, str]]:
    """The part with each astral character replaced, and how to undo that; None where too many are in use."""
    fields: dict[str, Any] = part[0] if isinstance(part, list) else part  # type: ignore[assignment]  # one of the two
    texts = [value for value in fields.values() if isinstance(value, str)]
    astral = sorted({character for text in texts for character in _ASTRAL.findall(text)})
    used = {ord(character) for text in texts for character in text if ord(character) in _STAND_INS}
    free = [code for code in _STAND_INS if code not in used]
    if not astral or len(astral) > len(free):
        return None, {}
    forth = {ord(character): code for character, code in zip(astral, free, strict=False)}
    replaced = {
        key: type(value)(value.translate(forth)) if isinstance(value, str) else value
        for key, value in fields.items()
    }
    return ([replaced] if isinstance(part, list) else replaced), {
        code: chr(own) for own, code in forth.items()
    }


def load_yaml(data: bytes) -> object:
    """Loads YAML from a file that may be anything.

    Raises:
        NotADialogError: It is no YAML, too large, nests too deeply, or holds too many values.
    """
    if len(data) > MAX_FILE_BYTES:
        raise NotADialogError(f"larger than {MAX_FILE_BYTES} bytes")
    try:
        if not is_own_form(data):
            _check_shape(data)
        elif data.count(b"\n") > MAX_VALUES // 2:
            _check_fields(data)
        return yaml.load(data, Loader=_Loader)  # noqa: S506 - a safe loader with less than PyYAML's own
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        # Besides YAMLError, PyYAML's constructors let through what a scalar such as `2024-99-99` makes
        # Python's own types raise.
        raise NotADialogError(" ".join(f"{type(error).__name__}: {error}".split())[:200]) from None


def is_own_form(data: bytes) -> bool:
    """Whether each text in these bytes is quoted on one line or a literal block, as `emit_…` writes them."""
    return _OWN_FORM.fullmatch(data) is not None


def _check_fields(data: bytes) -> None:
    for number, _ in enumerate(_FIELD.finditer(data), 1):
        if number > MAX_VALUES // 2:
            raise NotADialogError("it holds too many values")


def _check_shape(data: bytes) -> None:
    depth = values = 0
    for event in yaml.parse(data, Loader=yaml.CSafeLoader):
        values += isinstance(event, yaml.NodeEvent)
        if values > MAX_VALUES:
            raise NotADialogError("it holds too many values")
        if isinstance(event, yaml.AliasEvent):
            raise NotADialogError("it uses an alias")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise NotADialogError("it nests too deeply")


def parse_dialog(data: bytes) -> Dialog:
    """Reads a whole file, ours or one that a person has edited.

    Raises:
        NotADialogError: It is no dialog, or one of its messages is not whole.
    """
    loaded = _mapping(load_yaml(data), "the file")
    head = read_head(loaded)
    items = loaded.get("messages")
    if items is not None and not isinstance(items, list):
        raise NotADialogError("`messages` is no list")
    messages = tuple(read_message(item) for item in items or ())
    if "ended" not in loaded and "reason" not in loaded and "message_count" not in loaded:
        return replace(head, messages=messages)
    ended_ms, reason, _ = read_footer(loaded)
    return replace(head, messages=messages, ended_ms=ended_ms, reason=reason)


def read_head(loaded: dict[Any, Any]) -> Dialog:
    """What the head of a loaded file says: the dialog without its messages and its end."""
    return Dialog(
        Conversation(_string(loaded, "conversation"), _moment(loaded, "started")),
        _string(loaded, "user"),
        (),
        title=as_title(_optional(loaded, "title") or ""),
        pinned=_flag(loaded, "pinned"),
    )


def read_footer(loaded: dict[Any, Any]) -> tuple[int, Reason, int]:
    """When the dialog ended (ms since 1970 UTC), why, and how many messages it holds."""
    try:
        reason = Reason(_string(loaded, "reason"))
    except ValueError:
        raise NotADialogError("`reason` is none that is known") from None
    count = loaded.get("message_count")
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise NotADialogError("`message_count` is no count")
    return _moment(loaded, "ended"), reason, count


def read_message(loaded: object) -> Message:
    """One loaded item of `messages`."""
    item = _mapping(loaded, "a message")
    return Message(
        role=_string(item, "role"),
        content=_string(item, "content"),
        id=_string(item, "id"),
        timestamp_ms=_moment(item, "timestamp"),
        model=_optional(item, "model"),
        reasoning=_optional(item, "reasoning"),
        finish_reason=_optional(item, "finish_reason"),
        interrupted=_flag(item, "interrupted"),
        reply_to=_optional(item, "reply_to"),
        idempotency_key=_optional(item, "idempotency_key"),
        request_digest=_optional(item, "request_digest"),
    )


def _mapping(loaded: object, what: str) -> dict[Any, Any]:
    if not isinstance(loaded, dict):
        raise NotADialogError(f"{what} is no mapping")
    return loaded


def _string(mapping: dict[Any, Any], key: str) -> str:
    value = mapping.get(key)
    if not isinstance(value, str):
        raise NotADialogError(f"`{key}` is missing or no text")
    return value


def _optional(mapping: dict[Any, Any], key: str) -> str | None:
    return _string(mapping, key) if mapping.get(key) is not None else None


def _flag(mapping: dict[Any, Any], key: str) -> bool:
    value = mapping.get(key, False)
    if not isinstance(value, bool):
        raise NotADialogError(f"`{key}` is neither true nor false")
    return value


def _moment(mapping: dict[Any, Any], key: str) -> int:
    text = _string(mapping, key)
    try:
        moment = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC) if _ISO_MS.fullmatch(text) else None
    except ValueError:
        moment = None
    if moment is None:
        raise NotADialogError(f"`{key}` is no time such as 2024-01-15T10:12:03.120Z")
    return int(moment.timestamp()) * 1000 + int(text[20:23])
