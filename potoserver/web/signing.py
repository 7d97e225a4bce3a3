"""The server's own key, and the tokens that it signs with it: cookies and tickets."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import jwt
from jwt.types import Options

KEY_FILE_NAME = ".signing-key"
KEY_BYTES = 32

UNCHECKED: Options = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_sub": False,
    "verify_jti": False,
}
"""Options for PyJWT: times are checked against the injected clock and claims by their users."""


class SigningKey:
    """Signs what the server hands out and will be shown again. The key outlives restarts.

    Args:
        secret: The key, 32 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def load(cls, data_dir: Path) -> SigningKey:
        """Reads `.signing-key`; makes it (mode 0600) at the first start.

        Raises:
            OSError: It can't be read or made.
            ValueError: It is there, but is no key.
        """
        path = data_dir / KEY_FILE_NAME
        if not path.exists():
            _create(path)
        secret = path.read_bytes()
        if len(secret) != KEY_BYTES:
            raise ValueError(
                f"{path} must have {KEY_BYTES} bytes, it has {len(secret)}; "
                "remove it for a new key (logins then have to be made again)"
            )
        return cls(secret)

    def sign(self, purpose: str, claims: dict[str, Any]) -> str:
        """A token (JWT, HS256) of these claims for one purpose."""
        return jwt.encode({**claims, "aud": purpose}, self._secret, algorithm="HS256")

    def verify(self, purpose: str, token: str) -> dict[str, Any] | None:
        """The claims of a token that this key signed for this purpose, whatever its time; else None."""
        try:
            return jwt.decode(token, self._secret, algorithms=["HS256"], audience=purpose, options=UNCHECKED)
        except jwt.PyJWTError:
            return None


def _create(path: Path) -> None:
    """Makes the file whole or not at all; another process may have been first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{KEY_FILE_NAME}-{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(fresh)  # unlike a rename, it never replaces a key that is in use
        except FileExistsError:
            return
    finally:
        fresh.unlink()
