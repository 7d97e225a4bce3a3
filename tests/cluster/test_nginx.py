"""What nginx does when a node is gone, tried on stubs of nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support.nginx import needs_nginx, running_nginx
from tests.support.ports import free_port

pytestmark = [pytest.mark.process, needs_nginx]

KEY = {"Idempotency-Key": "k"}


class Stub:
    """Something that listens as a node does.

    Attributes:
        taken: The requests that came, head and body.
    """

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers
        self.taken: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line[15:])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ),
                0,
            )
            self.taken.append(head + await reader.readexactly(length))
            if self._answers:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(stub: Stub) -> AsyncIterator[int]:
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def one_that_dies_and_one_that_answers(folder: Path) -> AsyncIterator[tuple[str, Stub, Stub]]:
    """Two nodes behind nginx: the one takes each request and dies of it."""
    dies, answers = Stub(answers=False), Stub(answers=True)
    async with (
        listening(dies) as first,
        listening(answers) as second,
        running_nginx(folder, first, second) as port,
    ):
        yield f"http://127.0.0.1:{port}/ChatServerModule/chatWithHistory", dies, answers


async def until(condition: Callable[[], bool], act: Callable[[], Awaitable[None]]) -> None:
    """Does something again and again: nginx draws the node, and leaves one that failed alone for a while."""
    async with asyncio.timeout(60):
        while not condition():
            await act()
            await asyncio.sleep(0.05)


async def test_a_call_with_a_key_goes_to_the_next_node_when_its_node_dies(tmp_path: Path) -> None:
    """Whole, and so that nobody notices."""
    async with (
        one_that_dies_and_one_that_answers(tmp_path) as (url, dies, answers),
        aiohttp.ClientSession() as session,
    ):

        async def call() -> None:
            async with session.post(url, json={"message": "hello"}, headers=KEY) as answer:
                assert (answer.status, await answer.text()) == (200, "ok")

        await until(lambda: bool(dies.taken), call)
        assert dies.taken[-1].endswith(b'{"message": "hello"}')
        assert answers.taken[-1].endswith(b'{"message": "hello"}')
        assert b"\r\nIdempotency-Key: k\r\n" in answers.taken[-1]


async def test_a_call_without_a_key_is_never_given_to_a_second_node(tmp_path: Path) -> None:
    """It may have been done: who called is told so, and decides."""
    async with (
        one_that_dies_and_one_that_answers(tmp_path) as (url, dies, answers),
        aiohttp.ClientSession() as session,
    ):
        told = []

        async def call() -> None:
            async with session.post(url, json={"message": "hello"}) as answer:
                told.append(answer.status)
                if answer.status == 503:
                    assert answer.headers["Retry-After"] == "2"
                    assert answer.content_type == "application/problem+json"
                    assert "same Idempotency-Key" in (await answer.json())["detail"]

        await until(lambda: bool(dies.taken), call)
        assert told.count(503) == len(dies.taken) == 1
        assert told.count(200) == len(answers.taken)


async def test_a_node_that_does_not_run_costs_nobody_a_call(tmp_path: Path) -> None:
    """Its address refuses, so nothing was taken there: each call goes to the other one."""
    answers = Stub(answers=True)
    async with (
        listening(answers) as port,
        running_nginx(tmp_path, free_port(), port) as nginx_port,
        aiohttp.ClientSession() as session,
    ):
        for number in range(20):
            async with session.post(f"http://127.0.0.1:{nginx_port}/x", json={"number": number}) as answer:
                assert answer.status == 200
        assert len(answers.taken) == 20
    assert "Connection refused" in (tmp_path / "nginx" / "error.log").read_text()
