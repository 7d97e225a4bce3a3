"""One run: clients and troubles at random, then quiet, then everything is looked at."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.checker.books import Books, now_ms
from tests.cluster.checker.checks import check
from tests.cluster.checker.cluster import Cluster
from tests.cluster.checker.history import History, Rules
from tests.cluster.checker.nemesis import KINDS, Nemesis
from tests.cluster.checker.remains import archives_of, left_in, left_in_engine, lines_of
from tests.cluster.checker.violation import Violation
from tests.cluster.checker.visitor import Visitor
from tests.cluster.checker.witness import watch
from tests.support.process import CHECKOUT

RULES = Rules(grace_ms=1500, timeout_ms=4000, check_ms=1000, lease_ms=10_000)
_EMPTY_S = 60.0
_REPORT_S = 15.0


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        folder: Where it does it; history and logs stay there.
        seed: Of every choice.
        seconds: For how long troubles and visits go on, at most.
        sessions: After how many sessions they end.
        users: How many come and go.
        nodes: How many nodes.
        troubles: What is done to the cluster; nothing, where it is empty.
        away_s: For how long users stay away at most.
        rest_s: How long nobody comes at the end, at most: what is open is to end by itself.
        code: What runs; a copy of the checkout with a fault in it, perhaps.
    """

    folder: Path
    seed: int
    seconds: float
    sessions: int = 1_000_000
    users: int = 24
    nodes: int = 3
    troubles: Collection[str] = KINDS
    away_s: float = 40
    rest_s: float = 0
    code: Path = CHECKOUT


@dataclass
class Outcome:
    """What came of it."""

    history: History
    violations: list[Violation]
    counts: dict[str, int]

    @property
    def sessions(self) -> int:
        """How many have passed."""
        return len(self.history.conversations())

    def summary(self) -> str:
        """In a line."""
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        return f"seed {self.history.seed}: {self.sessions} sessions; {counts}"


async def run(plan: Plan, report: Callable[[str], None] = print) -> Outcome:
    """Runs it; the history is kept as `history.jsonl` in the folder."""
    dice = random.Random(plan.seed)
    names = [f"user-{number}" for number in range(plan.users)]
    history = History(plan.seed, RULES, plan.nodes, begin_ms=now_ms())
    async with Cluster(plan.folder, names, RULES, plan.nodes, plan.code) as cluster:
        books = Books(history, cluster.ports)
        watching = asyncio.create_task(watch(cluster, books))
        reporting = asyncio.create_task(_report(books, report))
        try:
            await _days(plan, dice, cluster, books, names)
            await _evening(cluster, books)
        finally:
            for task in (watching, reporting):
                task.cancel()
            await asyncio.wait([watching, reporting])
            for number, node in enumerate(cluster.nodes):
                history.lines += lines_of(node.log_file, number)
            history.archives, wrong = archives_of(cluster.nodes[0].data_dir)
            history.left += wrong
            history.write(plan.folder / "history.jsonl")
    return Outcome(history, check(history), dict(books.counts))


async def _days(plan: Plan, dice: random.Random, cluster: Cluster, books: Books, names: list[str]) -> None:
    """Visits and troubles; at the end all is mended and everybody has come once more and gone."""
    over = asyncio.Event()
    visitors = [Visitor(books, name, random.Random(dice.random()), plan.away_s) for name in names]
    nemesis = Nemesis(cluster, books, random.Random(dice.random()), plan.troubles)
    raging = asyncio.create_task(nemesis.rage(over))
    async with asyncio.TaskGroup() as visits:
        for visitor in visitors:
            visits.create_task(visitor.live(over))
        ends_ms = now_ms() + plan.seconds * 1000
        while now_ms() < ends_ms and len(books.history.conversations()) < plan.sessions:
            await asyncio.sleep(0.5)
        over.set()
    await raging
    books.history.left += await cluster.until_ready()
    await _until_all_has_ended(cluster, plan.rest_s)
    async with asyncio.TaskGroup() as farewells:
        for visitor in visitors:
            farewells.create_task(visitor.say_farewell())
    books.history.quiet_ms = now_ms()


async def _evening(cluster: Cluster, books: Books) -> None:
    """Everybody has gone: what was open is archived, and all nodes stop at once."""
    data_dir = cluster.nodes[0].data_dir
    await _until_all_has_ended(cluster, _EMPTY_S)
    books.history.left += [*left_in(data_dir), *left_in_engine(cluster.valkey)]
    for number, told in enumerate(await cluster.health()):
        open_there = {
            name: told.get(name) for name in ("activeSessions", "pendingArchives", "dialogsLeftOpen")
        }
        if any(open_there.values()):
            books.odd(f"node {number} still has {open_there}")
    books.history.stop_ms = now_ms()
    statuses = await asyncio.gather(*(node.stop() for node in cluster.nodes), return_exceptions=True)
    if any(status != 0 for status in statuses):
        books.odd(f"nodes stopped with {statuses}, not with 0")


async def _until_all_has_ended(cluster: Cluster, limit_s: float) -> None:
    """Waits until no dialog is open and the engine has nothing more of anybody, or for so long."""
    ends_ms = now_ms() + limit_s * 1000
    while now_ms() < ends_ms and (
        any((cluster.nodes[0].data_dir / "open").iterdir())
        or any(each.startswith("engine") for each in left_in_engine(cluster.valkey))
    ):
        await asyncio.sleep(0.25)


async def _report(books: Books, report: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(_REPORT_S)
        history = books.history
        started = len(history.conversations())
        minutes = (now_ms() - history.begin_ms) / 60_000
        report(
            f"{minutes:.1f} min: {started} sessions, {books.counts['messages']} messages, "
            f"{len(history.troubles)} troubles, {len(history.left)} odd things"
        )
