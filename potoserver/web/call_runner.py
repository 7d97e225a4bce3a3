"""Running a method: to its end, whoever reads, and its failure as the caller is told it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any

from aiohttp import web

from potoserver.core import Core
from potoserver.errors import ProblemError
from potoserver.module.download import Download
from potoserver.module.rpc import Call, Done
from potoserver.module.wire import encode_result
from potoserver.web.problems import problem_of, unforeseen
from potoserver.web.reply import End, Failure, ReplyBuffer

_FAILURES = (Exception, asyncio.CancelledError, SystemExit)
"""All that a method may end with: the caller is told, and the call is counted out."""


class CallRunner:
    """Runs what `RpcMethod.invoke` gave.

    Args:
        core: The parts of the server.
    """

    def __init__(self, core: Core) -> None:
        self._limits = core.settings.limits
        self._logger = core.logs.get("http")

    async def told(
        self, work: Coroutine[Any, Any, str | Download], name: str, call: Call
    ) -> str | Download | ProblemError:
        """A result, or a failure as the caller is told it: it isn't one of a task that nobody awaits."""
        try:
            return await work
        except _FAILURES as error:
            return self.problem_of(error, name, call)

    @staticmethod
    async def result(running: Coroutine[Any, Any, Any]) -> str | Download:
        """A method's one result, as JSON or as the file that it is."""
        result = await running
        return result if isinstance(result, Download) else encode_result(result)

    async def gather(self, running: AsyncGenerator[Any, None]) -> str:
        """The result that a stream ends with, or the list of its items."""
        items: list[str] = []
        size = 0
        result: str | None = None
        limit = self._limits.outbox_bytes
        async with aclosing(running):
            async for item in running:
                if isinstance(item, Done):
                    result = encode_result(item.result)
                elif size <= limit:
                    items.append(encode_result(item))
                    size += len(items[-1])
        if result is not None:
            return result
        if size > limit:
            raise ProblemError(500, "The result is too long for one answer; send Accept: text/event-stream.")
        return f"[{','.join(items)}]"

    @staticmethod
    async def first(running: AsyncGenerator[Any, None]) -> str:
        """The list of a stream's first item, for who does not stay to look."""
        async with aclosing(running):
            async for item in running:
                return f"[{encode_result(item)}]"
        return "[]"

    async def pump(
        self, running: AsyncGenerator[Any, None], buffer: ReplyBuffer, name: str, call: Call
    ) -> None:
        """Runs a stream to its end, whether anybody reads or not."""
        result: str | None = None
        try:
            async with aclosing(running):
                async for item in running:
                    if isinstance(item, Done):
                        result = encode_result(item.result)
                    else:
                        await buffer.put(encode_result(item))
            buffer.finish(End(result))
        except _FAILURES as error:
            buffer.finish(Failure(self.problem_of(error, name, call)))

    def problem_of(self, error: BaseException, name: str, call: Call) -> ProblemError:
        """The problem that a failure stands for; one that nobody foresaw is logged."""
        problem = problem_of(error, self._limits.body_bytes)
        if problem is None or isinstance(error, web.HTTPException):
            self._logger.error(
                "call failed", request=call.request_id, user=call.user.id, call=name, exc_info=error
            )
            return unforeseen()
        return problem
