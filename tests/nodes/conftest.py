"""Servers that share a Valkey: a machine that stands still fails no call."""

from __future__ import annotations

import pytest

from tests.support.engines import bear_stalls


@pytest.fixture(autouse=True)
def patient_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Overridden where a call's own bound is tried."""
    bear_stalls(monkeypatch)
    monkeypatch.setattr("potoserver.module.hooks.FIELDS_TIMEOUT_S", 8.0)
    monkeypatch.setattr("potoserver.module.server_nodes._ANSWER_S", 6.0)
