"""What nodes leave in Valkey: nothing without a lifetime, and nothing of who has gone."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
import redis

from potoserver.engine.valkey.keys import HELD_S
from tests.cluster.conftest import StartCluster
from tests.support.process import chat, tokens_of
from tests.support.sse import stream

pytestmark = pytest.mark.process

KEPT_S = 2
RETRY_S = 60
WEEK_S = 7 * 86_400
"""The record of a session, for as long as that lasts."""


@pytest.mark.long
async def test_after_a_run_every_key_has_a_lifetime_and_none_is_of_who_has_gone(
    start_server: StartCluster, http: aiohttp.ClientSession
) -> None:
    """By a scan of the whole of Valkey, once logs, homes and departures have had their time."""
    users = [f"goes-{number}" for number in range(10)]
    cluster = await start_server(
        **tokens_of([*users, "stays"]),
        SESSION_RECONNECT_GRACE="200",
        POTO_BACKLOG__SECONDS=str(KEPT_S),
        POTO_HOOKS__RETRY_FOR_S=str(RETRY_S),
    )

    async def come_and_go(user: str) -> None:
        async with stream(http, f"{cluster.url}/subscribe", f"t-{user}") as reader:
            await reader.next("connected")
            await chat(http, cluster.url, "hello", f"t-{user}")

    async with stream(http, f"{cluster.url}/subscribe", "t-stays") as reader:
        await reader.next("connected")
        await asyncio.gather(*(come_and_go(user) for user in users))
        await cluster.until_logged("dialog archived", len(users))
        with cluster.valkey.client() as client:
            async with asyncio.timeout(90):  # a home that nobody needs is given up after half a minute
                while any(b"goes-" in key for key in check_lives(client)):
                    await asyncio.sleep(0.5)
            assert any(b"stays" in key for key in check_lives(client))
            values = [str(client.dump(key)) for key in client.scan_iter(count=1000)]
            assert [value for value in values if "goes-" in value] == []


def check_lives(client: redis.Redis) -> list[bytes]:
    """Each key ends by itself within its bound; one that has just ended (-2) has, too."""
    lives = {key: client.ttl(key) for key in client.scan_iter(count=1000)}
    for key, life in lives.items():
        most_s = WEEK_S if b":state:" in key else HELD_S + RETRY_S
        assert life != -1, f"{key!r} has no lifetime"
        assert life <= most_s, f"{key!r} lives for {life} s"
    return [*lives]
