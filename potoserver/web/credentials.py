"""Tokens: for whom each stands, and for how long."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from structlog.typing import FilteringBoundLogger

from potoserver.clock import Clock
from potoserver.settings.model import AuthSettings, Settings, TokenOwner
from potoserver.users import User
from potoserver.web.signing import NotSignedError, SigningKey, TokenKey

DEVELOPMENT_TOKENS = {
    "test-token": TokenOwner(user="a1", roles=("user",)),
    "admin-token": TokenOwner(user="admin", roles=("user", "admin")),
}
"""Valid while nothing else is configured, and then for requests to loopback names alone."""

DEFAULT_ROLES = ("user",)
"""The roles of a JSON Web Token that names none."""

_LAST_S = 253_402_300_799
"""The end of the year 9999: no claimed time lies beyond, so none overflows a timer."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, as proven.

    Attributes:
        user: Who it is.
        expires_ms: When the proof ends: wall time, milliseconds since 1970 UTC; None for no end.
        credential: Names the token or the key behind the proof, without telling it: what is derived
            from it (a cookie, a ticket) ends when it is taken out of the settings.
    """

    user: User
    expires_ms: int | None
    credential: str


@dataclass(frozen=True, slots=True)
class _Key:
    """A key that others sign with."""

    tokens: TokenKey
    credential: str


class Credentials:
    """Verifies tokens against the settings.

    Args:
        settings: The tokens and keys, in `auth`.
        clock: Tells whether a token has expired.
        key: Names tokens and keys in cookies and tickets.
        logger: Told why a token is refused, at debug level; never the token.

    Raises:
        ValueError: The public key can't be used; the message begins with its setting.
    """

    def __init__(
        self, settings: Settings, clock: Clock, key: SigningKey, logger: FilteringBoundLogger
    ) -> None:
        self._clock = clock
        self._key = key
        self._logger = logger
        tokens = DEVELOPMENT_TOKENS if settings.development_tokens else settings.auth.tokens
        self._users = {_digest_of(token): _user_of(owner) for token, owner in tokens.items()}
        self._by_credential = {key.name("token", digest): user for digest, user in self._users.items()}
        self._keys = _keys_of(settings.auth, key)

    def verify(self, token: str) -> Identity | None:
        """For whom a token stands, or None when it is not valid."""
        # Looked up by hash: the time that takes tells nothing about a token.
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        user = self._users.get(digest)
        if user is not None:
            return Identity(user, None, self._key.name("token", digest))
        reason = "it is not in the settings"
        for key in self._keys:
            try:
                claims = key.tokens.decode(token)
            except NotSignedError as error:
                reason = str(error)
                continue
            try:
                return self._of_claims(claims, key.credential)
            except ValueError as error:
                reason = str(error)
                break
        self._logger.debug("token refused", reason=reason)
        return None

    def has_signed(self, token: str) -> bool:
        """Whether a token was signed with one of the keys, whatever it claims."""
        for key in self._keys:
            try:
                key.tokens.decode(token)
            except NotSignedError:
                continue
            return True
        return False

    def _of_claims(self, claims: dict[str, Any], credential: str) -> Identity:
        """Who the claims name: `sub`, `roles`, `name`, `email`; within `nbf` and `exp`.

        Raises:
            ValueError: A claim can't be used; the text says why, and quotes none.
        """
        try:
            expires_ms = _claimed_ms(claims.get("exp"))
            begins_ms = _claimed_ms(claims.get("nbf"))
            user = User.create(
                _text(claims.get("sub")),
                _text(claims.get("name", "")),
                _text(claims.get("email", "")),
                _texts(claims.get("roles", list(DEFAULT_ROLES))),
            )
        except ValueError:
            raise ValueError("a claim can't be used") from None
        now_ms = self._clock.wall_ms()
        if expires_ms is not None and expires_ms <= now_ms:
            raise ValueError("it has expired")
        if begins_ms is not None and begins_ms > now_ms:
            raise ValueError("it is not valid yet")
        return Identity(user, expires_ms, credential)

    def claims_of(self, identity: Identity) -> dict[str, Any]:
        """An identity as claims of a cookie or ticket of our own, for `restore`."""
        user = identity.user
        return {
            "sub": user.id,
            "name": user.name,
            "email": user.email,
            "roles": sorted(user.roles),
            "credential": identity.credential,
            "until_ms": identity.expires_ms,
        }

    def restore(self, claims: dict[str, Any]) -> Identity | None:
        """The identity that `claims_of` wrote down, if what it came from is still valid, else None.

        A user of the settings gets the roles that stand there now.
        """
        until_ms, credential = claims["until_ms"], claims["credential"]
        if until_ms is not None and until_ms <= self._clock.wall_ms():
            return None
        user = self._by_credential.get(credential)
        if user is not None:
            return Identity(user, until_ms, credential) if user.id == claims["sub"] else None
        if any(key.credential == credential for key in self._keys):
            user = User.create(claims["sub"], claims["name"], claims["email"], claims["roles"])
            return Identity(user, until_ms, credential)
        return None


def _digest_of(token: str) -> bytes:
    hashed = token.removeprefix("sha256:")
    return hashlib.sha256(token.encode()).digest() if hashed == token else bytes.fromhex(hashed)


def _user_of(owner: TokenOwner) -> User:
    return User.create(owner.user, owner.name, owner.email, owner.roles)


def _keys_of(settings: AuthSettings, key: SigningKey) -> list[_Key]:
    keys = []
    if settings.jwt_secret is not None:
        secret = settings.jwt_secret.get_secret_value().encode()
        keys.append(_Key(TokenKey(secret, "HS256"), key.name("jwt", secret)))
    if settings.jwt_public_key_file is not None:
        from potoserver.settings.public_key import read_public_key  # noqa: PLC0415 - brings cryptography

        try:
            public = read_public_key(settings.jwt_public_key_file)
        except ValueError as error:
            raise ValueError(f"auth.jwt_public_key_file: {error}") from None
        keys.append(_Key(TokenKey(public.key, public.algorithm), key.name("jwt", public.pem)))
    return keys


def _claimed_ms(value: Any) -> int | None:
    """A NumericDate (RFC 7519) in milliseconds."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("no number")  # noqa: TRY004 - a bad claim is one error, whatever is bad about it
    if not -_LAST_S <= value <= _LAST_S:  # nor is NaN within
        raise ValueError("no time")
    return int(value * 1000)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")  # noqa: TRY004 - as above
    value.encode()  # a lone surrogate has no UTF-8, and the error is a ValueError
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise ValueError("no list")  # noqa: TRY004 - as above
    return [_text(item) for item in value]
