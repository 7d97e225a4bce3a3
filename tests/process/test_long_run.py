"""Many users connect, talk and leave, again and again: nothing grows, and every promise holds meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from modules.chat_server.journal.records import Reason
from potoserver import Cause
from tests.support import saved
from tests.support.curve import svg, write_csv
from tests.support.load_plan import Plan
from tests.support.process import CHECKOUT, ServerProcess, patient, server_environment
from tests.support.sampler import Row, Sampler

pytestmark = pytest.mark.process

_MODULES = patient("chat_server", "who_is_online", "tests.support.census:Census")
_CACHES = {
    "RecentArchives._ids": 16_384,
    "FormerIds._conversations": 16_384,
    "ByFolder._by_user": 1024,
    "order._Last": 1024,
    "LatestArchives._archives": 100,
    "LatestArchives._took": 512,
    "LatestArchive": 100,
    "ReferenceIndex._lines": 65_536,
    "ReferenceIndex._lines[]": 65_536,
    "UserKeys._keys": 65_536 + 16_384,
    "UserKeys._keys[]": 65_536 + 16_384,
    "Notices._by_user": 65_536,
    "Notices._by_user[]": 3 * 65_536,
    "Guesses._known": 65_536,
    "guesses._Verified": 65_536,
    "credentials.Identity": 65_536,
    "Usage._by_user": 65_536,
    "usage._Known": 65_536,
    "MemoryEngine._state": 1000,
    "MemoryEngine._state[]": 256_000,
    "MemoryEngine._lapses": 1000,
}
"""What may hold something of users who have gone, and of how many: for used tickets, of those who had one."""
_ODDS = {
    "Logs._loggers": 64,
    "logs.Logger": 64,
    "logs._Capture": 64,
    "entry.Entry": 1000,
    "events.TimerHandle": 300,
    "Ids._left": 1000,
    "Hooks._with_hook": 10,
    "Hooks._with_hook[]": 30,
    "HookTries._seconds": 30,
    "jws.Verifier": 2,
    "jws._KnownSecret": 2,
    "Verifier._algorithms": 2,
}
"""What else there may be more of than at the start: a logger of each name, the writer's last batch of lines,
timers that were called off, which asyncio clears away once they are the greater part of all, ids that were
drawn together, and what is looked up once for each hook and each key."""
_POOLS = {"journal": 4, "journal-archive": 4, "journal-append": 4, "journal-visit": 2}
"""Of how many threads each one is at most."""
_BYTES_PER_CACHED, _BLOCKS_PER_CACHED = 1024, 12
"""What one thing in a cache takes at most, in bytes and in blocks of Python's allocator."""
_SLACK_MB, _SLACK_BLOCKS = 4.0, 10_000
"""How much two quiet moments may differ without anything having leaked: a census itself makes some."""
_SETTLE_S = 30.0


@dataclass
class Quiet:
    """What was found when everybody had gone.

    Attributes:
        census: What the server held.
        row: What it showed.
        series: The names with labels of its metrics.
    """

    census: dict[str, Any]
    row: Row
    series: set[str]

    def lasting_threads(self) -> int:
        """All but those of the pools, which begin one by one as they are needed at the same time."""
        threads = self.census["threads"]
        return int(self.row["threads"]) - sum(threads.get(pool, 0) for pool in _POOLS)


class Run:
    """One server under one load, looked at once a second."""

    def __init__(self, server: ServerProcess, plan: Plan, session: aiohttp.ClientSession) -> None:
        self.plan = plan
        self.server = server
        self.sampler = Sampler(server, session)
        self.fresh: dict[str, Any] = {}
        self.quiets: list[Quiet] = []

    async def run(self) -> dict[str, Any]:
        """Runs the load to its end; returns what it has written down."""
        for _ in range(2):
            await self.sampler.look_at_everything()
            await self.sampler.sample({"phase": "start"})
        self.fresh = await self.sampler.census()
        async with _load(self.plan) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            async for raw in process.stdout:
                line = json.loads(raw)
                if "quiet" not in line:
                    row = await self.sampler.sample(line)
                    print(json.dumps(row), flush=True)
                    continue
                self.quiets.append(await self._quiet())
                process.stdin.write(b"\n")
            assert await process.wait() == 0
        return dict(json.loads(Path(self.plan.results).read_text()))

    async def _quiet(self) -> Quiet:
        """Waits until nothing of those who have gone is left, for as long as that may take."""
        allowed_s = self.plan.grace_s + self.plan.backlog_s + self.plan.idle_s + _SETTLE_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(allowed_s):
                while grown := self._grown(await self.sampler.census()):
                    print("not gone yet:", grown, flush=True)
                    await self._look_for(1.0)
        await self._look_for(1.0)
        for _ in range(5):  # one may meet what is done now and then and is over at once
            census = await self.sampler.census()
            if not self._grown(census):
                break
        series, _ = await self.sampler.metrics()
        row = await self.sampler.sample({"phase": "quiet"})
        print("quiet:", json.dumps(row | {"grown": self._grown(census), "held": _held(census)}), flush=True)
        return Quiet(census, row, series)

    async def _look_for(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.sampler.sample({"phase": "quiet"})

    def _grown(self, census: dict[str, Any]) -> dict[str, Any]:
        """What there is more of than before anybody came, but for what is bounded; see `_check_bounds`."""
        found: dict[str, Any] = {}
        for kind in ("tasks", "objects", "containers"):
            for name, count in census[kind].items():
                before = self.fresh[kind].get(name, 0)
                if count > before and not name.endswith((*_CACHES, *_ODDS)):
                    found[f"{kind}: {name}"] = (before, count)
        return found

    def check(self) -> None:
        """Nothing has grown."""
        for quiet in self.quiets:
            assert self._grown(quiet.census) == {}
            self._check_bounds(quiet.census)
            row = quiet.row
            assert (row["connections"], row["users_online"], row["sessions"]) == (0, 0, 0), row
            assert (row["pending_archives"], row["open_marks"]) == (0, 0), row
            assert row["user_folders"] <= self.plan.users, row
            assert row["log_lines_dropped"] == 0, row
            assert row["hook_failures"] == 0, self.sampler.logged_errors
        warm, *later = self.quiets
        for quiet in later:
            for what in ("tasks", "descriptors"):
                assert quiet.row[what] == warm.row[what], (what, warm.row, quiet.row)
            assert quiet.lasting_threads() == warm.lasting_threads(), (warm.census, quiet.census)
            assert _label_values(quiet.series) - _label_values(warm.series) <= _closed_sets()
        self._check_memory()

    def _check_bounds(self, census: dict[str, Any]) -> None:
        for pool, most in _POOLS.items():
            assert census["threads"].get(pool, 0) <= most, (pool, census["threads"])
        for name, count in (census["containers"] | census["objects"]).items():
            for bounded, limit in (_CACHES | _ODDS).items():
                assert not name.endswith(bounded) or count <= limit, (name, count)

    def _check_memory(self) -> None:
        """From half-way on, memory has grown by no more than what the caches have taken in."""
        first, last = self.quiets[len(self.quiets) // 2 - 1], self.quiets[-1]
        cached = max(0, _cached(last.census) - _cached(first.census))
        blocks = [quiet.census["allocated_blocks"] for quiet in self.quiets]
        grown = last.census["allocated_blocks"] - first.census["allocated_blocks"]
        assert grown <= _SLACK_BLOCKS + _BLOCKS_PER_CACHED * cached, (blocks, cached)
        resident_mb = [quiet.row["rss_mb"] for quiet in self.quiets]
        grown_mb = last.row["rss_mb"] - first.row["rss_mb"]
        assert grown_mb <= _SLACK_MB + _BYTES_PER_CACHED * cached / 2**20, (resident_mb, cached)


def _held(census: dict[str, Any]) -> dict[str, int]:
    """What the caches hold, and the blocks of memory in all."""
    containers = census["containers"].items()
    caches = {name: count for name, count in containers if name.endswith(tuple(_CACHES))}
    return caches | {"blocks": census["allocated_blocks"]}


def _cached(census: dict[str, Any]) -> int:
    return sum(count for name, count in census["containers"].items() if name.endswith(tuple(_CACHES)))


def _label_values(series: set[str]) -> set[str]:
    """The values of all labels: of those there is one set, and no user, address or id is ever in it."""
    return {
        pair.partition("=")[2].strip('"')
        for name in series
        for pair in name.partition("{")[2].rstrip("}").split(",")
        if pair
    }


def _closed_sets() -> set[str]:
    """Labels that may come late: which of them a round meets is chance."""
    causes = {str(cause) for cause in Cause} | {reason.value for reason in Reason}
    return causes | {"/subscribe/ack", "200", "204", "404", "499", "whole", "interrupted", "repeated"}


@contextlib.asynccontextmanager
async def _load(plan: Plan) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.load",
        json.dumps(asdict(plan)),
        cwd=CHECKOUT,
        env=server_environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _check_kept(data_dir: Path, told: dict[str, Any]) -> int:
    """Every acknowledged question stands in one archive, its reply behind it; returns how many there are.

    Whatever else is there was asked in a call that its caller hung up on, and answered too. Only who has
    talked has a folder.
    """
    users = told["users"]
    asked = {name: Counter(tuple(each) for each in user["acknowledged"]) for name, user in users.items()}
    perhaps = {name: set(user["perhaps"]) for name, user in users.items()}
    conversations = []
    talked = set()
    for dialog in saved.archives(data_dir):
        name = dialog.fields["user"]
        conversations.append(dialog.conversation)
        talked.add(name)
        assert dialog.fields["message_count"] == len(dialog.messages), dialog.path
        lines = iter(dialog.messages)
        for (asker, question), (answerer, reply) in zip(lines, lines, strict=True):
            assert (asker, answerer) == ("user", "assistant"), dialog.path
            pair = (dialog.conversation, question, reply)
            if asked[name][pair]:
                asked[name][pair] -= 1
            else:
                assert question in perhaps[name], f"{dialog.path}: nobody asked {question!r}, or not twice"
                perhaps[name].discard(question)
                assert question.startswith(reply), dialog.path
    assert saved.doubled(conversations) == []
    lost = {name: list(left) for name, each in asked.items() if (left := +each)}
    assert lost == {}
    assert {folder.name for folder in (data_dir / "users").iterdir()} == talked
    return len(conversations)


async def _run(
    folder: Path, shape: dict[str, Any], environment: dict[str, str], out: Path | None = None
) -> None:
    """Lets a load loose on a server of its own, draws what was seen, and checks everything.

    Args:
        folder: Where the server's data and logs go.
        shape: The plan but for `port` and `results`.
        environment: Further settings of the server.
        out: Where the curve goes; without it the folder.
    """
    names = [f"user-{number}" for number in range(shape["users"])]
    tokens: dict[str, Any] = {f"t-{name}": {"user": name} for name in names}
    tokens["t-admin"] = {"user": "admin", "roles": ["user", "admin"]}
    settings = {"POTO_MODULES": _MODULES, "POTO_AUTH__TOKENS": json.dumps(tokens)} | environment
    async with ServerProcess(folder, environment=settings) as server, aiohttp.ClientSession() as session:
        run = Run(server, Plan(port=server.port, results=str(folder / "told.json"), **shape), session)
        try:
            told = await run.run()
        finally:
            run.sampler.close()
            _draw(run.sampler.rows, out or folder, shape["users"])
        assert await server.stop() == 0
    print("met:", told["counts"])
    assert told["violations"] == []
    assert run.sampler.logged_errors == []
    print("archives:", _check_kept(server.data_dir, told))
    assert list((server.data_dir / "open").iterdir()) == []
    assert [path for path in saved.current_files(server.data_dir) if path.stat().st_size] == []
    assert saved.set_aside(server.data_dir) == []
    run.check()


def _draw(rows: list[Row], out: Path, users: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_csv(rows, out / "long-run.csv")
    (out / "long-run.svg").write_text(svg(rows, f"{users} users, {rows[-1]['t'] / 60:.0f} minutes"))


async def test_nothing_grows_while_a_hundred_users_come_and_go(tmp_path: Path) -> None:
    """Two cycles with connect storms and mass departures; at the end of each nothing of anybody is left."""
    plan = {
        "users": 100,
        "cycles": 2,
        "grace_s": 1.0,
        "backlog_s": 4.0,
        "lease_s": 10,
        "idle_s": 1.5,
        "think_s": 0.25,
        "ramp_s": 1.0,
        "steady_s": 1.5,
        "storm_s": 0.3,
        "seed": int(os.environ.get("LOAD_SEED", random.randrange(10**6))),
    }
    print(f"seed {plan['seed']}")
    await _run(
        tmp_path,
        plan,
        {
            "SESSION_RECONNECT_GRACE": "1000",
            "SESSION_TIMEOUT": "1000",
            "SESSION_CHECK_INTERVAL": "300",
            "POTO_BACKLOG__SECONDS": "4",
            "POTO_SEND_TIMEOUT_S": "2",
            "POTO_CHAT__ECHO__DELAY_MS": "2",
            "POTO_LIMITS__CALLS_PER_MINUTE": "0",
        },
    )


@pytest.mark.long
@pytest.mark.timeout(7200)
async def test_nothing_grows_while_two_thousand_users_come_and_go_for_half_an_hour(tmp_path: Path) -> None:
    """Six cycles of five minutes. `LOAD_USERS`, `LOAD_MINUTES`, `LOAD_CYCLES`, `LOAD_OUT` change it."""
    minutes = float(os.environ.get("LOAD_MINUTES", "30"))
    cycles = int(os.environ.get("LOAD_CYCLES", "6"))
    quiet_s, grace_s, storm_s = 45.0, 5.0, 3.0
    cycle_s = minutes * 60 / cycles
    # A cycle is a ramp, two and a half times steady, two storms, two departures, a lease, and the quiet.
    steady_s = max(5.0, (cycle_s - quiet_s - 4 * storm_s - 1.8 * grace_s - 5) / 3)
    plan = {
        "users": int(os.environ.get("LOAD_USERS", "2000")),
        "cycles": cycles,
        "grace_s": grace_s,
        "backlog_s": 30.0,
        "lease_s": 15,
        "idle_s": 25.0,
        "think_s": float(os.environ.get("LOAD_THINK_S", "20")),
        "ramp_s": steady_s / 2,
        "steady_s": steady_s,
        "storm_s": storm_s,
        "seed": int(os.environ.get("LOAD_SEED", random.randrange(10**6))),
    }
    print(f"seed {plan['seed']}")
    out = os.environ.get("LOAD_OUT")
    await _run(
        tmp_path,
        plan,
        {
            "SESSION_TIMEOUT": "20000",
            "SESSION_CHECK_INTERVAL": "5000",
            "POTO_BACKLOG__SECONDS": "30",
            "POTO_CHAT__ECHO__DELAY_MS": "5",
        },
        Path(out) if out else None,
    )
