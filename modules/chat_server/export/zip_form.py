"""The archives' files as they are, in a zip that is made while it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from typing_extensions import override

from ..journal.records import Dialog
from .form import ExportForm

_FILE_MODE = 0o600
_FIRST_MS = 315_532_800_000
_LAST_MS = 4_354_819_198_000
"""From 1980 to 2107: the times that a zip can tell, in ms since 1970 UTC."""


class ZipForm(ExportForm):
    """One entry for each archive, its sizes behind its bytes, the table of all at the end.

    What is kept of an entry until then is what the table needs, some hundred bytes.
    """

    content_type = "application/zip"
    suffix = "zip"

    def __init__(self) -> None:
        self._sink = _Sink()
        self._zip = ZipFile(self._sink, "w", ZIP_DEFLATED)

    @override
    def begin(self, user_id: str) -> bytes:
        return self._sink.take()

    @override
    def add(self, archive_id: str, data: bytes, dialog: Dialog) -> bytes:
        self._put(f"{archive_id}.yaml", data, dialog.ended_ms or 0)
        return self._sink.take()

    @override
    def end(self, skipped: Sequence[str]) -> bytes:
        if skipped:
            self._put("skipped.txt", "".join(f"{each}\n" for each in skipped).encode(), 0)
        self._zip.close()
        return self._sink.take()

    def _put(self, name: str, data: bytes, at_ms: int) -> None:
        told = datetime.fromtimestamp(min(max(at_ms, _FIRST_MS), _LAST_MS) // 1000, UTC)
        info = ZipInfo(name, (told.year, told.month, told.day, told.hour, told.minute, told.second))
        info.external_attr = _FILE_MODE << 16
        info.compress_type = ZIP_DEFLATED
        self._zip.writestr(info, data)


class _Sink:
    """A file that can only be written on, and gives away what was."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """There is nothing to give back."""

    def take(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data
