"""The chat page as a person uses it."""

from __future__ import annotations

from playwright.async_api import BrowserContext, Locator, Page, expect

from tests.browser.conftest import Place, sign_in
from tests.support.process import NOBODY_DEPARTS, ServerProcess

PACED = {"POTO_CHAT__ECHO__DELAY_MS": "40"} | NOBODY_DEPARTS
"""For a server whose replies come word by word."""
SLOW = {"POTO_CHAT__ECHO__DELAY_MS": "200"} | NOBODY_DEPARTS
"""For one whose replies can be watched, on a busy machine too. They are stopped in the end."""


class ChatPage:
    """One tab with the chat page.

    Attributes:
        page: The tab itself.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.box = page.get_by_label("Message", exact=True)
        self.state = page.locator("#connection")
        self.title = page.locator("h1#title")
        self.announced = page.locator("#announcements")

    @classmethod
    async def open(cls, context: BrowserContext, server: Place | ServerProcess | str) -> ChatPage:
        """Opens the page in a context that is signed in, and waits until it is connected."""
        chat = cls(await context.new_page())
        await chat.page.goto(server if isinstance(server, str) else server.url)
        await chat.until_connected()
        return chat

    @classmethod
    async def open_two(
        cls, context: BrowserContext, server: Place | ServerProcess
    ) -> tuple[ChatPage, ChatPage]:
        """Signs a context in, and opens two tabs there."""
        await sign_in(context, server)
        return await cls.open(context, server), await cls.open(context, server)

    @property
    def messages(self) -> Locator:
        """The messages of the current dialog."""
        return self.page.locator("#messages .message .body")

    @property
    def entries(self) -> Locator:
        """What the list of dialogs shows."""
        return self.page.locator("#lists .entry")

    @property
    def notice(self) -> Locator:
        """What happened."""
        return self.page.locator(".notice")

    def button(self, name: str) -> Locator:
        """A button by its exact name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def dialog_button(self, name: str) -> Locator:
        """A button of the question that is open."""
        return self.page.get_by_role("dialog").get_by_role("button", name=name)

    async def until_connected(self) -> None:
        """Waits for the state."""
        await expect(self.state).to_have_text("Connected")

    async def send(self, text: str) -> None:
        """Writes and sends."""
        await self.box.fill(text)
        await self.box.press("Enter")

    async def say(self, text: str) -> None:
        """Sends, and waits for the whole reply of `echo`."""
        before = await self.messages.count()
        await self.send(text)
        await expect(self.messages).to_have_count(before + 2)
        await self.until_settled()

    async def until_settled(self) -> None:
        """Waits until no reply grows and nothing is on its way."""
        await expect(self.page.locator("#messages .message .meta", has_text="ing…")).to_have_count(0)

    async def texts(self) -> list[str]:
        """The texts of the messages."""
        return list(await self.messages.all_inner_texts())

    async def archive(self, *texts: str) -> None:
        """Says these things in a dialog of their own, and ends it."""
        for text in texts:
            await self.say(text)
        before = await self.entries.count()
        await self.button("End dialog").click()
        await expect(self.messages).to_have_count(0)
        await expect(self.entries).to_have_count(before + 1)
        await self.button("Dismiss").click()

    async def open_entry(self, title: str) -> None:
        """Opens an archived dialog from the list."""
        await self.entries.filter(has_text=title).first.click()
        await expect(self.title).to_have_text(title)
