"""An archive's file with another title or pin: its head anew, every other byte as it is. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from .dialog_yaml import NotADialogError, emit_marks, parse_dialog
from .errors import (
    ArchiveLaidOutError,
)
from .records import Dialog

_MARKS: Final = re.compile(rb"^([\"']?)(?:title|pinned)\1[ \t]*:[^\n]*(?:\n|\Z)", re.MULTILINE)
_MESSAGES: Final = re.compile(rb"^messages:", re.MULTILINE)


def with_marks(data: bytes, dialog: Dialog, title: str | None, *, pinned: bool) -> bytes:
    """The file with this title and pin.

    Args:
        data: The file.
        dialog: What it holds.
        title: The title given, or None.
        pinned: Whether it is pinned.

    Raises:
        ArchiveLaidOutError: A person has laid the file out in a way in which that can't be done.
    """
    wanted = replace(dialog, title=title, pinned=pinned)
    messages = _MESSAGES.search(data)
    if messages:
        begin = messages.start()
        head = _MARKS.sub(b"", data[:begin]) + emit_marks(title, pinned=pinned)
        # A person may have added one at the end. Two of a name are a fault to readers of YAML 1.2.
        changed = head + _MARKS.sub(b"", data[begin:])
        try:
            if parse_dialog(changed) == wanted:
                return changed
        except NotADialogError:
            pass
    raise ArchiveLaidOutError
