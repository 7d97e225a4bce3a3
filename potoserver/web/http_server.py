"""aiohttp's side of a connection, with what it leaves open: a count, stalled readers, errors as ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import HttpVersion10, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from typing_extensions import override

from potoserver.core import Core
from potoserver.errors import ProblemError
from potoserver.web.keys import ENDS_WITH_CALLER, REQUEST_ID, USER_ID
from potoserver.web.middleware import HEADERS, REQUEST_ID_HEADER, expects_too_much, new_request_id
from potoserver.web.peer import StallWatch, untaken_bytes
from potoserver.web.problems import problem_of, problem_response, unforeseen

NOT_HTTP = "This is no HTTP request that the server understands."
_TOO_MANY = "Too many headers"
"""What aiohttp's parser says of more than 128; it has no error of its own for that."""
SETTLED_S = 1.0
"""After so long without a whole request, or with a body of a stranger's, a connection may make room."""
HEAD_TOO_LARGE = "A line of the request's head is too long, or it has too many."


class HttpServer(web.Server):
    """The connections that aiohttp serves: all but event streams, which have been let go of.

    Args:
        core: The parts of the server.
        runner: Set up; its application answers.
        keepalive_timeout_s: How long a connection may be idle.
        lingering_s: How long the rest of a body is taken in that an answer did not wait for.
    """

    def __init__(
        self, core: Core, runner: web.AppRunner, *, keepalive_timeout_s: float, lingering_s: float
    ) -> None:
        application = runner.server
        assert application is not None, "the runner is set up"
        self._answer: Callable[..., Awaitable[web.StreamResponse]] = application.request_handler
        super().__init__(self._answer_as_busy, request_factory=application.request_factory)
        self._core = core
        self._options: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": keepalive_timeout_s,
            "lingering_time": lingering_s,
            # Else also a body that nobody asked for is unpacked, without a turn for anybody else meanwhile.
            "auto_decompress": False,
        }
        self.count = 0
        """How many connections there are."""

    @override
    def __call__(self) -> RequestHandler:
        return RequestHandler(self._core, self, **self._options)

    async def _answer_as_busy(self, request: web.BaseRequest) -> web.StreamResponse:
        handler = request.protocol
        assert isinstance(handler, RequestHandler)
        if request.version < HttpVersion10:
            return handler.handle_error(request, 400)  # of a time before headers, the Host included
        if not request.path.startswith("/") and expects_too_much(request):
            # `OPTIONS *` and CONNECT have no route: aiohttp would refuse this before any middleware sees it.
            return handler.handle_error(request, 417, web.HTTPExpectationFailed())
        handler.request = request
        try:
            return await self._answer(request)
        finally:
            handler.request = None

    @override
    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        self.count += 1
        super().connection_made(handler, transport)

    @override
    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        if not (isinstance(handler, RequestHandler) and handler.closed_as_idle):
            self.count -= 1
        super().connection_lost(handler, exc)

    def close_idle(self, most: int) -> int:
        """Closes connections that nobody is served on, the oldest first, and counts them out; how many."""
        idle = [each for each in self.connections if isinstance(each, RequestHandler) and each.idle][:most]
        for handler in idle:
            handler.closed_as_idle = True
            self.count -= 1
            handler.force_close()
        return len(idle)


class RequestHandler(web.RequestHandler):
    """One connection of aiohttp's.

    aiohttp bounds how long a client may be silent, not how long one may leave an answer unread; and what it
    can't parse it answers in plain text that names its version.
    """

    __slots__ = ("_core", "_heard_s", "_stall", "closed_as_idle", "request")

    def __init__(self, core: Core, server: HttpServer, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._core = core
        self._stall: StallWatch | None = None
        self._heard_s = core.clock.monotonic_s()
        self.request: web.BaseRequest | None = None
        """The one that is being answered."""
        self.closed_as_idle = False

    @property
    def idle(self) -> bool:
        """Whether nobody is served on it: it waits for a request, or for a body of it is not known whom.

        What came a moment ago may be a request that nobody has looked at yet.
        """
        transport = self.transport
        if transport is None or transport.get_write_buffer_size() or transport.is_closing():
            return False
        if self._core.clock.monotonic_s() - self._heard_s < SETTLED_S:
            return False
        return self.request is None or not (USER_ID in self.request or self.request.content.is_eof())

    @override
    def data_received(self, data: bytes) -> None:
        if self.request is None:
            self._heard_s = self._core.clock.monotonic_s()
        super().data_received(data)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # An answer is not done until the kernel has all of it. A rest that asyncio would keep in silence
        # would keep the connection open too, for ever: closing it waits for the reader.
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=0)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        transport = self.transport
        if transport is None:
            return
        if self._stall is None:
            self._stall = StallWatch(self._core.clock, self._core.settings.send_timeout_s, self._cut)
        self._stall.begin(lambda: -untaken_bytes(transport) or None)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_watch()

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self._end_watch()
        request = self.request
        super().connection_lost(exc)
        if request is not None and request.get(ENDS_WITH_CALLER) and request.task is not None:
            request.task.cancel()

    def _end_watch(self) -> None:
        if self._stall is not None:
            self._stall.end()

    def _cut(self) -> None:
        """Nobody has read any of the answer for too long."""
        self._core.alarms.set("slow-readers", lapses=True)
        if self.transport is not None:
            self.transport.abort()

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers what can't be parsed, and what escaped the middleware, with a problem document."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        problem = unforeseen()
        if isinstance(exc, LineTooLong) or _TOO_MANY in str(exc):
            problem = ProblemError(431, HEAD_TOO_LARGE)
        elif isinstance(exc, web.HTTPExpectationFailed):
            problem = problem_of(exc, self._core.settings.limits.body_bytes) or problem
        elif isinstance(exc, HttpProcessingError) or status < 500:
            problem = ProblemError(400, NOT_HTTP)
        else:
            self._core.logs.get("http").error("request failed", error=repr(exc), exc_info=exc)
        refused(self._core, problem, request.remote)
        request_id = request[REQUEST_ID] = new_request_id()
        response = problem_response(problem, request_id)
        response.headers.update({"Server": "potoserver", REQUEST_ID_HEADER: request_id} | HEADERS)
        response.force_close()
        return response


def refused(core: Core, problem: ProblemError, remote: str | None) -> None:
    """Counts and logs a request that no route ever saw."""
    core.metrics.requests_refused.labels(str(problem.status)).inc()
    core.logs.get("http").debug(
        "request refused", status=problem.status, detail=problem.detail, remote=remote
    )
