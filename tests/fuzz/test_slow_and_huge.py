"""What comes too slowly, has no end, or stands for more than it is: bounded in time, memory and work."""

from __future__ import annotations

import asyncio
import gzip
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.bad import AS_ANN, JSON, TITLES, get, post
from tests.fuzz.test_raw_http import LIMIT_S, start
from tests.fuzz.wire import exchange
from tests.process.conftest import StartServer
from tests.support.process import ServerProcess

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what the server holds"),
]

MEGABYTE = 1_000_000


def work_of(server: ServerProcess) -> float:
    """The seconds of a processor that the server has used."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_of(server: ServerProcess) -> int:
    """The most bytes of memory that the server has had."""
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * 1024
    raise AssertionError("Linux tells")


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


async def test_a_byte_now_and_then_is_answered_in_time(start_server: StartServer) -> None:
    """In a head, in a body, in chunks: no byte begins the time anew; 408, and the end of the connection."""
    server = await start(start_server)
    body = get("/Taker/take", AS_ANN, JSON, "Content-Length: 1000", method="POST")
    chunks = get("/Taker/take", AS_ANN, JSON, "Transfer-Encoding: chunked", method="POST")
    slow = {b"": get("/health", "X: " + "y" * 500), body: b" " * 1000, chunks: b"1\r\n \r\n" * 100}
    exchanges = (
        exchange(server.port, [head, *byte_by_byte(rest)], limit_s=LIMIT_S, pause_s=0.1)
        for head, rest in slow.items()
    )
    for found in await asyncio.gather(*exchanges):
        (answer,) = found.answers
        assert (answer.status, answer.problem["title"]) == (408, TITLES[408])
        assert found.closed


async def test_empty_lines_without_an_end_are_not_kept(start_server: StartServer) -> None:
    """Nor searched again and again; the time for a head ends them."""
    server = await start(start_server)
    before = peak_of(server)
    found = await exchange(server.port, [b"\r" * MEGABYTE] * 40, limit_s=LIMIT_S)
    after = peak_of(server)
    assert found.closed
    assert after - before < 10 * MEGABYTE
    assert work_of(server) < 10


async def test_a_body_that_unpacks_to_a_gigabyte_costs_what_it_weighs(start_server: StartServer) -> None:
    """It is refused unread, with a good token and without: else a few such would keep everybody waiting."""
    server = await start(start_server)
    bomb = gzip.compress(bytes(MEGABYTE)) * 1000
    for token, status in (("ann", 415), ("x", 401)):
        request = post("/Taker/take", bomb, f"Authorization: Bearer {token}", "Content-Encoding: gzip")
        worked_s, before = work_of(server), peak_of(server)
        found = await exchange(server.port, [request] * 3, limit_s=LIMIT_S, wanted=3)
        after = peak_of(server)
        assert [answer.status for answer in found.answers] == [status] * 3
        assert work_of(server) - worked_s < 0.5
        assert after - before < 10 * MEGABYTE


async def test_a_chunk_s_extension_without_an_end_is_not_kept(start_server: StartServer) -> None:
    """The time for a body ends it."""
    server = await start(start_server)
    head = get("/Taker/take", AS_ANN, JSON, "Transfer-Encoding: chunked", method="POST")
    before = peak_of(server)
    found = await exchange(server.port, [head + b"1;", *[b"a" * 10_000] * 1000], limit_s=LIMIT_S)
    after = peak_of(server)
    assert [answer.status for answer in found.answers] in ([408], [400], [413])
    assert after - before < 10 * MEGABYTE


async def test_many_requests_at_once_are_answered_one_by_one(start_server: StartServer) -> None:
    """In order, each once, while the client sends on."""
    server = await start(start_server)
    requests = [get("/health/live", f"X-Request-ID: r-{number}") for number in range(2000)]
    found = await exchange(server.port, [b"".join(requests)], limit_s=60, wanted=2000)
    assert [answer.headers["x-request-id"] for answer in found.answers] == [f"r-{n}" for n in range(2000)]
    assert {answer.status for answer in found.answers} == {200}


async def test_a_body_is_never_taken_for_a_request(start_server: StartServer) -> None:
    """Whoever refuses the request in front: what it brought is not answered, and the next one is."""
    server = await start(start_server)
    hidden = get("/health/live", "X-Request-ID: hidden")
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden)
    for path in ("/nothing", "/Taker/take", "/logout", "/health", "/subscribe/ticket", "/login"):
        for outer in (
            post(path, hidden, "Content-Type: text/plain"),
            get(path, "Content-Type: text/plain", "Transfer-Encoding: chunked", method="POST") + chunks,
        ):
            behind = get("/health/live", "X-Request-ID: next")
            found = await exchange(server.port, [outer + behind], limit_s=LIMIT_S, wanted=2)
            _, second = (answer.headers["x-request-id"] for answer in found.answers)
            assert second == "next", path
