"""The server's own key, and the tokens that it signs with it: cookies and tickets."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structlog.typing import FilteringBoundLogger

if TYPE_CHECKING:
    from potoserver.web.jws import Verifier

KEY_FILE_NAME = ".signing-key"
KEY_BYTES = 32

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""A signed token (RFC 7515, section 3.1). A header may hold anything, bytes that are no UTF-8 too."""


class NotSignedError(Exception):
    """A text is no token that was signed with a key; the message says why, and quotes nothing of it."""


class TokenKey:
    """A key that tokens are signed with. The algorithm follows from the key, never from the token.

    Args:
        key: What PyJWT takes for a key of that algorithm.
        algorithm: `HS256`, `RS256` or `ES256`.
    """

    def __init__(self, key: Any, algorithm: str) -> None:
        self._key = key
        self._algorithm = algorithm

    @cached_property
    def _verifier(self) -> Verifier:
        # With cryptography a twelfth of a start, and not every server sees such a token.
        from potoserver.web.jws import Verifier  # noqa: PLC0415

        return Verifier(self._key, self._algorithm)

    def decode(self, token: str, audience: str | None = None) -> dict[str, Any]:
        """The claims of a token that was signed with the key, whatever its time.

        Raises:
            NotSignedError: It is none, or for another audience.
        """
        if not _COMPACT.fullmatch(token):
            raise NotSignedError("not in the compact form")
        import jwt  # noqa: PLC0415 - as above

        try:
            return self._verifier.claims_of(token, audience)
        except jwt.PyJWTError as error:
            raise NotSignedError(type(error).__name__) from None  # its text may quote the token


class SigningKey:
    """Signs what the server hands out and will be shown again. The key outlives restarts.

    Args:
        secret: The key, 32 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._tokens = TokenKey(secret, "HS256")

    @classmethod
    def load(cls, data_dir: Path, logger: FilteringBoundLogger) -> SigningKey:
        """Reads `.signing-key`; makes it (mode 0600) at the first start.

        Args:
            data_dir: Where it is.
            logger: Told when others could read it: whoever did can log in as anybody.

        Raises:
            OSError: It can't be read or made.
            ValueError: It is there, but is no key.
        """
        path = data_dir / KEY_FILE_NAME
        if not os.path.lexists(path):
            _create(path)
        # A link is not followed, and a pipe does not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size != KEY_BYTES:
                raise ValueError(
                    f"{path} must have {KEY_BYTES} bytes, it has {found.st_size}; "
                    "remove it for a new key (logins then have to be made again)"
                )
            if stat.S_IMODE(found.st_mode) & 0o077:
                mode = f"{stat.S_IMODE(found.st_mode):o}"
                logger.warning("signing key could be read by others", file=str(path), mode=mode)
                with suppress(OSError):  # a file system without permissions
                    os.fchmod(descriptor, 0o600)
            return cls(os.read(descriptor, KEY_BYTES))
        finally:
            os.close(descriptor)

    def name(self, kind: str, secret: bytes) -> str:
        """Names a secret. Without this key nobody can tell whether a guess at the secret is right."""
        own = hmac.digest(self._secret, b"potoserver names", "sha256")
        return f"{kind}:{hmac.digest(own, kind.encode() + b' ' + secret, 'sha256').hex()[:32]}"

    def sign(self, purpose: str, claims: dict[str, Any]) -> str:
        """A token (JWT, HS256) of these claims for one purpose."""
        import jwt  # noqa: PLC0415 - see `TokenKey`

        return jwt.encode({**claims, "aud": purpose}, self._secret, algorithm="HS256")

    def verify(self, purpose: str, token: str) -> dict[str, Any] | None:
        """The claims of a token that this key signed for this purpose, whatever its time; else None."""
        try:
            return self._tokens.decode(token, purpose)
        except NotSignedError:
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
