"""What of an archive is the dialog as it was while it was open. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from .base import (
    Dialog,
)
from .errors import (
    ArchiveLaidOutError,
)
from .scan import scan

_END: Final = re.compile(rb"(?:(?:ended|reason|message_count): [^#\n]*\n?)*\s*")
"""A footer and nothing else, in whatever order and quotes."""


def open_part(data: bytes, archived: Dialog) -> tuple[Dialog, int]:
    """The dialog without its end, and of how many of the file's bytes it consists.

    Args:
        data: The archive's file.
        archived: What it holds.

    Raises:
        ArchiveLaidOutError: A person has laid the file out so that its end can't be cut off, or so that
            nothing could be appended then, or has added something behind it.
    """
    dialog = replace(archived, ended_ms=None, reason=None)
    size = data.rfind(b"\nended: ") + 1
    found = scan(data[:size])
    if not _END.fullmatch(data, size):
        raise ArchiveLaidOutError  # somebody has added to it, which would go with it
    if found.dialog != dialog or found.size != size:
        raise ArchiveLaidOutError
    return dialog, size
