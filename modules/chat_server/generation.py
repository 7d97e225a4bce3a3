"""One reply being made: the responder is asked, within its time, until it ends or is cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from potoserver import Clock, ProblemError, UnavailableError

from .journal.records import Message
from .reply_stream import DeltaMerger, ReplyStream
from .responders import Responder, ResponderError

_FAILED = "The model failed; try again."


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a chat call asks, as it is asked."""

    message: str
    json_output: bool = False
    reasoning_enabled: bool = False
    system_prompt: str | None = None


class Cut(StrEnum):
    """Why a reply is kept as far as it got; its finish reason then."""

    STOPPED = "stopped"
    """The user asked for it."""
    SHUTDOWN = "shutdown"
    """The server stops, and there is no time left."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of it."""

    text: str
    reasoning: str | None
    finish_reason: str | None
    model: str | None
    interrupted: bool


class Generation:
    """Asks a responder for one reply.

    Args:
        clock: Measures the limit.
        begun_ms: When it begins, by the clock of presence: so others can count down to its end.
        timeout_s: All that the reply may take.
        max_chars: Where a reply is cut, with the finish reason `length`.
    """

    def __init__(self, clock: Clock, begun_ms: int, timeout_s: float, max_chars: int) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self.until_ms = begun_ms + round(timeout_s * 1000)
        """When it ends at the latest, by that clock: milliseconds since 1970 UTC."""
        self._room = max_chars
        self._finish_reason: str | None = None
        self._model: str | None = None
        self._cut: Cut | None = None
        self._asking: asyncio.Task[object] | None = None
        """The task that asks, while it does."""
        self._cancels = 0
        """How often it was cancelled for a cut or for the limit."""
        self._is_over = False

    def cut(self, why: Cut) -> bool:
        """Ends it now; what there is becomes the reply. Tells whether this came in time."""
        if self._cut is not None or self._is_over:
            return False
        self._cut = why
        self._cancel()
        return True

    async def run(
        self,
        responder: Responder,
        request: ChatRequest,
        history: Sequence[Message],
        stream: ReplyStream,
        merger: DeltaMerger,
    ) -> Reply:
        """Asks, and passes each piece on as it comes.

        Raises:
            ResponderError: There is no (whole) reply.
            UnavailableError: The server's stop came before the first word.
        """
        if self._cut is None:
            await self._until_cut(self._ask(responder, request, history, stream, merger))
        interrupted = self._cut is not None and self._finish_reason is None
        text = stream.text
        if interrupted and self._cut is Cut.SHUTDOWN and not text:
            raise UnavailableError(
                "The server stopped before there was a reply. Your message is kept; repeat the call with the "
                "same Idempotency-Key to have it answered."
            )
        if request.json_output and not interrupted and not is_json(text):
            raise ResponderError("The model's reply is not JSON, as jsonOutput asks; try again.")
        return Reply(
            text=text,
            reasoning=stream.reasoning or None,
            finish_reason=str(self._cut) if interrupted else self._finish_reason,
            model=self._model,
            interrupted=interrupted,
        )

    async def _until_cut(self, asking: Coroutine[Any, Any, None]) -> None:
        """Asks in the caller's task; a cut, or the limit of time, cancels what that awaits."""
        task = self._asking = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        before = task.cancelling()
        limit = self._clock.call_later(self._timeout_s, self._cancel)
        try:
            await asking
        except asyncio.CancelledError as error:
            if task.cancelling() > before + self._cancels:
                raise
            if not self._cancels:
                raise ResponderError(_FAILED) from error  # nobody called it off: what it waited for was
            # That cancellation is ours. Where it is a cut, what there is counts.
            if self._cut is None:
                raise self._late() from None
        finally:
            limit.cancel()
            self._asking, self._is_over = None, True
            for _ in range(self._cancels):
                task.uncancel()

    async def _ask(
        self,
        responder: Responder,
        request: ChatRequest,
        history: Sequence[Message],
        stream: ReplyStream,
        merger: DeltaMerger,
    ) -> None:
        """Passes on what the responder says, within the length that a reply may have."""
        try:
            async with aclosing(
                responder.reply(
                    history,
                    system_prompt=request.system_prompt,
                    json_output=request.json_output,
                    reasoning_enabled=request.reasoning_enabled,
                )
            ) as chunks:
                async for chunk in chunks:
                    text, reasoning, finish_reason, model = chunk
                    if len(text) + len(reasoning) > self._room:
                        text = text[: self._room]
                        reasoning = reasoning[: self._room - len(text)]
                    self._room -= len(text) + len(reasoning)
                    if text:
                        merger.append(text)
                    if text or reasoning:
                        stream.append(text, reasoning)
                    self._model = model or self._model
                    self._finish_reason = finish_reason or self._finish_reason
                    if not self._room:
                        self._finish_reason = "length"
                        return
        except TimeoutError:
            raise self._late() from None
        except ProblemError:
            raise
        except Exception as error:
            raise ResponderError(_FAILED) from error

    def _cancel(self) -> None:
        if self._asking is not None:
            self._cancels += 1
            self._asking.cancel()

    def _late(self) -> ResponderError:
        return ResponderError(f"The model did not finish its reply within {self._timeout_s:g} s.", late=True)


def is_json(text: str) -> bool:
    """Whether a text parses as JSON, which knows no NaN and no Infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True
