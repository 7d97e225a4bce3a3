"""Nodes that are processes of their own: killed, and stopped for a while."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from potoserver.engine.presence import Cause, PresenceState
from potoserver.engine.valkey import registry
from potoserver.events import Event
from tests.support.engines import Cluster

ROOT = Path(__file__).parents[2]


class NodeProcess:
    """A process that runs `node_process`, and what it has told so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.told: list[dict[str, Any]] = []
        self._read = 0

    async def next(self, what: str) -> dict[str, Any]:
        """The next thing told of that kind; others before it are kept in `told`."""
        assert self._process.stdout is not None
        async with asyncio.timeout(40):
            while True:
                while self._read < len(self.told):
                    self._read += 1
                    if self.told[self._read - 1]["what"] == what:
                        return self.told[self._read - 1]
                line = await self._process.stdout.readline()
                assert line, "the process has ended"
                self.told.append(json.loads(line))

    async def ask(self, answer: str, *command: object) -> dict[str, Any]:
        """Has it do something; returns the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return await self.next(answer)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)


@asynccontextmanager
async def node_process(cluster: Cluster) -> AsyncIterator[NodeProcess]:
    arguments = (cluster.url, cluster.prefix, str(round(cluster.grace_s * 1000)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.engine.node_process", *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield NodeProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture(autouse=True)
def longer_lease(shorter_lease: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's own is cut down to it by the node here: a machine that stands still kills no node."""
    monkeypatch.setattr(registry, "LEASE_S", 6.0)


async def test_a_killed_process_leaves_its_users_to_the_others(cluster: Cluster) -> None:
    """Kill -9: the grace begins, and its departures, also those that it had claimed, are told elsewhere."""
    two = await cluster.node()
    async with node_process(cluster) as one:
        node_id = (await one.next("started"))["node"]
        await one.ask("attached", "attach", "a1", "c1")
        home = await one.ask("home", "claim_home", "a1")
        one.signal(signal.SIGKILL)
        await two.told.until(lambda: [each.cause for each in two.told.departures] == [Cause.NODE_LOST])
        await two.told.until(lambda: "a1" in two.told.orphans)
        taken = await two.engine.claim_home("a1")
        assert (taken.node_id, taken.token > home["token"]) == (two.id, True)
        await cluster.node_lost(node_id)


async def test_a_process_that_stood_still_is_another_node_when_it_goes_on(cluster: Cluster) -> None:
    """Its home is another's by then, with a greater token; its connection is there again, with all events."""
    cluster.grace_s = 60
    two = await cluster.node()
    async with node_process(cluster) as one:
        old_id = (await one.next("started"))["node"]
        await one.ask("attached", "attach", "a1", "c1")
        home = await one.ask("home", "claim_home", "a1")
        one.signal(signal.SIGSTOP)
        await cluster.node_lost(old_id)
        assert (await two.engine.presence_of("a1")).state is PresenceState.LEAVING
        await two.told.until(lambda: "a1" in two.told.orphans)
        taken = await two.engine.claim_home("a1")
        assert taken.token > home["token"]
        missed = await two.engine.publish("a1", Event("note", "while it stood still"))
        one.signal(signal.SIGCONT)
        assert (await one.next("home_lost"))["token"] == home["token"]
        assert not (await one.next("rejoined"))["arrived"]
        entries = [each["id"] for each in one.told if each["what"] == "entry"]
        if not entries:
            entries = [(await one.next("entry"))["id"]]
        assert entries == [str(missed)]
        answer = await one.ask("home", "claim_home", "a1")
        assert (answer["node"], answer["token"]) == (two.id, taken.token)
        assert (await one.ask("name", "name"))["node"] != old_id
        assert (await two.engine.presence_of("a1")).state is PresenceState.ONLINE
