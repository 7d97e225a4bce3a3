"""What holds for every page of the server."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from potoserver.web.pages import PAGES
from tests.browser.conftest import Console, NewContext, Place, accessibility_faults, sign_in
from tests.support.process import ServerProcess

ATTEMPTS = """async () => {
    const script = document.createElement("script");
    const image = document.createElement("img");
    image.src = "data:,";
    const attempts = [
        () => script.append("window.ran = 'a script'"),
        () => document.body.append(script),
        () => image.setAttribute("onerror", "window.ran = 'a handler'"),
        () => document.body.append(image),
        () => { document.body.innerHTML = "<b>text</b>"; window.ran = "HTML"; },
        () => setTimeout("window.ran = 'a text'"),
    ];
    for (const attempt of attempts) {
        try { attempt(); } catch { /* as it should be */ }
    }
    await fetch("https://elsewhere.invalid/").then(() => { window.ran = "fetch"; }, () => {});
    await new Promise((resolve) => setTimeout(resolve, 50));
    return window.ran;
}"""
"""What a page that was taken over would try; answers what came of it, or nothing."""

paths = pytest.mark.parametrize("path", [page.path for page in PAGES])


@paths
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_page_has_no_serious_fault_for_people_with_disabilities(
    new_context: NewContext, own_server: ServerProcess, axe: str, path: str, scheme: str
) -> None:
    """Before and after somebody signed in, in both schemes."""
    context = await new_context(color_scheme=scheme)
    page = await context.new_page()
    await page.goto(own_server.url + path)
    assert await accessibility_faults(page, axe) == []
    await sign_in(context, own_server, "admin-token")
    await page.reload()
    assert await accessibility_faults(page, axe) == []


@paths
async def test_a_page_runs_nothing_that_stands_in_it(
    page: Page, server: Place, path: str, console: Console
) -> None:
    """No script, handler or style from inside the page, no other host, and no text as HTML."""
    await page.goto(server.url + path)
    console.expect("CSP: |Security Policy|Trusted|page’s settings blocked")
    assert await page.evaluate(ATTEMPTS) is None


@paths
async def test_no_page_scrolls_sideways_on_a_phone(new_context: NewContext, server: Place, path: str) -> None:
    """At 360 pixels, signed in and not."""
    context = await new_context(viewport={"width": 360, "height": 740})
    page = await context.new_page()
    for _ in range(2):
        await page.goto(server.url + path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        await sign_in(context, server)
