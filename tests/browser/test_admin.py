"""The operations page, in a real browser against a real server."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, expect

from tests.browser.admin_page import AdminPage
from tests.browser.conftest import Console, NewContext, StartServer, accessibility_faults, sign_in
from tests.support.process import ServerProcess, chat
from tests.support.sse import open_stream

SHORT = {"SESSION_RECONNECT_GRACE": "8000"}
"""Long enough to be seen counting down by a page that is told once a second, on a busy machine too."""
STUBBORN = """
from potoserver import ServerModule

class Stubborn(ServerModule):
    async def on_sse_disconnect(self, user_id, departure):
        raise ConnectionError("<b>nobody there</b>")
"""
EVIL = "<img src=x onerror=\"window.ran='it'\">"


async def end_session(session: aiohttp.ClientSession, server: ServerProcess) -> None:
    """As its own user, elsewhere; whatever the answer is."""
    headers = {"Authorization": "Bearer test-token"}
    async with session.post(f"{server.url}/ChatServerModule/endSession", json={}, headers=headers):
        pass


@pytest_asyncio.fixture(loop_scope="session")
async def server(start_server: StartServer) -> ServerProcess:
    """The page shows everybody, so a test needs a server of its own."""
    return await start_server(**SHORT)


async def test_a_user_is_seen_to_come_talk_leave_and_be_archived(
    start_server: StartServer, context: BrowserContext
) -> None:
    """Each within a second or two, without anybody's touching the page; the grace counts down."""
    server = await start_server(**SHORT)
    admin = await AdminPage.open(context, server)
    await expect(admin.page.locator("#nobody")).to_have_text("Nobody is here.")
    await expect(admin.tile("Users online")).to_have_text("0")
    async with aiohttp.ClientSession() as session:
        reader = await open_stream(session, f"{server.url}/subscribe", lease="90")
        await reader.next("connected")
        row = admin.person("a1")
        await expect(row.locator(".wait")).to_contain_text("Connected")
        await expect(admin.tile("Users online")).to_have_text("1")
        reply = await chat(session, server.url, "Hello!", "test-token")
        await expect(row).to_contain_text(reply["conversationId"])
        await expect(row.locator("td.activity")).to_contain_text("ago")
        await reader.close()
        await expect(row.locator(".wait")).to_contain_text("Leaving")
        await expect(row.locator(".left")).to_have_text(re.compile(r"[1-8] s left"))
        event = admin.archived.first
        await expect(event).to_contain_text("a1")
        await expect(event).to_contain_text("disconnect")
        await expect(event).to_contain_text("closed the connection, 2 messages")
        await expect(row).to_have_count(0)
        await expect(admin.page.locator(".tile", has_text="Archiving takes")).to_contain_text(
            "99 of 100 within"
        )
    assert await admin.announced.text_content() == "", "what happens by itself is not read aloud"


async def test_a_reply_in_flight_is_seen(start_server: StartServer, context: BrowserContext) -> None:
    """While it grows."""
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS="300")
    admin = await AdminPage.open(context, server)
    async with aiohttp.ClientSession() as session:
        asked = await session.post(
            f"{server.url}/ChatServerModule/chatWithHistory",
            json={"message": "word " * 100},
            headers={"Authorization": "Bearer test-token", "Accept": "text/event-stream"},
        )
        await expect(admin.person("a1").locator(".wait")).to_contain_text("Reply in flight")
        stop, own = f"{server.url}/ChatServerModule/stopGeneration", {"Authorization": "Bearer test-token"}
        async with session.post(stop, json={}, headers=own) as stopped:
            assert (await stopped.json())["stopped"]
        await asked.read()
        await expect(admin.person("a1").locator(".wait")).to_contain_text("No connection")


async def test_a_session_is_ended_by_keyboard_alone(server: ServerProcess, context: BrowserContext) -> None:
    """Asked first; Escape is a no and gives the focus back; what came of it is said in sight and aloud."""
    async with aiohttp.ClientSession() as session:
        await chat(session, server.url, "Hello!", "test-token")
        admin = await AdminPage.open(context, server)
        button = admin.page.get_by_role("button", name="End the session of a1")
        await button.focus()
        await admin.page.keyboard.press("Enter")
        await expect(admin.page.get_by_role("dialog")).to_contain_text("The dialog of “a1” is archived now.")
        await admin.page.keyboard.press("Escape")
        await expect(button).to_be_focused()
        await admin.page.keyboard.press("Enter")
        await expect(admin.page.get_by_role("dialog")).to_be_visible()
        await admin.page.keyboard.press("Tab")
        await admin.page.keyboard.press("Enter")
        await expect(admin.said).to_have_text(re.compile("The session of “a1” has ended, archived as 20.*"))
        await expect(admin.announced).to_have_text(re.compile("The session of “a1” has ended.*"))
        await expect(admin.archived.first).to_contain_text("ended on request")
        await expect(admin.person("a1")).to_have_count(0)
        await expect(admin.page.locator("#people-title")).to_be_focused()


async def test_the_focus_is_kept_when_what_had_it_goes(
    server: ServerProcess, context: BrowserContext
) -> None:
    """The button of a session that ends, of its last connection, and one that goes while it is asked."""
    archived = server.data_dir / "users" / "a1" / "dialogs" / "archived"
    async with aiohttp.ClientSession() as session:
        admin = await AdminPage.open(context, server)
        title = admin.page.locator("#people-title")
        reader = await open_stream(session, f"{server.url}/subscribe")
        await reader.next("connected")
        row = admin.person("a1")
        await expect(row).to_contain_text("sse-")  # its session, too: the row stays the same from here on
        connections = row.get_by_role("button", name="1 connection of a1")
        await connections.press("Enter")
        await row.get_by_role("button", name="Drop the connection").focus()
        await reader.close()
        none = row.get_by_role("button", name="0 connections of a1")
        await expect(none).to_be_focused()
        await admin.page.keyboard.press("Enter")
        await expect(none).to_have_attribute("aria-expanded", "false")
        await expect(row).to_have_count(0)
        await expect(title).to_be_focused()

        # An archive that can't be written: the session has ended, and waits for it.
        await chat(session, server.url, "Hello!", "test-token")
        archived.rename(server.folder / "away")
        archived.touch()
        await row.get_by_role("button", name="End the session of a1").focus()
        await end_session(session, server)
        await expect(row.locator(".wait")).to_contain_text("Being archived")
        await expect(none).to_be_focused()
        archived.unlink()
        await expect(row).to_have_count(0)
        await expect(title).to_be_focused()

        await chat(session, server.url, "Hello!", "test-token")
        await row.get_by_role("button", name="End the session of a1").press("Enter")
        await expect(admin.page.get_by_role("dialog")).to_be_visible()
        await end_session(session, server)
        await expect(row).to_have_count(0)
        await admin.page.keyboard.press("Escape")
        await expect(title).to_be_focused()


async def test_a_connection_is_dropped(server: ServerProcess, context: BrowserContext) -> None:
    """From the user's row, which shows each connection."""
    admin = await AdminPage.open(context, server)
    async with aiohttp.ClientSession() as session:
        readers = [await open_stream(session, f"{server.url}/subscribe", lease="60") for _ in range(2)]
        connection = (await readers[0].next("connected")).data["connection"]
        row = admin.person("a1")
        await expect(row).to_contain_text("sse-")  # its session, too: the row stays the same from here on
        await row.get_by_role("button", name="2 connections of a1").click()
        await expect(row.locator("li")).to_have_count(2)
        await expect(row.locator("li").first).to_contain_text("lease of 60 s")
        await row.get_by_role("button", name=f"Drop the connection {connection}").click()
        await admin.confirm("Drop")
        await readers[0].end()
        await expect(admin.said).to_have_text("A connection of “a1” was dropped.")
        await expect(row.locator("li")).to_have_count(1)
        await expect(row.get_by_role("button", name="1 connection of a1")).to_be_visible()
        assert not readers[1].ended.is_set()
        await readers[1].close()


async def test_the_focus_stays_while_rows_come_and_are_sorted(
    server: ServerProcess, context: BrowserContext
) -> None:
    """A row with the focus is not moved, whatever its neighbours do."""
    async with aiohttp.ClientSession() as session:
        await chat(session, server.url, "Hello!", "test-token")
        admin = await AdminPage.open(context, server)
        button = admin.page.get_by_role("button", name="End the session of a1")
        await button.focus()
        await chat(session, server.url, "Hello!", "admin-token")
        await expect(admin.people.first).to_contain_text("admin")
        await expect(button).to_be_focused()
        sort = admin.page.get_by_role("columnheader").get_by_role("button", name="User")
        await sort.click()
        await expect(admin.people.first).to_contain_text("a1")
        await expect(admin.page.get_by_role("columnheader", name="User")).to_have_attribute(
            "aria-sort", "ascending"
        )
        await sort.click()
        await expect(admin.people.first).to_contain_text("admin")
        await expect(sort).to_be_focused()
        await admin.page.get_by_label("Filter by user or connection").fill("a1")
        await expect(admin.people).to_have_count(1)
        await admin.page.get_by_label("Filter by user or connection").fill("nobody")
        await expect(admin.page.locator("#nobody")).to_have_text("Nobody matches.")


async def test_a_hook_that_fails_is_shown_and_then_parked(
    start_server: StartServer, context: BrowserContext, tmp_path: Path
) -> None:
    """With what it said, as text."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    modules = json.dumps(["chat_server", "operations", "stubborn:Stubborn"])
    server = await start_server(
        POTO_MODULES=modules,
        POTO_HOOKS__RETRY_FOR_S="6",
        SESSION_RECONNECT_GRACE="100",
    )
    admin = await AdminPage.open(context, server)
    await expect(admin.page.locator("#no-hook")).to_be_visible()
    async with aiohttp.ClientSession() as session:
        reader = await open_stream(session, f"{server.url}/subscribe")
        await reader.next("connected")
        await reader.close()
    await expect(admin.hooks).to_contain_text("failing")
    await expect(admin.hooks).to_contain_text("a1 left; tried")
    await expect(admin.hooks).to_contain_text("ConnectionError('<b>nobody there</b>')")
    await expect(admin.hooks).to_contain_text("parked", timeout=40_000)
    await expect(admin.page.locator("#hooks-count")).to_have_text("0 failing, 1 parked")


async def test_who_is_no_admin_is_told_so(server: ServerProcess, context: BrowserContext) -> None:
    """And may sign in as somebody else."""
    await sign_in(context, server)
    page = await context.new_page()
    await page.goto(f"{server.url}/admin")
    await expect(page.locator("#refused")).to_contain_text(
        "You are signed in as “a1”, who has not the role admin"
    )
    await expect(page.locator("#app")).to_be_hidden()
    await page.get_by_role("button", name="Sign in as somebody else").click()
    await page.get_by_label("Token").fill("admin-token")
    await page.keyboard.press("Enter")
    await expect(AdminPage(page).state).to_have_text("Live")


async def test_the_login_s_end_is_told(
    server: ServerProcess, context: BrowserContext, console: Console
) -> None:
    """Whoever signed out elsewhere has to sign in again."""
    admin = await AdminPage.open(context, server)
    await admin.page.get_by_role("button", name="Sign out").click()
    await expect(admin.page.locator("#signin")).to_be_visible()


async def test_a_server_that_restarts_is_seen_to_be_gone_and_to_come_back(
    server: ServerProcess, context: BrowserContext, console: Console
) -> None:
    """The page says so, greys out what is not true any more, and goes on by itself."""
    console.expect(
        "ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|503|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET"
    )
    admin = await AdminPage.open(context, server)
    await server.stop()
    await expect(admin.state).to_contain_text("Reconnecting")
    await expect(admin.page.locator("body")).to_have_class("stale")
    await server.start()
    await expect(admin.state).to_have_text("Live")
    await expect(admin.page.locator("body")).not_to_have_class("stale")


async def test_three_tabs_leave_connections_for_calls(server: ServerProcess, context: BrowserContext) -> None:
    """Two watch, the one that was looked at first is paused and says so; all can still call."""
    tabs = [await AdminPage.open(context, server) for _ in range(4)]
    async with asyncio.timeout(30):
        while len(paused := [tab for tab in tabs if "Paused" in (await tab.state.text_content() or "")]) != 2:
            await asyncio.sleep(0.05)
    await paused[0].page.get_by_role("button", name="Watch here").click()
    await expect(paused[0].state).to_have_text("Live")
    answer = await paused[1].page.evaluate("fetch('/whoami').then((answer) => answer.status)")
    assert answer == 200


async def test_a_server_without_its_module_is_told_apart_from_one_that_is_away(
    start_server: StartServer, context: BrowserContext, console: Console
) -> None:
    """What is missing and what to do; the other half is live, and after a restart with it all is."""
    console.expect("status of 404")
    console.expect("ERR_|status of 503")  # while the server restarts
    server = await start_server(POTO_MODULES='["chat_server"]')
    await sign_in(context, server, "admin-token")
    admin = AdminPage(await context.new_page())
    await admin.page.goto(f"{server.url}/admin")
    missing = admin.page.get_by_role("alert").filter(has_text="module")
    await expect(missing).to_have_text(
        "This server runs without the module operations, so users, connections, hooks and alarms are not "
        'shown. Add "operations" to the list modules in its settings, restart it, and try again.'
    )
    await expect(admin.state).to_contain_text("A module is not running")
    async with aiohttp.ClientSession() as session:
        await chat(session, server.url, "Hello!", "test-token")
    await expect(admin.person("a1")).to_be_visible()
    await expect(admin.page.locator("body")).not_to_have_class("stale")
    await server.stop()
    server.environment["POTO_MODULES"] = '["chat_server", "operations"]'
    await server.start()
    await admin.state.get_by_role("button", name="Try").click()
    await expect(admin.state).to_have_text("Live")
    await expect(missing).to_have_count(0)


async def test_what_users_are_called_is_text(start_server: StartServer, context: BrowserContext) -> None:
    """A user's id that is markup does nothing, anywhere on the page."""
    tokens = {"evil": {"user": EVIL, "roles": ["user"]}, "boss": {"user": "boss", "roles": ["admin"]}}
    server = await start_server(POTO_AUTH__TOKENS=json.dumps(tokens), **SHORT)
    admin = await AdminPage.open(context, server, "boss")
    async with aiohttp.ClientSession() as session:
        reader = await open_stream(session, f"{server.url}/subscribe", "evil")
        await chat(session, server.url, EVIL, "evil")
        await expect(admin.people.locator(".name")).to_have_text(EVIL)
        await admin.people.get_by_role("button", name="1 connection of").click()
        await admin.people.get_by_role("button", name="End the session of").click()
        await expect(admin.page.get_by_role("dialog")).to_contain_text(EVIL)
        await admin.confirm("End session")
        await expect(admin.archived.first).to_contain_text(EVIL)
        await expect(admin.said).to_contain_text(EVIL)
        await reader.close()
    assert await admin.page.evaluate("window.ran") is None
    assert await admin.page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_a_full_page_is_for_everybody(
    server: ServerProcess, new_context: NewContext, axe: str, scheme: str, width: int
) -> None:
    """With rows, connections, archives and a dialog open: no serious fault, and no scrolling sideways."""
    context = await new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    async with aiohttp.ClientSession() as session:
        await chat(session, server.url, "Hello!", "test-token")
        await session.post(
            f"{server.url}/ChatServerModule/endSession", headers={"Authorization": "Bearer test-token"}
        )
        await chat(session, server.url, "Hello!", "test-token")
        reader = await open_stream(session, f"{server.url}/subscribe")
        admin = await AdminPage.open(context, server)
        await admin.person("a1").get_by_role("button", name="1 connection of a1").click()
        await expect(admin.archived).to_have_count(1)
        assert await accessibility_faults(admin.page, axe) == []
        assert await admin.page.evaluate("document.documentElement.scrollWidth") <= width
        await admin.page.get_by_role("button", name="End the session of a1").click()
        assert await accessibility_faults(admin.page, axe) == []
        await reader.close()
