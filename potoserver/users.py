"""Who a user is, and which ids are accepted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_FOLDER_NAME_BYTES = 200
"""File systems allow 255 bytes a name; the rest is for suffixes beside it."""

_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_@+.")
_SAFE_NAME = re.compile(rf"(?!\.)[a-z0-9_@+.-]{{1,{MAX_FOLDER_NAME_BYTES}}}(?<!\.)")
"""A name that is its own encoding, as nearly all are."""


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, or whose dialog it is.

    Attributes:
        id: The user's id: any non-empty text whose folder name fits, see `folder_name`.
        name: A name for people, or empty.
        email: An address, or empty.
        roles: What the user may do; `admin` opens the admin methods.
    """

    id: str
    name: str = ""
    email: str = ""
    roles: frozenset[str] = frozenset()

    @classmethod
    def create(cls, user_id: str, name: str = "", email: str = "", roles: Iterable[str] = ()) -> User:
        """Checks the id and makes a user.

        Raises:
            ValueError: The id can't be accepted; the message says why.
        """
        folder_name(user_id)
        return cls(user_id, name, email, frozenset(roles))


def folder_name(user_id: str) -> str:
    """The one name under which a user's files live.

    The id itself where that is safe, else percent-encoded. Capitals are encoded too, so ids that differ
    in case alone never share a folder on a file system that ignores case. A leading or trailing dot is
    encoded, so `.` and `..` are ordinary names.

    Args:
        user_id: The id, any text.

    Returns:
        A name of 1 to 200 ASCII bytes that holds no separator. Two ids never have the same one.

    Raises:
        ValueError: The id is empty, holds a lone surrogate, or its encoded name exceeds 200 bytes.
    """
    if _SAFE_NAME.fullmatch(user_id):
        return user_id
    if not user_id:
        raise ValueError("a user id must not be empty")
    try:
        raw = user_id.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a user id must not hold a lone surrogate") from None
    last = len(raw) - 1
    name = "".join(
        chr(byte) if byte in _SAFE and not (byte == 0x2E and position in (0, last)) else f"%{byte:02X}"
        for position, byte in enumerate(raw)
    )
    if len(name) > MAX_FOLDER_NAME_BYTES:
        raise ValueError(
            f"a user id must not exceed {MAX_FOLDER_NAME_BYTES} bytes once percent-encoded, "
            f"this one has {len(name)}"
        )
    return name
