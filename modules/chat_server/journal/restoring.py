"""What of an archive is the dialog as it was while it was open. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from .dialog_yaml import MAX_FILE_BYTES, MAX_MESSAGES, emit_footer
from .errors import (
    ArchiveLaidOutError,
    DialogFullError,
)
from .records import Dialog, Reason
from .scan import scan

_ROOM: Final = max(len(emit_footer(0, reason, MAX_MESSAGES)) for reason in Reason)
"""What the end of a dialog takes at most."""

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
        DialogFullError: Its next end might not fit in.
    """
    dialog = replace(archived, ended_ms=None, reason=None)
    size = data.rfind(b"\nended: ") + 1
    if size > MAX_FILE_BYTES - _ROOM:
        # Another reason may be longer than the one that it has, and a larger file is read by nobody.
        raise DialogFullError("This archive has the largest size that there is, so it can't go on.")
    found = scan(data[:size])
    if not _END.fullmatch(data, size):
        raise ArchiveLaidOutError  # somebody has added to it, which would go with it
    if found.dialog != dialog or found.size != size:
        raise ArchiveLaidOutError
    return dialog, size
