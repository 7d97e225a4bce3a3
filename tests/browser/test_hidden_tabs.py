"""Tabs that nobody looks at, that the browser has put to sleep, pages that it has put aside: for real."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.browser.client_library import LibraryPage
from tests.browser.engines import Engine
from tests.browser.plain_browser import PlainBrowser, PlainTab
from tests.support.process import ServerProcess, chat

pytestmark = pytest.mark.chromium_only(reason="its protocol is spoken here")

LEASE_S = 10
_ANSWERED = """(count) => count <=
    performance.getEntriesByType("resource").filter(({ name }) => name.endsWith("/subscribe/ack")).length"""
"""Pings: three in a lease."""
_SIGN_IN = """async (token) => {
    const headers = { "Content-Type": "application/json" };
    return (await fetch("/login", { method: "POST", headers, body: JSON.stringify({ token }) })).ok;
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def plain(kind: type[Engine], tmp_path: Path, own_server: ServerProcess) -> AsyncIterator[PlainBrowser]:
    """The browser, closed before the server ends."""
    program = kind.program()
    assert program is not None
    async with PlainBrowser(program, tmp_path / "profile") as browser:
        yield browser


async def sign_in(browser: PlainBrowser, server: ServerProcess) -> PlainTab:
    """A tab with a page of the server that connects nowhere."""
    tab = await browser.tab(f"{server.url}/docs")
    assert await tab.evaluate(_SIGN_IN, "test-token")
    return tab


async def connect(
    browser: PlainBrowser, server: ServerProcess, **options: object
) -> tuple[PlainTab, LibraryPage]:
    """A tab with a client, in front of the others."""
    tab = await browser.tab(f"{server.url}/docs")
    page = LibraryPage(tab)
    await page.start(leaseS=LEASE_S, **options)
    return tab, page


async def say(http: aiohttp.ClientSession, server: ServerProcess, *texts: str) -> None:
    for text in texts:
        await chat(http, server.url, text)


def both(*texts: str) -> list[str]:
    """Each question and its echo."""
    return [text for each in texts for text in (each, each)]


async def test_a_hidden_tab_keeps_its_lease_and_a_frozen_one_comes_back_by_its_last_event(
    plain: PlainBrowser, own_server: ServerProcess, http: aiohttp.ClientSession
) -> None:
    """Both have streams of their own and the same lease: the frozen one's ends, the hidden one's does not."""
    front = await sign_in(plain, own_server)
    frozen_tab, frozen = await connect(plain, own_server, share="")
    hidden_tab, hidden = await connect(plain, own_server, share="")
    await say(http, own_server, "before")
    for page in (frozen, hidden):
        assert await page.until_seen(2) == both("before")
    await front.show()
    for tab in (frozen_tab, hidden_tab):
        await tab.until_hidden()
    await frozen_tab.freeze()
    connection = (await frozen.until_connected(1))["connection"]
    await own_server.until_logged("SSE disconnect detected", connection=connection, cause="lease")
    await say(http, own_server, "while it slept", "and slept")
    assert await hidden.until_seen(6) == both("before", "while it slept", "and slept")
    await hidden_tab.wait_for_function(_ANSWERED, arg=4)
    assert await hidden.page.evaluate("states") == ["gone", "connecting", "connected"]
    await frozen_tab.thaw()
    await frozen.until_connected(2)
    await say(http, own_server, "after")
    assert await frozen.until_seen(8) == both("before", "while it slept", "and slept", "after")
    assert await hidden.until_seen(8) == await frozen.seen()
    assert len(set(await frozen.ids())) == 8
    assert not any(each["gap"] for each in await frozen.page.evaluate("connected"))


async def test_a_frozen_tab_with_the_shared_stream_is_relieved_of_it_by_one_that_is_shown(
    plain: PlainBrowser, own_server: ServerProcess, http: aiohttp.ClientSession
) -> None:
    """Each of them has every event once, also those of the time between, and the one that slept follows."""
    front = await sign_in(plain, own_server)
    leader_tab, leader = await connect(plain, own_server)
    tab, page = await connect(plain, own_server)
    await front.show()
    for each in (leader_tab, tab):
        await each.until_hidden()
    assert await leader.leads()
    await say(http, own_server, "before")
    for one in (leader, page):
        assert await one.until_seen(2) == both("before")
    await leader_tab.freeze()
    await say(http, own_server, "between")
    await tab.show()
    await tab.wait_for_function("client.leads")
    assert await page.until_seen(4) == both("before", "between")
    await say(http, own_server, "after")
    assert await page.until_seen(6) == both("before", "between", "after")
    await leader_tab.thaw()
    for one in (leader, page):
        assert await one.until_seen(6) == both("before", "between", "after")
        assert len(set(await one.ids())) == 6
    await leader_tab.wait_for_function("!client.leads")
    assert await page.leads()


async def test_a_page_that_comes_back_from_the_browsers_cache_is_connected_and_has_missed_nothing(
    plain: PlainBrowser, own_server: ServerProcess, http: aiohttp.ClientSession
) -> None:
    """It is the same page, not one that was loaded again; put aside it held no stream."""
    tab = await sign_in(plain, own_server)
    await tab.goto(f"{own_server.url}/")
    await until_connected(tab)
    await say(http, own_server, "before")
    await until_shown(tab, *both("before"))
    texts = ["before"]
    await tab.evaluate("window.isTheSame = true")
    for number in range(2):
        await tab.goto(f"{own_server.url}/docs")
        ended = await own_server.until_logged("SSE disconnect detected", number + 1)
        # Reset, where the browser had not read all that had come.
        assert {line["cause"] for line in ended} <= {"closed", "reset"}
        await say(http, own_server, f"away {number}")
        texts.append(f"away {number}")
        await tab.evaluate("history.back()")
        await tab.wait_for_function("location.pathname === '/'")
        assert await tab.evaluate("window.isTheSame") is True
        await until_shown(tab, *both(*texts))
        await until_connected(tab)
    await say(http, own_server, "here")
    await until_shown(tab, *both(*texts, "here"))


async def until_connected(tab: PlainTab) -> None:
    await tab.wait_for_function("document.getElementById('connection').innerText === 'Connected'")


async def until_shown(tab: PlainTab, *texts: str) -> None:
    await tab.wait_for_function(
        """(texts) => {
            const bodies = [...document.querySelectorAll("#messages .body")];
            return JSON.stringify(bodies.map((body) => body.innerText)) === JSON.stringify(texts);
        }""",
        arg=texts,
    )
