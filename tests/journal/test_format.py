"""The file format: valid for everyone, before and after every append, whatever the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from modules.chat_server.journal import Conversation, Dialog, Message, Reason
from modules.chat_server.journal.dialog_yaml import (
    NotADialogError,
    _emitted,
    _Quoted,
    _written,
    emit_footer,
    emit_head,
    emit_message,
    load_yaml,
    parse_dialog,
)
from modules.chat_server.journal.scan import scan, summarize, summarize_dialog
from potoserver import iso_utc
from tests.journal.readers import npm_reader, python_readers
from tests.journal.support import FIRST, message

NASTY = [
    "",
    " ",
    "\n",
    "\n\n",
    "a\n",
    "\na",
    " a\nb",
    "a \nb",
    "a\n b",
    "a\n\nb",
    "a\n\n\n# b\n\nc",
    "---",
    "...",
    "a\n---\nb",
    "a\n...\nb",
    "- x",
    "- x\n- y",
    "null",
    "~",
    "yes",
    "no",
    "1e3",
    "0o17",
    "017",
    "1:30",
    "0x1F",
    ".inf",
    "2024-01-01",
    "=",
    "<<",
    "&a",
    "*a",
    "!x",
    "%YAML 1.1",
    "@x",
    "`x`",
    "a: b",
    "a:\nb:",
    "{a: b",
    "[x\n]y",
    "#c",
    "a #c",
    "\t",
    "a\tb\nc",
    "a\n\tb",
    "a\rb",
    "a\r\nb",
    "a\x85b",
    "a\nb\x85",
    "a\u2028b\nc",
    "a\u2029b",
    "\ufeffa",
    "a\ufeff\nb",
    "\x00",
    "\x07\x1b\x7f\x80\x9f",
    "\ufffe\uffff",
    "\ud7ff\ue000\ufffd",
    "\U0001fffe\U0010ffff\U00010000",
    "😀",
    "😀\nb 👩‍👩‍👧‍👦",
    "\ue000😀\nb\ue001",
    "שלום\nעולם",
    "\u202eabc",
    "\u00a0a\u3000\nb",
    "\\U0001F600",
    "a\\\nb\\n",
    "'\"\n\"'",
    '  content: "x"\n  timestamp: "2024"',
    'a\n- role: "user"\n  timestamp: "x"',
    "x" * 200_000,
    "word " * 40_000,
    "line\n" * 2000 + "end",
    "😀" * 5000,
]

texts = st.one_of(
    st.sampled_from(NASTY[:-4]),
    st.text(),
    st.text(alphabet="a -:#\n\t\r\x85\u2028\ufeff\\\"'😀\ue000&*!|>%@`[]{},?~é"),
    st.lists(st.text(alphabet="ab :#-'\"\\é😀", max_size=12), max_size=6).map("\n".join),
)


def expected(user: str, *messages: Message, conversation: Conversation = FIRST) -> dict[str, Any]:
    """What a reader must make of a file, from the contract."""
    items = []
    for each in messages:
        item: dict[str, Any] = {"role": each.role, "content": each.content}
        for key in ("model", "reasoning", "finish_reason", "reply_to", "idempotency_key", "request_digest"):
            if getattr(each, key) is not None:
                item[key] = getattr(each, key)
        if each.interrupted:
            item["interrupted"] = True
        item |= {"id": each.id, "timestamp": iso_utc(each.timestamp_ms)}
        items.append(item)
    return {
        "conversation": conversation.id,
        "user": user,
        "started": iso_utc(conversation.started_ms),
        "messages": items or None,
    }


def grown(user: str, *messages: Message) -> list[bytes]:
    """The file's bytes after each append, the footer included."""
    data = emit_head(FIRST, user)
    stages = []
    for each in messages:
        data += emit_message(each)
        stages.append(data)
    return [*stages, data + emit_footer(FIRST.started_ms + 1000, Reason.DISCONNECT, len(messages))]


def footer(count: int) -> dict[str, Any]:
    return {"ended": iso_utc(FIRST.started_ms + 1000), "reason": "disconnect", "message_count": count}


@pytest.fixture(scope="module")
def npm() -> Iterator[Callable[[str], list[Any]] | str]:
    with npm_reader() as reader:
        yield reader


def check(readers: dict[str, Callable[[str], Any]], user: str, *messages: Message) -> None:
    stages = grown(user, *messages)
    for number, data in enumerate(stages, 1):
        last = number == len(stages)
        want = expected(user, *messages[:number]) | (footer(len(messages)) if last else {})
        for name, read in readers.items():
            assert read(data.decode()) == want, name


def test_the_contract_to_the_letter() -> None:
    """The example of the contract is written byte for byte."""
    head = Conversation("sse-1704110400000-abc123def", 1_705_313_523_120)
    answer = Message("assistant", "Hello!\nWhat can I do for you?", "m-2", 1_705_313_524_750, model="gpt")
    data = (
        emit_head(head, "a1")
        + emit_message(Message("user", "Hello!", "m-1", 1_705_313_524_001))
        + emit_message(answer)
        + emit_footer(1_705_314_600_000, Reason.DISCONNECT, 2)
    )
    assert data.decode() == (
        'conversation: "sse-1704110400000-abc123def"\n'
        'user: "a1"\n'
        'started: "2024-01-15T10:12:03.120Z"\n'
        "messages:\n"
        '- role: "user"\n'
        '  content: "Hello!"\n'
        '  id: "m-1"\n'
        '  timestamp: "2024-01-15T10:12:04.001Z"\n'
        '- role: "assistant"\n'
        "  content: |-\n"
        "    Hello!\n"
        "    What can I do for you?\n"
        '  model: "gpt"\n'
        '  id: "m-2"\n'
        '  timestamp: "2024-01-15T10:12:04.750Z"\n'
        'ended: "2024-01-15T10:30:00.000Z"\n'
        'reason: "disconnect"\n'
        "message_count: 2\n"
    )


@pytest.mark.parametrize("number", range(len(NASTY)))
def test_known_traps_load_equal_in_python(number: int) -> None:
    """Each text that YAML is known to trip over loads equal in every reader for Python."""
    text = NASTY[number]
    readers = python_readers()
    if len(text) > 5000:
        # The pure readers take minutes for these sizes; PyYAML's share one code with the short texts.
        readers = {name: readers[name] for name in ("PyYAML in C", "ruamel.yaml")}
    check(readers, "a1", message(0, text), message(1, "x", reasoning=text))


def test_known_traps_load_equal_in_node(npm: Callable[[str], list[Any]] | str) -> None:
    """The same in the npm package `yaml`, as YAML 1.1 and as 1.2."""
    if isinstance(npm, str):
        pytest.skip(npm)
    both = {"1.1": lambda text: npm(text)[0], "1.2": lambda text: npm(text)[1]}
    for text in NASTY:
        check(both, "a1", message(0, text), message(1, "x", reasoning=text))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts, other=texts, name=st.text(min_size=1, max_size=30))
@example(text="a\x85", other="\u2028", name="\ufeff")
def test_any_text_loads_equal_everywhere(
    npm: Callable[[str], list[Any]] | str, text: str, other: str, name: str
) -> None:
    """Any Unicode that JSON can carry comes back equal in all readers: text, user id, model name, key."""
    readers = python_readers()
    if not isinstance(npm, str):
        readers |= {"npm 1.1": lambda text: npm(text)[0], "npm 1.2": lambda text: npm(text)[1]}
    answer = message(1, other, model=name, reasoning=text, interrupted=True, finish_reason=name)
    check(readers, name, message(0, text, idempotency_key=name), answer)


@settings(max_examples=300)
@given(
    st.lists(
        st.builds(
            Message,
            role=st.sampled_from(["user", "assistant"]),
            content=texts,
            id=st.text(min_size=1),
            timestamp_ms=st.integers(0, 4_000_000_000_000),
            model=st.none() | texts,
            reasoning=st.none() | texts,
            interrupted=st.booleans(),
            reply_to=st.none() | st.text(),
        ),
        min_size=1,
        max_size=4,
    ),
    st.text(min_size=1),
)
def test_what_is_written_is_read_back(messages: list[Message], user: str) -> None:
    """The journal's own reader gives the same dialog; a scan keeps all of it; head and tail tell the same."""
    *stages, last = grown(user, *messages)
    for number, data in enumerate(stages, 1):
        dialog = Dialog(FIRST, user, tuple(messages[:number]))
        assert parse_dialog(data) == dialog
        assert (scan(data).dialog, scan(data).size) == (dialog, len(data))
    ended = Dialog(FIRST, user, tuple(messages), FIRST.started_ms + 1000, Reason.DISCONNECT)
    assert parse_dialog(last) == ended
    try:
        summary = summarize("x", last[:4096], last[-1024:])
    except NotADialogError:
        assert b'- role: "user"' not in last[:3000], "only what its user says later is not in its head"
        return
    assert summary == summarize_dialog("x", ended)
    assert (summary.conversation, summary.ended_ms, summary.reason, summary.message_count) == (
        FIRST,
        ended.ended_ms,
        ended.reason,
        len(messages),
    )


@given(st.lists(texts, min_size=1), st.booleans())
def test_what_is_written_quickly_is_what_the_emitter_writes(values: list[str], item: bool) -> None:
    """To the byte, a mapping as well as an item of a list; what it would escape is left to it."""
    fields: dict[str, object] = {f"name_{number}": _Quoted(text) for number, text in enumerate(values)}
    part = [fields] if item else fields
    assert _written(part) in (None, _emitted(part))
    assert _written({"name": _Quoted("What is “plain”? É, 中, and ~ is.")}) is not None


def test_several_lines_stay_readable() -> None:
    """Ordinary text of several lines is a literal block, emoji included; one quoted scalar is one line."""
    assert b"content: |-\n    Hi \xf0\x9f\x98\x80\n\n    you\n" in emit_message(message(0, "Hi 😀\n\nyou"))
    assert emit_message(message(0, "word " * 1000)).count(b"\n") == 4
    assert 'content: "😀 tab\\t"'.encode() in emit_message(message(0, "😀 tab\t"))
    assert 'content: "😀"\n  interrupted: true'.encode() in emit_message(message(0, "😀", interrupted=True))


@pytest.mark.parametrize(
    "text", ["\nHi\nyou", "Hi\nyou\n", " Hi\nyou", "Hi\nyou ", "Hi\r\nyou", "Hi\n\x07you", "Hi\u2028\nyou"]
)
def test_lines_on_which_readers_disagree_are_quoted(text: str) -> None:
    """The contract has a literal block only for what begins and ends with a word on each line."""
    assert b'content: "' in emit_message(message(0, text))


def test_more_emoji_than_stand_ins_are_escaped() -> None:
    """Where a text has too many different astral characters, they are escaped and load equal."""
    for count, readable in ((6400, True), (6401, False)):
        text = "".join(map(chr, range(0x10000, 0x10000 + count)))
        check({"C": lambda data: yaml.load(data, Loader=yaml.CSafeLoader)}, "a1", message(0, text))
        emitted = emit_message(message(0, text)).decode()
        assert (text in emitted, r"\U00010000" in emitted) == (readable, not readable)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 200_000,
        b"messages:\n    " + b"[" * 200_000,
        b"- " * 200_000,
        b"a: &a [x]\nb: [*a, *a]\n",
        b"\xff\xfe\x00",
        b"a: b\n\x00",
        b"? [a]\n: b\n",
        b"a: 2024-99-99\n",
        b"a: !!python/object/apply:os.system ['true']\n",
        b"a: [",
        b'"',
        b"a: !!int x\n",
        b"a: !!binary x\n",
        b"a: !!timestamp x\n",
    ],
)
def test_what_is_no_yaml_is_refused(data: bytes) -> None:
    """Bytes that would crash, confuse or execute something raise one error."""
    with pytest.raises(NotADialogError):
        load_yaml(data)


@pytest.mark.parametrize(
    "change",
    [
        (b"- role", b"x: 1\n- role"),
        (b'content: "text 0"', b"content: 12"),
        (b'content: "text 0"', b"content:"),
        (b'  id: "m-0"\n', b""),
        (b'timestamp: "2024', b'timestamp: "24'),
        (b"-15T10:12:03.120Z", b"-45T10:12:03.120Z"),
        (b'reason: "disconnect"', b'reason: "bored"'),
        (b'reason: "disconnect"\n', b""),
        (b"message_count: 1", b"message_count: true"),
        (b'user: "a1"', b"user: [a1]"),
        (b"messages:", b"letters:\n- x\nmessages: 12\nrest:"),
    ],
)
def test_yaml_of_another_shape_is_refused(change: tuple[bytes, bytes]) -> None:
    """A file that loads and is no dialog is told apart."""
    data = grown("a1", message(0))[-1]
    assert change[0] in data
    with pytest.raises(NotADialogError):
        parse_dialog(data.replace(*change, 1))
