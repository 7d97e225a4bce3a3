"""What the tests of the logs have in common."""

from __future__ import annotations

import pytest


@pytest.fixture
def no_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lacks is told behind the next line, not by itself."""
    monkeypatch.setattr("potoserver.logs.writer._RETRY_S", 3600.0)
