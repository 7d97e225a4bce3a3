"""Export of archives, in turns: it is never whole in memory, and the user's other readings go on."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from structlog.typing import FilteringBoundLogger

from potoserver import Clock, Download, User, iso_utc

from ..journal.base import DialogueJournal
from ..journal.stored import StoredArchive
from ..reads import Reads
from .form import ExportForm
from .json_form import JsonForm
from .markdown_form import MarkdownForm
from .zip_form import ZipForm

ExportFormat: TypeAlias = Literal["json", "markdown", "zip"]

FORMS: Final[Mapping[ExportFormat, Callable[[], ExportForm]]] = {
    "json": JsonForm,
    "markdown": MarkdownForm,
    "zip": ZipForm,
}
"""What writes each of them."""
_TURN_S: Final = 0.05
_TURN_BYTES: Final = 262_144
_TURN_ARCHIVES: Final = 512
"""How long, large and many a turn may become; the archive at hand is finished."""


class UnknownArchiveError(LookupError):
    """The user has no archive of a given id.

    Attributes:
        position: Which one of those that were given.
    """

    def __init__(self, position: int) -> None:
        super().__init__(f"there is no archive of the id at {position}")
        self.position = position


class Exporter:
    """Exports archives.

    Args:
        journal: Where they are.
        reads: Whose turn it is to read. An export takes many short turns, each with its rest.
        clock: Names the file.
        logger: Told of each export that came to its end.
    """

    def __init__(
        self, journal: DialogueJournal, reads: Reads, clock: Clock, logger: FilteringBoundLogger
    ) -> None:
        self._journal = journal
        self._reads = reads
        self._clock = clock
        self._logger = logger

    async def export(self, user: User, form: ExportFormat, ids: Sequence[str] | None) -> Download:
        """A file of the user's archives, oldest first.

        What is archived from now on is not in it, nor what is deleted before its turn.

        Args:
            user: Whose.
            form: As what.
            ids: Which; None for all.

        Raises:
            UnknownArchiveError: There is no archive of one of these ids.
            JournalError: The disk refused.
        """
        async with self._reads.turn(user.id):
            known = await self._journal.archive_ids(user)
        wanted = known if ids is None else _chosen(known, ids)
        made = FORMS[form]()
        name = f"archives-{iso_utc(self._clock.now_ms())[:10]}.{made.suffix}"
        return Download(made.content_type, name, self._chunks(user, form, made, wanted[::-1]))

    async def _chunks(
        self, user: User, name: ExportFormat, form: ExportForm, ids: Sequence[str]
    ) -> AsyncGenerator[bytes, None]:
        skipped: list[str] = []
        count = at = 0
        yield form.begin(user.id)
        while at < len(ids):
            batch = ids[at : at + _TURN_ARCHIVES]
            turn = _Turn(form)
            async with self._reads.turn(user.id):
                await self._journal.visit_archives(user, batch, turn.visit)
            # Not within the turn: how long this takes is up to the caller.
            yield b"".join(turn.pieces)
            at += len(batch) if turn.ended_at is None else batch.index(turn.ended_at) + 1
            count += len(turn.pieces)
            skipped += turn.skipped
        yield form.end(skipped)
        self._logger.info(
            "archives exported", user=user.id, format=name, archives=count, skipped=len(skipped)
        )


class _Turn:
    """What is read at a time. Only its own thread touches it until it is over."""

    def __init__(self, form: ExportForm) -> None:
        self._form = form
        self._ends_s = time.monotonic() + _TURN_S
        self._size = 0
        self.pieces: list[bytes] = []
        self.skipped: list[str] = []
        self.ended_at: str | None = None
        """The last archive, where it was not the last one of all."""

    def visit(self, stored: StoredArchive) -> bool:
        """Takes one archive in; False when that is enough."""
        dialog = stored.dialog()
        if dialog is None:
            self.skipped.append(stored.id)
        else:
            self.pieces.append(self._form.add(stored.id, stored.data, dialog))
            self._size += len(self.pieces[-1])
        if self._size < _TURN_BYTES and time.monotonic() < self._ends_s:
            return True
        self.ended_at = stored.id
        return False


def _chosen(known: Sequence[str], ids: Sequence[str]) -> list[str]:
    there = frozenset(known)
    for position, each in enumerate(ids):
        if each not in there:
            raise UnknownArchiveError(position)
    wanted = frozenset(ids)
    return [each for each in known if each in wanted]
