"""Named points of all that the journal does at which a process can be killed.

A point is a system call of the journal: its name, what it is about, which occurrence; production code has no
hook for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from tests.faults.disk import Fault, How


class Given(Enum):
    """What the user has before, and what leads to the point."""

    NOTHING = "nothing; says something"
    ARCHIVE = "an archive and no open dialog; says something"
    DIALOG = "an open dialog; says something more"
    NO_ROOM = "an open dialog; says something more, for which there is only half the room"
    ENDING = "an open dialog; ends the session"
    TAKEN_NAMES = "an open dialog, every name that its archive may get is taken; ends the session"
    SHUTDOWN = "an open dialog; the server gets SIGTERM"
    UNTOLD = "an archive; connects"
    TORN = "a dialog with a torn message behind two whole ones; says something"
    NO_LINE_END = "a dialog that lacks its last line end; says something"
    JUNK = "a file that is no dialog; says something"
    FOOTER = "a dialog with its footer; says something"
    RENAMED = "a marker and no file; says something"
    RESTORING = "an archive and an open dialog; restores the archive"
    NAMING = "an archive; gives it a title"
    PINNING = "an archive; pins it"
    DELETING = "an archive; deletes it"
    IMPORTING = "nothing; imports two archives"
    LEFT_OPEN = "a dialog that a crash left open, at a start; does not come back"


LAID: Final = (Given.TORN, Given.NO_LINE_END, Given.JUNK, Given.FOOTER, Given.RENAMED)
"""What recovery finds in a user's folder."""


class Leaves(Enum):
    """What must be found on disk after the kill."""

    NOTHING = "no whole message of a dialog that has not ended"
    OPEN = "a dialog that goes on"
    ENDED = "a dialog that goes to the archive for the reason that it had"


@dataclass(frozen=True)
class CrashPoint:
    """Where a process is killed.

    Attributes:
        name: `archive:renamed`.
        given: What leads there.
        call: The system call, as `Disk` names it.
        path: What it is about; `{user}` stands for the user's folder.
        leaves: What must be found then.
        at: Which such call about this user, from 1.
        how: Killed before the call, half-way through it, or after it.
    """

    name: str
    given: Given
    call: str
    path: str
    leaves: Leaves
    at: int = 1
    how: How = "after"

    @property
    def of(self) -> str:
        """What is under way at the point."""
        return self.name.partition(":")[0]

    @property
    def is_shared(self) -> bool:
        """Whether the call is not about the user: then it counts who comes first, and who comes second."""
        return "{user}" not in self.path

    def faults(self, users: list[str]) -> list[Fault]:
        """Ends the process once each of these users has come to the point, one after the other."""
        faults = [
            Fault(
                self.call,
                self.path.format(user=user),
                at=self.at * number if self.is_shared else self.at,
                how=self.how,
                stop=True,
            )
            for number, user in enumerate(users, 1)
        ]
        if self.given is Given.NO_ROOM:
            faults += [Fault("write", CURRENT.format(user=user), how="half", error=28) for user in users]
        return faults


DIALOGS: Final = "*/users/{user}/dialogs"
CURRENT: Final = f"{DIALOGS}/current.yaml"
ARCHIVED: Final = f"{DIALOGS}/archived"
TORN: Final = f"{DIALOGS}/current.torn-*"
MARKER: Final = "*/open/{user}"
_OPEN_FOLDER: Final = "*/open"

_N, _O, _E = Leaves.NOTHING, Leaves.OPEN, Leaves.ENDED


def _begin() -> list[CrashPoint]:
    new = Given.NOTHING
    return [
        CrashPoint("begin:user-folder-made", new, "make_folder", "*/users/{user}", _N),
        CrashPoint("begin:dialogs-folder-made", new, "make_folder", DIALOGS, _N),
        CrashPoint("begin:archived-folder-made", new, "make_folder", ARCHIVED, _N),
        CrashPoint("begin:folders-flushed", new, "sync_folder", DIALOGS, _N),
        CrashPoint("begin:marked", new, "open", MARKER, _N),
        CrashPoint("begin:mark-flushed", new, "sync_folder", _OPEN_FOLDER, _N),
        CrashPoint("begin:file-made", new, "open", CURRENT, _N),
        CrashPoint("begin:half-written", new, "write", CURRENT, _N, how="half"),
        CrashPoint("begin:written", new, "write", CURRENT, _O),
        CrashPoint("begin:flushed", new, "flush", CURRENT, _O),
        CrashPoint("begin:name-flushed", new, "sync_folder", DIALOGS, _O, at=2),
        CrashPoint("begin:again-marked", Given.ARCHIVE, "open", MARKER, _N),
        CrashPoint("begin:again-half-written", Given.ARCHIVE, "write", CURRENT, _N, how="half"),
        CrashPoint("begin:again-flushed", Given.ARCHIVE, "flush", CURRENT, _O),
    ]


def _append() -> list[CrashPoint]:
    given, no_room = Given.DIALOG, Given.NO_ROOM
    return [
        CrashPoint("append:opened", given, "open", CURRENT, _O),
        CrashPoint("append:half-written", given, "write", CURRENT, _O, how="half"),
        CrashPoint("append:written", given, "write", CURRENT, _O),
        CrashPoint("append:flushed", given, "flush", CURRENT, _O),
        CrashPoint("append:reply-half-written", given, "write", CURRENT, _O, at=2, how="half"),
        CrashPoint("append:reply-flushed", given, "flush", CURRENT, _O, at=2),
        CrashPoint("append:failed-before-the-cut", no_room, "truncate", CURRENT, _O, how="before"),
        CrashPoint("append:failed-and-cut", no_room, "truncate", CURRENT, _O),
        CrashPoint("append:failed-and-cut-flushed", no_room, "flush", CURRENT, _O),
    ]


def _archive() -> list[CrashPoint]:
    given, taken, shutdown = Given.ENDING, Given.TAKEN_NAMES, Given.SHUTDOWN
    return [
        CrashPoint("archive:footer-half-written", given, "write", CURRENT, _O, how="half"),
        CrashPoint("archive:footer-written", given, "write", CURRENT, _E),
        CrashPoint("archive:footer-flushed", given, "flush", CURRENT, _E),
        CrashPoint("archive:renamed", given, "rename", f"{ARCHIVED}/*", _E),
        CrashPoint("archive:folder-flushed", given, "sync_folder", ARCHIVED, _E),
        CrashPoint("archive:emptied", given, "open", CURRENT, _E, at=2),
        CrashPoint("archive:names-flushed", given, "sync_folder", DIALOGS, _E),
        CrashPoint("archive:unmarked", given, "remove", MARKER, _E),
        CrashPoint("rename:before-a-taken-name", taken, "rename", f"{ARCHIVED}/*", _E, how="before"),
        CrashPoint("rename:past-a-taken-name", taken, "rename", f"{ARCHIVED}/*", _E),
        CrashPoint("shutdown:footer-half-written", shutdown, "write", CURRENT, _O, how="half"),
        CrashPoint("shutdown:footer-flushed", shutdown, "flush", CURRENT, _E),
        CrashPoint("shutdown:renamed", shutdown, "rename", f"{ARCHIVED}/*", _E),
        CrashPoint("told:before-it-is-kept", Given.UNTOLD, "put", "*/users/{user}/.told", _E, how="before"),
        CrashPoint("told:kept", Given.UNTOLD, "put", "*/users/{user}/.told", _E),
    ]


def _recovery() -> list[CrashPoint]:
    torn, junk, footer, left = Given.TORN, Given.JUNK, Given.FOOTER, Given.LEFT_OPEN
    return [
        CrashPoint("recovery:torn-file-made", torn, "open", TORN, _O),
        CrashPoint("recovery:torn-half-copied", torn, "write", TORN, _O, how="half"),
        CrashPoint("recovery:torn-copied", torn, "write", TORN, _O),
        CrashPoint("recovery:torn-flushed", torn, "flush", TORN, _O),
        CrashPoint("recovery:torn-name-flushed", torn, "sync_folder", DIALOGS, _O),
        CrashPoint("recovery:cut", torn, "truncate", CURRENT, _O),
        CrashPoint("recovery:cut-flushed", torn, "flush", CURRENT, _O),
        CrashPoint("recovery:marked", torn, "open", MARKER, _O),
        CrashPoint("recovery:line-ended", Given.NO_LINE_END, "write", CURRENT, _O),
        CrashPoint("recovery:set-aside", junk, "rename", f"{DIALOGS}/current.unreadable-*", _N),
        CrashPoint("recovery:set-aside-emptied", junk, "open", CURRENT, _N),
        CrashPoint("recovery:set-aside-unmarked", junk, "remove", MARKER, _N),
        CrashPoint("recovery:found-flushed", footer, "flush", CURRENT, _E),
        CrashPoint("recovery:renamed", footer, "rename", f"{ARCHIVED}/*", _E),
        CrashPoint("recovery:archive-folder-flushed", footer, "sync_folder", ARCHIVED, _E),
        CrashPoint("recovery:archive-emptied", footer, "open", CURRENT, _E, at=2),
        CrashPoint("recovery:archive-unmarked", footer, "remove", MARKER, _E),
        CrashPoint("recovery:emptied-after-the-rename", Given.RENAMED, "open", CURRENT, _N),
        CrashPoint("recovery:unmarked-after-the-rename", Given.RENAMED, "remove", MARKER, _N),
        CrashPoint("adopt:footer-half-written", left, "write", CURRENT, _O, how="half"),
        CrashPoint("adopt:renamed", left, "rename", f"{ARCHIVED}/*", _E),
        CrashPoint("adopt:unmarked", left, "remove", MARKER, _E),
    ]


def _changes() -> list[CrashPoint]:
    restoring, deleting, importing = Given.RESTORING, Given.DELETING, Given.IMPORTING
    anew, archive = f"{ARCHIVED}/.anew", f"{ARCHIVED}/2*.yaml"
    marking = [
        point
        for of, given in (("name", Given.NAMING), ("pin", Given.PINNING))
        for point in (
            CrashPoint(f"{of}:file-made", given, "open", anew, _N),
            CrashPoint(f"{of}:half-written", given, "write", anew, _N, how="half"),
            CrashPoint(f"{of}:written", given, "write", anew, _N),
            CrashPoint(f"{of}:flushed", given, "flush", anew, _N),
            CrashPoint(f"{of}:renamed", given, "rename", archive, _N),
            CrashPoint(f"{of}:folder-flushed", given, "sync_folder", ARCHIVED, _N),
        )
    ]
    return [
        CrashPoint("restore:superseded-footer-flushed", restoring, "flush", CURRENT, _E),
        CrashPoint("restore:superseded-renamed", restoring, "rename", archive, _E),
        CrashPoint("restore:superseded-unmarked", restoring, "remove", MARKER, _E),
        CrashPoint("restore:marked", restoring, "open", MARKER, _E),
        CrashPoint("restore:marker-half-written", restoring, "write", MARKER, _E, how="half"),
        CrashPoint("restore:renamed", restoring, "rename", CURRENT, _E),
        CrashPoint("restore:name-flushed", restoring, "sync_folder", DIALOGS, _E, at=2),
        CrashPoint("restore:old-name-flushed", restoring, "sync_folder", ARCHIVED, _E, at=2),
        CrashPoint("restore:before-the-cut", restoring, "truncate", CURRENT, _E, how="before"),
        CrashPoint("restore:cut", restoring, "truncate", CURRENT, _O),
        CrashPoint("restore:cut-flushed", restoring, "flush", CURRENT, _O, at=2),
        *marking,
        CrashPoint("delete:before", deleting, "remove", archive, _N, how="before"),
        CrashPoint("delete:removed", deleting, "remove", archive, _N),
        CrashPoint("delete:folder-flushed", deleting, "sync_folder", ARCHIVED, _N),
        CrashPoint("import:marked", importing, "sync_folder", _OPEN_FOLDER, _N),
        CrashPoint("import:half-written", importing, "write", f"{anew}-0", _N, how="half"),
        CrashPoint("import:all-written", importing, "flush", f"{anew}-1", _N),
        CrashPoint("import:one-renamed", importing, "rename", archive, _N),
        CrashPoint("import:all-renamed", importing, "rename", archive, _N, at=2),
        CrashPoint("import:unmarked", importing, "remove", MARKER, _N),
    ]


CRASH_POINTS: Final = (*_begin(), *_append(), *_archive(), *_changes(), *_recovery())
