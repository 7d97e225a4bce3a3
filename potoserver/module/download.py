"""A file that a method answers with, sent while it is being made."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

_CONTENT_TYPE: Final = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}(?:; charset=[\w-]{1,32})?", re.ASCII)
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Download:
    """What a method returns to answer with a file: no JSON, and never whole in memory.

    The chunks are asked for one by one, as the caller takes them. An error that they raise before the first
    one is an ordinary answer with its own status; a later one breaks the transfer off, so that what has come
    never looks like the whole file. When the caller goes away or stops reading, or the server stops, an async
    generator is cancelled and closed: what must be given back is opened inside it.

    Attributes:
        content_type: Such as `application/zip` or `text/markdown; charset=utf-8`.
        file_name: What the caller's browser may save it as: 1 to 100 of `A-Za-z0-9._-`, a letter or digit
            first.
        chunks: Its bytes, in pieces of a size that can be held in memory once for each caller.

    Raises:
        ValueError: The type or the name is none.
    """

    content_type: str
    file_name: str
    chunks: AsyncIterator[bytes]

    def __post_init__(self) -> None:
        """Refuses what could not stand in a header."""
        if not _CONTENT_TYPE.fullmatch(self.content_type):
            raise ValueError(f"no content type: {self.content_type!r}")
        if not _FILE_NAME.fullmatch(self.file_name):
            raise ValueError(f"no plain name for a file: {self.file_name!r}")

    @property
    def content_disposition(self) -> str:
        """The header that has a browser save it under its name (RFC 6266)."""
        return f'attachment; filename="{self.file_name}"'
