"""Calls about a user whose home is another node: passed on to it, and answered for others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from pydantic import ValidationError

from potoserver.core import Core
from potoserver.errors import ProblemError
from potoserver.module.download import Download
from potoserver.module.rpc import Call, Done, RpcMethod
from potoserver.module.wire import Encoded
from potoserver.nodes.exchange import Part
from potoserver.nodes.message import PART_BYTES
from potoserver.users import User
from potoserver.web.call_runner import CallRunner
from potoserver.web.methods import Methods
from potoserver.web.reply import End, Failure, ReplyOnItsWay

_NAME: Final = "method"
_Answer = AsyncGenerator[Part, None]


class CallsElsewhere:
    """Runs a call where it belongs: here, or at the home of the user whom it is about.

    Args:
        core: The parts of the server.
        methods: What can be called.
    """

    def __init__(self, core: Core, methods: Methods) -> None:
        self._core = core
        self._methods = methods
        self._runner = CallRunner(core)
        core.node_calls.offer(_NAME, self._serve)

    async def invoke(self, module_name: str, method: RpcMethod, arguments: Any, call: Call) -> Any:
        """As `RpcMethod.invoke`, once it is clear where: a coroutine, or for a stream an async generator.

        A stream that is answered as a whole is gathered where it is made, so its pieces need not travel, and
        is a coroutine.

        Args:
            module_name: Whose method it is.
            method: The method.
            arguments: What it is called with.
            call: Who asks.

        Raises:
            ProblemError: The home refuses the call.
            UnavailableError: The engine is away, or the home has just died or moved.
        """
        at_home = self._core.modules[module_name].homed and not method.anywhere
        if not (at_home and self._core.homes.shared):
            running = method.invoke(arguments, call)
            return self._gathered(running) if call.whole else running

        user_id = method.whom(arguments, call)

        async def here() -> Any:
            running = self._held(method, arguments, call, user_id)
            return self._gathered(running) if call.whole else running

        async def there(node_id: str) -> Any:
            request = Part(_head_of(module_name, method, call), _body_of(arguments))
            answer = self._core.node_calls.call(node_id, _NAME, request)
            try:
                await anext(answer)  # it is taken
            except BaseException:
                await answer.aclose()
                raise
            return _stream(answer) if method.streams and not call.whole else _result(answer)

        return await self._core.homes.run(user_id, here, there)

    async def _gathered(self, running: AsyncGenerator[Any, None]) -> Encoded:
        return Encoded(await self._runner.gather(running))

    def _held(self, method: RpcMethod, arguments: Any, call: Call, user_id: str) -> Any:
        """As `RpcMethod.invoke`; the user's home stays here until it is done."""
        homes, running = self._core.homes, method.invoke(arguments, call)
        if not homes.shared:
            return running

        async def result() -> Any:
            with homes.held(user_id):
                made = await running
            if isinstance(made, Download):
                return replace(made, chunks=stream(made.chunks))
            return made

        async def stream(items: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
            with homes.held(user_id):
                try:
                    async for item in items:
                        yield item
                finally:
                    if isinstance(items, AsyncGenerator):
                        await items.aclose()

        return stream(running) if method.streams else result()

    # For other nodes

    async def _serve(self, _node: str, request: Part, rest: AsyncIterator[bytes]) -> _Answer:
        module_name, method, call = self._read(request)
        body = request.data + b"".join([each async for each in rest])
        try:
            arguments = method.arguments.model_validate_json(body, by_alias=True, by_name=False)
        except ValidationError as error:
            raise ProblemError(501, "The node that was asked takes other arguments.") from error
        user_id = method.whom(arguments, call)
        await self._core.homes.check_here(user_id)
        yield Part({"is": "taken"})
        running = self._held(method, arguments, call, user_id)
        name = f"call {module_name}.{method.name}"
        if call.whole:
            answer = self._run_whole(self._gathered(running), name, call)
        elif method.streams:
            answer = self._run_stream(running, name, call, endless=method.endless)
        else:
            answer = self._run_whole(running, name, call)
        async with aclosing(answer) as parts:
            async for part in parts:
                yield part

    def _read(self, request: Part) -> tuple[str, RpcMethod, Call]:
        fields = request.fields
        method = self._methods.find(fields["module"], fields["method"])
        if method is None:
            raise ProblemError(501, "The node that was asked has no such method.")
        user = User(fields["user"], fields["name"], fields["email"], frozenset(fields["roles"]))
        return fields["module"], method, Call(user, fields["request"], fields["key"], fields["whole"])

    async def _run_stream(
        self, running: AsyncGenerator[Any, None], name: str, call: Call, *, endless: bool
    ) -> _Answer:
        core = self._core
        buffer = ReplyOnItsWay(core.settings.limits.outbox_bytes)
        task = core.tasks.spawn(self._runner.pump(running, buffer, name, call), name)
        try:
            async with aclosing(_parts_of(buffer)) as parts:
                async for part in parts:
                    yield part
        finally:
            buffer.close()
            if endless:
                task.cancel()

    async def _run_whole(self, running: Coroutine[Any, Any, Any], name: str, call: Call) -> _Answer:
        runner = self._runner
        outcome = await asyncio.shield(
            self._core.tasks.spawn(runner.told(runner.result(running), name, call), name)
        )
        if isinstance(outcome, ProblemError):
            raise outcome
        if isinstance(outcome, str):
            for part in _pieces("result", outcome):
                yield part
            return
        async with aclosing(_file_parts(outcome)) as parts:
            async for part in parts:
                yield part


def _head_of(module_name: str, method: RpcMethod, call: Call) -> dict[str, Any]:
    user = call.user
    return {
        "module": module_name,
        "method": method.wire_name,
        "user": user.id,
        "name": user.name,
        "email": user.email,
        "roles": sorted(user.roles),
        "request": call.request_id,
        "key": call.idempotency_key,
        "whole": call.whole,
    }


def _body_of(arguments: Any) -> bytes:
    body: str = arguments.model_dump_json(by_alias=True, exclude_unset=True)
    return body.encode()


# An answer in parts, and back


async def _parts_of(buffer: ReplyOnItsWay) -> _Answer:
    while True:
        await buffer.wait()
        if items := buffer.take_all():
            # Together: a message for each would be slower than many a model, and a line holds no line's end.
            for piece in _pieces("items", "\n".join(items)):
                yield piece
            continue
        ending = buffer.ending
        if isinstance(ending, Failure):
            raise ending.problem
        if isinstance(ending, End) and ending.result is not None:
            for piece in _pieces("result", ending.result):
                yield piece
        return


async def _file_parts(download: Download) -> _Answer:
    yield Part({"is": "file", "type": download.content_type, "file": download.file_name})
    chunks = download.chunks
    try:
        async for chunk in chunks:
            for begin in range(0, len(chunk), PART_BYTES):
                yield Part({"is": "bytes"}, chunk[begin : begin + PART_BYTES])
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


def _pieces(kind: str, json: str) -> list[Part]:
    data = json.encode()
    begins = range(0, len(data), PART_BYTES)
    return [
        Part(
            {"is": kind, "last": begin == begins[-1]},
            data[begin : begin + PART_BYTES],
            last=kind == "result" and begin == begins[-1],
        )
        for begin in begins
    ]


async def _stream(answer: _Answer) -> AsyncGenerator[Encoded | Done[Encoded], None]:
    gathered = b""
    async with aclosing(answer):
        async for part in answer:
            gathered += part.data
            if not part.fields["last"]:
                continue
            text, gathered = gathered.decode(), b""
            if part.fields["is"] == "result":
                yield Done(Encoded(text))
                continue
            for item in text.split("\n"):
                yield Encoded(item)
                await asyncio.sleep(0)  # they come at once here; the reader gets its turn as if each was made


async def _result(answer: _Answer) -> Encoded | Download:
    first = await anext(answer)
    if first.fields["is"] == "file":
        return Download(first.fields["type"], first.fields["file"], _bytes_of(answer))
    async with aclosing(answer):
        return Encoded((first.data + b"".join([part.data async for part in answer])).decode())


async def _bytes_of(answer: _Answer) -> AsyncGenerator[bytes, None]:
    async with aclosing(answer):
        async for part in answer:
            yield part.data
