"""Signed tokens as PyJWT checks them, with keys that were looked at once."""

from __future__ import annotations

import json
from typing import Any

from jwt import InvalidAudienceError, PyJWS
from jwt.algorithms import Algorithm, HMACAlgorithm, get_default_algorithms
from jwt.exceptions import DecodeError
from typing_extensions import override


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
        self._jws = PyJWS(algorithms=[])
        self._jws.register_algorithm(
            algorithm, _KnownSecret(known.hash_alg) if isinstance(known, HMACAlgorithm) else known
        )

    def claims_of(self, token: str, audience: str | None) -> dict[str, Any]:
        """The claims of a token that was signed with the key.

        Args:
            token: It.
            audience: Whom it must be for; None for a token that names nobody.

        Raises:
            jwt.PyJWTError: It was not signed with the key, or is for somebody else, or holds no claims.
        """
        payload = self._jws.decode(token, self._key, self._algorithms)
        try:
            claims = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise DecodeError("no JSON") from error
        if not isinstance(claims, dict):
            raise DecodeError("no claims")
        if (claims.get("aud") or None) != audience:
            raise InvalidAudienceError
        return claims
