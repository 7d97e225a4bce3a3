"""A bare page of the server's origin with a `PotoClient` in it, driven from a test."""

from __future__ import annotations

from typing import Any

from playwright.async_api import BrowserContext, Page

from tests.browser.plain_browser import PlainTab

_BLANK = """<!doctype html><html lang="en"><title>Blank</title><link rel="icon" href="data:,"></html>"""
_START = """async ({ options, secret }) => {
    const { PotoClient } = await import("/static/poto-client.js");
    if (secret) options.token = async () => (await fetch("/token")).text();
    const client = (window.client = new PotoClient(options));
    Object.assign(window, { seen: [], ids: [], states: [], connected: [], order: [] });
    client.on("message", (data, id) => { seen.push(data.content); ids.push(id); });
    client.on("connected", (data) => connected.push(data));
    client.watch((state) => states.push(state.name));
    client.connect();
}"""


async def open_blank(context: BrowserContext, url: str) -> Page:
    """Opens a tab with a page of a server's origin that may run what a test gives it."""
    page = await context.new_page()
    await go_to_blank(page, url)
    return page


async def go_to_blank(page: Page, url: str) -> None:
    """The same in a tab that is there."""
    address = f"{url}/blank"
    await page.route(address, lambda route: route.fulfill(body=_BLANK, content_type="text/html"))
    await page.goto(address)
    await page.unroute(address)  # what a route sees, a browser handles in another way


class LibraryPage:
    """One tab.

    Attributes:
        page: The tab itself.
    """

    def __init__(self, page: Page | PlainTab) -> None:
        self.page = page

    @classmethod
    async def open(cls, context: BrowserContext, url: str, **options: Any) -> LibraryPage:
        """Opens a tab whose client connects with these options of `PotoClient`."""
        tab = cls(await open_blank(context, url))
        await tab.start(**options)
        return tab

    async def start(self, *, secret: bool = False, **options: Any) -> None:
        """Makes the client, and waits until it is connected."""
        await self.page.evaluate(_START, {"options": options, "secret": secret})
        await self.until_state("connected")

    async def until_state(self, name: str) -> None:
        """Waits for a state of the client."""
        await self.page.wait_for_function("(name) => client.state.name === name", arg=name)

    async def until_seen(self, count: int) -> list[str]:
        """Waits until so many messages have come; returns their texts."""
        await self.page.wait_for_function("(count) => seen.length >= count", arg=count)
        return await self.seen()

    async def until_connected(self, count: int) -> dict[str, Any]:
        """Waits for so many `connected` since the start; returns the last one."""
        await self.page.wait_for_function("(count) => connected.length >= count", arg=count)
        return dict(await self.page.evaluate("connected.at(-1)"))

    async def seen(self) -> list[str]:
        """The texts of the messages so far."""
        return list(await self.page.evaluate("seen"))

    async def ids(self) -> list[str]:
        """The events' ids, in the order in which they came."""
        return list(await self.page.evaluate("ids"))

    async def leads(self) -> bool:
        """Whether this tab has the stream."""
        return bool(await self.page.evaluate("client.leads"))
