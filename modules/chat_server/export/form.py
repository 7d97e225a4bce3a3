"""What a form of export must be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..journal.records import Dialog


class ExportForm(ABC):
    """Writes one file, piece by piece; the pieces one behind the other are it.

    Attributes:
        content_type: Of the file.
        suffix: Of its name.
    """

    content_type: str
    suffix: str

    @abstractmethod
    def begin(self, user_id: str) -> bytes:
        """What stands before the first archive."""

    @abstractmethod
    def add(self, archive_id: str, data: bytes, dialog: Dialog) -> bytes:
        """One archive.

        Args:
            archive_id: Its id.
            data: Its file.
            dialog: What that holds.
        """

    @abstractmethod
    def end(self, skipped: Sequence[str]) -> bytes:
        """What stands behind the last archive.

        Args:
            skipped: The ids of the archives that can't be read, so are not in the file: it says so.
        """
