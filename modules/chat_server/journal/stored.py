"""An archive as it is stored, for who reads many of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from .records import Dialog


@dataclass(frozen=True, slots=True)
class StoredArchive:
    """One archive, its bytes read and not understood yet.

    Attributes:
        id: Its id.
        data: Its file, whole; it may be anything, also another user's.
        dialog: What it holds, read from the bytes at each call; None where that is no archive of the user's.
    """

    id: str
    data: bytes
    dialog: Callable[[], Dialog | None]


Visit: TypeAlias = Callable[[StoredArchive], bool]
"""Is given one archive after the other, on a thread of the journal's; False ends it."""
