"""What stands between two requests, and what a request may write into answers, streams and logs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import jwt
import pytest

from potoserver.events import HEARTBEAT
from tests.support.process import ServerProcess

pytestmark = pytest.mark.process

SECRET = "a secret of at least sixty-four bytes, so that no algorithm finds it short"
NASTY = 'x\r\n\n{"level": "error"}\x1b[2J\x1b]0;t\x07\u2028\u202e"}'
"""A user's id that tries to begin lines, close JSON, clear a terminal and turn text around."""
HOST = b"Host: localhost\r\n"
CALL = b"POST /WhoIsOnline/whoIsOnline HTTP/1.1\r\n" + HOST + b"Authorization: Bearer one\r\n"
SECOND = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
LAST_CHUNK = b"0\r\n\r\n"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    tokens = {"one": {"user": "ann"}}
    environment = {
        "POTO_AUTH__TOKENS": json.dumps(tokens),
        "POTO_AUTH__JWT_SECRET": SECRET,
        "DEBUG": "*",
        "DEBUG_SSE": "true",
    }
    async with ServerProcess(tmp_path, environment=environment) as server:
        yield server


async def exchange(server: ServerProcess, request: bytes) -> bytes:
    """All that a server answers to some bytes, until it closes the connection."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write(request)
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


FRAMINGS = {
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST_CHUNK,
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + LAST_CHUNK,
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "one length twice": b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": b"Content-Length: +2\r\n\r\n{}",
    "a negative length": b"Content-Length: -2\r\n\r\n{}",
    "a length in hexadecimal": b"Content-Length: 0x2\r\n\r\n{}",
    "a length beyond 64 bits": b"Content-Length: 18446744073709551618\r\n\r\n{}",
    "another coding": b"Transfer-Encoding: xchunked\r\n\r\n" + LAST_CHUNK,
    "chunks not last": b"Transfer-Encoding: chunked, identity\r\n\r\n" + LAST_CHUNK,
    "identity": b"Transfer-Encoding: identity\r\n\r\n" + LAST_CHUNK,
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + LAST_CHUNK,
    "a blank before the colon": b"Transfer-Encoding : chunked\r\n\r\n" + LAST_CHUNK,
    "a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n" + LAST_CHUNK,
    "a folded line": b"Transfer-Encoding:\r\n chunked\r\n\r\n" + LAST_CHUNK,
    "a chunk's size with a sign": b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n" + LAST_CHUNK,
    "a chunk beyond 64 bits": b"Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n" + LAST_CHUNK,
    "chunks by line feeds": b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
    "a line feed in an extension": b"Transfer-Encoding: chunked\r\n\r\n2;a\n{}\r\n" + LAST_CHUNK,
    "a carriage return alone": b"X-A: b\rContent-Length: 40\r\n\r\n",
    "a NUL": b"X-A: b\0\r\nContent-Length: 2\r\n\r\n{}",
    "two hosts": b"Host: other\r\nContent-Length: 2\r\n\r\n{}",
}


async def test_what_two_servers_might_frame_differently_is_refused(server: ServerProcess) -> None:
    """400 and the end of the connection: what follows is no request that a proxy before us did not see."""
    for name, framing in FRAMINGS.items():
        answered = await exchange(server, CALL + framing + SECOND)
        assert answered.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), (name, answered)
        assert answered.count(b"HTTP/1.") == 1, (name, answered)
        assert b'"status":"live"' not in answered, name


async def test_nothing_behind_an_event_stream_is_a_request(server: ServerProcess) -> None:
    """From its head on a connection is the stream's."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"GET /subscribe HTTP/1.1\r\n" + HOST + b"Authorization: Bearer one\r\n\r\n" + SECOND + SECOND
    )
    await reader.readuntil(b"event: connected")
    writer.write(SECOND)
    await server.stop()
    rest = await reader.read()
    writer.close()
    assert b"HTTP/1.1" not in rest
    assert b'"status":"live"' not in rest


async def test_no_request_writes_headers_lines_or_events(server: ServerProcess) -> None:
    """Through a user's id, ids of events and requests, keys, and paths: in answers, the stream, both logs."""
    token = jwt.encode({"sub": NASTY}, SECRET, algorithm="HS256")
    bearer = {"Authorization": f"Bearer {token}"}
    evil = "%0d%0aX-Evil:%201%0d%0a%0d%0a%1b[31m%e2%80%a8"
    async with aiohttp.ClientSession(server.url) as session:
        path = f"/subscribe?lastEventId=a-1{evil}id:%207{evil}"
        async with session.get(aiohttp.client.URL(path, encoded=True), headers=bearer) as stream:
            assert "X-Evil" not in stream.headers
            opening = ""
            while "data: " not in opening:  # a heartbeat may come before it
                opening += (await stream.content.readuntil(b"\n\n")).decode()
            for headers in (
                {"X-Request-ID": 'a"} {"b'},
                {"Idempotency-Key": 'a"}\u009b31m'},
                {"Last-Event-ID": "a-1\tid: 7"},
            ):
                url = aiohttp.client.URL(f"/ChatServerModule/get{evil}", encoded=True)
                async with session.post(url, headers=bearer | headers) as answer:
                    assert "X-Evil" not in answer.headers
                    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])
            async with session.post(
                "/ChatServerModule/chatWithHistory", json={"message": NASTY}, headers=bearer
            ) as answer:
                assert answer.status == 200
            events = opening + (await stream.content.readuntil(b"\n\n")).decode()
    names = [
        line.partition(":")[0] for line in events.replace(HEARTBEAT.raw.decode(), "").split("\n") if line
    ]
    assert set(names) <= {"retry", "id", "event", "data"}
    assert json.loads(opening.partition("data: ")[2])["user"] == NASTY
    await server.stop()
    lines = server.log_file.read_text(encoding="utf-8").split("\n")
    assert NASTY in {json.loads(line).get("user") for line in lines if line}
    assert all(line.isprintable() for line in (*lines, *server.output.split("\n")))
    begins = re.compile(r"potoserver |  (address|data|logs|modules|tokens) |\d{4}-\d\d-\d\dT|    \| |$")
    assert all(begins.match(line) for line in server.output.split("\n"))
    assert [path.name for path in (server.data_dir / "users").iterdir()] == [
        "x%0D%0A%0A%7B%22level%22%3A%20%22error%22%7D%1B%5B2%4A%1B%5D0%3Bt%07%E2%80%A8%E2%80%AE%22%7D"
    ]
