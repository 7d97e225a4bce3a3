"""Sees whether the machine gives each process its time: a node that gets none is as one that is stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.cluster.checker.books import Books, now_ms
from tests.cluster.checker.cluster import Cluster
from tests.cluster.checker.history import Trouble

_LOOK_S = 0.25
_STARVED_NS = 400_000_000
"""Who waited for the processor for so long since the last look, was starved."""


async def watch(cluster: Cluster, books: Books) -> None:
    """Writes down who is starved, nodes and engine, until it is cancelled. Its own delays count for all."""
    waited: dict[int | None, tuple[int, int]] = {}
    looked_ms = now_ms()
    while True:
        await asyncio.sleep(_LOOK_S)
        at_ms = now_ms()
        late = at_ms - looked_ms > _LOOK_S * 1000 + _STARVED_NS / 1e6
        pids: list[tuple[int | None, int]] = [(None, cluster.valkey.pid)]
        pids += [(number, node.pid) for number, node in enumerate(cluster.nodes)]
        for number, pid in pids:
            total = _waited_ns(pid)
            before_pid, before = waited.get(number, (pid, total))
            waited[number] = (pid, total)
            if late or (pid == before_pid and total - before > _STARVED_NS):
                _write_down(books, number, looked_ms, at_ms)
        looked_ms = at_ms


def _write_down(books: Books, number: int | None, begin_ms: int, end_ms: int) -> None:
    last = next((each for each in reversed(books.history.troubles) if each.node == number), None)
    if last is not None and last.kind == "starved" and begin_ms - last.end_ms < 500:
        last.end_ms = end_ms
        return
    books.counts["starved" if number is not None else "engine starved"] += 1
    books.history.troubles.append(Trouble("starved", number, begin_ms, end_ms))


def _waited_ns(pid: int) -> int:
    """For how long its main thread has waited for a processor in all; 0 where it is no more."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1])
    except (OSError, IndexError):
        return 0
