"""A load of many users, as a process of its own: `python -m tests.support.load PLAN`, PLAN being JSON.

Each second it prints one line of JSON: what the users do and have met, and what it costs itself. When all
have gone it prints a line with `quiet`, and nothing more until it reads a line.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.load_plan import Plan, Tally
from tests.support.load_user import User


class Load:
    """All users of a load, and the phases that they go through."""

    def __init__(self, plan: Plan) -> None:
        dice = random.Random(plan.seed)
        self._plan = plan
        self._tally = Tally()
        self._dice = dice
        self._users = [
            User(number, plan, self._tally, random.Random(dice.random())) for number in range(plan.users)
        ]
        self._lives: dict[User, asyncio.Task[None]] = {}
        self._phase = "start"
        self._lag_ms = 0.0

    async def run(self) -> None:
        """Goes through all cycles, then writes what was acknowledged."""
        reporting = asyncio.create_task(self._report())
        measuring = asyncio.create_task(self._measure_lag())
        lines = await _stdin()
        for cycle in range(self._plan.cycles):
            await self._cycle()
            self._phase = "quiet"
            print(json.dumps({"quiet": cycle}), flush=True)
            await lines.readline()
        reporting.cancel()
        measuring.cancel()
        await asyncio.wait([reporting, measuring])
        self._write_results()

    async def _cycle(self) -> None:
        plan = self._plan
        await self._do("ramp", plan.ramp_s, lambda: self._come(plan.ramp_s, resume=False))
        await self._do("steady", plan.steady_s)
        await self._do("departure", 0.3 * plan.grace_s, self._depart)
        # They come back in the grace, all at once.
        await self._do("storm", 2 * plan.storm_s, lambda: self._come(plan.storm_s, resume=True))
        await self._do("steady", plan.steady_s)
        await self._do("departure", 1.5 * plan.grace_s, self._depart)
        await self._do("storm", 2 * plan.storm_s, lambda: self._come(plan.storm_s, resume=True))
        await self._do("steady", plan.steady_s / 2)
        await self._do("departure", 0, self._depart)
        self._phase = "gone"
        if self._lives:
            await asyncio.wait(self._lives.values())
        self._lives.clear()

    async def _do(self, phase: str, seconds: float, begin: Any = None) -> None:
        self._phase = phase
        if begin is not None:
            begin()
        await asyncio.sleep(seconds)

    def _come(self, within_s: float, *, resume: bool) -> None:
        for user in self._users:
            life = self._lives.get(user)
            if life is not None and not life.done():
                continue  # it has fallen silent, and waits for the server to notice
            if user.kind == "silent":
                self._lives[user] = asyncio.create_task(user.fall_silent(within_s / 4))
            else:
                self._lives[user] = asyncio.create_task(user.live(within_s, resume=resume))

    def _depart(self) -> None:
        for user, life in list(self._lives.items()):
            if user.kind != "silent":
                life.cancel()
                user.depart(reset=self._dice.random() < 0.5)
                del self._lives[user]

    # Telling

    async def _measure_lag(self) -> None:
        while True:
            begun_s = time.monotonic()
            await asyncio.sleep(0.05)
            self._lag_ms = max(self._lag_ms, (time.monotonic() - begun_s - 0.05) * 1000)

    async def _report(self) -> None:
        used_s, at_s = time.process_time(), time.monotonic()
        while True:
            await asyncio.sleep(1)
            now_used_s, now_s = time.process_time(), time.monotonic()
            tally = self._tally
            row = {
                "phase": self._phase,
                "tabs": tally.online,
                "load_cpu": round((now_used_s - used_s) / (now_s - at_s), 3),
                "load_lag_ms": round(self._lag_ms),
                "connect_ms_p50": _percentile(tally.connect_ms, 0.5),
                "connect_ms_p99": _percentile(tally.connect_ms, 0.99),
                "call_ms_p50": _percentile(tally.call_ms, 0.5),
                "call_ms_p99": _percentile(tally.call_ms, 0.99),
                "connects": tally.counts["connects"],
                "calls": tally.counts["calls"],
                "messages": tally.counts["messages"],
                "violations": tally.counts["violations"],
                "violation": tally.violations[-1][:300] if tally.violations else None,
            }
            if self._phase != "quiet":
                print(json.dumps(row), flush=True)
            used_s, at_s, self._lag_ms = now_used_s, now_s, 0.0
            tally.connect_ms.clear()
            tally.call_ms.clear()

    def _write_results(self) -> None:
        results = {
            "counts": dict(self._tally.counts),
            "violations": self._tally.violations,
            "users": {
                user.name: {"acknowledged": user.acknowledged, "perhaps": sorted(user.perhaps)}
                for user in self._users
            },
        }
        Path(self._plan.results).write_text(json.dumps(results))


def _percentile(values: list[float], part: float) -> float | None:
    if not values:
        return None
    return round(sorted(values)[min(len(values) - 1, int(len(values) * part))], 1)


async def _stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


if __name__ == "__main__":
    gc.freeze()  # its own pauses must not be taken for the server's
    asyncio.run(Load(Plan(**json.loads(sys.argv[1]))).run())
