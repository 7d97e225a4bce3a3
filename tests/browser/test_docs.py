"""The scripts of docs/clients.md run as they stand there, on pages that a reader would put them on."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Page

from tests.browser.client_library import open_blank
from tests.browser.conftest import Console, NewContext, StartServer
from tests.support.process import CHECKOUT, ServerProcess, chat

DOCS = (CHECKOUT / "docs" / "clients.md").read_text()
SAME_ORIGIN, OTHER_ORIGIN, STREAM = re.findall(r"^```js\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)


class Printed:
    """What a page's scripts print."""

    def __init__(self, page: Page) -> None:
        self._lines: list[str] = []
        self._more = asyncio.Event()
        page.on("console", lambda message: self._add(message.text))

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self._more.set()

    async def until(self, line: str) -> None:
        """Waits for a line."""
        while line not in self._lines:
            self._more.clear()
            try:
                await asyncio.wait_for(self._more.wait(), 15)
            except TimeoutError:
                raise AssertionError(f"{line!r} is not among {self._lines}") from None


@pytest_asyncio.fixture(loop_scope="session")
async def elsewhere() -> AsyncIterator[str]:
    """Another origin, with a blank page."""

    async def blank(_request: web.BaseRequest) -> web.Response:
        return web.Response(text="<!doctype html>", content_type="text/html")

    runner = web.ServerRunner(web.Server(blank))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def run(page: Page, script: str) -> Printed:
    printed = Printed(page)
    await page.add_script_tag(content=script, type="module")
    return printed


async def test_the_scripts_for_pages_of_the_server(
    new_context: NewContext, own_server: ServerProcess
) -> None:
    """The first one and the one that streams."""
    page = await open_blank(await new_context(), own_server.url)
    printed = await run(page, SAME_ORIGIN)
    for line in ("state: connected", "user Hello!", "assistant Hello!", "answer: Hello!"):
        await printed.until(line)
    printed = await run(page, STREAM)
    await printed.until("One word after the other stop")


async def test_the_script_for_a_page_of_another_origin(
    new_context: NewContext,
    start_server: StartServer,
    elsewhere: str,
    http: aiohttp.ClientSession,
    console: Console,
) -> None:
    """It brings a token, and its stream is opened with a ticket."""
    console.expect(r"favicon\.ico|net::ERR_")
    server = await start_server(POTO_CORS__ORIGINS=json.dumps([elsewhere]))

    page = await (await new_context()).new_page()
    await page.goto(elsewhere)
    printed = await run(page, OTHER_ORIGIN.replace("http://localhost:3799", server.url))
    await printed.until("state: connected")
    await chat(http, server.url, "from afar")
    await printed.until("assistant from afar")
