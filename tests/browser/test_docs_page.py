"""The page of the methods, in a real browser against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.conftest import NewContext, Place, StartServer, accessibility_faults
from tests.support.curl import curl
from tests.support.process import ServerProcess

PLUGIN = '''
from collections.abc import AsyncIterator
from typing import Annotated
from pydantic import Field
from potoserver import ServerModule, rpc

class Tickets(ServerModule):
    """Sells <b>tickets</b>."""

    @rpc
    async def buy(self, how_many: Annotated[int, Field(ge=1, le=9)], row: str = "a") -> dict[str, int]:
        """Buys <img src=x onerror="window.ran='it'"> tickets.

        All of them stand `together`.

        Args:
            how_many: How many <i>people</i> come.
        """
        return {"bought": how_many}

    @rpc(roles={"clerk"}, endless=True)
    async def queue(self) -> AsyncIterator[int]:
        """How many wait."""
        yield 1
'''


async def open_page(context: BrowserContext, server: ServerProcess | Place, address: str = "") -> Page:
    page = await context.new_page()
    await page.goto(f"{server.url}/docs{address}")
    await expect(page.locator("article").first).to_be_visible()
    return page


async def test_every_operation_of_the_description_is_there_for_anybody(
    server: Place, context: BrowserContext
) -> None:
    """Nobody has to sign in; each has an address of its own, in the list too."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/openapi.json") as answer:
        description = await answer.json()
    page = await open_page(context, server)
    addresses = await page.locator("article .address > code").all_text_contents()
    assert sorted(addresses) == sorted(
        f"{verb.upper()} {path}" for path, verbs in description["paths"].items() for verb in verbs
    )
    links = await page.locator("#contents a").evaluate_all("(all) => all.map((each) => each.hash.slice(1))")
    ids = await page.locator("article").evaluate_all("(all) => all.map((each) => each.id)")
    assert [decoded.replace("%7B", "{").replace("%7D", "}") for decoded in links] == ids
    assert len(set(ids)) == len(ids)


async def test_a_method_is_described_from_its_signature_and_docstring(
    start_server: StartServer, context: BrowserContext, tmp_path: Path
) -> None:
    """Arguments with types, bounds, defaults and words; roles and streams; and all of it is text."""
    (tmp_path / "tickets.py").write_text(PLUGIN)
    server = await start_server(POTO_MODULES=json.dumps(["tickets:Tickets"]))
    page = await open_page(context, server)
    buy = page.locator("article[id='Tickets/buy']")
    await expect(buy).to_contain_text("Buys <img src=x onerror=\"window.ran='it'\"> tickets.")
    await expect(buy.locator("p code", has_text="together")).to_be_visible()
    first, second = await buy.locator("tbody tr").all()
    await expect(first).to_have_text(
        "howManywhole numberrequiredHow many <i>people</i> come. (at least 1, at most 9)"
    )
    await expect(second).to_have_text('rowtext"a"')
    await expect(buy.locator("pre")).to_contain_text("-d '{\"howMany\":1}'")
    queue = page.locator("article[id='Tickets/queue']")
    await expect(queue.locator(".tag")).to_have_text(["role clerk", "endless"])
    await expect(queue).to_contain_text("It takes no arguments.")
    await expect(page.locator("section.module").first).to_contain_text("Sells <b>tickets</b>.")
    assert await page.evaluate("window.ran") is None


async def test_an_address_leads_to_its_method(server: Place, context: BrowserContext) -> None:
    """Also one that is followed from elsewhere, before the methods are there."""
    page = await open_page(context, server, "#Operations/dropConnection")
    heading = page.locator("article[id='Operations/dropConnection'] h3")
    await expect(heading).to_be_focused()
    await expect(heading).to_be_in_viewport()
    await page.locator("#contents").get_by_role("link", name="chatWithHistory").click()
    await expect(page.locator("article[id='ChatServerModule/chatWithHistory'] h3")).to_be_focused()


async def test_methods_are_found_by_words(server: Place, context: BrowserContext) -> None:
    """In their names and in what they do."""
    page = await open_page(context, server)
    await page.get_by_label("Search the methods").fill("session end")
    await expect(page.locator("article:visible h3")).to_have_text(["endSession", "endUserSession"])
    await expect(page.locator("#found")).to_have_text("2 methods")
    await page.get_by_label("Search the methods").fill("no such thing")
    await expect(page.locator("#nothing")).to_be_visible()
    await page.get_by_label("Search the methods").fill("")
    await expect(page.locator("article[id='WhoIsOnline/whoIsOnline']")).to_be_visible()


async def test_an_example_works_as_it_stands(own_server: ServerProcess, context: BrowserContext) -> None:
    """With the development tokens while these are valid."""
    page = await open_page(context, own_server)
    example = await page.locator("article[id='WhoIsOnline/whoIsOnline'] pre").text_content()
    assert example is not None
    assert json.loads(await curl(example.replace("\\\n", " ").replace("curl ", "curl -s "))) == []
    example = await page.locator("article[id='ChatServerModule/chatWithHistory'] pre").text_content()
    assert example is not None
    assert "event: done" in await curl(example.replace("\\\n", " ").replace("curl ", "curl -s "))


async def test_all_of_it_is_for_everybody(server: Place, new_context: NewContext, axe: str) -> None:
    """No serious fault with every method there, and nothing wider than a phone."""
    context = await new_context(viewport={"width": 360, "height": 740})
    page = await open_page(context, server)
    assert await accessibility_faults(page, axe) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
