"""The journal of a folder of data that no server uses, for a command that changes something."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog
import typer
from prometheus_client import CollectorRegistry
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from potoserver import SystemClock, visible

from ..journal import FileSystemDialogueJournal, JournalError

_R = TypeVar("_R")


ON_THE_SERVER: Final = "Or do it there: --url, with the user's token in POTO_TOKEN."


class OwnedJournal:
    """A journal that holds the folder's lock.

    Args:
        journal: Started.
        runner: The loop that it runs on.
    """

    def __init__(self, journal: FileSystemDialogueJournal, runner: asyncio.Runner) -> None:
        self.journal = journal
        self._runner = runner

    def run(self, work: Coroutine[Any, Any, _R]) -> _R:
        """Runs a call of the journal to its end."""
        return self._runner.run(work)


@contextmanager
def owned_journal(data_dir: Path, user_bytes: int = 0, instead: str = "") -> Iterator[OwnedJournal]:
    """Takes the folder for the length of a block, as a server would.

    Args:
        data_dir: The folder.
        user_bytes: What one user's dialogs may take; 0 for no limit.
        instead: What can be done where a server runs, for people.

    Raises:
        typer.TyperException: A server uses it, or it can't be used.
    """
    with asyncio.Runner() as runner:
        journal = FileSystemDialogueJournal(
            data_dir,
            clock=SystemClock(),
            fsync=True,
            logger=_logger,
            registry=CollectorRegistry(),
            user_bytes=user_bytes,
        )
        try:
            runner.run(journal.start())
        except JournalError as error:
            raise typer.TyperException(f"{error.detail} {instead}".rstrip()) from None
        try:
            yield OwnedJournal(journal, runner)
        finally:
            runner.run(journal.close())


def _logger(_name: str) -> FilteringBoundLogger:
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[_line],
        wrapper_class=structlog.make_filtering_bound_logger("warning"),
    )
    return logger


def _line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    more = ", ".join(f"{name} {value}" for name, value in event.items() if name != "event")
    return visible(f"potoserver: {event['event']}: {more}")
