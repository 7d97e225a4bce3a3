"""The chat without a terminal: a message a line in, its reply out, as text or JSON."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextlib import aclosing, suppress
from typing import Any, Final

from potoserver import visible
from potoserver.client import AnswerError, ClientError, PotoClient

from ..online import ServerChoice
from ..output import print_json, warn
from .asking import Asking, Thoughts
from .slash import Slash, UsageError
from .view import View

_CHUNK: Final = 65_536


async def once(server: ServerChoice, message: str, asking: Asking, *, as_json: bool) -> int:
    """Says one thing and prints the reply. The dialog goes on with the next, as calls do without a stream.

    Returns:
        The exit status.

    Raises:
        ClientError: The server can't be reached or says no.
    """
    async with server.client() as client:
        await _check(client)
        await _ask(client, asking.arguments(message), as_json=as_json)
    return 0


async def converse(server: ServerChoice, asking: Asking, *, as_json: bool) -> int:
    """Says each line of the input and prints its reply; a line with a slash is a command, as at the prompt.

    Returns:
        The exit status: 1 when the server said no to something; the rest was done.

    Raises:
        ClientError: The server can't be reached, or does not know the caller.
    """
    status = 0
    lines = InputLines()
    async with server.client() as client:
        await _check(client)
        # Held open, so that the dialog is archived when this ends, as that of anybody who leaves.
        presence = asyncio.create_task(_be_there(client))
        slash = Slash(client, View(), as_json=as_json)
        try:
            while (line := await lines.next()) is not None and not slash.wants_to_leave:
                try:
                    if line.startswith("/") and not line.startswith("//"):
                        await slash.run(line)
                    elif line.strip():
                        message = line.removeprefix("/") if line.startswith("//") else line
                        await _ask(client, asking.arguments(message), as_json=as_json)
                except UsageError as error:
                    warn(str(error))
                    status = 1
                except AnswerError as error:
                    if error.status == 401:
                        raise
                    warn(visible(str(error)))
                    status = 1
        finally:
            presence.cancel()
            await asyncio.wait([presence])
    return status


async def _check(client: PotoClient) -> None:
    """Fails at once where there is no server; a chat call would be repeated for a minute."""
    await client.module("ChatServerModule").getSessionInfo()


async def _be_there(client: PotoClient) -> None:
    with suppress(ClientError):  # the calls tell of it
        async for _ in client.subscribe():
            pass


async def _ask(client: PotoClient, arguments: dict[str, Any], *, as_json: bool) -> None:
    reply = client.module("ChatServerModule").chatWithHistory.stream(**arguments)
    thoughts = Thoughts()
    printed = False
    async with aclosing(reply):
        async for delta in reply:
            if as_json:
                continue
            _think(thoughts.lines_of(delta))
            if delta["text"]:
                _write(delta["text"])
                printed = True
        _think(thoughts.rest())
    if as_json:
        print_json(reply.result)
    elif reply.replaced:
        warn("the reply began anew")
        _write(("\n" if printed else "") + reply.result["reply"] + "\n")
    else:
        _write("\n")


def _think(lines: list[str]) -> None:
    """On the error output: the other may be a file of replies."""
    for line in lines:
        print(visible(line), file=sys.stderr, flush=True)  # noqa: T201 - for people


def _write(text: str) -> None:
    sys.stdout.write(visible(text))
    sys.stdout.flush()


class InputLines:
    """The lines of the input, one at a time. Waiting for one holds up neither the loop nor the program's end.

    It is read by a thread that is left behind where it waits: with the buffers of `sys.stdin` such a thread
    would hold a lock that Python wants at its exit, and in the loop's own pool it would be waited for.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._ended = False

    async def next(self) -> str | None:
        """The next line, without its end; None at the end of the input."""
        while b"\n" not in self._rest and not self._ended:
            chunk = await self._read()
            self._rest += chunk
            self._ended = not chunk
        line, newline, self._rest = self._rest.partition(b"\n")
        if not newline and not line:
            return None
        return line.removesuffix(b"\r").decode("utf-8", errors="replace")

    async def _read(self) -> bytes:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bytes] = loop.create_future()

        def deliver(chunk: bytes) -> None:
            if not done.done():
                done.set_result(chunk)

        def read() -> None:
            try:
                chunk = os.read(sys.stdin.fileno(), _CHUNK)
            except (OSError, ValueError):
                chunk = b""
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(deliver, chunk)

        threading.Thread(target=read, name="input", daemon=True).start()
        return await done
