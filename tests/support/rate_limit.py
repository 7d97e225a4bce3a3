"""A gate before a model that lets so many requests through, and answers the others as OpenAI does."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer


class RateLimit:
    """Passes requests on to a port of this machine while `allowed` lasts.

    Attributes:
        allowed: How many more requests go through.
        retry_after: What the others are told; None for nothing.
        refused: How many were not let through.
    """

    def __init__(self, target_port: int, allowed: int = 0, retry_after: str | None = None) -> None:
        self._target_port = target_port
        self.allowed = allowed
        self.retry_after = retry_after
        self.refused = 0
        app = web.Application()
        app.router.add_post("/{path:.*}", self._answer)
        self._server = TestServer(app, host="127.0.0.1")

    @property
    def port(self) -> int:
        """Where requests come in."""
        assert self._server.port is not None
        return self._server.port

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        await self._server.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.allowed <= 0:
            self.refused += 1
            told = {} if self.retry_after is None else {"Retry-After": self.retry_after}
            problem = {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}
            return web.json_response({"error": problem}, status=429, headers=told)
        self.allowed -= 1
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type")}
        url = f"http://127.0.0.1:{self._target_port}{request.path}"
        async with self._session.post(url, data=await request.read(), headers=headers) as answer:
            response = web.StreamResponse(
                status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]}
            )
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
        return response
