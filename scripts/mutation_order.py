"""A pytest plugin for `scripts/mutation.py`: of the tests that cover a change, the quick ones run first."""

from __future__ import annotations

import signal

import pytest
from mutmut.mutation.trampoline import get_mutant_under_test
from mutmut.state import state


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts by what each test took on the code as it is; in the run that finds this out, not at all.

    Tests have their limit; what a changed function keeps from ending behind them, a loop that waits for its
    tasks for one, is ended by a signal.
    """
    duration_s = state().duration_by_test
    items.sort(key=lambda item: duration_s.get(item.nodeid, 0))
    if "__mutmut_" in get_mutant_under_test():
        signal.alarm(120 + 20 * int(sum(duration_s.get(item.nodeid, 0) for item in items)))
