"""A pytest plugin for `scripts/mutation.py`: of the tests that cover a change, the quick ones run first."""

from __future__ import annotations

import pytest
from mutmut.state import state


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts by what each test took on the code as it is; in the run that finds this out, not at all."""
    duration_s = state().duration_by_test
    items.sort(key=lambda item: duration_s.get(item.nodeid, 0))
