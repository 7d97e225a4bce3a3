"""The chat page for everybody: by keyboard alone, by ear, on a phone, in the dark."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import BrowserContext, Page, Route, expect

from tests.browser.chat_page import PACED, ChatPage
from tests.browser.conftest import Console, NewContext, Place, StartServer, accessibility_faults, sign_in
from tests.browser.engines import Engine

MARKDOWN = """# Heading
Some **bold** text with `code` and a [link](https://example.org/).

- one
- two

> quoted

| a | b |
|---|---|
| 1 | 2 |

```python
print("a line of code that is much longer than any phone is wide, so that it has to scroll by itself")
```
"""
NO_WORD_BREAKS = "x" * 300
HEAR = """() => {
    window.heard = [];
    const region = document.getElementById("announcements");
    new MutationObserver(() => { if (region.textContent) heard.push(region.textContent); })
        .observe(region, { childList: true, characterData: true, subtree: true });
}"""
"""Has the page note what a screen reader is to say."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_state_of_the_page_has_a_serious_fault(
    new_context: NewContext, server: Place, axe: str, scheme: str
) -> None:
    """axe-core looks at each: Markdown, a notice, the list, an archive, a search, each question."""
    context = await new_context(color_scheme=scheme)
    await sign_in(context, server)
    view = await ChatPage.open(context, server)
    await view.archive("Something to find later")
    await view.say(MARKDOWN)
    assert await accessibility_faults(view.page, axe) == []
    await view.button("End dialog").click()
    await expect(view.notice).to_be_visible()
    assert await accessibility_faults(view.page, axe) == []
    await view.page.get_by_label("Search your archived dialogs").fill("find")
    await expect(view.entries.locator("mark")).to_have_text(["find", "find"])
    await view.button("Filters").click()
    await view.page.get_by_label("Look in").select_option("Replies")
    await expect(view.entries).to_have_count(1)
    assert await accessibility_faults(view.page, axe) == []
    await view.page.get_by_label("From", exact=True).fill("2026-02-02")
    await view.page.get_by_label("To", exact=True).fill("2026-02-01")
    await expect(view.page.locator("#filters-fault")).to_be_visible()
    assert await accessibility_faults(view.page, axe) == []
    await view.button("Clear the filters").click()
    await view.open_entry("Something to find later")
    assert await accessibility_faults(view.page, axe) == []
    for name in ("Rename", "Export", "Delete"):
        await view.button(name).click()
        await expect(view.page.get_by_role("dialog")).to_be_visible()
        assert await accessibility_faults(view.page, axe) == []
        await view.page.keyboard.press("Escape")
        await expect(view.page.get_by_role("dialog")).to_have_count(0)


async def test_the_page_is_used_by_keyboard_alone(context: BrowserContext, server: Place) -> None:
    """From signing in to going on with an archived dialog; the focus is always somewhere, and can be seen."""
    page = await context.new_page()
    await page.goto(server.url)
    keys = page.keyboard
    await expect(page.get_by_label("Token")).to_be_focused()
    await keys.type(server.token)
    await keys.press("Enter")
    view = ChatPage(page)
    await expect(view.box).to_be_focused()
    await view.until_connected()
    await keys.type("first line")
    await keys.press("Shift+Enter")
    await keys.type("second line")
    await keys.press("Enter")
    await expect(view.messages).to_have_text(["first line\nsecond line"] * 2, use_inner_text=True)
    await expect(view.box).to_be_focused()
    await expect(view.button("End dialog")).to_be_visible()
    await tab_to(page, "End dialog", back=True)
    await keys.press("Enter")
    await expect(view.notice).to_be_visible()
    await expect(view.entries).to_have_count(1)
    await tab_to(page, "first line second line", back=True)
    await keys.press("Enter")
    await expect(view.title).to_be_focused()
    await keys.press("Escape")
    await expect(view.box).to_be_focused()
    await tab_to(page, "first line second line", back=True)
    await keys.press("Enter")
    await expect(view.title).to_be_focused()
    await tab_to(page, "Rename")
    await keys.press("Enter")
    await expect(page.get_by_role("dialog").get_by_label("Title")).to_be_focused()
    await keys.press("Escape")
    await expect(view.button("Rename")).to_be_focused()
    await tab_to(page, "Go on with it", back=True)
    await keys.press("Enter")
    await expect(view.messages).to_have_count(2)
    await expect(view.box).to_be_focused()


async def tab_to(page: Page, name: str, *, back: bool = False) -> None:
    """Presses Tab until the element with the focus says so; on the way each one shows that it has it."""
    for _ in range(40):
        await page.keyboard.press("Shift+Tab" if back else "Tab")
        said, outline = await page.evaluate(
            """() => {
                const { activeElement: element } = document;
                const label = element.getAttribute("aria-label") ?? element.innerText ?? "";
                return [label, getComputedStyle(element).outlineStyle];
            }"""
        )
        assert outline != "none", said
        if name in re.sub(r"\s+", " ", said):
            return
    raise AssertionError(f"Tab does not lead to {name!r}")


async def test_the_list_of_dialogs_keeps_the_focus_when_it_is_drawn_anew(
    context: BrowserContext, server: Place
) -> None:
    """A dialog that another tab ends or deletes takes nobody out of the list."""
    view, other = await ChatPage.open_two(context, server)
    await view.archive("Plans for the garden")
    await view.page.bring_to_front()
    await view.entries.first.focus()
    await other.archive("Something else")
    await expect(view.entries).to_have_count(2)
    await view.page.bring_to_front()
    await expect(view.entries.filter(has_text="Plans for the garden")).to_be_focused()
    await other.open_entry("Plans for the garden")
    await other.button("Delete").click()
    await other.dialog_button("Delete").click()
    await expect(view.entries).to_have_count(1)
    await view.page.bring_to_front()
    await expect(view.entries.filter(has_text="Something else")).to_be_focused()


async def test_the_skip_link_leads_to_the_box(page: Page) -> None:
    """Past the list of dialogs."""
    view = ChatPage(page)
    await view.until_connected()
    link = page.get_by_role("link", name="Skip to the message box")
    await link.focus()
    await expect(link).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await page.keyboard.type("here")
    await expect(view.box).to_have_value("here")


async def test_a_screen_reader_hears_finished_replies_and_no_piece_of_one(
    context: BrowserContext, start_server: StartServer
) -> None:
    """One announcement a reply, in this tab and the others; what grows is in no live region."""
    server = await start_server(**PACED)
    await sign_in(context, server)
    view, other = [await ChatPage.open(context, server) for _ in range(2)]
    for each in (view, other):
        await each.page.evaluate(HEAR)
    text = " ".join(f"w{number}" for number in range(20))
    await view.send(text)
    for each in (view, other):
        await expect(each.messages).to_have_text([text, text])
        await each.until_settled()
        await expect(each.announced).to_have_text(text)
        assert await each.page.evaluate("heard") == [text]
    assert (
        await view.page.locator("#messages").evaluate("element => element.closest('[aria-live], [role=log]')")
        is None
    )


async def open_held(context: BrowserContext, server: Place, then: Callable[[Route], Awaitable[None]]) -> Page:
    """Opens the page and holds its first stream for longer than it takes until a state is said aloud."""

    async def hold(route: Route) -> None:
        await asyncio.sleep(1.5)
        await then(route)

    await sign_in(context, server)
    page = await context.new_page()
    await page.add_init_script(f"addEventListener('DOMContentLoaded', {HEAR})")
    await page.route("**/subscribe?*", hold, times=1)
    await page.goto(server.url)
    return page


async def test_a_page_that_takes_long_to_connect_says_nothing_of_it(
    context: BrowserContext, server: Place
) -> None:
    """That it is connected at first goes without saying, however long that took."""
    page = await open_held(context, server, lambda route: route.continue_())
    await ChatPage(page).until_connected()
    await asyncio.sleep(1.5)
    assert await page.evaluate("heard") == []


async def test_a_page_that_takes_long_to_connect_and_fails_says_so(
    context: BrowserContext, server: Place, console: Console
) -> None:
    """It had said nothing so far, and what it says first is that something is wrong."""
    console.expect(r"net::ERR_|Failed to load resource")

    async def cut(route: Route) -> None:
        await context.set_offline(True)
        await route.abort()

    page = await open_held(context, server, cut)
    await expect(ChatPage(page).announced).to_have_text("The connection was lost. Reconnecting.")
    assert await page.evaluate("heard") == ["The connection was lost. Reconnecting."]


async def test_on_a_phone_nothing_is_cut_off_and_the_list_slides_in(
    new_context: NewContext, engine: Engine, server: Place
) -> None:
    """360 pixels, by touch: no scrolling sideways, whatever is said; controls have room for a finger."""
    context = await new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    await sign_in(context, server)
    view = await ChatPage.open(context, server)
    await view.box.fill(MARKDOWN)
    await engine.press(view.button("Send"))
    await expect(view.messages).to_have_count(2)
    await view.say(NO_WORD_BREAKS)
    await assert_fits(view.page)
    list_ = view.page.get_by_role("navigation", name="Dialogs")
    await expect(list_).to_be_hidden()
    await engine.press(view.button("Open the list of dialogs"))
    await expect(list_).to_be_visible()
    await expect(view.button("Close the list of dialogs")).to_be_focused()
    await assert_fits(view.page)
    await engine.press(view.button("Filters"))
    await view.page.get_by_label("Words in the title").fill(NO_WORD_BREAKS[:200])
    await expect(view.button("Filters, 1 on")).to_be_visible()
    await assert_fits(view.page)
    assert await list_.evaluate("element => element.scrollWidth - element.clientWidth") == 0
    await view.button("Close the list of dialogs").focus()
    await view.page.keyboard.press("Escape")
    await expect(list_).to_be_hidden()
    await expect(view.button("Open the list of dialogs")).to_be_focused()
    await engine.press(view.button("End dialog"))
    await expect(view.notice).to_be_visible()
    await assert_fits(view.page)
    await engine.press(view.button("Open it"))
    await expect(view.button("Go on with it")).to_be_visible()
    await assert_fits(view.page)
    small = await view.page.evaluate(
        """() => [...document.querySelectorAll("button")].filter((button) => {
            const { width, height } = button.getBoundingClientRect();
            return button.checkVisibility({ visibilityProperty: true }) && (width < 24 || height < 32);
        }).map((button) => button.innerText)"""
    )
    assert small == ["Copy"] or small == []


async def assert_fits(page: Page) -> None:
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    assert await page.locator("#scroll").evaluate("element => element.scrollWidth - element.clientWidth") == 0


async def test_the_theme_follows_the_system_until_somebody_chooses(
    new_context: NewContext, server: Place
) -> None:
    """The choice outlives a reload, and there is no flash of the other theme: the first paint has it."""
    context = await new_context(color_scheme="dark")
    await sign_in(context, server)
    view = await ChatPage.open(context, server)
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = await view.page.evaluate(paper)
    assert dark == "rgb(20, 22, 20)"
    await view.page.get_by_role("button", name="Theme: system").click()
    assert await view.page.evaluate(paper) == "rgb(250, 249, 245)"
    await view.page.reload()
    assert await view.page.evaluate(paper) == "rgb(250, 249, 245)"
    await view.page.get_by_role("button", name="Theme: light").click()
    assert await view.page.evaluate(paper) == dark
    await view.page.get_by_role("button", name="Theme: dark").click()
    assert await view.page.evaluate("document.documentElement.dataset.theme") is None


async def test_nothing_moves_for_who_wants_that(page: Page) -> None:
    """`prefers-reduced-motion` (these tests' contexts have it): no transition, no animation."""
    moving = await page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((element) => {
            const { transitionDuration, animationName } = getComputedStyle(element);
            return transitionDuration !== "0s" || animationName !== "none";
        }).length"""
    )
    assert moving == 0
