"""The cookie of a login, for pages: what holds the token's place in a browser."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from potoserver.clock import Clock
from potoserver.web.credentials import Credentials, Identity
from potoserver.web.signing import SigningKey

COOKIE_NAME = "potoserver"
SECURE_COOKIE_NAME = "__Host-potoserver"
"""Behind TLS. A browser takes it from this host alone (RFC 6265bis, section 4.1.3): no neighbour under the
same domain, and nobody on the way of an unencrypted request, can log somebody in as himself."""
_PURPOSE = "login"


class LoginCookie:
    """Writes and reads the cookie of a login: signed by the server, out of reach of scripts.

    It is `Secure`, and has another name, where the request came by TLS, to us or, as `X-Forwarded-Proto`
    says, to a proxy. A client that makes this header up gets a cookie that its own browser won't send back;
    nothing more can come of it.

    Args:
        credentials: Tell whether what a login came from is still valid.
        key: Signs.
        clock: Tells the time of a login.
        lifetime_s: How long a login lasts, unless its token ends before.
    """

    def __init__(self, credentials: Credentials, key: SigningKey, clock: Clock, lifetime_s: int) -> None:
        self._credentials = credentials
        self._key = key
        self._clock = clock
        self._lifetime_s = lifetime_s

    def is_in(self, request: web.Request) -> bool:
        """Whether a request brings the cookie, valid or not."""
        return _name(request) in request.cookies

    def read(self, request: web.Request) -> Identity | None:
        """Who logged in, or None without a valid cookie. The identity ends with the login."""
        value = request.cookies.get(_name(request))
        claims = None if value is None else self._key.verify(_PURPOSE, value)
        return None if claims is None else self._credentials.restore(claims)

    def write(self, request: web.Request, response: web.Response, identity: Identity) -> None:
        """Logs the browser in."""
        now_ms = self._clock.wall_ms()
        until_ms = now_ms + self._lifetime_s * 1000
        if identity.expires_ms is not None:
            until_ms = min(until_ms, identity.expires_ms)
        claims = self._credentials.claims_of(identity) | {"until_ms": until_ms}
        value = self._key.sign(_PURPOSE, claims)
        max_age_s = max(1, (until_ms - now_ms) // 1000)
        response.set_cookie(_name(request), value, max_age=max_age_s, **_attributes(request))

    def clear(self, request: web.Request, response: web.Response) -> None:
        """Logs the browser out."""
        response.del_cookie(_name(request), **_attributes(request))


def _name(request: web.Request) -> str:
    return SECURE_COOKIE_NAME if _is_secure(request) else COOKIE_NAME


def _attributes(request: web.Request) -> dict[str, Any]:
    return {"path": "/", "httponly": True, "samesite": "Strict", "secure": _is_secure(request)}


def _is_secure(request: web.Request) -> bool:
    forwarded = request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower()
    return request.secure or forwarded == "https"
