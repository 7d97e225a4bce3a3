"""Long hostile inputs: each parser's work grows with its input, not with the square of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from potoserver.logs.levels import DebugPatterns
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS
from tests.fuzz.targets.dialogs import HEAD, MESSAGE, WHOLE

HEADER = 8_000
"""About what one header line may have."""
BODY = 1_000_000
FILE = 250_000
WORK_S = 8.0
"""Of a processor, for all that a target does with one input; the square of these would take minutes."""


def filled(part: bytes, size: int) -> bytes:
    return part * (size // len(part))


BODIES = {
    "brackets": filled(b"[", BODY),
    "objects": filled(b'{"a":', BODY),
    "closed brackets": filled(b"[],", BODY),
    "closing brackets": filled(b"]", BODY),
    "keys": b"{" + b",".join(b'"k%d":1' % number for number in range(80_000)) + b"}",
    "some keys": b"{" + b",".join(b'"k%d":1' % number for number in range(40_000)) + b"}",
    "the same key": b"{" + b",".join([b'"text":1'] * 40_000) + b"}",
    "surrogates": b'{"tags":["' + filled(b"\\ud800", BODY) + b'"]}',
    "texts of surrogates": b'{"tags":[' + b",".join([b'"\\ud800"'] * 45_000) + b"]}",
    "deep surrogates": filled(b'{"a":', 300) + b"[" + b",".join([b'"\\udfff"'] * 40_000) + b"]" + b"}" * 60,
    "wrong items": b'{"tags":[' + b",".join([b"1"] * 49_000) + b"]}",
    "wrong tables": b'{"table":{' + b",".join(b'"%d":[1.5]' % number for number in range(24_000)) + b"}}",
    "nested parts": filled(b'{"part":{"streetName":"a","parts":[', 700) + b"]}" * 60,
    "quotes": filled(b'"', BODY),
    "backslashes": b'"' + filled(b"\\", BODY),
    "escaped quotes": b'"' + filled(b'\\"', BODY),
    "digits": filled(b"9", BODY),
    "numbers": b"[" + filled(b"9" * 4000 + b",", BODY) + b"1]",
    "exponents": b"[" + filled(b"1e-99999,", BODY // 8) + b"1]",
    "blanks": filled(b" ", BODY),
    "commas": filled(b",", BODY),
    "a text": b'{"text":"' + filled(b"a", BODY) + b'"}',
}
HEADERS = {
    name: filled(part, HEADER)
    for name, part in {
        "semicolons": b";",
        "commas": b",",
        "quotes": b'"',
        "backslashes": b"\\",
        "escapes": b'\\"',
        "octals": b'"\\377',
        "equals": b"=",
        "colons": b":",
        "brackets": b"[",
        "pairs": b"a=b;",
        "our cookie": b"potoserver=a.b.c;",
        "streams": b"text/event-stream;q=0,",
        "clients": b"for=127.0.0.1,",
        "dots": b".",
        "letters": b"a",
        "digits": b"e-1",
        "slashes": b"http://",
        "queries": b"lease=10&",
        "percents": b"%",
        "bytes": b"\xff",
        "blanks": b" ",
    }.items()
}
FILES = {
    "aliases": b"a: &a [1]\nb: [" + b"*a, " * 30_000 + b"1]\n",
    "bombs": b"a: &a [x]\n" + b"".join(b"b%d: &b%d [%b]\n" % (n, n, b"*a," * 9) for n in range(5000)),
    "brackets": filled(b"[", 50_000),
    "braces": filled(b"{", 50_000),
    "dashes": filled(b"- ", 50_000),
    "question marks": filled(b"? ", 50_000),
    "keys": b"".join(b"k%d: 1\n" % number for number in range(3000)),
    "quotes": filled(b'"', 50_000),
    "anchors": filled(b"&", 50_000),
    "tags": filled(b"!", 50_000),
    "comments": filled(b"#\n", 50_000),
    "documents": filled(b"---\n", 50_000),
    "tabs": filled(b"\t", 50_000),
}
DIALOGS = {
    "messages": HEAD + filled(MESSAGE, FILE),
    "torn messages": HEAD + filled(MESSAGE, FILE) + MESSAGE[:40],
    "ends of messages": HEAD + filled(b'  timestamp: "2024-01-15T10:12:04.001Z"\n', FILE),
    "beginnings of messages": HEAD + filled(b'- role: "user"\n', FILE),
    "dashes": HEAD + filled(b"- ", FILE),
    "literal blocks": HEAD + b"- content: |-\n" + filled(b"    a\n", FILE),
    "empty lines": HEAD + b"- content: |-\n" + filled(b"\n", FILE),
    "quotes": HEAD + b'- content: "' + filled(b'"', FILE),
    "heads": filled(HEAD, FILE),
    "footers": WHOLE + filled(b"message_count: 1\n", FILE),
    "zeros": WHOLE + bytes(FILE),
    "aliases": HEAD + b"- &a {}\n" + filled(b"- *a\n", FILE),
    "brackets": HEAD + filled(b"[", FILE),
}


def check(work: Callable[[], object]) -> None:
    began_s = time.process_time()
    work()
    assert time.process_time() - began_s < WORK_S


def cases(inputs: dict[str, bytes], *targets: str) -> pytest.MarkDecorator:
    pairs = [
        pytest.param(TARGETS[target], data, id=f"{target}, {name}")
        for target in targets
        for name, data in inputs.items()
    ]
    return pytest.mark.parametrize(("target", "data"), pairs)


@cases(BODIES, "body")
def test_a_body(target: Target, data: bytes) -> None:
    """A megabyte, through the parser and every model."""
    check(lambda: target.check(data))


@cases(HEADERS, "host", "origin", "accept", "query", "cookies", "token", "idempotency-key", "event-id")
def test_a_header(target: Target, data: bytes) -> None:
    """The longest line that aiohttp lets through."""
    check(lambda: target.check(data + b"\0" + data))


@cases(FILES, "settings-file")
def test_a_settings_file(target: Target, data: bytes) -> None:
    """Aliases of aliases, depth, length."""
    check(lambda: target.check(data))


@cases(DIALOGS | FILES, "scan")
def test_a_dialog(target: Target, data: bytes) -> None:
    """As a crash, an editor or a stranger with access to the folder leaves it."""
    check(lambda: target.check(data))


def test_patterns_of_loggers() -> None:
    """Many stars, in a name that nearly fits."""
    check(lambda: DebugPatterns("*a" * 40 + "b").match("a" * 200))
