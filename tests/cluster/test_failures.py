"""Nodes that are killed, restarted and stopped while people talk: nobody loses anything, few notice."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.cluster.conftest import StartCluster
from tests.cluster.talkers import Talker, check_archives, talking
from tests.support.cluster import ClusterProcess
from tests.support.process import tokens_of

pytestmark = pytest.mark.process

ENVIRONMENT = {
    "POTO_CHAT__ECHO__DELAY_MS": "20",
    "POTO_LIMITS__CALLS_PER_MINUTE": "0",
    "SESSION_RECONNECT_GRACE": "15000",
}
FORMS = [(2, 6, 1), pytest.param(3, 40, 5, marks=[pytest.mark.long, pytest.mark.timeout(1200)])]
"""Nodes, users and rounds."""


async def started(start_server: StartCluster, nodes: int, users: int) -> tuple[ClusterProcess, list[str]]:
    names = [f"u{number}" for number in range(users)]
    return await start_server(nodes=nodes, **ENVIRONMENT, **tokens_of(names)), names


def check_nobody_was_ended(cluster: ClusterProcess, talkers: list[Talker]) -> None:
    for talker in talkers:
        talker.check()
    assert cluster.logged("session ended") == []


@pytest.mark.parametrize(("nodes", "users", "rounds"), FORMS)
async def test_who_was_on_a_node_that_is_killed_goes_on_elsewhere(
    start_server: StartCluster, nodes: int, users: int, rounds: int
) -> None:
    """At the first try, in the same conversation, without a gap; each node is killed in turn, under load."""
    cluster, names = await started(start_server, nodes, users)
    async with talking(cluster, names, strict=False) as talkers:
        for node in cluster.nodes * rounds:
            await node.stop(signal.SIGKILL)
            await asyncio.gather(*(talker.talks_again() for talker in talkers))
            await node.start()
            await cluster.until_in_use(node)
    check_nobody_was_ended(cluster, talkers)
    assert sum(len(talker.cuts) for talker in talkers) >= users * rounds, "no stream was on a node that died"
    assert [each.data for talker in talkers for each in talker.drops if each.data["tries"] > 1] == []
    assert await cluster.stop() == 0
    check_archives(cluster, talkers)


@pytest.mark.parametrize(("nodes", "users", "rounds"), FORMS)
async def test_a_rolling_restart_fails_no_call_and_ends_no_session(
    start_server: StartCluster, nodes: int, users: int, rounds: int
) -> None:
    """Calls are answered, or told with Retry-After to come again; each node exits with 0."""
    cluster, names = await started(start_server, nodes, users)
    async with talking(cluster, names, strict=True) as talkers:
        for node in cluster.nodes * rounds:
            assert await node.stop() == 0
            await asyncio.gather(*(talker.talks_again() for talker in talkers))
            await node.start()
            await cluster.until_in_use(node)
    check_nobody_was_ended(cluster, talkers)
    assert sum(len(talker.cuts) for talker in talkers) >= users * rounds, (
        "no stream was on a node that stopped"
    )
    assert await cluster.stop() == 0
    check_archives(cluster, talkers)


@pytest.mark.parametrize(
    ("nodes", "users"), [(2, 20), pytest.param(3, 200, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
async def test_sigterm_to_all_nodes_archives_every_session_once_as_shutdown(
    start_server: StartCluster, nodes: int, users: int
) -> None:
    """At once, so that nobody is left to take over; each exits with 0, and nothing is open."""
    cluster, names = await started(start_server, nodes, users)
    async with talking(cluster, names, strict=True) as talkers:
        pass
    # All are in the grace now, and have a dialog open.
    assert len(cluster.open_marks()) == users
    cluster.send_signal(signal.SIGTERM)
    statuses = await asyncio.gather(*(node.wait() for node in cluster.nodes))
    assert statuses == [0] * nodes
    assert cluster.open_marks() == []
    assert {cluster.dialogs(name)[0]["reason"] for name in names} == {"shutdown"}
    check_archives(cluster, talkers)
    assert len(cluster.logged("conversation archived")) == users


@pytest.mark.long
@pytest.mark.parametrize("killed", [1, 2], ids=["the other killed", "all killed"])
async def test_a_node_that_stops_before_the_killed_ones_are_missed_ends_what_they_left(
    start_server: StartCluster, killed: int
) -> None:
    """The dead seem to live for the length of their lease, but are no successors: nothing is left to them."""
    cluster, names = await started(start_server, 2, 6)
    async with talking(cluster, names, strict=True) as talkers:
        pass
    assert len(cluster.open_marks()) == len(names)
    await asyncio.gather(*(node.stop(signal.SIGKILL) for node in cluster.nodes[:killed]))
    last = cluster.nodes[-1]
    if killed == len(cluster.nodes):
        await last.start()
    assert (await last.stop(), cluster.open_marks()) == (0, [])
    check_archives(cluster, talkers)
