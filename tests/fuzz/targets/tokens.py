"""Proofs of who asks: bearer tokens, claims that others signed, cookies and tickets of our own."""

from __future__ import annotations

import base64
import hmac
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from potoserver.logs import Logs
from potoserver.settings.model import LogSettings, Settings
from potoserver.settings.public_key import read_public_key
from potoserver.web.credentials import Credentials, Identity
from potoserver.web.signing import SigningKey
from tests.fuzz.target import Target, header_text
from tests.support.clock import ManualClock

SECRET = "a secret of sixty-four bytes, so that no algorithm finds it short"
_KEY = SigningKey(b"k" * 32)
_CREDENTIALS = Credentials(
    Settings.model_validate({"auth": {"jwt_secret": SECRET, "tokens": {"t": {"user": "ann"}}}}),
    ManualClock(),
    _KEY,
    Logs(LogSettings(), None, None).get("auth"),
)
_HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
_FOLDER = TemporaryDirectory()


def signed(payload: bytes, secret: bytes = SECRET.encode()) -> str:
    """A token with any payload at all, rightly signed."""
    start = _HEADER + b"." + base64.urlsafe_b64encode(payload).rstrip(b"=")
    mac = base64.urlsafe_b64encode(hmac.digest(secret, start, "sha256")).rstrip(b"=")
    return (start + b"." + mac).decode()


def check_token(data: bytes) -> None:
    """What nobody signed is nobody's."""
    text = header_text(data)
    found = _CREDENTIALS.verify(text)
    assert found is None if text != "t" else found is not None
    for purpose in ("login", "ticket"):
        assert _KEY.verify(purpose, text) is None


def check_claims(data: bytes) -> None:
    """Claims that were signed make a user, or they are refused; they come back from a cookie as they were."""
    found = _CREDENTIALS.verify(signed(data))
    if found is None:
        return
    claims = json.loads(data)
    assert found.user.id == claims["sub"]
    assert set(claims.get("roles", ["user"])) == found.user.roles
    kept = _KEY.sign("login", _CREDENTIALS.claims_of(found))
    restored = _KEY.verify("login", kept)
    assert restored is not None
    again = _CREDENTIALS.restore(restored)
    assert again == Identity(found.user, found.expires_ms, found.credential)


def check_forgery(data: bytes) -> None:
    """A cookie or ticket in which anything was changed is none, nor is one for another purpose."""
    good = _KEY.sign("login", {"a": 1})
    assert _KEY.verify("ticket", good) is None
    changed = bytearray(good.encode())
    for position, change in zip(data[::2], data[1::2], strict=False):
        changed[position % len(changed)] ^= change
    text = header_text(bytes(changed))
    assert (_KEY.verify("login", text) is not None) == (text == good)


def check_public_key(data: bytes) -> None:
    """A file is a key that may be used, or it is refused in words."""
    path = Path(_FOLDER.name) / "key.pem"
    path.write_bytes(data)
    try:
        found = read_public_key(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert found.algorithm in ("RS256", "ES256")


TARGETS = (
    Target(
        "token",
        check_token,
        (
            b"t",
            b"",
            signed(b'{"sub": "eve"}', b"another secret of thirty-two bytes").encode(),
            b"a.b.c",
            b"\xff",
            b"a.b.\xff",
            base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=") + b".e30.",
            base64.urlsafe_b64encode(b"[" * 3000).rstrip(b"=") + b".e30.AAAA",
            base64.urlsafe_b64encode(b'{"alg":"HS256","crit":["b64"],"b64":false}').rstrip(b"=") + b"..AAAA",
        ),
    ),
    Target(
        "claims",
        check_claims,
        (
            b'{"sub": "eve"}',
            b'{"sub": "eve", "name": "E", "email": "e@example.org", "roles": ["admin"], "exp": 1905313523}',
            b'{"sub": "eve", "nbf": 1605313523.5, "iat": "x", "jti": 5, "iss": []}',
            b'{"sub": "eve", "exp": 1e308}',
            b'{"sub": "eve", "exp": NaN}',
            b'{"sub": "\\ud800"}',
            b'{"sub": "eve", "aud": [{}]}',
            b'{"sub": "eve", "roles": [["a"]]}',
            b"[" * 3000,
            b"null",
            b"\xff",
            b'{"sub": "eve", "exp": ' + b"9" * 4400 + b"}",
        ),
    ),
    Target("forgery", check_forgery, (b"", b"\0\0", b"\0\x01", b"\xff\x80", b"\x30\x20\x50\x20")),
    Target(
        "public-key",
        check_public_key,
        (
            b"",
            b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
            b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            b"-----BEGIN RSA PUBLIC KEY-----\nMAYCAQACAQA=\n-----END RSA PUBLIC KEY-----\n",
        ),
    ),
)
