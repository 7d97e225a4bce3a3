"""Answers that are files: sent as they are made, and never taken for whole when they are not."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext

from aiohttp import HttpVersion11, hdrs, web

from potoserver.core import Core
from potoserver.module.download import Download
from potoserver.module.rpc import Call
from potoserver.tasks import contained
from potoserver.web.keys import ENDS_WITH_CALLER
from potoserver.web.peer import reset_when_closed
from potoserver.web.problems import problem_of


class DownloadSender:
    """Sends the downloads that methods return.

    Each chunk is asked for when the kernel has the one before it, so a slow caller slows the making down and
    nothing gathers here. Who takes nothing for `send_timeout_s` is cut, as for any answer (`RequestHandler`).

    Args:
        core: The parts of the server.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._logger = core.logs.get("http")

    async def send(self, request: web.Request, download: Download, call: Call) -> web.StreamResponse:
        """Sends a download. The caller's going cancels this, and so does the stop of the server.

        Raises:
            Exception: What the chunks raised before the first one came.
            ConnectionResetError: The caller has gone before.
        """
        chunks = download.chunks
        async with aclosing(chunks) if isinstance(chunks, AsyncGenerator) else nullcontext():
            request[ENDS_WITH_CALLER] = True
            if request.transport is None:
                raise ConnectionResetError("the caller has gone before the first byte")
            chunk = await contained(anext(chunks, None))
            headers = {
                hdrs.CONTENT_TYPE: download.content_type,
                hdrs.CONTENT_DISPOSITION: download.content_disposition,
            }
            response = web.StreamResponse(headers=headers)
            # Where the end of the connection is the end of the file, only a reset tells it from a failure.
            unmarked = request.version < HttpVersion11
            if unmarked:
                _reset_when_closed(request, on=True)
            await response.prepare(request)
            try:
                while chunk is not None:
                    if chunk:
                        await response.write(chunk)
                    chunk = await contained(anext(chunks, None))
                if unmarked:
                    _reset_when_closed(request, on=False)
                await response.write_eof()
            except BaseException as error:
                self._cut(request, call, error)
                if not isinstance(error, Exception):
                    raise
            return response

    def _cut(self, request: web.Request, call: Call, error: BaseException) -> None:
        """Breaks the transfer off: without the last chunk of its encoding no client takes it for whole."""
        if request.transport is not None:
            request.transport.abort()
        about = {"request": call.request_id, "user": call.user.id}
        problem = problem_of(error, self._core.settings.limits.body_bytes)
        if problem is None and not isinstance(error, ConnectionError):
            self._logger.error("download failed", **about, exc_info=error)
        else:
            self._logger.info("download cut", **about, cause=type(error).__name__, why=str(error))


def _reset_when_closed(request: web.Request, *, on: bool) -> None:
    if request.transport is not None:
        reset_when_closed(request.transport, on=on)
