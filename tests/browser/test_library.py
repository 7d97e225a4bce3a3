"""poto-client.js against cuts, restarts, silence, expired tokens, closing tabs: nothing lost or doubled."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Route

from tests.browser.client_library import LibraryPage, go_to_blank, open_blank
from tests.browser.conftest import Console, NewContext, Place, StartServer, sign_in
from tests.faults.proxy import Proxy
from tests.support.process import ServerProcess, chat

SECRET = "a secret of at least sixty-four bytes, so that no algorithm finds it short"
CUT = r"net::ERR_|Failed to load resource"


@pytest_asyncio.fixture(loop_scope="session")
async def bare(new_context: NewContext, server: Place) -> BrowserContext:
    """A context that is signed in."""
    context = await new_context()
    await sign_in(context, server)
    return context


def both(*texts: str) -> list[str]:
    """Each question and its echo."""
    return [text for each in texts for text in (each, each)]


async def connections(http: aiohttp.ClientSession, server: Place) -> int:
    answer = await http.post(
        f"{server.url}/ChatServerModule/getSessionInfo", headers={"Authorization": f"Bearer {server.token}"}
    )
    return int((await answer.json())["connections"])


async def test_what_a_cut_connection_missed_comes_once(
    bare: BrowserContext, server: Place, http: aiohttp.ClientSession, console: Console
) -> None:
    """Ten cuts while messages come: each is there once, in order, as the next stream names the last id."""
    console.expect(CUT)
    async with Proxy(server.port) as proxy:
        tab = await LibraryPage.open(bare, proxy.url)
        texts = [f"message {number}" for number in range(10)]
        for number, text in enumerate(texts):
            if number % 3 == 0:
                proxy.reset()
            else:
                proxy.cut()
            await chat(http, server.url, text, server.token)
        assert await tab.until_seen(20) == both(*texts)
        ids = await tab.ids()
        assert len(set(ids)) == 20
        assert not any(each["gap"] for each in await tab.page.evaluate("connected"))


async def test_a_network_that_falls_silent_is_noticed(
    bare: BrowserContext, server: Place, http: aiohttp.ClientSession, console: Console
) -> None:
    """Nobody closes anything: the pings that don't come tell."""
    console.expect(CUT)
    async with Proxy(server.port) as proxy:
        tab = await LibraryPage.open(bare, proxy.url, leaseS=10)
        proxy.to_client.swallow()
        await chat(http, server.url, "unheard", server.token)
        await tab.until_state("reconnecting")
        proxy.to_client.flow()
        proxy.reset()
        assert await tab.until_seen(2) == both("unheard")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["crash", "drain"])
async def test_a_restart_is_told_as_a_gap_and_nothing_comes_twice(
    new_context: NewContext,
    own_server: ServerProcess,
    http: aiohttp.ClientSession,
    console: Console,
    end: signal.Signals,
) -> None:
    """The log is gone with the process: `gap` says so, and what comes after is whole."""
    console.expect(CUT)
    context = await new_context()
    await sign_in(context, own_server)
    tab = await LibraryPage.open(context, own_server.url)
    await chat(http, own_server.url, "before")
    await tab.until_seen(2)
    await own_server.stop(end)
    await tab.until_state("reconnecting")
    await own_server.start()
    assert (await tab.until_connected(2))["gap"] is True
    await chat(http, own_server.url, "after")
    assert await tab.until_seen(4) == both("before", "after")


async def test_a_token_that_expires_is_replaced(
    new_context: NewContext, start_server: StartServer, http: aiohttp.ClientSession, console: Console
) -> None:
    """Its stream ends with it; the next ticket is asked for with a new token, and what was missed comes."""
    console.expect(CUT)
    server = await start_server(POTO_AUTH__JWT_SECRET=SECRET)
    context = await new_context()
    given: list[str] = []

    async def give(route: Route) -> None:
        given.append(token(8 if not given else 3600))
        await route.fulfill(body=given[-1])

    await context.route("**/token", give)
    tab = await LibraryPage.open(context, server.url, secret=True)
    await server.until_logged("SSE disconnect detected", cause="expired")
    await chat(http, server.url, "meanwhile", token(3600))
    assert await tab.until_seen(2) == both("meanwhile")
    assert (await tab.until_connected(2))["gap"] is False
    assert "signed-out" not in await tab.page.evaluate("states")


def token(seconds: float) -> str:
    return jwt.encode({"sub": "ann", "exp": time.time() + seconds}, SECRET, algorithm="HS256")


async def test_a_login_that_expires_is_told(
    new_context: NewContext, start_server: StartServer, console: Console
) -> None:
    """No endless tries: the state is `signed-out` until somebody signs in."""
    console.expect(CUT)
    server = await start_server(POTO_AUTH__JWT_SECRET=SECRET)
    context = await new_context()
    await sign_in(context, server, token(12))
    tab = await LibraryPage.open(context, server.url)
    await tab.until_state("signed-out")


async def open_tabs(bare: BrowserContext, server: Place, count: int, **options: Any) -> list[LibraryPage]:
    return [await LibraryPage.open(bare, server.url, **options) for _ in range(count)]


async def test_eight_tabs_share_one_stream_and_hand_it_over(
    bare: BrowserContext, server: Place, http: aiohttp.ClientSession
) -> None:
    """The leader closes again and again while messages come: each tab that is left has each message once."""
    tabs = await open_tabs(bare, server, 8)
    assert await connections(http, server) == 1
    assert [await tab.leads() for tab in tabs] == [True] + [False] * 7
    texts: list[str] = []
    for round_ in range(4):
        sending = asyncio.create_task(say(http, server, texts, [f"{round_}.{number}" for number in range(5)]))
        leader = await leader_of(tabs)
        await tabs[-1].until_seen(round_ * 10 + 4)
        await leader.page.close()
        tabs.remove(leader)
        await sending
        for tab in tabs:
            assert await tab.until_seen(len(texts) * 2) == both(*texts)
            assert len(set(await tab.ids())) == len(texts) * 2
    await leader_of(tabs)
    async with asyncio.timeout(30):
        while await connections(http, server) != 1:  # that of the tab that was closed may not be noticed yet
            await asyncio.sleep(0.05)


async def leader_of(tabs: list[LibraryPage]) -> LibraryPage:
    """Waits until there is exactly one."""
    async with asyncio.timeout(30):
        while len(leaders := [tab for tab in tabs if await tab.leads()]) != 1:
            await asyncio.sleep(0.05)
    return leaders[0]


async def say(http: aiohttp.ClientSession, server: Place, said: list[str], texts: list[str]) -> None:
    for text in texts:
        await chat(http, server.url, text, server.token)
        said.append(text)


async def test_a_new_tab_gets_what_it_needs_of_a_reply_that_grows(
    bare: BrowserContext, server: Place, http: aiohttp.ClientSession
) -> None:
    """From the leader: the events since all was settled."""
    first = await LibraryPage.open(bare, server.url)
    await chat(http, server.url, "settled", server.token)
    await first.until_seen(2)
    await first.page.evaluate("window.mark = client.lastEventId")
    page = await open_blank(bare, server.url)
    second = LibraryPage(page)
    await second.start()
    assert await second.seen() == []
    await chat(http, server.url, "new", server.token)
    assert await second.until_seen(2) == both("new")


async def test_a_tab_that_begins_late_resumes_from_the_leader(
    bare: BrowserContext, server: Place, http: aiohttp.ClientSession
) -> None:
    """A page that is loaded again goes on from where it was, though another tab has the stream."""
    await LibraryPage.open(bare, server.url)
    tab = await LibraryPage.open(bare, server.url, resumeKey="place")
    await chat(http, server.url, "one", server.token)
    await tab.until_seen(2)
    await tab.page.goto("about:blank")
    await chat(http, server.url, "two", server.token)
    await go_to_blank(tab.page, server.url)
    await tab.start(resumeKey="place")
    assert await tab.until_seen(2) == both("two")
    assert (await tab.until_connected(1))["gap"] is False


async def test_a_tab_that_is_ahead_of_a_new_leader_misses_nothing(
    bare: BrowserContext, server: Place, http: aiohttp.ClientSession
) -> None:
    """It may have got an event that the new leader has not: that is no gap. An id of a lost log is one."""
    leader = await LibraryPage.open(bare, server.url)
    await chat(http, server.url, "hello", server.token)
    await leader.until_seen(2)
    first, last = await leader.ids()
    epoch, _, number = last.rpartition("-")
    page = await open_blank(bare, server.url)

    async def welcomed(after: str) -> tuple[bool, int]:
        answer = await page.evaluate(
            """([name, after]) => new Promise((resolve) => {
                const channel = new BroadcastChannel(name);
                channel.onmessage = ({ data }) => {
                    if (data.kind === "welcome") resolve([data.connected.gap, data.events.length]);
                };
                channel.postMessage({ kind: "hello", from: "me", after, types: [] });
            })""",
            [f"poto {server.url} {server.user}", after],
        )
        return answer[0], answer[1]

    assert await welcomed(last) == (False, 0)
    assert await welcomed(first) == (False, 1)
    assert await welcomed(f"{epoch}-{int(number) + 3}") == (False, 0)
    assert await welcomed(f"0123456789-{number}") == (True, 0)


async def test_without_locks_each_tab_has_a_stream_of_its_own(
    new_context: NewContext, server: Place, http: aiohttp.ClientSession
) -> None:
    """As on a page that is not secure."""
    context = await new_context()
    await context.add_init_script("Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })")
    await sign_in(context, server)
    tabs = await open_tabs(context, server, 2)
    assert await connections(http, server) == 2
    await chat(http, server.url, "hello", server.token)
    for tab in tabs:
        assert await tab.until_seen(2) == both("hello")


async def test_a_call_that_the_network_cut_adds_nothing_when_it_is_repeated(
    new_context: NewContext, start_server: StartServer, console: Console
) -> None:
    """Cut in the middle of its reply: the repeat has the same key, and the reply comes whole."""
    console.expect(CUT)
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS="200")
    context = await new_context()
    await sign_in(context, server)
    text = " ".join(f"word{number}" for number in range(40))
    async with Proxy(server.port) as proxy:
        tab = await LibraryPage.open(context, proxy.url)
        calling = asyncio.create_task(
            tab.page.evaluate(
                """async (message) => {
                    window.growing = "";
                    window.restarts = 0;
                    const chat = client.module("ChatServerModule");
                    const reply = chat.chatWithHistory.stream({ message }, { retry: true });
                    for await (const { text = "", restart = false } of reply) {
                        if (restart) restarts += 1;
                        growing = restart ? "" : growing + text;
                    }
                    return [growing, (await reply.result).reply];
                }""",
                text,
            )
        )
        await tab.page.wait_for_function("window.growing?.includes('word9')")
        proxy.reset()
        assert await calling == [text, text]
        assert await tab.page.evaluate("restarts") == 1
        assert await tab.until_seen(2) == [text, text]
        conversation = await tab.page.evaluate("client.module('ChatServerModule').getConversation()")
        assert [message["content"] for message in conversation["messages"]] == [text, text]


async def test_a_call_without_retry_tells_of_the_cut(
    bare: BrowserContext, server: Place, console: Console
) -> None:
    """As status 0; so does a stream that ends without its result."""
    console.expect(CUT)
    async with Proxy(server.port) as proxy:
        tab = await LibraryPage.open(bare, proxy.url)
        proxy.accepts = False
        proxy.reset()
        assert await failure(tab, "getConversation", {}) == {
            "status": 0,
            "title": "No connection",
            "passes": True,
        }


async def failure(tab: LibraryPage, method: str, arguments: object) -> dict[str, Any]:
    return dict(
        await tab.page.evaluate(
            """async ([method, args]) => {
                try {
                    await client.module("ChatServerModule")[method](args);
                } catch (error) {
                    const { name, status, title, errors, requestId, retryAfterS, passes } = error;
                    if (status === 0) return { status, title, passes };
                    const traced = /^[0-9a-f]{32}$/.test(requestId);
                    return { name, status, title, errors, passes, retryAfterS, traced };
                }
            }""",
            [method, arguments],
        )
    )


async def test_errors_have_types(bare: BrowserContext, server: Place, console: Console) -> None:
    """A `PotoError` from the problem document, with the fields that are wrong."""
    console.expect(CUT)
    tab = await LibraryPage.open(bare, server.url)
    assert await failure(tab, "chatWithHistory", {"message": ""}) == {
        "name": "PotoError",
        "status": 422,
        "title": "Unprocessable Content",
        "errors": [{"field": "message", "message": "must not be empty"}],
        "passes": False,
        "retryAfterS": None,
        "traced": True,
    }
    assert (await failure(tab, "nothing", {}))["status"] == 404


async def test_a_server_that_has_no_room_says_when_to_come_back(
    new_context: NewContext, start_server: StartServer
) -> None:
    """`unavailable` is a state with a time, not an error, and the time is kept to."""
    server = await start_server(POTO_LIMITS__CONNECTIONS_PER_USER="1")
    context = await new_context()
    await sign_in(context, server)
    await LibraryPage.open(context, server.url, share="")
    page = await open_blank(context, server.url)
    state = json.loads(
        await page.evaluate(
            """async () => {
                const { PotoClient } = await import("/static/poto-client.js");
                const client = new PotoClient({ share: "" });
                client.connect();
                return new Promise((resolve) => client.watch((state) => {
                    const inMs = state.retryAtMs - Date.now();
                    if (state.name === "reconnecting") resolve(JSON.stringify({ ...state, inMs }));
                }));
            }"""
        )
    )
    assert state["reason"] == "too-many-connections-of-user"
    assert 500 < state["inMs"] < 5000
