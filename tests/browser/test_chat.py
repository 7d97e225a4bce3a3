"""The chat page: signing in, replies that stream, reloads, cuts, tabs, errors."""

from __future__ import annotations

import asyncio
import re
import time

import aiohttp
import jwt
from playwright.async_api import BrowserContext, Page, Request, expect

from tests.browser.chat_page import PACED, SLOW, ChatPage
from tests.browser.conftest import Console, NewContext, Place, StartServer, sign_in
from tests.faults.proxy import Proxy
from tests.support.process import ServerProcess, chat
from tests.support.waiting import until

CUT = r"net::ERR_|Failed to load resource"
SECRET = "a secret of at least sixty-four bytes, so that no algorithm finds it short"
NOTE_STATES = (
    "states = []; new MutationObserver(() => states.push(0)).observe("
    "document.querySelector('#connection'), {childList: true, subtree: true, characterData: true});"
)
"""Has the page note each change of what it says of its connection."""
WORDS = " ".join(f"word{number}" for number in range(120))


async def test_somebody_signs_in_talks_and_signs_out(
    context: BrowserContext, own_server: ServerProcess
) -> None:
    """On a server without tokens the page names those for development; a reload keeps the login."""
    page = await context.new_page()
    await page.goto(own_server.url)
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await page.get_by_role("button", name="test-token user a1").click()
    view = ChatPage(page)
    await view.until_connected()
    await expect(page.locator("#user")).to_have_text("a1")
    await view.say("Hello there")
    assert await view.texts() == ["Hello there", "Hello there"]
    await page.reload()
    await expect(view.messages).to_have_text(["Hello there", "Hello there"])
    await view.button("Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert await context.cookies() == []


async def test_a_wrong_token_is_told_and_nothing_is_lost(
    context: BrowserContext, server: Place, console: Console
) -> None:
    """The sentence stands at the field."""
    console.expect("401")
    page = await context.new_page()
    await page.goto(server.url)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_have_text("Enter your token.")
    await page.get_by_label("Token").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("This token is not valid.")
    await expect(page.get_by_label("Token")).to_have_value("wrong")


async def test_a_login_that_ends_leads_back_to_signing_in(
    context: BrowserContext, start_server: StartServer
) -> None:
    """With the reason; nothing else is lost."""
    server = await start_server(POTO_AUTH__JWT_SECRET=SECRET)
    short = jwt.encode({"sub": "ann", "exp": time.time() + 12}, SECRET, algorithm="HS256")
    await sign_in(context, server, short)
    view = await ChatPage.open(context, server)
    await view.box.fill("half a thought")
    await expect(view.page.get_by_role("alert").filter(visible=True)).to_have_text(
        "Your login has ended. Sign in again to go on.", timeout=40_000
    )
    await view.page.get_by_label("Token").fill(jwt.encode({"sub": "ann"}, SECRET, algorithm="HS256"))
    await view.page.keyboard.press("Enter")
    await view.until_connected()
    await expect(view.box).to_have_value("half a thought")


async def test_while_the_server_is_away_the_page_says_so_from_its_start(
    context: BrowserContext, server: Place, console: Console
) -> None:
    """And begins by itself when it is there."""
    console.expect(CUT)
    await sign_in(context, server)
    page = await context.new_page()
    await page.route("**/whoami", lambda route: route.abort())
    await page.goto(server.url)
    await expect(page.get_by_role("alert").filter(visible=True)).to_contain_text(
        "The server could not be reached. This page tries again"
    )
    await page.unroute("**/whoami")
    await ChatPage(page).until_connected()


async def test_with_tokens_of_its_own_a_server_names_none(
    context: BrowserContext, start_server: StartServer
) -> None:
    """Not even that there could be some."""
    server = await start_server(POTO_AUTH__TOKENS='{"secret": {"user": "ann", "name": "Ann Example"}}')
    page = await context.new_page()
    await page.goto(server.url)
    await expect(page.get_by_text("For development")).to_be_hidden()
    await page.get_by_label("Token").fill("secret")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator("#user")).to_have_text("Ann Example")


async def test_a_reply_appears_as_it_streams_and_can_be_stopped(
    context: BrowserContext, start_server: StartServer
) -> None:
    """What there is of it stays, and says so, here and in every other tab."""
    server = await start_server(**SLOW)
    view, other = await ChatPage.open_two(context, server)
    await view.send(WORDS)
    await expect(view.messages.nth(1)).to_contain_text("word3")
    await view.button("Stop the reply").click()
    await expect(view.page.locator(".message.assistant .meta")).to_contain_text("stopped before its end")
    stopped = (await view.texts())[1].strip()
    assert WORDS.startswith(stopped)
    assert len(stopped) < len(WORDS)
    await expect(other.messages).to_have_text([WORDS, stopped])
    await expect(other.page.locator(".message.assistant .meta")).to_contain_text("stopped before its end")
    await view.page.reload()
    await expect(view.messages).to_have_text([WORDS, stopped])
    await expect(view.page.locator(".message.assistant .meta")).to_contain_text("stopped before its end")


async def test_a_reload_in_mid_reply_shows_it_growing_on(
    context: BrowserContext, start_server: StartServer
) -> None:
    """From its first word: the page goes on in the stream from before the reply."""
    server = await start_server(**SLOW)
    await sign_in(context, server)
    view = await ChatPage.open(context, server)
    await view.send(WORDS)
    await expect(view.messages.nth(1)).to_contain_text("word5")
    await view.page.reload()
    await expect(view.messages.nth(1)).to_contain_text(re.compile("^word0 word1 .*word9"))
    await expect(view.page.locator(".message.growing")).to_have_count(1)
    await view.button("Stop the reply").click()
    await view.until_settled()
    question, reply = await view.texts()
    assert question == WORDS
    assert WORDS.startswith(reply.strip())


async def test_a_second_tab_shows_a_growing_reply_whole(
    context: BrowserContext, start_server: StartServer
) -> None:
    """Opened in the middle of it."""
    server = await start_server(**SLOW)
    await sign_in(context, server)
    first = await ChatPage.open(context, server)
    await first.send(WORDS)
    await expect(first.messages.nth(1)).to_contain_text("word5")
    second = await ChatPage.open(context, server)
    await expect(second.messages.nth(1)).to_contain_text(re.compile("^word0 word1 .*word9"))
    await expect(second.page.locator(".message.growing")).to_have_count(1)
    await second.button("Stop the reply").click()
    await first.until_settled()
    await second.until_settled()
    assert await first.texts() == await second.texts()


async def test_a_cut_network_is_told_and_what_was_said_meanwhile_comes(
    context: BrowserContext, server: Place, console: Console
) -> None:
    """The state counts down; when the network is back, so is the page, without a reload and nothing twice."""
    console.expect(CUT)
    async with Proxy(server.port) as proxy, aiohttp.ClientSession() as http:
        await sign_in(context, server)
        view = await ChatPage.open(context, proxy.url)
        await view.say("before")
        await view.page.evaluate("window.setTimeout = () => 0")  # it does not come back before the click
        proxy.accepts = False
        proxy.reset()
        await expect(view.state).to_have_text(
            re.compile(r"^The connection was lost\.Reconnecting( in \d+ s|…)Try now$")
        )
        await chat(http, server.url, "meanwhile", server.token)
        proxy.accepts = True
        await view.page.get_by_role("button", name="Try now").click()
        await view.until_connected()
        await expect(view.messages).to_have_text(["before", "before", "meanwhile", "meanwhile"])


async def test_a_browser_that_goes_offline_says_so_at_once_in_every_tab(
    context: BrowserContext, server: Place, console: Console
) -> None:
    """Though the stream itself does not end by that; what is said meanwhile is sent when it is back."""
    console.expect(CUT)
    view, other = await ChatPage.open_two(context, server)
    await context.set_offline(True)
    for each in (view, other):
        await expect(each.state).to_contain_text("The connection was lost.")
    await view.send("said offline")
    await context.set_offline(False)
    await view.until_connected()
    await other.until_connected()
    await expect(other.messages).to_have_text(["said offline", "said offline"])
    await expect(view.messages).to_have_text(["said offline", "said offline"])


async def test_an_answer_that_was_on_its_way_when_the_browser_went_offline_hides_nothing(
    context: BrowserContext, server: Place, console: Console
) -> None:
    """The browser says `offline` once; the server is asked again until the browser says that it is back."""
    console.expect(CUT)
    await sign_in(context, server)
    view = await ChatPage.open(context, server)
    await view.page.route("**/subscribe/ack", lambda route: route.fulfill(status=204), times=1)
    async with view.page.expect_response("**/subscribe/ack"):
        await context.set_offline(True)
    await expect(view.state).to_contain_text("The connection was lost.")
    await context.set_offline(False)
    await view.until_connected()


async def test_a_network_that_the_server_is_not_behind_may_go(context: BrowserContext, server: Place) -> None:
    """The browser says `offline`, and the server is there all the same, on this machine."""
    await sign_in(context, server)
    view = await ChatPage.open(context, server)
    async with view.page.expect_response("**/subscribe/ack"):
        await view.page.evaluate(f"{NOTE_STATES} dispatchEvent(new Event('offline'))")
    await view.say("still here")
    await view.until_connected()
    assert await view.page.evaluate("states") == []


async def test_a_browser_that_stays_offline_beside_its_server_asks_again_and_stays_connected(
    context: BrowserContext, server: Place
) -> None:
    """As on a laptop without a network. It asks more and more rarely; back online it asks no more."""
    await sign_in(context, server)
    view = await ChatPage.open(context, server)
    acks: list[Request] = []

    def note(request: Request) -> None:
        if request.url.endswith("/subscribe/ack"):
            acks.append(request)

    view.page.on("request", note)
    await view.page.evaluate(
        "isOnline = false; Object.defineProperty(navigator, 'onLine', { get: () => isOnline });"
        f"{NOTE_STATES} dispatchEvent(new Event('offline'))"
    )
    await until(lambda: len(acks) == 3)
    await view.page.evaluate("isOnline = true")
    await asyncio.sleep(9)  # it would ask after eight; the first ping comes half a minute after the start
    first_ms, second_ms, third_ms = (each.timing["startTime"] for each in acks)
    assert (second_ms - first_ms >= 2000, third_ms - second_ms >= 4000) == (True, True)
    assert await view.page.evaluate("states") == []


async def test_a_message_that_the_network_cut_is_sent_once(
    context: BrowserContext, start_server: StartServer, console: Console
) -> None:
    """In the middle of its reply. The call is repeated by itself; there is one question and one reply."""
    console.expect(CUT)
    server = await start_server(**PACED)
    await sign_in(context, server)
    async with Proxy(server.port) as proxy:
        view = await ChatPage.open(context, proxy.url)
        await view.send(WORDS)
        await expect(view.messages.nth(1)).to_contain_text("word9")
        proxy.reset()
        await expect(view.messages).to_have_text([WORDS, WORDS])
        await view.until_settled()
        await view.page.reload()
        await expect(view.messages).to_have_text([WORDS, WORDS])


async def test_a_message_that_has_not_arrived_is_being_sent_and_no_reply_to_it_is_written(
    context: BrowserContext, server: Place, console: Console
) -> None:
    """However often the page has tried: that is what it says. When the network is back it is answered."""
    console.expect(CUT)
    await sign_in(context, server)
    async with Proxy(server.port) as proxy:
        view = await ChatPage.open(context, proxy.url)
        proxy.accepts = False
        proxy.reset()
        tries: asyncio.Queue[str] = asyncio.Queue()
        view.page.on("request", lambda request: tries.put_nowait(request.url))
        await view.send("anybody there?")
        for _ in range(2):
            while not (await tries.get()).endswith("/chatWithHistory"):
                pass
        await expect(view.page.locator("#messages .message .meta")).to_have_text(["Sending…"])
        proxy.accepts = True
        await expect(view.messages).to_have_text(["anybody there?"] * 2)
        await view.until_settled()


async def test_what_can_not_be_sent_says_why_and_can_be_tried_again(
    page: Page, server: Place, console: Console
) -> None:
    """At the message, in plain words. Trying again uses the same key; editing gives the text back."""
    console.expect(r"status of (507|429)")
    view = ChatPage(page)
    await view.until_connected()
    keys: list[str | None] = []
    failing = True

    async def refuse(route: object) -> None:
        keys.append(route.request.headers.get("idempotency-key"))  # type: ignore[attr-defined]
        if not failing:
            await route.continue_()  # type: ignore[attr-defined]
            return
        problem = {"title": "Insufficient Storage", "status": 507, "detail": "This message was not kept."}
        await route.fulfill(status=507, json=problem, content_type="application/problem+json")  # type: ignore[attr-defined]

    await page.route("**/ChatServerModule/chatWithHistory", refuse)
    await view.send("Is there room?")
    fault = page.get_by_role("group", name="This message failed")
    await expect(fault).to_contain_text("There is no room left. This message was not kept.")
    await expect(view.announced).to_contain_text("There is no room left.")
    await view.button("Edit the message").click()
    await expect(view.box).to_have_value("Is there room?")
    await expect(view.messages).to_have_count(0)
    await view.box.press("Enter")
    await expect(fault).to_be_visible()
    failing = False
    await view.button("Try again").click()
    await expect(view.messages).to_have_text(["Is there room?", "Is there room?"])
    await expect(fault).to_be_hidden()
    assert keys[1] == keys[2] != keys[0]


async def test_a_server_that_restarts_is_gone_and_back(
    context: BrowserContext, own_server: ServerProcess, console: Console
) -> None:
    """The page says that it reconnects and what became of the dialog, and goes on."""
    console.expect(CUT)
    await sign_in(context, own_server)
    view = await ChatPage.open(context, own_server)
    await view.say("before the restart")
    await own_server.stop()
    await expect(view.state).to_contain_text("The server is restarting.Reconnecting")
    await own_server.start()
    await view.until_connected()
    await expect(view.notice).to_contain_text("because the server stopped")
    await expect(view.messages).to_have_count(0)
    await view.say("after")
    assert await view.texts() == ["after", "after"]


async def test_eight_tabs_are_in_step_on_one_stream(context: BrowserContext, server: Place) -> None:
    """Each shows what any of them says; when the one with the stream closes, another takes over."""
    await sign_in(context, server)
    tabs = [await ChatPage.open(context, server) for _ in range(8)]
    await server.until_logged("SSE subscribed")
    assert len(server.logged("SSE subscribed")) == 1
    await tabs[5].say("from the sixth")
    for tab in tabs:
        await expect(tab.messages).to_have_text(["from the sixth"] * 2)
    await tabs[0].page.close()
    await server.until_logged("SSE subscribed", 2)
    await tabs[3].say("after the first has closed")
    for tab in tabs[1:]:
        await expect(tab.messages).to_have_text(["from the sixth"] * 2 + ["after the first has closed"] * 2)
    await tabs[1].button("End dialog").click()
    for tab in tabs[1:]:
        await expect(tab.messages).to_have_count(0)
        await expect(tab.notice).to_contain_text("because it was ended")
    await tabs[2].button("Sign out").click()
    for tab in tabs[1:]:
        await expect(tab.page.get_by_role("heading", name="Sign in")).to_be_visible()
    await server.until_logged("SSE subscribed", 2)
    assert len(server.logged("SSE subscribed")) == 2


async def test_who_reads_further_up_is_left_in_peace(
    context: BrowserContext, start_server: StartServer
) -> None:
    """The page follows a growing reply only at its end; a button leads there."""
    server = await start_server(**PACED)
    await sign_in(context, server)
    view = await ChatPage.open(context, server)
    scroll = view.page.locator("#scroll")
    await view.say("\n".join(f"line {number}" for number in range(30)))
    at_end = "element => element.scrollHeight - element.scrollTop - element.clientHeight < 2"
    assert await scroll.evaluate(at_end)
    await view.send("\n".join(f"row {number}" for number in range(60)))
    await expect(view.messages.nth(3)).to_contain_text("row 5")
    await scroll.evaluate("element => { element.scrollTop = 40; }")
    await expect(view.button("Newest")).to_be_visible()
    await view.until_settled()
    assert await scroll.evaluate("element => element.scrollTop") == 40
    await view.button("Newest").click()
    assert await scroll.evaluate(at_end)
    await expect(view.button("Newest")).to_be_hidden()


async def test_a_draft_outlives_a_reload(page: Page) -> None:
    """What was written and not sent."""
    view = ChatPage(page)
    await view.box.fill("half a thought")
    await page.reload()
    await expect(view.box).to_have_value("half a thought")
    await view.box.press("Enter")
    await expect(view.messages).to_have_text(["half a thought"] * 2)
    await page.reload()
    await expect(view.box).to_have_value("")


async def test_the_page_works_where_tabs_can_not_share(new_context: NewContext, server: Place) -> None:
    """On a page that is not secure there are no locks: each tab has its own stream, and they are in step."""
    context = await new_context()
    await context.add_init_script("Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })")
    await sign_in(context, server)
    first, second = [await ChatPage.open(context, server) for _ in range(2)]
    await server.until_logged("SSE subscribed", 2)
    assert len(server.logged("SSE subscribed")) == 2
    await asyncio.gather(first.say("hello"))
    await expect(second.messages).to_have_text(["hello", "hello"])
