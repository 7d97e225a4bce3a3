"""What narrows a search on the chat page."""

from __future__ import annotations

from pathlib import Path

import pytest_asyncio
from playwright.async_api import expect

from modules.chat_server.journal.records import Reason
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import NewContext, StartServer, sign_in
from tests.browser.test_chat_access import tab_to
from tests.support.dialog_files import archive

DAY = 24 * 60
"""In the minutes that stand between two planted archives."""


class Filters:
    """The filters on a page that has searched for swallows: four messages in three dialogs.

    Attributes:
        view: The page.
    """

    def __init__(self, view: ChatPage) -> None:
        page = view.page
        self.view = view
        self.toggle = page.locator("#filter")
        self.panel = page.get_by_role("group", name="Filters")
        self.begin = self.panel.get_by_label("From")
        self.end = self.panel.get_by_label("To")
        self.role = self.panel.get_by_label("Look in")
        self.reason = self.panel.get_by_label("Ended because")
        self.title = self.panel.get_by_label("Words in the title")
        self.about = page.locator("#filters-on")
        self.fault = page.locator("#filters-fault")

    async def find(self, *texts: str) -> None:
        """Waits until these messages are what was found."""
        await expect(self.view.page.locator("#lists .snippet")).to_have_text(list(texts))


ALL = ("like swallows", "about swallows", "swallows in winter", "swallows fly south")


@pytest_asyncio.fixture(loop_scope="session")
async def filters(new_context: NewContext, start_server: StartServer, tmp_path: Path) -> Filters:
    """In Auckland, half a day before UTC: the first dialog is of 15 November there, by UTC of the 14th."""
    data = tmp_path / "data"
    archive(data, "a1", ["swallows in winter", "swallows fly south"])
    archive(data, "a1", ["about swallows", "they sing"], number=DAY, reason=Reason.SHUTDOWN)
    archive(data, "a1", ["Storks", "like swallows"], number=2 * DAY, reason=Reason.TIMEOUT)
    server = await start_server()
    context = await new_context(timezone_id="Pacific/Auckland", locale="en-US")
    await sign_in(context, server)
    view = await ChatPage.open(context, server)
    await expect(view.entries).to_have_count(3)
    await view.page.get_by_label("Search your archived dialogs").fill("swallows")
    filters = Filters(view)
    await filters.find(*ALL)
    return filters


async def test_filters_narrow_a_search_and_are_told_while_they_are_on(filters: Filters) -> None:
    """By day where the person is, who wrote, why the dialog ended, its title; also with the panel closed."""
    await expect(filters.panel).to_be_hidden()
    await filters.toggle.click()
    await filters.begin.fill("2023-11-15")
    await filters.end.fill("2023-11-15")
    await filters.find("swallows in winter", "swallows fly south")
    await filters.begin.fill("2023-11-16")
    await filters.end.fill("")
    await filters.find("like swallows", "about swallows")
    await filters.begin.fill("")
    await filters.role.select_option("Replies")
    await filters.find("like swallows", "swallows fly south")
    await filters.role.select_option("Your messages")
    await filters.title.fill("SWALLOWS")
    await filters.find("about swallows", "swallows in winter")
    await filters.reason.select_option("the server stopped")
    await filters.find("about swallows")
    await expect(filters.view.announced).to_have_text("1 message found")
    await filters.view.button("Filters, 3 on").click()
    await expect(filters.panel).to_be_hidden()
    await expect(filters.about).to_contain_text(
        "Only your messages, because the server stopped, title with “SWALLOWS”."
    )
    await filters.view.button("Clear the filters").click()
    await filters.find(*ALL)
    await expect(filters.about).to_be_hidden()
    await expect(filters.view.button("Filters")).to_be_focused()


async def test_filters_that_can_not_be_are_told_and_nothing_is_passed_off_as_found(filters: Filters) -> None:
    """A first day behind the last one, a day that no month has."""
    await filters.toggle.click()
    await filters.begin.fill("2023-11-17")
    await filters.end.fill("2023-11-16")
    await expect(filters.fault).to_have_text("“From” is later than “To”: nothing was written between them.")
    await expect(filters.begin).to_have_attribute("aria-invalid", "true")
    await filters.find()
    await filters.begin.fill("2023-11-16")
    await filters.find("about swallows")
    await expect(filters.fault).to_be_hidden()
    await filters.begin.fill("")
    await filters.end.fill("")
    await filters.end.press_sequentially("02312023")
    await filters.end.press("Tab")
    await filters.title.focus()
    await expect(filters.fault).to_have_text("“To” is not a whole date.")
    await filters.find()


async def test_filters_without_words_find_dialogs(filters: Filters) -> None:
    """Each once, by its first message that they admit; without any filter all are listed."""
    page = filters.view.page
    await page.get_by_label("Search your archived dialogs").fill("")
    await expect(filters.view.entries).to_have_count(3)
    await filters.find()
    await filters.toggle.click()
    await filters.begin.fill("2023-11-16")
    await filters.find("Storks", "about swallows")
    await expect(filters.view.announced).to_have_text("2 dialogs found")
    await filters.role.select_option("Replies")
    await filters.find("like swallows", "they sing")
    await filters.reason.select_option("it was ended")
    await expect(page.get_by_role("heading", name="Nothing found", exact=True)).to_be_visible()
    await filters.view.button("Clear the filters").click()
    await filters.find()
    await expect(filters.view.entries).to_have_count(3)


async def test_filters_are_used_by_keyboard_alone(filters: Filters) -> None:
    """Escape puts them away, and leads back to where they came from; they stay on."""
    page = filters.view.page
    await page.get_by_label("Search your archived dialogs").focus()
    await tab_to(page, "Filters")
    await page.keyboard.press("Enter")
    await expect(filters.toggle).to_have_attribute("aria-expanded", "true")
    await page.keyboard.press("Tab")
    await expect(filters.begin).to_be_focused()
    await page.keyboard.type("11162023")
    await filters.find("like swallows", "about swallows")
    await filters.reason.focus()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await filters.find("like swallows")
    await page.keyboard.press("Escape")
    await expect(filters.panel).to_be_hidden()
    await expect(filters.view.button("Filters, 2 on")).to_be_focused()
    await filters.find("like swallows")
