"""The public key of `auth.jwt_public_key_file`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

_MIN_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that others sign with.

    Attributes:
        key: The key.
        algorithm: The one algorithm that it is for: `RS256` or `ES256`.
        pem: What the file holds.
    """

    key: RSAPublicKey | EllipticCurvePublicKey
    algorithm: str
    pem: bytes


def read_public_key(path: Path) -> PublicKey:
    """Reads a key in PEM.

    Raises:
        ValueError: The file can't be read, or holds no key that may be used; the message names the file.
    """
    try:
        pem = path.read_bytes()
        key = load_pem_public_key(pem)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, RSAPublicKey) and key.key_size >= _MIN_RSA_BITS:
        return PublicKey(key, "RS256", pem)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return PublicKey(key, "ES256", pem)
    raise ValueError(
        f"expected a public key in PEM, RSA of {_MIN_RSA_BITS} bits or more or EC on P-256; {path} is none"
    )
