"""The command: see scripts/cluster_check."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from tests.cluster.checker.broken import FAULTS, broken_copy
from tests.cluster.checker.checks import check
from tests.cluster.checker.history import History
from tests.cluster.checker.nemesis import KINDS
from tests.cluster.checker.run import Plan, run
from tests.cluster.checker.violation import Violation, story

_MOST_SHOWN = 10
_RESTS_S = 45
"""Longer than it takes until all that was open has ended, after whatever trouble."""


def main() -> int:
    """Runs the checker as the arguments say; returns the exit status."""
    options = _options()
    if options.again is not None:
        history = History.read(options.again / "history.jsonl")
        return _tell(history, check(history), options.again)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="cluster-check-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, in {folder}", flush=True)
    plan = _plan(options, folder, seed)
    begun_s = time.monotonic()
    outcome = asyncio.run(run(plan, lambda line: print(line, flush=True)))
    print(f"{outcome.summary()}; {(time.monotonic() - begun_s) / 60:.1f} minutes")
    status = _tell(outcome.history, outcome.violations, plan.folder)
    if options.broken is None:
        return status
    found = FAULTS[options.broken].is_found_by(outcome.violations)
    print(f"{options.broken}: {'found' if found else 'NOT FOUND'}")
    return 0 if found else 1


def _tell(history: History, violations: list[Violation], folder: Path) -> int:
    if not violations:
        print("every promise was kept")
        return 0
    lines = []
    for violation in violations:
        lines += [
            str(violation),
            *(f"    {line}" for line in story(history, violation.user, violation.at_ms)),
            "",
        ]
    (folder / "violations.txt").write_text("\n".join(lines))
    shown: Counter[str] = Counter()
    for violation in violations:
        shown[violation.promise] += 1
        if shown[violation.promise] <= _MOST_SHOWN:
            print(violation)
    for promise, count in shown.most_common():
        print(f"{count} times broken: {promise}")
    print(f"{folder}: violations.txt with what shows each, history.jsonl (look again with --again), logs-*")
    return 1


def _plan(options: argparse.Namespace, folder: Path, seed: int) -> Plan:
    if options.broken is None:
        plan = Plan(folder / "run", seed, seconds=3600, sessions=10_000, rest_s=_RESTS_S)
    else:
        plan = FAULTS[options.broken].plan(folder / "run", seed, broken_copy(options.broken, folder / "code"))
    asked = {
        "seconds": None if options.minutes is None else options.minutes * 60,
        "sessions": options.sessions,
        "users": options.users,
        "nodes": options.nodes,
        "troubles": options.troubles,
    }
    return replace(plan, **{name: value for name, value in asked.items() if value is not None})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/cluster_check",
        description="Clients come, talk and go on several nodes while everything fails at random; then the "
        "whole history is checked.",
    )
    parser.add_argument("--sessions", type=int, help="end after so many (10000)")
    parser.add_argument("--minutes", type=float, help="end after so long, at the latest (60)")
    parser.add_argument("--seed", type=int, help="make the same choices as a run before")
    parser.add_argument("--users", type=int, help="how many come and go (24)")
    parser.add_argument("--nodes", type=int, help="how many nodes there are (3)")
    parser.add_argument(
        "--troubles", nargs="*", choices=KINDS, help="let only these happen; none, without any"
    )
    parser.add_argument("--folder", type=Path, help="where all of it is kept; without it, a temporary one")
    parser.add_argument("--again", type=Path, metavar="RUN", help="check the history of a run once more")
    parser.add_argument(
        "--broken",
        choices=sorted(FAULTS),
        help="with this fault in it, as it comes out soonest; 0 when it is found",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
