"""`POST /{Module}/{method}`: calls of modules' methods."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from aiohttp import hdrs, web
from aiohttp_sse import EventSourceResponse, sse_response
from pydantic import BaseModel
from typing_extensions import override

from potoserver.clock import TimerHandle
from potoserver.core import Core
from potoserver.errors import FieldError, ProblemError
from potoserver.module.download import Download
from potoserver.module.rpc import Call, RpcMethod
from potoserver.web.auth import Authenticator, unauthorized
from potoserver.web.body import read_body, validate_body
from potoserver.web.call_runner import CallRunner
from potoserver.web.calls_at_once import CallsAtOnce
from potoserver.web.credentials import Identity
from potoserver.web.downloads import DownloadSender
from potoserver.web.elsewhere import CallsElsewhere
from potoserver.web.keys import ENDS_WITH_CALLER, REQUEST_ID, ROUTE
from potoserver.web.large_bodies import LargeBodies
from potoserver.web.methods import Methods
from potoserver.web.middleware import refuse_new_work
from potoserver.web.peer import StallWatch, hold_back_unsent, untaken_bytes
from potoserver.web.rate_limit import RateLimiter
from potoserver.web.reply import Failure, ReplyBuffer, ReplyOverflowError
from potoserver.web.reply_writer import ReplyWriter

EVENT_STREAM = "text/event-stream"
_IDEMPOTENCY_KEY = "Idempotency-Key"
_VISIBLE = re.compile(r"[!-~]{1,128}")
_NO_WEIGHT = re.compile(r"q=0(\.0{0,3})?")


class CallHandler:
    """Answers calls. Each runs in a task of the server's own: a caller that goes away stops nothing.

    Args:
        core: The parts of the server.
        authenticator: Tells who asks.
        limiter: How often a user may ask.
        methods: What can be called.
    """

    def __init__(
        self, core: Core, authenticator: Authenticator, limiter: RateLimiter, methods: Methods
    ) -> None:
        self._core = core
        self._authenticator = authenticator
        self._limiter = limiter
        self._methods = methods
        self._at_once = CallsAtOnce(core)
        self._large = LargeBodies(core)
        self._downloads = DownloadSender(core)
        self._runner = CallRunner(core)
        self._elsewhere = CallsElsewhere(core, methods)
        self._logger = core.logs.get("http")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one call."""
        module_name, wire_name = request.match_info["module"], request.match_info["method"]
        method = self._methods.find(module_name, wire_name)
        if method is not None:
            request[ROUTE] = f"/{module_name}/{wire_name}"
            if request.method != hdrs.METH_POST:
                raise web.HTTPMethodNotAllowed(request.method, [hdrs.METH_POST])
        elif request.method != hdrs.METH_POST:
            raise web.HTTPNotFound
        refuse_new_work(self._core)
        identity = await self._authenticator.identify(request)
        self._limiter.take(identity.user.id)
        if method is None:
            raise ProblemError(404, "There is no such method.")
        if method.roles and not method.roles & identity.user.roles:
            raise ProblemError(403, f"This needs the role {' or '.join(sorted(method.roles))}.")
        follows = method.streams and _wants_events(request)
        whole = method.streams and not (follows or method.endless)
        buffer = ReplyBuffer(self._core.settings.limits.outbox_bytes) if follows else None
        pass_on = buffer.pass_on if buffer is not None else None
        call = Call(identity.user, request[REQUEST_ID], _idempotency_key_of(request), whole, pass_on)
        release = self._at_once.take(identity.user.id)
        if method.body_bytes is not None:
            release = self._large.take(identity.user.id, release)
        try:
            arguments = await self._arguments(request, method)
            refuse_new_work(self._core)  # the body may have been long in coming
            running = await self._elsewhere.invoke(module_name, method, arguments, call)
        except BaseException:
            release()
            raise
        name = f"call {module_name}.{method.name}"
        if method.endless and buffer is not None:
            release()
            return await self._follow(request, running, buffer, name, call, identity)
        if buffer is not None:
            task = self._core.tasks.spawn(self._runner.pump(running, buffer, name, call), name)
            try:
                return await self._stream(request, buffer, call)
            finally:
                task.add_done_callback(lambda _: release())
        work = self._runner.first(running) if method.endless else self._runner.result(running)
        return await self._answer(request, work, name, call, release)

    async def _arguments(self, request: web.Request, method: RpcMethod) -> BaseModel:
        if method.body_bytes is not None:
            return await self._large.read(request, method.arguments, method.body_bytes)
        return validate_body(method.arguments, await read_body(request))

    # One result

    async def _answer(
        self,
        request: web.Request,
        work: Coroutine[Any, Any, str | Download],
        name: str,
        call: Call,
        release: Callable[[], None],
    ) -> web.StreamResponse:
        """Answers with what the work comes to; `release` counts the call out when that is sent."""
        task = self._core.tasks.spawn(self._runner.told(work, name, call), name)
        try:
            outcome: str | Download | ProblemError = await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda _: release())
            raise
        if isinstance(outcome, Download):
            try:
                return await self._downloads.send(request, outcome, call)
            finally:
                release()
        if isinstance(outcome, ProblemError):
            release()
            raise outcome
        return _Answer(outcome, release)

    # A stream

    async def _follow(
        self,
        request: web.Request,
        running: AsyncGenerator[Any, None],
        buffer: ReplyBuffer,
        name: str,
        call: Call,
        identity: Identity,
    ) -> web.StreamResponse:
        """Streams for as long as the reader is there, the token is good and the server runs."""
        core = self._core
        task: asyncio.Task[None] | None = None
        timers: list[TimerHandle] = []

        def end(problem: ProblemError) -> None:
            buffer.cut(Failure(problem))
            if task is not None:
                task.cancel()
            # What the reader is busy with, it may else take drop by drop for as long as it likes.
            timers.append(core.clock.call_later(core.settings.send_timeout_s, lambda: _abort(request)))

        def lose() -> None:
            self._logger.info("reply cut", request=call.request_id, user=call.user.id, cause="stalled")
            _abort(request)

        # Little may be written: a reader whose network is gone would not fill the kernel's buffers for hours.
        stall = StallWatch(core.clock, core.settings.send_timeout_s, lose)
        with core.endless.place(call.user.id, end):
            task = core.tasks.spawn(self._runner.pump(running, buffer, name, call), name)
            request[ENDS_WITH_CALLER] = True
            if request.transport is not None:
                hold_back_unsent(request.transport)
                stall.begin(lambda: _taken_bytes(request), lasting=True)
            if identity.expires_ms is not None:
                timers.append(
                    core.clock.call_at_wall(identity.expires_ms, lambda: end(unauthorized(given=True)))
                )
            try:
                return await self._stream(request, buffer, call)
            finally:
                task.cancel()
                stall.end()
                for timer in timers:
                    timer.cancel()

    async def _stream(self, request: web.Request, buffer: ReplyBuffer, call: Call) -> web.StreamResponse:
        settings = self._core.settings
        try:
            await self._await_first(buffer)
            if request.transport is None:
                raise ConnectionResetError("the caller has gone before the first word")
            async with sse_response(
                request,
                sep="\n",
                allow_all_methods=True,
                send_timeout=None,  # RequestHandler tells a reader that stalls from one that is slow
                ping_interval=settings.heartbeat_s,
            ) as response:
                await self._send(request, response, buffer, call)
            return response
        finally:
            buffer.close()

    async def _await_first(self, buffer: ReplyBuffer) -> None:
        """Waits for the first item, so that an error before it is an ordinary answer with its own status.

        Not for longer than a heartbeat: then the stream is opened, or a proxy would give up on it.
        """
        try:
            async with self._core.clock.timeout(self._core.settings.heartbeat_s):
                await buffer.wait()
        except TimeoutError:
            return
        if isinstance(buffer.ending, Failure):
            raise buffer.ending.problem

    async def _send(
        self, request: web.Request, response: EventSourceResponse, buffer: ReplyBuffer, call: Call
    ) -> None:
        """Sends the reply as it comes. Without its reader, or for one too slow, it ends without `done`."""
        is_cut = False

        def cut(cause: str) -> None:
            nonlocal is_cut
            is_cut = True
            self._logger.info("reply cut", request=call.request_id, user=call.user.id, cause=cause)
            _abort(request)

        writer = ReplyWriter(request, response, buffer, call.request_id)
        buffer.listen(writer.write_now, lambda: cut(ReplyOverflowError.__name__))
        try:
            await writer.write_all()
        except (ReplyOverflowError, ConnectionError, TimeoutError) as error:
            if not is_cut:
                cut(type(error).__name__)


class _Answer(web.Response):
    """A result on its way to the caller. Its call is in flight until it is sent, or can't be any more."""

    def __init__(self, result: str, release: Callable[[], None]) -> None:
        self._release = release
        super().__init__(text=result, content_type="application/json")

    @override
    async def write_eof(self, data: bytes = b"") -> None:
        try:
            await super().write_eof(data)
        finally:
            self._release()

    def __del__(self) -> None:
        self._release()  # nobody could send it


def _taken_bytes(request: web.Request) -> int | None:
    """How much of the answer its reader's kernel has; None when all of it."""
    untaken = 0 if request.transport is None else untaken_bytes(request.transport)
    return request.writer.output_size - untaken if untaken else None


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _idempotency_key_of(request: web.Request) -> str | None:
    keys = request.headers.getall(_IDEMPOTENCY_KEY, ())
    if not keys:
        return None
    if len(keys) > 1 or not _VISIBLE.fullmatch(keys[0]):
        expected = "must be one value of 1 to 128 visible ASCII characters"
        raise ProblemError(
            422, "The Idempotency-Key is not valid.", errors=[FieldError(_IDEMPOTENCY_KEY, expected)]
        )
    return keys[0]


def _wants_events(request: web.Request) -> bool:
    """Whether `Accept` names event streams; `*/*` does not, it is what plain clients send."""
    for header in request.headers.getall(hdrs.ACCEPT, ()):
        for part in header.split(","):
            media_type, *parameters = (each.strip().lower() for each in part.split(";"))
            if media_type == EVENT_STREAM and not any(map(_NO_WEIGHT.fullmatch, parameters)):
                return True
    return False
