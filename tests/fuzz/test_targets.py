"""Every fuzz target keeps its promise for its seeds, and for what chance makes of them.

`scripts/fuzz` goes on from here, guided by coverage. What it found became a seed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
EXAMPLES = 60


def near(seeds: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Seeds with parts cut out, doubled, swapped for parts of others and for bytes that are often special."""
    special = st.sampled_from(
        [b"\0", b"\n", b'"', b"\\", b"[", b"{", b"\xff", b"\xed\xa0\x80", b"9" * 40, b"-", b": "]
    )
    piece = st.one_of(st.binary(max_size=12), special, st.sampled_from(seeds))

    @st.composite
    def draw(draw: st.DrawFn) -> bytes:
        data = draw(st.sampled_from(seeds))
        for _ in range(draw(st.integers(1, 4))):
            begin = draw(st.integers(0, len(data)))
            end = draw(st.integers(begin, min(len(data), begin + 60)))
            data = data[:begin] + draw(piece) + data[end:]
        return data

    return draw()


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_it_keeps_its_promise_for_its_seeds(target: Target) -> None:
    """The corpus that fuzzing starts from, found failures included."""
    for seed in target.seeds:
        target.check(seed)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_it_keeps_its_promise_near_its_seeds(target: Target) -> None:
    """A few mutations of each, the same in every run."""

    @settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.binary(max_size=200), near(target.seeds)))
    def check(data: bytes) -> None:
        target.check(data)

    check()


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_it_keeps_its_promise_for_thousands(target: Target) -> None:
    """The long form, new in every run."""

    @settings(max_examples=2000, suppress_health_check=list(HealthCheck), database=None)
    @given(st.one_of(st.binary(max_size=400), near(target.seeds)))
    def check(data: bytes) -> None:
        target.check(data)

    check()


def test_the_command_knows_every_target() -> None:
    """It names them when it is given another; without atheris, too, which not every Python has."""
    command = [sys.executable, "-m", "tests.fuzz.guided", "nothing"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, set(run.stdout.split()) >= set(TARGETS)) == (2, True)
