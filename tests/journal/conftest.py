"""What several tests of the journal ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from modules.chat_server.journal import DialogueJournal, MemoryDialogueJournal
from tests.journal.support import LogRecord, make_journal
from tests.support.clock import ManualClock


@pytest.fixture(params=["filesystem", "memory"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DialogueJournal]:
    """A journal of either kind, started."""
    made: DialogueJournal = (
        make_journal(tmp_path)
        if request.param == "filesystem"
        else MemoryDialogueJournal(clock=ManualClock(), logger=LogRecord(), registry=CollectorRegistry())
    )
    await made.start()
    yield made
    await made.close()
