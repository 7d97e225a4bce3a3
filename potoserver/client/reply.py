"""What a streaming method sends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import aiohttp

from potoserver.client.errors import ClientError, ProtocolError, UnreachableError, answer_error
from potoserver.client.event_stream import EventStreamParser
from potoserver.client.http import EVENT_STREAM, REQUEST_ID, Http, chunks_of, json_of, json_value
from potoserver.client.repeat import RepeatPolicy, Tries
from potoserver.client.splice import Splice


class Reply:
    """The deltas of one call as they come: `async for delta in reply`; then `result`.

    Whoever does not read it to its end closes it (`contextlib.aclosing`). On the server the method goes on.

    Args:
        http: The server.
        path: The method's.
        arguments: By wire names.
        headers: The request's, the same for each repeat.
        repeat: How long it is repeated.
        keyed: Whether it may be.

    Attributes:
        request_id: Names the call: events that it leads to bring it as `requestId`.
        result: The method's result, once the deltas are all read; before that None.
        replaced: Whether the deltas are void: the call had to be repeated, and another reply came than the
            one that had begun. Then `result` alone is right.
    """

    def __init__(
        self,
        http: Http,
        path: str,
        arguments: Mapping[str, Any],
        headers: Mapping[str, str],
        repeat: RepeatPolicy,
        *,
        keyed: bool,
    ) -> None:
        self._http = http
        self._path = path
        self._arguments = arguments
        self._headers = headers
        self._repeat = repeat
        self._keyed = keyed
        self._deltas = self._run()
        self.request_id = headers[REQUEST_ID]
        self.result: Any = None
        self.replaced = False

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        """The next delta.

        Raises:
            AnswerError: The server said no, at the beginning or later.
            UnreachableError: The connection failed, and the call could not be repeated, or not for longer.
        """
        return await anext(self._deltas)

    async def aclose(self) -> None:
        """Reads no more. Idempotent."""
        await self._deltas.aclose()

    async def _run(self) -> AsyncGenerator[Any, None]:
        tries = Tries(self._repeat, keyed=self._keyed)
        splice = Splice()
        while True:
            try:
                async with (
                    self._http.request(
                        "POST", self._path, body=self._arguments, headers=self._headers
                    ) as response,
                    aclosing(self._read(response)) as deltas,
                ):
                    async for delta in deltas:
                        rest = splice.rest_of(delta)
                        if rest is not None:
                            yield rest
            except ClientError as error:
                await tries.after(error)
                splice.begin_again()
            else:
                splice.end()
                self.replaced = splice.replaced
                return

    async def _read(self, response: aiohttp.ClientResponse) -> AsyncGenerator[Any, None]:
        """The deltas of one try; then `result` is there."""
        if response.content_type != EVENT_STREAM:
            self.result = await json_of(response)
            return
        parser = EventStreamParser()
        async for chunk in chunks_of(response):
            for event in parser.feed(chunk):
                data = json_value(event.data)
                if event.type == "delta":
                    yield data
                elif event.type == "done":
                    self.result = data
                    return
                elif event.type == "error":
                    if not (isinstance(data, dict) and isinstance(data.get("status"), int)):
                        raise ProtocolError("the event `error` holds no problem document")
                    raise answer_error(data["status"], data)
        raise UnreachableError("the reply was cut before its end", sent=True)
