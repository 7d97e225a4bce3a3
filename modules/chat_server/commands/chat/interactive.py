"""The chat in a terminal: a prompt, and replies that grow."""

from __future__ import annotations

import asyncio
import signal
import sys
import termios
from collections.abc import Callable, Coroutine, Iterator
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
from .asking import Asking, Thoughts
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


async def talk(server: ServerChoice, asking: Asking) -> int:
    """Talks until the user leaves.

    Args:
        server: With which.
        asking: What goes with each message.

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
        terminal = _Terminal(client, asking)
        await terminal.open(server.url, first)
        return await terminal.run(events)


class _Terminal:
    def __init__(self, client: PotoClient, asking: Asking) -> None:
        self._asking = asking
        self._chat = client.module("ChatServerModule")
        self._view = View()
        self._slash = Slash(client, self._view)
        self._history = InMemoryHistory()
        self._happenings = Happenings(self._chat, self._slash, self._view, self._history.append_string)
        self._user = ""
        self._prompt: PromptSession[str] | None = None
        self._interrupt: Callable[[], None] | None = None
        self._interrupted_early = False

    async def open(self, url: str, first: Connected) -> None:
        """Says where one is, and how things stand."""
        self._user = visible(first.user)
        self._view.note(f"Connected to {url} as {self._user}. /help shows the commands, Ctrl+D leaves.")
        await self._happenings.catch_up(_SHOWN_AT_START)
        self._happenings.tell_archived(first.data.get("archived"))

    async def run(self, events: Subscription) -> int:
        """Follows the events and takes what is typed, until either has an end; returns the exit status."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._on_interrupt)
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
        self._prompt = prompt = PromptSession[str](
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
                    line = await prompt.prompt_async(handle_sigint=False, pre_run=self._take_early)
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
                self._interrupted_early = False  # it was meant for what is over
        self._view.note("The dialog is archived in a moment, unless you come back.")
        return 0

    def _toolbar(self) -> FormattedText:
        state = self._happenings.state
        return FormattedText([(state.style, f" {visible(state.words())} ")])

    async def _do(self, line: str) -> None:
        try:
            if line.startswith("/") and not line.startswith("//"):
                await self._interruptible(self._slash.run(line))
            else:
                message = line.removeprefix("/") if line.startswith("//") else line
                await self._interruptible(self._say(message), self._stop)
        except AnswerError as error:
            if error.status == 401:
                raise
            self._view.wrong(str(error))
        except (ClientError, UsageError) as error:
            self._view.wrong(str(error))

    async def _interruptible(
        self,
        work: Coroutine[None, None, None],
        stop: Callable[[], Coroutine[None, None, None]] | None = None,
    ) -> None:
        """Does something until it is done, or the user has had enough of waiting.

        Args:
            work: What is done.
            stop: How Ctrl+C brings it to its own end; a second one does not wait for that.
        """
        doing = asyncio.create_task(work)
        begun = {doing}

        def interrupt() -> None:
            if stop is not None and len(begun) == 1:
                begun.add(asyncio.create_task(stop()))
            else:
                doing.cancel()

        self._interrupt = interrupt
        if self._interrupted_early:
            interrupt()
        try:
            with _keys_unseen():
                await asyncio.wait({doing})
        finally:
            self._interrupt = None
            for each in begun:
                each.cancel()
            await asyncio.wait(begun)
        if doing.cancelled():
            self._view.note("No longer waiting.")
        else:
            doing.result()

    def _on_interrupt(self) -> None:
        """A signal; at the prompt Ctrl+C is a key like others, and only a signal from elsewhere comes here.

        One that comes between a line and what it asks for is meant for that.
        """
        app = self._prompt.app if self._prompt is not None else None
        if self._interrupt is not None:
            self._interrupt()
        elif app is not None and app.is_running and not app.is_done:
            app.exit(exception=KeyboardInterrupt())
        else:
            self._interrupted_early = True

    def _take_early(self) -> None:
        """Ctrl+C that came while there was no prompt, as right behind another one, is meant for the next."""
        if self._interrupted_early:
            self._interrupted_early = False
            self._on_interrupt()

    async def _say(self, message: str) -> None:
        reply = self._chat.chatWithHistory.stream(**self._asking.arguments(message))
        thoughts = Thoughts()
        self._happenings.is_own(reply.request_id)
        with GrowingMarkdown(self._view.console) as growing:
            async with aclosing(reply):
                async for delta in reply:
                    self._view.notes(thoughts.lines_of(delta))
                    growing.add(delta["text"])
                self._view.notes(thoughts.rest())
            if reply.replaced:
                self._view.note("The reply began anew:")
                growing.replace(reply.result["reply"])
        self._happenings.is_shown(reply.result["messageId"])
        if reply.result["finishReason"] in _CUT:
            self._view.note(f"[{reply.result['finishReason']}]")

    async def _stop(self) -> None:
        self._view.note("Stopping it; Ctrl+C again does not wait for that.")
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
