"""Garbage is collected seldom, and never looked for among what is there for good."""

from __future__ import annotations

import aiohttp
import pytest

from tests.process.conftest import StartServer

pytestmark = pytest.mark.process


async def test_what_a_start_has_made_is_not_looked_through_for_garbage(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """When thousands connect at once, half of all the time would go into that."""
    server = await start_server(POTO_MODULES='["chat_server", "tests.support.census:Census"]')
    answer = await http.post(
        f"{server.url}/Census/census", json={}, headers={"Authorization": "Bearer admin-token"}
    )
    census = await answer.json()
    assert census["frozen"] > 50_000
    assert census["looks_after"] >= 10_000
