"""What can be wrong with the files of a folder of data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """What is wrong. docs/commands.md says what each means and what mends it."""

    UNREADABLE = "unreadable"
    """The system refuses it, or something odd stands in its place."""
    TORN = "torn"
    """It is cut off, or the beginning of it is whole and the rest is not."""
    NO_DIALOG = "no-dialog"
    """It holds not one whole message."""
    OTHER_USER = "other-user"
    """It is the dialog of somebody else than its folder says."""
    COUNT = "count"
    """Its footer counts other messages than it holds."""
    NAME = "name"
    """Its name is another time than that of its end."""
    DUPLICATE = "duplicate"
    """Another file holds the same conversation, or one message stands in it twice."""
    ORDER = "order"
    """A time in it is before an earlier one."""
    UNFINISHED = "unfinished"
    """It has its footer and was not archived."""
    UNMARKED = "unmarked"
    """It is open, but not marked, so the next start does not find it."""
    STRAY_MARK = "stray-mark"
    """It marks a dialog that is not there."""
    MODE = "mode"
    """Others on the machine may read it."""
    OWNER = "owner"
    """It belongs to somebody else than the folder of data."""
    SET_ASIDE = "set-aside"
    """Recovery has put it aside, for a person to look at."""
    LEFTOVER = "leftover"
    """A change that was cut off has left it."""
    FOREIGN = "foreign"
    """Nobody who writes here makes such a file."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: What.
        path: Where.
        says: What was found, for people.
        user_id: Whose it is, or None.
    """

    kind: Kind
    path: Path
    says: str
    user_id: str | None = None
