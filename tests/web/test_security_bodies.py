"""Bodies made to cost more than they bring: time of the one event loop, or memory before anybody is known."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from potoserver import WireModel
from potoserver.errors import ProblemError
from potoserver.web.body import MAX_DEPTH, MAX_VALUES, Body, parse_json, validate_body
from potoserver.web.login import MAX_LOGIN_BYTES
from tests.support.server import RunningServer, RunServer
from tests.web.sample import Sample

MIB = 1_048_576
QUICK_S = 2.0
"""Generous: the slowest of these takes a tenth on an idle machine, and the worst took minutes before."""


@pytest.fixture
async def running(tmp_path: Path, running_server: RunServer) -> AsyncIterator[RunningServer]:
    async with running_server(tmp_path, [Sample()]) as running:
        yield running


async def post(running: RunningServer, path: str, data: Any, **headers: str) -> tuple[int, str]:
    """Status and detail."""
    headers = {"Content-Type": "application/json", "Authorization": "Bearer test-token"} | headers
    async with running.session.post(f"{running.url}/{path}", data=data, headers=headers) as answer:
        text = await answer.text()
        return answer.status, json.loads(text)["detail"] if answer.status >= 400 else ""


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b'{"a":[' + b"[]," * (MIB // 3) + b"[]]}", "too many values"),
        (b'{"a":[' + b"{}," * (MIB // 3) + b"{}]}", "too many values"),
        (b"{" + b",".join(b'"%x":1' % each for each in range(95_000)) + b"}", "too many values"),
        (b'["\\ud800"' + b',""' * (MIB // 3) + b"]", "too many values"),
        (b"[" + b"1.5," * (MIB // 4) + b"1]", "too many values"),
        (b"[" * (MAX_VALUES + 1) + b"]" * (MAX_VALUES + 1), "too many values"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nests too deeply"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "nests too deeply"),
        (b"[" * MAX_VALUES, "nests too deeply"),
        (b'"' + b'\\"' * (MIB // 2), "Unterminated string"),
        (b'"' + b"\\" * MIB, "Unterminated string"),
        (b'"";"' * (MIB // 4), "Extra data"),
        (b"9" * MIB, "too many digits"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[:12]!r}",
)
def test_a_body_that_would_take_long_is_refused_at_once(raw: bytes, why: str) -> None:
    """400, before it is read into values."""
    begun_s = time.process_time()
    with pytest.raises(ProblemError, match=why) as raised:
        parse_json(raw)
    assert raised.value.status == 400
    assert time.process_time() - begun_s < QUICK_S


@pytest.mark.parametrize(
    "text",
    ["[" * MIB, "{[,]}" * 200_000, 'a "quoted", \\ "word", ' * 40_000, '"' * MIB, "\\" * MIB, "\\u005b"],
)
def test_what_stands_in_a_text_is_not_counted(text: str) -> None:
    """A message may be of brackets, commas, quotes and backslashes."""
    assert parse_json(json.dumps({"message": text}).encode()) == {"message": text}


def test_a_body_at_the_limits_is_read() -> None:
    """As deep, and of as many values, as is allowed."""
    deep = b"[" * MAX_DEPTH + b"1" + b"]" * MAX_DEPTH
    assert json.dumps(parse_json(deep)).encode() == deep
    assert len(parse_json(b"[" + b"1," * (MAX_VALUES - 2) + b"1]")) == MAX_VALUES - 1


async def test_unknown_fields_without_number_are_named_up_to_a_limit(running: RunningServer) -> None:
    """And cost no more for it."""
    many = {f"k{number}": 1 for number in range(40_000)}
    begun_s = time.process_time()
    status, document = await running.call("Sample/echo", many | {"someText": "a"})
    assert time.process_time() - begun_s < QUICK_S
    assert (status, len(document["errors"])) == (422, 50)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_login_is_a_small_body(running: RunningServer, chunked: bool) -> None:
    """Anybody may send one, so the limit of calls would be too much: 413, and nothing of it is kept."""
    large = json.dumps({"token": "x" * MAX_LOGIN_BYTES}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        yield large[:10_000]
        yield large[10_000:]

    status, detail = await post(running, "login", pieces() if chunked else large)
    assert (status, detail) == (413, f"A body may have at most {MAX_LOGIN_BYTES} bytes here.")
    assert (await post(running, "login", b'{"token": "test-token"}'))[0] == 200
    assert (await post(running, "Sample/echo", json.dumps({"someText": "x" * 50_000})))[0] == 200


async def test_half_a_login_holds_little_memory(running: RunningServer) -> None:
    """A hundred that send a megabyte and no end: each is refused, with what it has sent thrown away."""
    host, port = running.url.removeprefix("http://").split(":")
    fields = f"Host: {host}\r\nContent-Type: application/json\r\nContent-Length: {MIB}\r\n\r\n"
    head = f"POST /login HTTP/1.1\r\n{fields}"
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sent = b"x" * 200_000

    async def half() -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode() + sent)
        try:
            return await reader.readuntil(b"\r\n")
        finally:
            writer.close()

    answers = await asyncio.gather(*(half() for _ in range(100)))
    assert {answer.split(b" ")[1] for answer in answers} == {b"413"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 100_000


async def test_an_ack_is_a_small_body_and_not_without_number(running: RunningServer) -> None:
    """413 for a large one; 429 past the rate of calls, which it does not use up."""
    assert (await post(running, "subscribe/ack", b" " * 5000))[0] == 413
    async with asyncio.timeout(30):
        while (status := (await post(running, "subscribe/ack", b'{"connection": "c-1"}'))[0]) == 404:
            pass
    assert status == 429
    assert (await running.call("Sample/remember"))[0] == 200


@pytest.mark.parametrize("encoding", ["gzip", "GZip", "deflate", "gzip, gzip", "foo"])
async def test_a_compressed_body_is_refused_and_never_unfolded(running: RunningServer, encoding: str) -> None:
    """415: a hundred kilobytes stand for a hundred megabytes."""
    compress = zlib.compress if encoding == "deflate" else gzip.compress
    bomb = compress(b" " * (100 * MIB), 1)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in ("Sample/echo", "login", "subscribe/ack"):
        status, detail = await post(running, path, bomb, **{"Content-Encoding": encoding})
        assert (status, detail) == (415, "The body must not be compressed.")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 50_000


def test_no_object_of_a_larger_body_has_more_names_than_other_bodies_can() -> None:
    """Each that is not expected is a fault, and all faults are gathered before the first fifty are told."""
    names = b",".join(b'"%d":1' % each for each in range(MAX_VALUES))
    assert len(parse_json(b"{" + names + b"}", 8 * MAX_VALUES)) == MAX_VALUES
    with pytest.raises(ProblemError, match="too many names") as caught:
        parse_json(b"{" + names + b',"more":1}', 8 * MAX_VALUES)
    assert caught.value.status == 400


class _Texts(WireModel):
    texts: list[str]


def test_a_body_is_not_written_anew_for_what_is_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """That takes long for a large one: escaped pairs are characters like others."""
    monkeypatch.setattr("potoserver.web.body._clean", None)
    raw = json.dumps({"texts": ["\U0001f333"]}).encode()
    assert b"\\ud83c" in raw
    assert validate_body(_Texts, Body(raw, json.loads(raw))).texts == ["\U0001f333"]


@pytest.mark.parametrize(("size", "told"), [(10, ["texts.0", "texts.1"]), (MIB, ["texts.0"])])
def test_of_a_large_body_other_faults_are_not_looked_for_behind_a_lone_surrogate(
    size: int, told: list[str]
) -> None:
    """To find them it would have to be written anew, which holds up everybody."""
    raw = json.dumps({"texts": ["\ud800", 1, "x" * size]}).encode()
    with pytest.raises(ProblemError) as caught:
        validate_body(_Texts, Body(raw, json.loads(raw)))
    assert [each.field for each in caught.value.errors] == told
