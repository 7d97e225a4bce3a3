"""The operations page as an operator uses it."""

from __future__ import annotations

from playwright.async_api import BrowserContext, Locator, Page, expect

from tests.browser.conftest import sign_in
from tests.support.process import ServerProcess


class AdminPage:
    """One tab with the operations page.

    Attributes:
        page: The tab itself.
        state: How the streams are.
        people: The table's rows, one body for each.
        archived: The dialogs that were archived.
        hooks: What modules do not take.
        said: What came of the last thing done.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.state = page.locator("#connection")
        self.people = page.locator("#people tbody")
        self.archived = page.locator("#archived li")
        self.hooks = page.locator("#hooks li")
        self.said = page.locator("#said")
        self.announced = page.locator("#announcements")

    @classmethod
    async def open(
        cls, context: BrowserContext, server: ServerProcess, token: str = "admin-token"
    ) -> AdminPage:
        """Opens the page for somebody who is signed in, and waits until it is live."""
        await sign_in(context, server, token)
        admin = cls(await context.new_page())
        await admin.page.goto(f"{server.url}/admin")
        await expect(admin.state).to_have_text("Live")
        return admin

    def person(self, user: str) -> Locator:
        """The row of a user, with the connections below it."""
        return self.people.filter(has=self.page.locator(".name", has_text=user))

    def tile(self, name: str) -> Locator:
        """A figure."""
        return self.page.locator(".tile", has_text=name).locator(".figure")

    async def confirm(self, button: str) -> None:
        """Says yes in the dialog that is open."""
        await self.page.get_by_role("dialog").get_by_role("button", name=button).click()
