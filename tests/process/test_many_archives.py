"""Ten thousand archives of one user: list, search, open and export need no memory to match."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from scripts.bench.dialogs import ABSENT, FREQUENT, RARE, USER, Made, make
from scripts.bench.gauge import Gauge
from tests.process.conftest import StartServer
from tests.support.process import ServerProcess, tokens_of

pytestmark = [pytest.mark.process, pytest.mark.long, pytest.mark.timeout(1200)]

ARCHIVES = 10_000
MESSAGES = 100_000
MOST_GROWN_BYTES = 25_000_000
"""By any of the questions, however many files it goes through: 36 MB of them, 200 MB when they are parsed."""


class Asker:
    """Asks one server, as the user."""

    def __init__(self, session: aiohttp.ClientSession, server: ServerProcess) -> None:
        self._session = session
        self._url = f"{server.url}/ChatServerModule"
        self._gauge = Gauge(server.pid)

    async def call(self, method: str, **arguments: Any) -> Any:
        async with self._session.post(f"{self._url}/{method}", json=arguments) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def pages(self, method: str, **arguments: Any) -> AsyncIterator[Any]:
        cursor = None
        while True:
            page = await self.call(method, cursor=cursor, **arguments)
            yield page
            cursor = page["cursor"]
            if cursor is None:
                return

    async def export(self, form: str, target: Path) -> None:
        with target.open("wb") as file:
            async with self._session.post(f"{self._url}/exportArchives", json={"format": form}) as answer:
                assert answer.status == 200
                async for chunk in answer.content.iter_any():
                    file.write(chunk)

    def grown(self, question: str) -> None:
        """Holds what was needed since the last time against what may be."""
        grown_bytes = self._gauge.grown_bytes()
        print(f"{question}: +{grown_bytes / 1e6:.1f} MB, {self._gauge.cpu_s():.2f} s of the processor")
        assert grown_bytes < MOST_GROWN_BYTES, question
        self._gauge.begin()


async def check(asker: Asker, made: Made, folder: Path) -> None:
    """Asks everything once, to the end; the answers are whole."""
    newest_first = made.ids[::-1]
    first = await asker.call("listArchives")
    assert [each["id"] for each in first["archives"]] == newest_first[:20]
    asker.grown("list, first page")
    listed = [
        each["id"] async for page in asker.pages("listArchives", limit=100) for each in page["archives"]
    ]
    assert listed == newest_first
    asker.grown("list, all pages")
    opened = await asker.call("getArchive", id=made.ids[1234])
    assert len(opened["messages"]) == MESSAGES // ARCHIVES
    asker.grown("open")
    for word, least, most in ((RARE, 3, 3), (ABSENT, 0, 0), (FREQUENT, MESSAGES // 2, MESSAGES)):
        count = 0
        async for page in asker.pages("searchArchives", query=word, limit=100):
            count += len(page["matches"])
            if count >= 1000:
                break
        assert min(least, 1000) <= count <= most
        asker.grown(f"search, {word}")
    for reason, expected in (("disconnect", made.ids[::-1]), ("shutdown", [])):
        found = [
            each["archiveId"]
            async for page in asker.pages("searchArchives", reason=reason, limit=100)
            for each in page["matches"]
        ]
        assert found == expected
        asker.grown(f"search, dialogs that ended by {reason}")
    await asker.export("json", folder / "archives.json")
    asker.grown("export, json")
    with (folder / "archives.json").open() as file:
        assert [each["id"] for each in json.load(file)["archives"]] == made.ids
    for form in ("markdown", "zip"):
        await asker.export(form, folder / form)
        asker.grown(f"export, {form}")


async def test_ten_thousand_archives_need_no_memory_to_match(
    start_server: StartServer, tmp_path: Path
) -> None:
    """The short forms are with search and export each: `test_memory_stays_bounded`."""
    made = await asyncio.to_thread(make, tmp_path / "data", ARCHIVES, MESSAGES)
    server = await start_server(**tokens_of([USER]), POTO_LIMITS__CALLS_PER_MINUTE="0")
    headers = {"Authorization": f"Bearer t-{USER}"}
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        await check(Asker(session, server), made, tmp_path)
