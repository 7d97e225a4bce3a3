"""Signed tokens as PyJWT checks them, with keys that were looked at once."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from jwt import InvalidAudienceError, InvalidSignatureError, PyJWS
from jwt.algorithms import Algorithm, HMACAlgorithm, get_default_algorithms
from jwt.exceptions import DecodeError
from typing_extensions import override

_HEADERS: Final = 16
"""So many different headers of good tokens are remembered: an issuer has one for each of its keys."""
_PADDING: Final = (b"", b"===", b"==", b"=")
"""What base64 wants behind a text, by its length over four."""


class _KnownSecret(HMACAlgorithm):
    """HMAC with a key that is known to be a secret.

    Its base class looks at each token whether the key is not a public one: a third of what a token takes.
    """

    @override
    def prepare_key(self, key: str | bytes) -> bytes:
        assert isinstance(key, bytes)
        return key

    @override
    def check_key_length(self, key: bytes) -> str | None:
        return None


class Verifier:
    """Checks tokens of one key. The algorithm follows from the key, never from the token.

    Times and most claims are left to who uses them: those go by the injected clock.

    PyJWT looks at each character of a token. So it is asked for all of a token whose header is new, and for
    one with the same header, letter by letter, as a good one before for the signature alone.

    Args:
        key: What PyJWT takes for a key of that algorithm.
        algorithm: `HS256`, `RS256` or `ES256`.

    Raises:
        jwt.InvalidKeyError: The key is none of that algorithm.
    """

    def __init__(self, key: Any, algorithm: str) -> None:
        known: Algorithm = get_default_algorithms()[algorithm]
        self._key = known.prepare_key(key)
        self._algorithms = [algorithm]
        self._algorithm = _KnownSecret(known.hash_alg) if isinstance(known, HMACAlgorithm) else known
        self._jws = PyJWS(algorithms=[])
        self._jws.register_algorithm(algorithm, self._algorithm)
        self._headers: set[str] = set()

    def claims_of(self, token: str, audience: str | None) -> dict[str, Any]:
        """The claims of a token that was signed with the key.

        Args:
            token: It, in the compact form.
            audience: Whom it must be for; None for a token that names nobody.

        Raises:
            jwt.PyJWTError: It was not signed with the key, or is for somebody else, or holds no claims.
        """
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        if header in self._headers:
            if not self._algorithm.verify(signed.encode(), self._key, _decoded(signature)):
                raise InvalidSignatureError
            content = _decoded(payload)
        else:
            content = self._jws.decode(token, self._key, self._algorithms)
            if len(self._headers) < _HEADERS:
                self._headers.add(header)
        try:
            claims = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DecodeError("no JSON") from error
        if not isinstance(claims, dict):
            raise DecodeError("no claims")
        if (claims.get("aud") or None) != audience:
            raise InvalidAudienceError
        return claims


def _decoded(text: str) -> bytes:
    """What a part of a token stands for; of several spellings of the same bytes one is right."""
    raw = text.encode()
    try:
        data = base64.urlsafe_b64decode(raw + _PADDING[len(raw) % 4])
    except ValueError as error:
        raise DecodeError("no base64") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=") != raw:
        raise DecodeError("not as base64 is written")
    return data
