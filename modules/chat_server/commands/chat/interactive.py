"""The chat in a terminal: a prompt, and replies that grow."""

from __future__ import annotations

import asyncio
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout

from potoserver import visible
from potoserver.client import (
    AnswerError,
    Backoff,
    ClientError,
    Connected,
    Disconnected,
    PotoClient,
    Subscription,
)

from ..online import ServerChoice
from .happenings import Happenings
from .markdown import GrowingMarkdown
from .slash import Slash, UsageError
from .view import View

_SHOWN_AT_START: Final = 10
_BACKOFF: Final = Backoff(most_s=5.0)
"""Somebody sits there and waits."""
_LEFT_AFTER: Final = 2
"""How many times Ctrl+C at the prompt, one after the other, leaves."""
_INTERRUPTED: Final = 130
_CUT: Final = frozenset({"stopped", "shutdown", "length"})


async def talk(server: ServerChoice) -> int:
    """Talks until the user leaves.

    Returns:
        The exit status: 0, or 130 after Ctrl+C.

    Raises:
        ClientError: The server can't be reached at the start, or does not take the token, then or later.
    """
    async with server.client() as client:
        events = client.subscribe(backoff=_BACKOFF)
        first = await anext(events)
        if isinstance(first, Disconnected):
            raise ClientError(first.detail)
        assert isinstance(first, Connected)
        terminal = _Terminal(client)
        await terminal.open(server.url, first)
        return await terminal.run(events)


class _Terminal:
    def __init__(self, client: PotoClient) -> None:
        self._chat = client.module("ChatServerModule")
        self._view = View()
        self._slash = Slash(client, self._view)
        self._history = InMemoryHistory()
        self._happenings = Happenings(self._chat, self._slash, self._view, self._history.append_string)
        self._user = ""

    async def open(self, url: str, first: Connected) -> None:
        """Says where one is, and how things stand."""
        self._user = visible(first.user)
        self._view.note(f"Connected to {url} as {self._user}. /help shows the commands, Ctrl+D leaves.")
        await self._happenings.catch_up(_SHOWN_AT_START)
        self._happenings.tell_archived(first.data.get("archived"))

    async def run(self, events: Subscription) -> int:
        """Follows the events and takes what is typed, until either has an end; returns the exit status."""
        following = asyncio.create_task(self._happenings.follow(events))
        talking = asyncio.create_task(self._talk())
        try:
            await asyncio.wait({following, talking}, return_when=asyncio.FIRST_COMPLETED)
            if not talking.done():
                following.result()  # raises what ended the stream for good
            return await talking
        finally:
            for task in (following, talking):
                task.cancel()
            await asyncio.wait({following, talking})

    async def _talk(self) -> int:
        prompt: PromptSession[str] = PromptSession(
            f"{self._user}> ",
            history=self._history,
            completer=WordCompleter(self._slash.names, sentence=True),
            complete_while_typing=False,
            bottom_toolbar=self._toolbar,
            refresh_interval=1.0,
            enable_suspend=True,
        )
        interrupts = 0
        while not self._slash.wants_to_leave:
            try:
                # What happens while one types is printed above the prompt.
                with patch_stdout(raw=True):
                    line = await prompt.prompt_async()
            except EOFError:
                break
            except KeyboardInterrupt:
                interrupts += 1
                if interrupts == _LEFT_AFTER:
                    return _INTERRUPTED
                self._view.note("Ctrl+C again, or Ctrl+D, leaves.")
                continue
            interrupts = 0
            if line.strip():
                await self._do(line)
        self._view.note("The dialog is archived in a moment, unless you come back.")
        return 0

    def _toolbar(self) -> FormattedText:
        state = self._happenings.state
        return FormattedText([(state.style, f" {visible(state.words())} ")])

    async def _do(self, line: str) -> None:
        try:
            if line.startswith("/") and not line.startswith("//"):
                await self._slash.run(line)
            else:
                await self._say(line.removeprefix("/") if line.startswith("//") else line)
        except AnswerError as error:
            if error.status == 401:
                raise
            self._view.wrong(str(error))
        except (ClientError, UsageError) as error:
            self._view.wrong(str(error))

    async def _say(self, message: str) -> None:
        reply = self._chat.chatWithHistory.stream(message=message)
        self._happenings.is_own(reply.request_id)
        asking = asyncio.current_task()
        assert asking is not None
        stopping: list[asyncio.Task[None]] = []

        def interrupt() -> None:
            # The first one stops the reply, which then ends; a second one does not wait for that.
            if stopping:
                asking.cancel()
            else:
                stopping.append(asyncio.create_task(self._stop()))

        try:
            with _keys_unseen(), _on_interrupt(interrupt), GrowingMarkdown(self._view.console) as growing:
                async with aclosing(reply):
                    async for delta in reply:
                        growing.add(delta["text"])
                if reply.replaced:
                    self._view.note("The reply began anew:")
                    growing.replace(reply.result["reply"])
        except asyncio.CancelledError:
            if not stopping or asking.uncancel():
                raise
            self._view.note("No longer waiting for the reply.")
            return
        self._happenings.is_shown(reply.result["messageId"])
        if reply.result["finishReason"] in _CUT:
            self._view.note(f"[{reply.result['finishReason']}]")

    async def _stop(self) -> None:
        try:
            await self._chat.stopGeneration()
        except ClientError as error:
            self._view.wrong(f"It can't be stopped: {error}")


@contextmanager
def _keys_unseen() -> Iterator[None]:
    """What is typed while a reply grows is kept for the prompt, and does not show within the reply."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    quiet = termios.tcgetattr(descriptor)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


@contextmanager
def _on_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """Has Ctrl+C do this, and not end the program."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, action)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
