"""The pages and the library in WebKit, as its own browser has it. Playwright can't drive that one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from potoserver.web.pages import PAGES
from tests.browser.chat_page import SLOW
from tests.browser.client_library import LibraryPage
from tests.browser.conftest import StartServer, accessibility_faults
from tests.browser.test_chat_hostile import IMAGE, MARKDOWN, SCRIPT, assert_harmless
from tests.browser.test_pages import ATTEMPTS
from tests.browser.webkit import ENTER, WebKit, WebKitTab, mini_browser
from tests.faults.proxy import Proxy
from tests.support.process import ServerProcess, chat

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        mini_browser() is None,
        reason="there is no WebKit here; as root on Debian ./scripts/test --long installs it",
    ),
]

WORDS = " ".join(f"word{number}" for number in range(40))
LEASE_S = 10
_TEXTS = "[...document.querySelectorAll('#messages .body')].map((body) => body.innerText.trim())"
_IS_THERE = "[...document.querySelectorAll('main')].some((each) => each.checkVisibility())"
_ANSWERED = """(count) => count <=
    performance.getEntriesByType("resource").filter(({ name }) => name.endsWith("/subscribe/ack")).length"""
"""Pings: three in a lease."""


@pytest_asyncio.fixture(loop_scope="session")
async def webkit(tmp_path: Path) -> AsyncIterator[WebKit]:
    """The browser."""
    async with WebKit(tmp_path / "home") as browser:
        yield browser


async def sign_in(browser: WebKit, url: str, token: str = "test-token") -> WebKitTab:
    """The chat page of somebody who has just signed in."""
    tab = await browser.tab(url)
    await tab.wait_for_function("document.activeElement.id === 'token'")
    await tab.type(token + ENTER)
    await until_connected(tab)
    return tab


async def until_connected(tab: WebKitTab) -> None:
    await tab.wait_for_function("document.getElementById('connection').textContent === 'Connected'")


async def until_texts(tab: WebKitTab, *texts: str) -> None:
    """Waits until these are the messages."""
    await tab.wait_for_function(f"(texts) => JSON.stringify({_TEXTS}) === texts", arg=compact(texts))


def compact(texts: tuple[str, ...]) -> str:
    return json.dumps(texts, separators=(",", ":"), ensure_ascii=False)


async def until_reads(tab: WebKitTab, selector: str, text: str) -> None:
    """Waits until an element's text has that in it."""
    reads = "([selector, text]) => document.querySelector(selector)?.innerText.includes(text)"
    await tab.wait_for_function(reads, arg=[selector, text])


async def say(tab: WebKitTab, text: str) -> None:
    """Says something, and waits for the whole reply."""
    before = await tab.evaluate(f"{_TEXTS}.length")
    await tab.type(text + ENTER)
    await tab.wait_for_function(
        f"(count) => {_TEXTS}.length === count && !document.querySelector('.growing')", arg=before + 2
    )


async def test_replies_stream_and_outlive_a_stop_a_reload_and_cuts(
    webkit: WebKit, start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Nothing is lost, and nothing there twice."""
    server = await start_server(**SLOW)
    async with Proxy(server.port) as proxy:
        tab = await sign_in(webkit, proxy.url)
        await say(tab, "**bold** and `code`")
        assert (
            await tab.evaluate("document.querySelector('.assistant .body strong + code').innerText") == "code"
        )
        await tab.type(WORDS + ENTER)
        await until_reads(tab, ".growing .body", "word3")
        await tab.click("Stop the reply")
        await until_reads(tab, ".message:nth-of-type(4) .meta", "stopped before its end")
        await tab.type(WORDS + ENTER)
        await until_reads(tab, ".growing .body", "word5")
        await tab.reload()
        await until_reads(tab, ".growing .body", WORDS[: WORDS.index("word10")])
        await tab.click("Stop the reply")
        await tab.wait_for_function(f"{_TEXTS}.length === 6 && !document.querySelector('.growing')")
        first, _, *both_stopped = await tab.evaluate(_TEXTS)
        for question, reply in (both_stopped[:2], both_stopped[2:]):
            assert question == WORDS
            assert WORDS.startswith(reply)
        await tab.type("one two three four five six" + ENTER)
        await until_reads(tab, ".growing .body", "two")
        proxy.reset()
        texts = [first, "bold and code", *both_stopped, *both("one two three four five six")]
        await until_texts(tab, *texts)
        await tab.evaluate("window.setTimeout = () => 0")  # it does not come back before the click
        proxy.accepts = False
        proxy.reset()
        await until_reads(tab, "#connection", "Reconnecting")
        await chat(http, server.url, "meanwhile")
        proxy.accepts = True
        await tab.click("Try now")
        await until_connected(tab)
        await until_texts(tab, *texts, *both("meanwhile"))


def both(*texts: str) -> list[str]:
    """Each question and its echo."""
    return [text for each in texts for text in (each, each)]


async def test_who_leaves_finds_the_dialog_and_does_with_it_what_can_be_done(
    webkit: WebKit, start_server: StartServer
) -> None:
    """Found, opened, renamed, pinned, downloaded, gone on with, deleted."""
    server = await start_server(SESSION_RECONNECT_GRACE="200")
    tab = await sign_in(webkit, server.url)
    await say(tab, "Where do swallows spend the winter?")
    await tab.goto("about:blank")
    await server.until_logged("dialog archived")
    await tab.goto(server.url)
    await until_reads(tab, ".notice", "because you left")
    await tab.evaluate("document.querySelector('input[type=search]').focus()")
    await tab.type("SWALLOWS")
    await until_reads(tab, "#lists mark", "swallows")
    await tab.evaluate("document.querySelector('#lists .entry').click()")
    await until_reads(tab, "#archived .found .body", "Where do swallows spend the winter?")
    await tab.click("Rename")
    await tab.wait_for_function("document.activeElement.matches('dialog input')")
    await tab.type("Birds" + ENTER)
    await until_reads(tab, "#title", "Birds")
    await tab.click("Pin")
    await tab.wait_for_function("document.activeElement.innerText === 'Unpin'")
    await tab.click("Export")
    await tab.wait_for_function("document.querySelector('dialog [value=json]').checked")
    await tab.evaluate("document.querySelector('dialog [type=submit]').click()")
    exported = await webkit.downloaded("archives-*.json")
    assert [each["title"] for each in json.loads(exported.read_text())["archives"]] == ["Birds"]
    await tab.click("Go on with it")
    await until_texts(tab, *both("Where do swallows spend the winter?"))
    await tab.click("End dialog")
    await tab.click("Open it")
    await tab.click("Delete")
    await tab.wait_for_function(
        "document.querySelector('dialog')?.innerText.includes('“Birds” will be gone')"
    )
    await tab.evaluate("document.querySelector('dialog [type=submit]').click()")
    await tab.wait_for_function("document.querySelectorAll('#lists .entry').length === 0")
    assert server.archives() == []


async def test_tabs_share_a_stream_that_hidden_ones_keep_and_take_over(
    webkit: WebKit, own_server: ServerProcess, http: aiohttp.ClientSession
) -> None:
    """When the leader closes the next one goes on, and answers for the lease while nobody looks at it."""
    await sign_in(webkit, own_server.url)
    pages = []
    for _ in range(3):
        tab = await webkit.tab(f"{own_server.url}/docs")
        assert await tab.evaluate("document.visibilityState") == "hidden"
        pages.append(LibraryPage(tab))
        await pages[-1].start(leaseS=LEASE_S, share="these")
    assert [await page.leads() for page in pages] == [True, False, False]
    await chat(http, own_server.url, "before")
    for page in pages:
        assert await page.until_seen(2) == both("before")
    await pages.pop(0).page.close()
    await chat(http, own_server.url, "after")
    for page in pages:
        assert await page.until_seen(4) == both("before", "after")
        assert len(set(await page.ids())) == 4
    [leader] = [page for page in pages if await page.leads()]
    await leader.page.wait_for_function(_ANSWERED, arg=4)
    assert await leader.page.evaluate("document.visibilityState") == "hidden"
    assert own_server.logged("SSE disconnect detected", cause="lease") == []
    await chat(http, own_server.url, "much later")
    for page in pages:
        assert await page.until_seen(6) == both("before", "after", "much later")


async def test_what_is_said_runs_nothing(
    webkit: WebKit, start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """In a message, a reply, a title, a snippet, a user's id."""
    server = await start_server(
        POTO_AUTH__TOKENS=json.dumps({"secret": {"user": f"ann{IMAGE}", "name": SCRIPT}})
    )
    for text in (MARKDOWN, f"needle {IMAGE}"):
        await chat(http, server.url, text, "secret")
    tab = await sign_in(webkit, server.url, "secret")
    await tab.wait_for_function(f"{_TEXTS}.length === 4")
    await until_reads(tab, "#user", SCRIPT)
    await assert_harmless(tab)
    await tab.click("End dialog")
    await tab.click("Open it")
    await until_reads(tab, "#archived", f"needle {IMAGE}")
    await tab.evaluate("document.querySelector('input[type=search]').focus()")
    await tab.type("needle")
    await until_reads(tab, "#lists .entry", f"needle {IMAGE}")
    await assert_harmless(tab)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_the_pages_are_for_everybody_and_run_nothing_that_stands_in_them(
    own_server: ServerProcess, http: aiohttp.ClientSession, tmp_path: Path, axe: str, dark: bool
) -> None:
    """In both schemes no serious fault, at 360 pixels nothing cut off, and the policy holds."""
    async with WebKit(tmp_path / "home", dark=dark) as browser:
        await chat(http, own_server.url, MARKDOWN, "admin-token")
        tab = await sign_in(browser, own_server.url, "admin-token")
        paper = await tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(20, 22, 20)" if dark else "rgb(250, 249, 245)")
        for page in PAGES:
            await tab.goto(own_server.url + page.path)
            await tab.wait_for_function(_IS_THERE)
            assert await accessibility_faults(tab, axe) == []
            phone = await tab.popup(own_server.url + page.path, 360, 740)
            await phone.wait_for_function(f"innerWidth === 360 && {_IS_THERE}")
            assert await phone.evaluate("document.documentElement.scrollWidth") == 360
            await phone.close()
            assert await tab.evaluate(ATTEMPTS) is None
