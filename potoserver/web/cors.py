"""Whose pages may call: pages of this server, and of the origins in `cors.origins`."""

from __future__ import annotations

import re

from aiohttp import hdrs, web

_DEFAULT_PORTS = {"http": 80, "https": 443}
# No part of a URL but these, and nothing that a reader of URLs would pass over, such as tabs.
_AUTHORITY = r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\x00-\x20\x7f/?#@:\\\[\]]+)(?::(?P<port>[0-9]{1,5}))?"
_HOST = re.compile(_AUTHORITY)
_ORIGIN = re.compile(f"(?P<scheme>https?)://{_AUTHORITY}")
_METHODS = "GET, POST"
_REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-ID"
_RESPONSE_HEADERS = "Content-Disposition, Retry-After, X-Request-ID"
_PREFLIGHT_S = 600
_FETCH_SITE = "Sec-Fetch-Site"
_OWN_SITE = ("same-origin", "none")
"""`none` is what a person types."""


class Origins:
    """The rule for cross-origin requests.

    Args:
        allowed: Origins that may call, compared as text; empty for none but our own pages.
    """

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = frozenset(allowed)

    def trusts(self, request: web.Request) -> bool:
        """Whether the page behind a request may use the cookie; programs name no page.

        A browser names none either in a GET that the page can't read the answer of (an image's): there
        `Sec-Fetch-Site` tells (W3C Fetch Metadata), which no page can set.
        """
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None:
            return request.headers.get(_FETCH_SITE, _OWN_SITE[0]) in _OWN_SITE
        return origin in self._allowed or _is_same_host(origin, request.headers.get(hdrs.HOST, ""))

    def preflight(self, request: web.Request) -> web.Response | None:
        """The answer to a browser that asks first, or None for another request or an origin not allowed."""
        asks = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        if not asks or request.headers.get(hdrs.ORIGIN) not in self._allowed:
            return None
        headers = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: _METHODS,
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _REQUEST_HEADERS,
            hdrs.ACCESS_CONTROL_MAX_AGE: str(_PREFLIGHT_S),
        }
        return web.Response(status=204, headers=headers)

    def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Lets an allowed page read the response."""
        if not self._allowed:
            return
        response.headers[hdrs.VARY] = hdrs.ORIGIN
        origin = request.headers.get(hdrs.ORIGIN)
        if origin in self._allowed:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _RESPONSE_HEADERS


def _is_same_host(origin: str, host: str) -> bool:
    """Whether an origin is this host. Its scheme tells the default port alone: a proxy may have ended TLS."""
    of_origin, of_host = _ORIGIN.fullmatch(origin), _HOST.fullmatch(host)
    if of_origin is None or of_host is None or of_origin["name"].lower() != of_host["name"].lower():
        return False
    default = _DEFAULT_PORTS[of_origin["scheme"]]
    return int(of_origin["port"] or default) == int(of_host["port"] or default)
