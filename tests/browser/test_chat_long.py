"""Long dialogs on the chat page: a part of them is drawn, all of them can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import NewContext, StartServer, sign_in
from tests.support.dialog_files import archive, leave_open
from tests.support.process import NOBODY_DEPARTS, ServerProcess, chat

COUNT = 200
TEXTS = [f"text {number}" for number in range(COUNT)]
DRAWN = 60
"""At first, and more at a time."""
_PART = """async (steps) => {
    const { Part } = await import("/static/part.js");
    const part = new Part();
    return steps.map(([name, begin, end, ...args]) => {
        const entries = Array.from({ length: end - begin }, (_, index) => ({ key: begin + index }));
        part[name](entries, ...args);
        return part.of(entries).map((index) => index + begin);
    });
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def long_server(start_server: StartServer, tmp_path: Path) -> ServerProcess:
    """A server on which a1 has a long dialog open, and one archived."""
    archive(tmp_path / "data", "a1", [f"old {text}" for text in TEXTS])
    leave_open(tmp_path / "data", "a1", TEXTS)
    return await start_server(**NOBODY_DEPARTS)


@pytest_asyncio.fixture(loop_scope="session")
async def view(new_context: NewContext, long_server: ServerProcess) -> ChatPage:
    """The page, with the newest of the open dialog before one's eyes."""
    context = await new_context(timezone_id="UTC", locale="en-US")
    await sign_in(context, long_server)
    view = await ChatPage.open(context, long_server)
    await expect(view.messages).to_have_text(TEXTS[-DRAWN:])
    return view


async def at_end(page: Page) -> bool:
    return bool(
        await page.locator("#scroll").evaluate(
            "element => element.scrollHeight - element.scrollTop - element.clientHeight < 2"
        )
    )


async def scroll_to(page: Page, top: int) -> None:
    await page.locator("#scroll").evaluate("(element, top) => { element.scrollTop = top; }", top)


async def place_of(page: Page, text: str) -> float:
    """How far below the window's top a message's text is."""
    return float(
        await page.get_by_text(text, exact=True).evaluate("element => element.getBoundingClientRect().top")
    )


async def test_a_long_dialog_begins_with_its_newest_and_the_rest_comes_as_one_scrolls(view: ChatPage) -> None:
    """What is read stays in its place, nothing is left out or twice, and nothing of it is read out."""
    page = view.page
    assert await at_end(page)
    await page.evaluate(
        """() => {
            window.heard = [];
            const region = document.getElementById("announcements");
            new MutationObserver(() => { if (region.textContent) heard.push(region.textContent); })
                .observe(region, { childList: true, characterData: true, subtree: true });
        }"""
    )
    for drawn, top in ((DRAWN, 300), (2 * DRAWN, 0), (3 * DRAWN, 300)):
        first = TEXTS[-drawn]
        await scroll_to(page, top)
        before = await place_of(page, first)
        await expect(view.messages).to_have_count(min(COUNT, drawn + DRAWN))
        assert abs(await place_of(page, first) - before) < 1
    await expect(view.messages).to_have_text(TEXTS)
    await expect(view.button("Show earlier messages")).to_be_hidden()
    assert await page.evaluate("heard") == []


async def test_by_keyboard_a_button_shows_earlier_messages(view: ChatPage) -> None:
    """The focus goes to where the new ones join those that were there, which stay in their place."""
    page = view.page
    button = view.button("Show earlier messages")
    before = await page.evaluate(
        """() => {
            const button = document.querySelector(".beyond");
            button.focus({ preventScroll: true });
            return document.querySelector("#messages .body").getBoundingClientRect().top;
        }"""
    )
    await page.keyboard.press("Enter")
    await expect(view.messages).to_have_count(2 * DRAWN)
    await expect(page.locator("#messages .message:focus .body")).to_have_text(TEXTS[-DRAWN - 1])
    assert abs(await place_of(page, TEXTS[-DRAWN]) - before) < 1
    await expect(button).to_be_attached()


async def test_what_is_said_in_a_long_dialog_is_followed_and_moves_nobody_who_reads_further_up(
    view: ChatPage, long_server: ServerProcess, http: aiohttp.ClientSession
) -> None:
    """As in a short one. Each day's first message says of which day it is."""
    days = view.page.locator("#messages .day:not([hidden])")
    await expect(days).to_have_text(["Nov 15, 2023"])
    await view.say("one more")
    await expect(view.messages).to_have_count(DRAWN + 2)
    await expect(days).to_have_text(["Nov 15, 2023", "today"])
    assert await at_end(view.page)
    await scroll_to(view.page, 300)
    await expect(view.messages).to_have_count(2 * DRAWN + 2)
    await expect(days).to_have_count(2)
    before = await place_of(view.page, TEXTS[-DRAWN])
    await chat(http, long_server.url, "from elsewhere")
    await expect(view.messages).to_have_text(
        [*TEXTS[-2 * DRAWN :], *["one more"] * 2, *["from elsewhere"] * 2]
    )
    assert await place_of(view.page, TEXTS[-DRAWN]) == before
    await view.button("Newest").click()
    assert await at_end(view.page)


async def test_a_match_far_back_is_opened_at_its_message(view: ChatPage) -> None:
    """With what stands around it; a button leads to the newest, another one to what comes behind."""
    page = view.page
    await page.get_by_label("Search your archived dialogs").fill('"old text 21"')
    await expect(view.entries.locator("mark")).to_have_text("old text 21")
    await view.entries.first.click()
    found = page.locator("#archived .message.found")
    await expect(found).to_be_in_viewport()
    await expect(found).to_be_focused()
    await expect(found.locator(".body")).to_have_text("old text 21")
    assert await page.evaluate("document.body.scrollHeight - innerHeight") == 0, "the page would move"
    bodies = page.locator("#archived .message .body")
    assert await bodies.count() < COUNT
    await view.button("Show later messages").focus()
    await expect(bodies).to_have_text([f"old {text}" for text in TEXTS[:111]])
    await view.button("Newest").click()
    await expect(bodies).to_have_text([f"old {text}" for text in TEXTS[-DRAWN:]])
    assert await at_end(page)


async def test_one_step_leads_to_the_oldest_message_and_one_back(
    view: ChatPage, long_server: ServerProcess, http: aiohttp.ClientSession
) -> None:
    """By a button or a key, however long the dialog is. What is said meanwhile moves nothing."""
    await expect(view.button("Oldest")).to_be_hidden()
    await scroll_to(view.page, 2000)
    await view.button("Oldest").click()
    await expect(view.messages).to_have_text(TEXTS[:DRAWN])
    await expect(view.page.get_by_role("region", name="Messages")).to_be_focused()
    await chat(http, long_server.url, "from elsewhere")
    await expect(view.announced).to_have_text("from elsewhere")
    await expect(view.messages).to_have_text(TEXTS[:DRAWN])
    await view.page.keyboard.press("End")
    await expect(view.messages).to_have_text([*TEXTS[2 - DRAWN :], *["from elsewhere"] * 2])
    assert await at_end(view.page)
    await view.page.keyboard.press("Home")
    await expect(view.messages).to_have_text(TEXTS[:DRAWN])
    await view.send("here")
    await expect(view.messages.last).to_have_text("here")
    await view.until_settled()
    assert await at_end(view.page)


async def test_an_archive_is_opened_at_its_end_where_one_would_go_on(view: ChatPage) -> None:
    """Restored it is the current dialog, drawn in the same way."""
    await view.entries.first.click()
    bodies = view.page.locator("#archived .message .body")
    await expect(bodies).to_have_text([f"old {text}" for text in TEXTS[-DRAWN:]])
    assert await at_end(view.page)
    await view.button("Go on with it").click()
    await expect(view.messages).to_have_text([f"old {text}" for text in TEXTS[-DRAWN:]])
    assert await at_end(view.page)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([["of", 0, 0]], [0, 0]),
        ([["of", 0, 5]], [0, 5]),
        ([["of", 0, 500]], [440, 500]),
        ([["of", 0, 500], ["of", 0, 505]], [440, 505]),
        ([["of", 400, 405], ["of", 0, 405]], [345, 405]),
        ([["of", 0, 500], ["earlier", 0, 500]], [380, 500]),
        ([["of", 0, 500], ["earlier", 0, 500], ["of", 0, 502]], [380, 502]),
        ([["of", 0, 500], ["earlier", 0, 500], ["of", 900, 1000]], [940, 1000]),
        ([["of", 0, 70], ["earlier", 0, 70]], [0, 70]),
        ([["of", 0, 500], ["around", 0, 500, 450]], [440, 500]),
        ([["of", 0, 500], ["around", 0, 500, 3]], [0, 33]),
        ([["around", 0, 500, 200]], [170, 230]),
        ([["around", 0, 500, 200], ["later", 0, 500]], [170, 290]),
        ([["around", 0, 500, 200], ["earlier", 0, 500]], [110, 230]),
        ([["around", 0, 500, 420], ["later", 0, 500], ["of", 0, 501]], [390, 501]),
        ([["around", 0, 500, 200], ["newest", 0, 500]], [440, 500]),
        ([["of", 0, 500], ["earlier", 0, 500], ["newest", 0, 500]], [380, 500]),
        ([["oldest", 0, 500]], [0, 60]),
        ([["oldest", 0, 500], ["of", 0, 501]], [0, 60]),
        ([["oldest", 0, 40]], [0, 40]),
    ],
)
async def test_the_part_that_is_drawn_keeps_to_its_entries(
    modules: Page, steps: list[list[Any]], expected: list[int]
) -> None:
    """Each step is given all entries there are: those with the keys from its second to its third item."""
    assert (await modules.evaluate(_PART, steps))[-1] == expected
