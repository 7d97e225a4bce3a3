"""One reply being made: cut, too late, called off."""

from __future__ import annotations

import asyncio

import pytest

from modules.chat_server.generation import ChatRequest, Cut, Generation, Reply
from modules.chat_server.journal import Message
from modules.chat_server.reply_stream import DeltaMerger, ReplyStream
from modules.chat_server.responders import ResponderError
from tests.chat.support import LedResponder
from tests.support.clock import ManualClock, settle

LIMIT_S = 120.0


class Asking:
    """A generation that is led by the hand, in a task of its own."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.led = LedResponder()
        self.generation = Generation(self.clock, 0, LIMIT_S, 1000)
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> Reply:
        async def publish(_: str) -> None:
            """Nobody is told."""

        merger = DeltaMerger(self.clock, publish)
        try:
            question = [Message("user", "x", "m-1", 0)]
            return await self.generation.run(self.led, ChatRequest("x"), question, ReplyStream(), merger)
        finally:
            await merger.finish()
            task = asyncio.current_task()
            assert task is not None
            self.cancelling = task.cancelling()

    async def say(self, text: str) -> None:
        await settle()
        self.led.say(text)
        await settle()


async def test_a_cut_keeps_what_there_is_and_leaves_no_cancellation_behind() -> None:
    """The task goes on: it has the reply to keep."""
    asking = Asking()
    await asking.say("so far")
    assert asking.generation.cut(Cut.STOPPED)
    assert not asking.generation.cut(Cut.SHUTDOWN), "it is cut already"
    reply = await asking.task
    assert (reply.text, reply.finish_reason, reply.interrupted) == ("so far", "stopped", True)
    assert asking.cancelling == 0


async def test_a_cut_before_the_first_step_asks_nobody() -> None:
    """There is nothing then."""
    asking = Asking()
    assert asking.generation.cut(Cut.STOPPED)
    assert (await asking.task).text == ""
    assert asking.led.asked == []


async def test_a_cut_after_the_end_comes_too_late() -> None:
    """The reply is whole."""
    asking = Asking()
    asking.led.answer("all")
    assert not (await asking.task).interrupted
    assert not asking.generation.cut(Cut.STOPPED)


async def test_what_is_too_late_is_an_error_and_leaves_no_cancellation_behind() -> None:
    """The failure is to be told."""
    asking = Asking()
    await asking.say("so far")
    await asking.clock.advance(LIMIT_S)
    with pytest.raises(ResponderError, match="within 120 s") as raised:
        await asking.task
    assert raised.value.status == 504
    assert asking.cancelling == 0


async def test_a_cut_at_the_last_moment_counts() -> None:
    """Both cancel the same wait."""
    asking = Asking()
    await asking.say("so far")
    asking.generation.cut(Cut.STOPPED)
    await asking.clock.advance(LIMIT_S)
    assert (await asking.task).text == "so far"
    assert asking.cancelling == 0


@pytest.mark.parametrize("first", ["cut", "call off"])
async def test_who_calls_the_turn_off_is_obeyed_though_it_is_cut_too(first: str) -> None:
    """A node that is no home any more writes nothing."""
    asking = Asking()
    await asking.say("so far")
    if first == "cut":
        asking.generation.cut(Cut.STOPPED)
    asking.task.cancel()
    asking.generation.cut(Cut.STOPPED)
    with pytest.raises(asyncio.CancelledError):
        await asking.task
    assert asking.cancelling == 1


async def test_a_responder_that_is_cancelled_by_nobody_here_has_failed() -> None:
    """What it waited for was cancelled: that is no limit, and nobody's cut."""
    asking = Asking()
    await asking.say("so far")
    asking.led.fail(asyncio.CancelledError())
    with pytest.raises(ResponderError, match="The model failed") as raised:
        await asking.task
    assert raised.value.status == 502
    assert asking.cancelling == 0
