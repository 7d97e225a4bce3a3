"""Methods that answer with a file, through real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from potoserver import Download, ProblemError, ServerModule, rpc
from tests.support.served import LIMIT_S, Served, serving
from tests.support.server import log_lines

LAST_CHUNK = b"0\r\n\r\n"
PIECE = b"x" * 65_536


class Files(ServerModule):
    """Files of every kind; each says when it is made and when it is given back."""

    def __init__(self) -> None:
        self.made = 0
        self.begun = asyncio.Event()
        self.closed = asyncio.Event()
        self.gate = asyncio.Event()

    async def chunks(self, count: int, how: str) -> AsyncIterator[bytes]:
        self.begun.set()
        try:
            for self.made in range(1, count + 1):
                yield PIECE
            if how == "hang":
                await self.gate.wait()
            if how == "problem":
                raise ProblemError(503, "The disk is away.")
            if how == "exit":
                raise SystemExit(1)
            if how == "bug":
                raise RuntimeError("the secret of the server")
        finally:
            self.closed.set()

    @rpc
    async def get(self, count: int, how: str = "") -> Download:
        """A file."""
        return Download("application/zip", "files.zip", self.chunks(count, how))

    @rpc
    async def small(self) -> Download:
        """Three short pieces, one of them empty."""

        async def pieces() -> AsyncIterator[bytes]:
            for piece in (b"one ", b"", b"two"):
                yield piece

        return Download("text/markdown; charset=utf-8", "notes-2024.md", pieces())


def request(body: str, version: str = "1.1") -> bytes:
    return (
        f"POST /Files/get HTTP/{version}\r\nHost: localhost\r\nAuthorization: Bearer test-token\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def until_released(served: Served) -> None:
    async with asyncio.timeout(LIMIT_S):
        while served.sample("potoserver_calls_in_flight"):
            await asyncio.sleep(0.005)


async def test_a_download_is_a_file_for_a_page_that_fetches_it(tmp_path: Path) -> None:
    """By POST with the login's cookie, in chunks, with type and name; the connection serves on."""
    jar = aiohttp.CookieJar(unsafe=True)  # else it keeps none of an address
    async with serving(tmp_path, [Files()]) as served, aiohttp.ClientSession(cookie_jar=jar) as page:
        await page.post(f"{served.url}/login", json={"token": "test-token"})
        headers = {"Origin": served.url, "Sec-Fetch-Site": "same-origin"}
        for _ in range(2):
            async with page.post(f"{served.url}/Files/small", json={}, headers=headers) as answer:
                assert answer.status == 200
                assert await answer.read() == b"one two"
            assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
            assert answer.headers["Content-Disposition"] == 'attachment; filename="notes-2024.md"'
            assert answer.headers["Transfer-Encoding"] == "chunked"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert served.sample("potoserver_sockets") == 1


async def test_a_download_is_called_and_not_linked_to(tmp_path: Path) -> None:
    """GET and HEAD are 405 as for any call: a link could not send the arguments, nor prove who asks."""
    async with serving(tmp_path, [Files()]) as served, aiohttp.ClientSession() as client:
        for method in ("GET", "HEAD"):
            async with client.request(method, f"{served.url}/Files/small") as answer:
                assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(("how", "status"), [("problem", 503), ("bug", 500), ("exit", 500)])
async def test_an_error_before_the_first_byte_is_an_ordinary_answer(
    tmp_path: Path, how: str, status: int
) -> None:
    """With its own status, and a problem document."""
    async with serving(tmp_path, [Files()]) as served:
        reader, writer = await served.connect()
        writer.write(request(f'{{"count": 0, "how": "{how}"}}'))
        async with asyncio.timeout(LIMIT_S):
            head = await reader.readuntil(b"\r\n\r\n")
        assert f" {status} ".encode() in head.splitlines()[0]
        assert b"application/problem+json" in head
        assert b"Content-Disposition" not in head
        await until_released(served)


@pytest.mark.parametrize("how", ["problem", "bug", "exit"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_error_in_the_middle_never_looks_like_a_whole_file(
    tmp_path: Path, version: str, how: str
) -> None:
    """Without the last chunk; to HTTP/1.0, where the connection's end is that of the file, by a reset."""
    async with serving(tmp_path, [Files()]) as served:
        reader, writer = await served.connect()
        writer.write(request(f'{{"count": 2, "how": "{how}"}}', version))
        received, reset = bytearray(), False
        try:
            async with asyncio.timeout(LIMIT_S):
                while data := await reader.read(65_536):
                    received += data
        except ConnectionResetError:
            reset = True
        assert reset or (version == "1.1" and not received.endswith(LAST_CHUNK))
        await until_released(served)
    (line,) = [line for line in log_lines(tmp_path) if line["event"].startswith("download ")]
    assert (line["event"], line["level"]) == (
        ("download cut", "info") if how == "problem" else ("download failed", "error")
    )


async def test_a_client_is_told_that_a_download_broke_off(tmp_path: Path) -> None:
    """An ordinary one, by an error of its own."""
    async with serving(tmp_path, [Files()]) as served, aiohttp.ClientSession() as client:
        headers = {"Authorization": "Bearer test-token"}
        arguments = {"count": 3, "how": "bug"}
        with pytest.raises(aiohttp.ClientPayloadError):
            async with client.post(f"{served.url}/Files/get", json=arguments, headers=headers) as answer:
                await answer.read()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_whole_download_ends_as_one(tmp_path: Path, version: str) -> None:
    """Megabytes come to the last byte, in both versions."""
    async with serving(tmp_path, [Files()]) as served:
        reader, writer = await served.connect()
        writer.write(request('{"count": 100}', version).replace(b"Host:", b"Connection: close\r\nHost:"))
        async with asyncio.timeout(LIMIT_S):
            body = (await reader.read()).partition(b"\r\n\r\n")[2]
        if version == "1.1":
            assert body.endswith(LAST_CHUNK)
            body = body.replace(b"\r\n", b"").replace(b"10000", b"").removesuffix(b"0")
        assert body == PIECE * 100


async def test_a_download_is_made_as_fast_as_it_is_read(tmp_path: Path) -> None:
    """What nobody takes is not made; the call is in flight until the end."""
    files = Files()
    async with serving(tmp_path, [files], calls_at_once_per_user=1) as served:
        reader, writer = await served.connect(limit=1024)
        writer.write(request('{"count": 10000}'))
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        async with asyncio.timeout(LIMIT_S):
            while before != files.made:  # until the kernel's buffers are full
                before = files.made
                await asyncio.sleep(0.3)
        assert files.made < 1000
        assert served.sample("potoserver_calls_in_flight") == 1
        async with aiohttp.ClientSession(headers={"Authorization": "Bearer test-token"}) as client:
            async with client.post(f"{served.url}/Files/small", json={}) as answer:
                assert answer.status == 429
            writer.transport.abort()
            await until_released(served)
            async with client.post(f"{served.url}/Files/small", json={}) as answer:
                assert answer.status == 200


@pytest.mark.parametrize("reset", [False, True])
async def test_a_caller_that_goes_ends_the_making(tmp_path: Path, reset: bool) -> None:
    """At once, also where the next piece is a long time in coming; and its place is free."""
    files = Files()
    async with serving(tmp_path, [files]) as served:
        reader, writer = await served.connect()
        writer.write(request('{"count": 1, "how": "hang"}'))
        await reader.readuntil(b"\r\n\r\n")
        if reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
        await asyncio.wait_for(files.closed.wait(), LIMIT_S)
        await until_released(served)
    assert [line["level"] for line in log_lines(tmp_path) if line["event"] == "download cut"] == ["info"]


async def test_a_caller_that_goes_before_the_first_byte_ends_the_making(tmp_path: Path) -> None:
    """While it is waited for."""
    files = Files()
    async with serving(tmp_path, [files]) as served:
        _, writer = await served.connect()
        writer.write(request('{"count": 0, "how": "hang"}'))
        await asyncio.wait_for(files.begun.wait(), LIMIT_S)
        writer.transport.abort()
        await asyncio.wait_for(files.closed.wait(), LIMIT_S)
        await until_released(served)


async def test_a_caller_that_stops_reading_is_cut(tmp_path: Path) -> None:
    """After `send_timeout_s`, as with any answer."""
    files = Files()
    async with serving(tmp_path, [files]) as served:
        reader, writer = await served.connect(limit=1024)
        writer.write(request('{"count": 10000}'))
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(LIMIT_S):
            while not files.closed.is_set():
                await served.clock.advance(5)
                await asyncio.sleep(0.02)
        await until_released(served)
        assert served.alarms() == ["slow-readers"]


async def test_the_stop_of_the_server_ends_a_download(tmp_path: Path) -> None:
    """It is no work that must finish: nothing waits for it, and it does not look whole."""
    files = Files()
    async with serving(tmp_path, [files]) as served:
        reader, writer = await served.connect()
        writer.write(request('{"count": 1, "how": "hang"}'))
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(LIMIT_S):
            assert await served.server.stop()
        assert not files.closed.is_set()
        served.writers.clear()  # the caller stays
    assert files.closed.is_set()
    assert not (await asyncio.wait_for(reader.read(), LIMIT_S)).endswith(LAST_CHUNK)
    writer.close()


@pytest.mark.parametrize(
    ("content_type", "file_name"),
    [
        ("text/html\r\nX: y", "a"),
        ("zip", "a"),
        ("application/zip", ""),
        ("application/zip", "../a"),
        ("application/zip", "a/b"),
        ("application/zip", 'a"b'),
        ("application/zip", "a\r\nb"),
        ("application/zip", ".hidden"),
        ("application/zip", "ä"),
        ("application/zip", "a" * 101),
    ],
)
def test_what_could_not_stand_in_a_header_is_refused(content_type: str, file_name: str) -> None:
    """When the download is made, so that a module's author sees it."""
    with pytest.raises(ValueError, match="no "):
        Download(content_type, file_name, Files().chunks(1, ""))


async def test_the_description_knows_a_download(tmp_path: Path) -> None:
    """As a file of any type; its problems are documents like all others."""
    async with serving(tmp_path, [Files()]) as served, aiohttp.ClientSession() as client:
        answer = await client.get(f"{served.url}/openapi.json")
        document = await answer.json()
    answers = document["paths"]["/Files/small"]["post"]["responses"]
    assert list(answers["200"]["content"]) == ["*/*"]
    assert list(answers["422"]["content"]) == ["application/problem+json"]
