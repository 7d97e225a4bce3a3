"""Several nodes on one Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tests.support.engines import Cluster


@pytest.fixture
async def cluster(valkey_url: str) -> AsyncIterator[Cluster]:
    """Nodes that share the tests' Valkey, below a prefix of this test."""
    cluster = Cluster(valkey_url, f"t{uuid4().hex[:8]}")
    yield cluster
    await cluster.stop()
