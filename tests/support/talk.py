"""One user's talk with a server, and what is kept of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import yaml

from .process import ServerProcess
from .sse import EventReader

AUTHORIZED = {"Authorization": "Bearer test-token"}


class Talk:
    """A user, `a1`, who talks to a server."""

    def __init__(self, server: ServerProcess, http: aiohttp.ClientSession) -> None:
        self.server = server
        self._http = http

    def _post(self, method: str, arguments: dict[str, Any], **headers: str) -> Any:
        url = f"{self.server.url}/ChatServerModule/{method}"
        return self._http.post(url, json=arguments, headers=AUTHORIZED | headers)

    async def call(self, method: str, **arguments: Any) -> Any:
        """The result of a call that succeeds."""
        async with self._post(method, arguments) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def say(self, message: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a message that is answered."""
        return dict(await self.call("chatWithHistory", message=message, **arguments))

    async def fail(self, message: str, status: int, key: str, **arguments: Any) -> tuple[str, str | None]:
        """The detail of the problem that a message is answered with, and `Retry-After`."""
        request = self._post("chatWithHistory", {"message": message, **arguments}, **{"Idempotency-Key": key})
        async with request as answer:
            problem = await answer.json(content_type="application/problem+json")
            assert answer.status == problem["status"] == status, problem
            return problem["detail"], answer.headers.get("Retry-After")

    async def repeat(self, message: str, key: str, **arguments: Any) -> str:
        """The reply to a dialog's only message, repeated with its key; both are kept once."""
        request = self._post("chatWithHistory", {"message": message, **arguments}, **{"Idempotency-Key": key})
        async with request as answer:
            assert answer.status == 200, await answer.text()
            reply = (await answer.json())["reply"]
        assert [each["content"] for each in self.kept()] == [message, reply]
        return str(reply)

    @asynccontextmanager
    async def hear(self, message: str, **headers: str) -> AsyncIterator[EventReader]:
        """A streamed answer, for the length of a block."""
        request = self._post("chatWithHistory", {"message": message}, Accept="text/event-stream", **headers)
        reader = EventReader(await request)
        try:
            yield reader
        finally:
            await reader.close()

    def kept(self) -> list[dict[str, Any]]:
        """The messages in the file of the open dialog."""
        return list(yaml.safe_load(self.server.current().read_bytes())["messages"])
