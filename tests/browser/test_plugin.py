"""A plugin of one's own, made as README says, pushes an event to a page."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.browser.client_library import open_blank
from tests.browser.conftest import NewContext, StartServer, sign_in
from tests.support.commands import potoserver

_LISTEN = """async () => {
    const { PotoClient } = await import("/static/poto-client.js");
    const client = (window.client = new PotoClient());
    window.heard = [];
    client.on("greeter", (data) => heard.push(data.text));
    client.connect();
}"""


async def test_a_plugins_events_reach_a_page(
    tmp_path: Path, start_server: StartServer, new_context: NewContext
) -> None:
    """What it tells who comes online, and what a call of its method sends."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "potoserver.yaml").write_text("modules_dir: modules\n")
    made = await asyncio.to_thread(potoserver, "modules", "new", "greeter", cwd=tmp_path)
    assert made.returncode == 0
    server = await start_server()
    context = await new_context()
    await sign_in(context, server)
    page = await open_blank(context, server.url)
    await page.evaluate(_LISTEN)
    await page.wait_for_function("heard.at(-1) === 'Hello, a1!'")
    said = await page.evaluate("client.module('Greeter').say({ text: 'From the page' })")
    assert said == "From the page"
    await page.wait_for_function("heard.at(-1) === 'From the page'")
