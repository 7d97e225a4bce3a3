"""What happens around every request: its id, its errors, its metrics, its log line, whose page may call."""

from __future__ import annotations

import ipaddress
import re
import secrets
import time
from collections.abc import Iterator

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import Histogram

from potoserver.core import Core
from potoserver.errors import ProblemError
from potoserver.ids import HEX_32, Ids
from potoserver.web.cors import Origins
from potoserver.web.keys import REQUEST_ID, ROUTE, USER_ID
from potoserver.web.problems import problem_of, problem_response, unforeseen

REQUEST_ID_HEADER = "X-Request-ID"
UNKNOWN_ROUTE = "unknown"
"""The name of what answers where there is nothing, in metrics too."""

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[^:\[\]]+))(?::[0-9]*)?")
_CONTINUE = "100-continue"
_MAX_LOGGED_PATH = 200
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    hdrs.CACHE_CONTROL: "no-store",
}
"""For every answer that does not say otherwise."""


def observe(core: Core) -> Middleware:
    """The outermost layer: gives the request its id, turns errors into problem documents, counts and logs."""
    logger = core.logs.get("http")
    logs_requests = core.logs.is_debug("http")
    body_bytes = core.settings.limits.body_bytes
    ids = Ids(HEX_32)
    observers: dict[tuple[str, str, int], Histogram] = {}
    """Of the metric's labels, from closed sets, looked up once."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get(REQUEST_ID_HEADER, "")
        request_id = given if _SANE_REQUEST_ID.fullmatch(given) else ids.next()
        request[REQUEST_ID] = request_id
        started = time.perf_counter()
        status = 499  # the client went away, as nginx has it
        try:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                status = error.status
                if status < 400:
                    raise
                problem = problem_of(error, body_bytes) or unforeseen()
                response = problem_response(problem, request_id)
            except Exception as error:
                foreseen = problem_of(error, body_bytes)
                problem = foreseen or unforeseen()
                if foreseen is None:
                    if isinstance(error, ConnectionError) and _is_gone(request):
                        return problem_response(problem, request_id)  # to nobody
                    logger.exception("request failed", request=request_id, path=_path(request))
                response = problem_response(problem, request_id)
            status = response.status
            if status == 429:
                core.alarms.set("rate-limited", lapses=True)
            return response
        finally:
            seconds = time.perf_counter() - started
            method = request.method if request.method in _METHODS else "other"
            labels = (_route(request), method, status)
            observer = observers.get(labels)
            if observer is None:
                observer = observers[labels] = core.metrics.request_seconds.labels(*map(str, labels))
            observer.observe(seconds)
            if logs_requests:
                logger.debug(
                    "request",
                    request=request_id,
                    method=method,
                    path=_path(request),
                    status=status,
                    ms=round(seconds * 1000, 1),
                    user=request.get(USER_ID),
                )

    return middleware


@web.middleware
async def check_expectation(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses what a client expects beyond `100-continue` (RFC 9110, section 10.1.1)."""
    if expects_too_much(request):
        raise web.HTTPExpectationFailed
    return await handler(request)


def expects_too_much(request: web.BaseRequest) -> bool:
    """Whether a client expects what nobody can meet."""
    return request.headers.get(hdrs.EXPECT, _CONTINUE).lower() != _CONTINUE


async def send_continue(request: web.Request) -> None:
    """Tells a client that waits for it to send its body.

    aiohttp calls this before any middleware. Any other expectation is left to `check_expectation`, so that
    its refusal gets an id and a log line like any answer.
    """
    if request.version >= (1, 1) and request.headers[hdrs.EXPECT].lower() == _CONTINUE:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


@web.middleware
async def loopback_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Serves requests to loopback names from this machine alone.

    With the well-known development tokens, a page on any site could else reach the server by a name of its
    own that it makes resolve to 127.0.0.1, and anybody by a proxy on this machine that is open to others.
    """
    hosts = request.headers.getall(hdrs.HOST, ())
    if len(hosts) != 1 or not is_loopback(hosts[0]) or not all(map(is_loopback, _forwarded_for(request))):
        raise ProblemError(
            403,
            "With the development tokens this server answers to localhost alone. Configure auth.tokens, "
            "auth.jwt_secret or auth.jwt_public_key_file to serve others.",
        )
    return await handler(request)


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine: `localhost`, 127.0.0.0/8 or `::1`.

    Not `*.localhost`: some resolvers ask the network for it.
    """
    match = _HOST.fullmatch(host)
    name = host if match is None else match["v6"] or match["name"]
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _forwarded_for(request: web.Request) -> Iterator[str]:
    """The clients that proxies name, in `X-Forwarded-For` and in `Forwarded` (RFC 7239)."""
    for header in request.headers.getall(hdrs.X_FORWARDED_FOR, ()):
        yield from filter(None, map(str.strip, header.split(",")))
    for header in request.headers.getall(hdrs.FORWARDED, ()):
        for pair in header.replace(",", ";").split(";"):
            name, _, value = pair.partition("=")
            if name.strip().lower() == "for":
                yield value.strip().strip('"')


def cross_origin(origins: Origins) -> Middleware:
    """Answers browsers that ask whether a page of another origin may call."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        return origins.preflight(request) or await handler(request)

    return middleware


async def add_headers(request: web.Request, response: web.StreamResponse, origins: Origins) -> None:
    """Adds what every answer carries; also to streams, whose headers go out before their handler ends."""
    response.headers[hdrs.SERVER] = "potoserver"
    # aiohttp answers `OPTIONS *` with an expectation by itself, before `observe` gives it an id.
    response.headers[REQUEST_ID_HEADER] = request.get(REQUEST_ID) or new_request_id()
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    origins.add_headers(request, response)


def refuse_new_work(core: Core) -> None:
    """Raises while the server is starting or on its way out.

    Raises:
        ProblemError: 503 with `Retry-After`.
    """
    if not core.ready:
        state = "stopping" if core.draining else "starting"
        raise ProblemError(503, f"The server is {state}; try again in a moment.", retry_after_s=1)


def new_request_id() -> str:
    """A new id for a request that brings none."""
    return secrets.token_hex(16)


def _route(request: web.Request) -> str:
    """The route's name, of a closed set: what a caller made up never becomes a label."""
    known: str | None = request.get(ROUTE)
    if known is not None:
        return known
    resource = request.match_info.route.resource
    return UNKNOWN_ROUTE if resource is None else resource.name or resource.canonical


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _path(request: web.Request) -> str:
    """Without the query: a ticket may stand there."""
    return request.path[:_MAX_LOGGED_PATH]
