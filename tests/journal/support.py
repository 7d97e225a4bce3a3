"""What the journal's tests share: journals on a folder, what they log, files read back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
import yaml
from prometheus_client import CollectorRegistry
from structlog.typing import EventDict, FilteringBoundLogger

from modules.chat_server.journal import Conversation, FileSystemDialogueJournal, Message
from modules.chat_server.journal.disk import Disk
from modules.chat_server.journal.tools import DiskWatch
from potoserver import User
from tests.support.clock import ManualClock

USER = User("a1")
FIRST = Conversation("sse-1705313523120-aaaaaaaaa", 1_705_313_523_120)
SECOND = Conversation("sse-1705313523121-bbbbbbbbb", 1_705_313_523_121)


class LogRecord:
    """Keeps what is logged at info and above, as dicts with `logger`, `level` and `event`."""

    def __init__(self) -> None:
        self.entries: list[EventDict] = []

    def __call__(self, name: str) -> FilteringBoundLogger:
        def keep(_: object, level: str, event: EventDict) -> EventDict:
            self.entries.append({"logger": name, "level": level, **event})
            raise structlog.DropEvent

        logger: FilteringBoundLogger = structlog.wrap_logger(
            None, processors=[keep], wrapper_class=structlog.make_filtering_bound_logger(20)
        )
        return logger

    def events(self) -> list[str]:
        return [entry["event"] for entry in self.entries]


def message(number: int, content: str | None = None, **fields: Any) -> Message:
    """Message number n: question and answer in turn."""
    role = "assistant" if number % 2 else "user"
    return Message(
        role=role,
        content=f"text {number}" if content is None else content,
        id=f"m-{number}",
        timestamp_ms=FIRST.started_ms + number,
        **fields,
    )


def make_journal(
    data: Path,
    *,
    disk: Disk | None = None,
    clock: ManualClock | None = None,
    log: LogRecord | None = None,
    shared: bool = False,
    user_bytes: int = 0,
    watch: DiskWatch | None = None,
) -> FileSystemDialogueJournal:
    return FileSystemDialogueJournal(
        data,
        clock=clock or ManualClock(),
        fsync=True,
        logger=log or LogRecord(),
        registry=CollectorRegistry(),
        shared=shared,
        user_bytes=user_bytes,
        watch=watch,
        disk=disk,
    )


@asynccontextmanager
async def opened(data: Path, **options: Any) -> AsyncIterator[FileSystemDialogueJournal]:
    """A started journal, closed at the end."""
    journal = make_journal(data, **options)
    await journal.start()
    try:
        yield journal
    finally:
        await journal.close()


def dialogs_of(data: Path, user: str = "a1") -> Path:
    return data / "users" / user / "dialogs"


def load(path: Path) -> Any:
    return yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)  # others: test_format.py


def yaml_files(data: Path) -> dict[str, Any]:
    """Every file that ends in `.yaml` and is not empty, loaded, by path."""
    return {str(path): load(path) for path in sorted(data.rglob("*.yaml")) if path.stat().st_size}


def assert_each_once(data: Path, acknowledged: set[str]) -> None:
    """Every acknowledged message is in exactly one file, and no conversation in two."""
    files = yaml_files(data)
    found = [item["id"] for loaded in files.values() for item in loaded["messages"]]
    conversations = [loaded["conversation"] for loaded in files.values()]
    assert len(conversations) == len(set(conversations)), files
    assert len(found) == len(set(found)), files
    assert acknowledged <= set(found), (acknowledged - set(found), files)
