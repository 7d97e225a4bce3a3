"""What several tests of the journal ask for."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from modules.chat_server.journal import DialogueJournal, MemoryDialogueJournal
from tests.journal.support import LogRecord, make_journal
from tests.support.clock import ManualClock

MEMORY = Path("/dev/shm")
ROOM_BYTES = 2**30
"""A container may have but a few megabytes of it."""


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A folder in memory, where there is such: for tests that make the faults of a disk themselves."""
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    with tempfile.TemporaryDirectory(dir=MEMORY if has_room else None) as folder:
        yield Path(folder)


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
