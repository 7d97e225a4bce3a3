"""Where things lie under the data folder, and what an archive may be called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from potoserver import folder_name

_ARCHIVE_ID: Final = re.compile(r"(\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d)(?:-([2-9]|[1-9]\d{1,8}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class UserPaths:
    """One user's files.

    Attributes:
        folder: `users/<user>`.
        dialogs: `users/<user>/dialogs`.
        archived: `users/<user>/dialogs/archived`.
        current: The active dialog; zero bytes when there is none.
        marker: There while a dialog is open; recovery looks at markers only.
        told: The id of the archive that the user was last told of.
        lock: Where several nodes see the folder: locked while one of them is at the user's dialogs.
        anew: An archive's file while it is written anew, before it takes the old one's place.
    """

    folder: Path
    dialogs: Path
    archived: Path
    current: Path
    marker: Path
    told: Path
    lock: Path
    anew: Path

    def staged(self, number: int) -> Path:
        """Where one of several archives lies until all of them are written."""
        return self.archived / f"{self.anew.name}-{number}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The data folder.

    Attributes:
        root: The data folder itself.
    """

    root: Path

    @property
    def lock(self) -> Path:
        """Held by the process that owns the folder, or by all the nodes that share it."""
        return self.root / ".lock"

    @property
    def open(self) -> Path:
        """One marker for each open dialog."""
        return self.root / "open"

    @property
    def users(self) -> Path:
        """One folder for each user."""
        return self.root / "users"

    def folder(self, user_id: str) -> Path:
        """The folder of one user.

        Raises:
            ValueError: The id has no safe folder name.
        """
        return self.users / folder_name(user_id)

    def user(self, user_id: str) -> UserPaths:
        """The paths of one user.

        Raises:
            ValueError: The id has no safe folder name.
        """
        name = folder_name(user_id)
        dialogs = self.users / name / "dialogs"
        return UserPaths(
            folder=self.users / name,
            dialogs=dialogs,
            archived=dialogs / "archived",
            current=dialogs / "current.yaml",
            marker=self.open / name,
            told=self.users / name / ".told",
            lock=dialogs / ".lock",
            anew=dialogs / "archived" / ".anew",
        )


def user_of(name: str) -> str | None:
    """The user whom a folder or a marker of that name belongs to; None where it is no user's."""
    user_id = unquote(name, errors="replace")
    try:
        return user_id if folder_name(user_id) == name else None
    except ValueError:
        return None


def second_name(at_ms: int) -> str:
    """`2024-01-15-10-30-00` for milliseconds since 1970 UTC."""
    return _name_of(at_ms // 1000)


@lru_cache(maxsize=64)  # whoever leaves together is archived in the same second
def _name_of(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d-%H-%M-%S}"


def last_ms_of(archive_id: str) -> int:
    """The last millisecond, since 1970 UTC, that an archive's name stands for; 0 where it is no moment."""
    try:
        moment = datetime.strptime(archive_id[:19], "%Y-%m-%d-%H-%M-%S").replace(tzinfo=UTC)
    except ValueError:
        return 0
    return int(moment.timestamp()) * 1000 + 999


def archive_order(archive_id: str) -> tuple[str, int] | None:
    """Sorts archive ids by the second of the end, then by suffix; None for what is no archive id."""
    match = _ARCHIVE_ID.fullmatch(archive_id)
    return (match[1], int(match[2] or 1)) if match else None


def with_suffix(name: str, number: int) -> str:
    """The name that is tried as number 1, 2, …: `name`, `name-2`, …."""
    return name if number == 1 else f"{name}-{number}"
