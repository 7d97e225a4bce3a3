"""Whose pages may call: pages of this server, and of the origins in `cors.origins`."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import hdrs, web

_DEFAULT_PORTS = {"http": 80, "https": 443}
_METHODS = "GET, POST"
_REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-ID"
_RESPONSE_HEADERS = "Retry-After, X-Request-ID"
_PREFLIGHT_S = 600


class Origins:
    """The rule for cross-origin requests.

    Args:
        allowed: Origins that may call, compared as text; empty for none but our own pages.
    """

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = frozenset(allowed)

    def trusts(self, request: web.Request) -> bool:
        """Whether the page behind a request may use the cookie; without Origin there is no page."""
        origin = request.headers.get(hdrs.ORIGIN)
        return (
            origin is None
            or origin in self._allowed
            or _is_same_host(origin, request.headers.get(hdrs.HOST, ""))
        )

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
    try:
        of_origin = urlsplit(origin)
        of_host = urlsplit(f"//{host}")
        ports = of_origin.port, of_host.port
    except ValueError:
        return False
    default = _DEFAULT_PORTS.get(of_origin.scheme)
    if default is None or of_origin.hostname is None or of_origin.hostname != of_host.hostname:
        return False
    return (ports[0] or default) == (ports[1] or default)
