"""What a message, a reply, a title, a user id and a snippet may hold: they stay text."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import StartServer, sign_in

SCRIPT = "<script>window.ran = 'script'</script>"
IMAGE = "<img src=x onerror=\"window.ran = 'image'\">"
FRAME = "<iframe srcdoc=\"<script>parent.ran = 'frame'</script>\"></iframe>"
STYLE = "<style>body { display: none }</style>"
LINKS = (
    "[a](javascript:alert(1)) [b](JaVaScRiPt:alert(1)) [c](data:text/html,x) [d](vbscript:x) [e](/relative)"
)
MARKDOWN = f"""# {SCRIPT}

- {IMAGE}
- **{FRAME}**

> {STYLE}

| {SCRIPT} | {IMAGE} |
|---|---|
| {LINKS} | b |

```<script>
{SCRIPT}
```

{LINKS}

<javascript:alert(1)>"""


@pytest.mark.parametrize("text", [SCRIPT, IMAGE, FRAME, STYLE, LINKS, MARKDOWN], ids=lambda text: text[:12])
async def test_what_is_said_runs_nothing(page: Page, text: str) -> None:
    """Neither in the message nor in the model's reply, now and after a reload; it is all there to read."""
    view = ChatPage(page)
    await view.until_connected()
    for _ in range(2):
        if not await view.messages.count():
            await view.say(text)
        await expect(view.messages.first).to_have_text(text, use_inner_text=True)
        await assert_harmless(page)
        await page.reload()
        await expect(view.messages).to_have_count(2)


async def test_a_title_a_snippet_and_a_users_id_run_nothing(
    context: BrowserContext, start_server: StartServer
) -> None:
    """In the list, the head, the search, the questions, the window's title."""
    user = f"ann{IMAGE}"
    tokens = {"secret": {"user": user, "name": f"Ann {SCRIPT}"}}
    server = await start_server(POTO_AUTH__TOKENS=json.dumps(tokens))
    await sign_in(context, server, "secret")
    view = await ChatPage.open(context, server)
    await expect(view.page.locator("#user")).to_have_text(f"Ann {SCRIPT}")
    await view.say(f"needle {IMAGE}")
    await view.button("End dialog").click()
    await view.button("Dismiss").click()
    await view.entries.first.click()
    await view.button("Rename").click()
    await view.page.get_by_role("dialog").get_by_label("Title").fill(f"T {SCRIPT}")
    await view.page.keyboard.press("Enter")
    await expect(view.title).to_have_text(f"T {SCRIPT}")
    await expect(view.entries.first).to_contain_text(f"T {SCRIPT}")
    await view.button("Delete").click()
    await expect(view.page.get_by_role("dialog")).to_contain_text("<script>")
    await view.page.keyboard.press("Escape")
    await view.page.get_by_label("Search your archived dialogs").fill("needle")
    await expect(view.entries.first).to_contain_text(f"needle {IMAGE}")
    await assert_harmless(view.page)


async def assert_harmless(page: Page) -> None:
    """Nothing of what was said became an element or ran; links lead to where links may."""
    assert await page.evaluate("window.ran") is None
    found = await page.evaluate(
        """() => ({
            odd: document.querySelectorAll(
                "script:not([src]), iframe, style, img:not([src='/static/icon.svg']), [onerror]").length,
            links: [...document.querySelectorAll("#messages a, #archived a")].map((link) => link.protocol),
        })"""
    )
    assert found["odd"] == 0
    assert set(found["links"]) <= {"http:", "https:", "mailto:"}
