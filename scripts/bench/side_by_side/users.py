"""The users of a run, each with a JSON Web Token."""

from __future__ import annotations

import time
from pathlib import Path

import jwt

SECRET = "a secret of the benchmark's, which guards nothing at all"  # noqa: S105 - indeed it guards nothing
_VALID_S = 6 * 60 * 60


def name_of(number: int) -> str:
    """A user's id."""
    return f"u{number:05}"


def write_users(file: Path, count: int) -> None:
    """Writes a line for each user: the id, and a token that holds for the run."""
    expires_s = int(time.time()) + _VALID_S
    lines = []
    for number in range(count):
        name = name_of(number)
        claims = {"sub": name, "roles": ["user", "admin"], "exp": expires_s}
        lines.append(f"{name} {jwt.encode(claims, SECRET, 'HS256')}\n")
    file.write_text("".join(lines))
