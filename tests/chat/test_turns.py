"""Chat calls: order, streaming, events, limits, failures."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from modules.chat_server.journal import (
    Conversation,
    DialogFullError,
    JournalError,
    JournalFullError,
    JournalUnavailableError,
    MemoryDialogueJournal,
    Message,
    Reason,
)
from modules.chat_server.responders import Chunk, Responder, ResponderError
from potoserver import Event, EventId, User, iso_utc

from ..support.clock import ManualClock, settle
from .support import A1, Chat, LedResponder, reasons


class FailingJournal(MemoryDialogueJournal):
    """Fails to append while told to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.fail_with: JournalError | None = None
        self.fail_role: str | None = None

    @override
    async def add_message(self, user: User, message: Message, conversation: Conversation) -> Message:
        if self.fail_with is not None and self.fail_role in (None, message.role):
            raise self.fail_with
        return await super().add_message(user, message, conversation)


def failing(tmp_path: Path, **options: Any) -> tuple[Chat, FailingJournal]:
    clock = ManualClock()
    chat = Chat(tmp_path, clock=clock, **options)
    journal = FailingJournal(clock=clock, logger=chat.context.logger, registry=chat.context.registry)
    chat.module._given_journal = journal
    return chat, journal


class SlowEcho(Responder):
    """Echoes after some turns of the loop, so that calls overlap."""

    uses_history = False

    @override
    async def reply(self, history: Sequence[Message], **options: Any) -> Any:
        for _ in range(random.Random(history[-1].content).randrange(20)):
            await asyncio.sleep(0)
        yield Chunk(history[-1].content)
        yield Chunk(finish_reason="stop")


@pytest.mark.parametrize("responder", [None, SlowEcho()])
async def test_fifty_parallel_messages_are_all_kept_each_reply_after_its_question(
    tmp_path: Path, responder: Responder | None
) -> None:
    """Nothing interleaves, and they come in the order in which they were sent."""
    settings = {"journal": {"fsync": "never"}}
    async with Chat(tmp_path, responder=responder, settings=settings) as chat:
        sent = [f"message {number}" for number in range(50)]
        replies = await asyncio.gather(*(chat.ask(each) for each in sent))
        assert [each.reply for each in replies] == sent
        assert len({each.conversation_id for each in replies}) == 1
        kept = await chat.module.dialogue_journal.get_conversation(A1)
        assert [each.content for each in kept] == [text for each in sent for text in (each, each)]
        assert [each.role for each in kept] == ["user", "assistant"] * 50
        assert [each.id for each in kept[1::2]] == [each.message_id for each in replies]


async def test_two_users_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """A lane is one user's."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        chat.begin("mine")
        await settle()
        other = chat.begin("theirs", user=User("b2"))
        await settle()
        assert led.asked == [["mine"], ["theirs"]]
        led.say("x")
        led.answer("x")
        led.answer("x")
        await other.answer()


async def test_the_question_is_on_disk_before_the_model_is_asked(tmp_path: Path) -> None:
    """And stays there while the reply grows; the model gets the dialog, the question last."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        led.answer("first reply")
        await chat.ask("first")
        call = chat.begin("second", system_prompt="Be brief.", json_output=False, reasoning_enabled=True)
        await settle()
        led.say("grow")
        await settle()
        assert await chat.open_texts() == ["first", "first reply", "second"]
        assert led.asked[-1] == ["first", "first reply", "second"]
        assert led.options[-1] == {
            "system_prompt": "Be brief.",
            "json_output": False,
            "reasoning_enabled": True,
        }
        led.answer("ing")
        reply = await call.answer()
        assert (reply.reply, reply.finish_reason) == ("growing", "stop")
        assert "Be brief." not in await chat.open_texts()


async def test_the_caller_gets_each_delta_as_it_comes(tmp_path: Path) -> None:
    """Not merged, not held."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        call = chat.begin("x")
        for piece in ("a", "b", "c"):
            led.say(piece)
            await settle()
            assert call.deltas[-1].text == piece
        led.end()
        assert (await call.answer()).reply == "abc"
        assert len(call.deltas) == 3


async def test_all_connections_get_question_and_reply(tmp_path: Path) -> None:
    """As `message` events with the contract's fields; the reply's replaces its deltas."""
    async with Chat.in_memory(tmp_path) as chat:
        reply = await chat.ask("hello you")
        asked, answered = chat.context.events("a1", "message")
        assert asked == {
            "conversationId": reply.conversation_id,
            "messageId": asked["messageId"],
            "role": "user",
            "content": "hello you",
            "timestamp": iso_utc(chat.clock.now_ms()),
            "interrupted": False,
            "requestId": "r-1",
        }
        assert answered == asked | {
            "messageId": reply.message_id,
            "role": "assistant",
            "content": "hello you",
        }
        last = chat.context.published[-1][1]
        assert (last.type, last.replaces) == ("message", reply.message_id)


async def test_deltas_are_merged_to_one_per_50_ms_and_leave_the_log_with_the_reply(tmp_path: Path) -> None:
    """A connection that comes later replays the whole message alone."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        call = chat.begin("x")
        await settle()
        led.say("a", "b")
        await settle()
        led.say("c", "d")
        await chat.clock.advance(0.049)
        first = chat.context.events("a1", "delta")
        assert [each["text"] for each in first] in (["a"], ["ab"])
        await chat.clock.advance(0.001)
        led.say("e")
        await chat.clock.advance(0.2)
        deltas = chat.context.events("a1", "delta")
        assert len(deltas) == 3
        assert "".join(each["text"] for each in deltas) == "abcde"
        led.end()
        reply = await call.answer()
        assert set(deltas[0]) == {"conversationId", "messageId", "text", "requestId"}
        assert {each["messageId"] for each in deltas} == {reply.message_id}
        log = chat.context.engine._logs._by_user["a1"].events
        assert [each.entry.type for each in log] == ["message", "message"]


async def test_a_reply_that_comes_all_at_once_is_told_as_a_whole_alone(tmp_path: Path) -> None:
    """There is no moment at which a piece of it would be news."""
    async with Chat.in_memory(tmp_path) as chat:
        assert (await chat.ask("one two three")).reply == "one two three"
        assert chat.context.events("a1", "delta") == []
        assert len(chat.context.events("a1", "message")) == 2


@pytest.mark.parametrize(("whole", "task"), [(False, "turn r-1"), (True, "the call")])
async def test_the_model_is_asked_in_the_turns_own_task(tmp_path: Path, whole: bool, task: str) -> None:
    """Which is the call's where that is answered as a whole."""
    names = []

    class Named(LedResponder):
        @override
        async def reply(self, history: Sequence[Message], **options: Any) -> AsyncGenerator[Chunk, None]:
            names.append(asyncio.current_task().get_name())  # type: ignore[union-attr]  # in a task
            yield Chunk("x", finish_reason="stop")

    async with Chat.in_memory(tmp_path, responder=Named()) as chat:
        await chat.begin("x", whole=whole).answer()
    assert names == [task]


async def test_a_whole_answer_that_is_called_off_is_told_so(tmp_path: Path) -> None:
    """Its user is at home elsewhere by now; and whoever comes in the user's lane next has its turn."""
    async with Chat.in_memory(tmp_path, responder=LedResponder()) as chat:
        waiting = [chat.begin("x", whole=True), chat.begin("y", whole=True)]
        await settle()
        chat.module._life._tasks.cancel("a1")
        for call in waiting:
            problem = await call.problem()
            assert (problem.status, problem.detail) == (503, "The call was cut off; try again in a moment.")
        assert chat.module._lanes.length("a1") == 0


async def test_no_delta_comes_after_the_whole_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where publishing takes its time; what had gathered is in the message anyway."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        publish, slow, sent = chat.context.publish, asyncio.Event(), []

        async def publish_slowly(user_id: str, event: Event) -> EventId:
            if event.type == "delta":
                await slow.wait()
            sent.append(event.type)
            return await publish(user_id, event)

        monkeypatch.setattr(chat.context, "publish", publish_slowly)
        call = chat.begin("x")
        await settle()
        led.say("one")
        await settle()
        led.end()
        await settle()
        slow.set()
        await call.answer()
        await chat.until(1)
        assert sent == ["message", "delta", "message"]


async def test_a_model_that_fails_is_502_and_the_question_stays(tmp_path: Path) -> None:
    """Nothing partial is journaled, connections are told, and the next call goes on."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        call = chat.begin("x")
        led.say("part")
        await settle()
        led.fail(ResponderError("The model broke."))
        problem = await call.problem()
        assert (problem.status, problem.detail) == (502, "The model broke.")
        assert await chat.open_texts() == ["x"]
        (failed,) = chat.context.events("a1", "failed")
        (delta,) = chat.context.events("a1", "delta")
        assert failed == {
            "conversationId": delta["conversationId"],
            "messageId": delta["messageId"],
            "requestId": "r-1",
            "status": 502,
            "detail": "The model broke.",
        }
        assert chat.context.published[-1][1].replaces == delta["messageId"]
        led.answer("better")
        await chat.ask("y")
        assert await chat.open_texts() == ["x", "y", "better"]


async def test_a_model_that_is_late_is_504(tmp_path: Path) -> None:
    """`chat.reply_timeout_s` is the time of the whole reply, by the clock."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led, settings={"reply_timeout_s": 7}) as chat:
        call = chat.begin("x")
        await settle()
        led.say("slow")
        await chat.clock.advance(6.9)
        assert not call.task.done()
        await chat.clock.advance(0.1)
        assert (await call.problem()).status == 504
        assert await chat.open_texts() == ["x"]


async def test_a_responder_with_a_bug_harms_its_own_call_alone(tmp_path: Path) -> None:
    """The caller gets an error without internals, the log has them, and the lane is free for the next."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        call = chat.begin("x")
        led.fail(KeyError("bug"))
        problem = await call.problem()
        assert problem.status == 502 and "bug" not in problem.detail
        (line,) = chat.context.logged("reply failed")
        assert isinstance(line["exc_info"], KeyError)
        led.answer("fine")
        assert (await chat.ask("y")).reply == "fine"


async def test_stop_keeps_the_reply_so_far(tmp_path: Path) -> None:
    """The caller's call is answered, finish reason `stopped`; in the journal it is marked as interrupted."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        call = chat.begin("x")
        await settle()
        led.say("so far")
        await settle()
        assert (await chat.module.stop_generation(A1)).stopped
        reply = await call.answer()
        assert (reply.reply, reply.finish_reason) == ("so far", "stopped")
        kept = (await chat.module.dialogue_journal.get_conversation(A1))[-1]
        assert (kept.content, kept.interrupted, kept.finish_reason) == ("so far", True, "stopped")
        told = chat.context.events("a1", "message")[1]
        assert (told["content"], told["interrupted"]) == ("so far", True)
        assert not (await chat.module.stop_generation(A1)).stopped


async def test_stop_is_nobody_elses(tmp_path: Path) -> None:
    """Another user's stop changes nothing."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        call = chat.begin("x")
        await settle()
        assert not (await chat.module.stop_generation(User("b2"))).stopped
        led.answer("whole")
        assert (await call.answer()).reply == "whole"


async def test_a_caller_that_goes_away_stops_nothing(tmp_path: Path) -> None:
    """The generator may be closed; question and reply are kept all the same."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        call = chat.begin("x")
        await settle()
        call.task.cancel()
        await settle()
        led.answer("unheard")
        await chat.quiet()
        assert await chat.open_texts() == ["x", "unheard"]


async def test_an_engine_that_goes_away_loses_no_reply(tmp_path: Path) -> None:
    """Events can't be published; the answer stands."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        call = chat.begin("x")
        await settle()
        chat.context.away = True
        led.answer("kept")
        assert (await call.answer()).reply == "kept"
        chat.context.away = False
        assert await chat.open_texts() == ["x", "kept"]


async def test_a_message_that_could_not_be_told_is_a_gap_once_the_engine_is_back(tmp_path: Path) -> None:
    """Whoever comes back with an id from before is told of it; one that was told after all is none."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        call = chat.begin("x")
        await settle()
        led.say("ke")
        await settle()
        before = (await chat.context.engine.replay("a1", None)).resume_id
        chat.context.away = True
        led.answer("pt")
        await call.answer()
        await chat.context.manual_clock.advance(3)
        assert not (await chat.context.engine.replay("a1", str(before))).gap
        chat.context.away = False
        await chat.context.manual_clock.advance(1)
        assert (await chat.context.engine.replay("a1", str(before))).gap
        warned = [line for line in chat.context.lines if line["event"] == "message not told, gap told"]
        assert [line["user"] for line in warned] == ["a1"]


async def test_an_engine_that_is_away_refuses_a_new_session(tmp_path: Path) -> None:
    """503: nothing was kept, nothing is lost."""
    async with Chat.in_memory(tmp_path) as chat:
        chat.context.away = True
        problem = await chat.begin("x").problem()
        assert (problem.status, problem.retry_after_s) == (503, 1)
        chat.context.away = False
        assert not chat.module.user_sessions


@pytest.mark.parametrize("error", [JournalFullError(), JournalUnavailableError()])
@pytest.mark.parametrize("role", ["user", "assistant"])
async def test_a_journal_that_fails_is_507_or_503(tmp_path: Path, error: JournalError, role: str) -> None:
    """The caller is not told that something was kept which was not; afterwards all goes on."""
    chat, journal = failing(tmp_path)
    async with chat:
        journal.fail_with, journal.fail_role = error, role
        problem = await chat.begin("x").problem()
        assert (problem.status, problem.retry_after_s) == (error.status, error.retry_after_s)
        assert ("Your message is kept, the reply is not" in problem.detail) == (role == "assistant")
        assert ("message was not kept" in problem.detail) == (role == "user")
        assert await chat.open_texts() == (["x"] if role == "assistant" else [])
        assert len(chat.context.events("a1", "failed")) == (role == "assistant")
        journal.fail_with = None
        await chat.ask("y")
        assert (await chat.open_texts())[-2:] == ["y", "y"]


async def test_a_reply_that_the_dialog_has_no_room_for_says_what_helps(tmp_path: Path) -> None:
    """Repeating alone would ask the model again and again: the session has to end first."""
    chat, journal = failing(tmp_path)
    async with chat:
        journal.fail_with, journal.fail_role = DialogFullError(), "assistant"
        problem = await chat.begin("x").problem()
        assert problem.status == 507
        assert "the reply is not: end the session" in problem.detail


async def test_too_many_waiting_calls_are_429(tmp_path: Path) -> None:
    """With `Retry-After`; those that wait are not harmed."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led, settings={"pending_calls_per_user": 2}) as chat:
        calls = [chat.begin("1"), chat.begin("2")]
        await settle()
        problem = await chat.begin("3").problem()
        assert (problem.status, problem.retry_after_s) == (429, 1)
        led.answer("1")
        led.answer("2")
        assert [(await each.answer()).reply for each in calls] == ["1", "2"]


async def test_json_output_is_json_or_a_clear_error(tmp_path: Path) -> None:
    """502 where the model's reply does not parse, and nothing of it is kept."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        for bad in ("{", '{"a": NaN}', ""):
            led.answer(bad)
            problem = await chat.begin("x", json_output=True).problem()
            assert problem.status == 502 and "JSON" in problem.detail
        assert await chat.open_texts() == ["x", "x", "x"]
        led.answer('{"a": 1}')
        assert (await chat.ask("y", json_output=True)).reply == '{"a": 1}'


async def test_a_json_reply_that_is_stopped_is_kept_and_refused(tmp_path: Path) -> None:
    """409 for its caller and for each repeat, which adds nothing; what is JSON by then is answered."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        for text, status in (('{"a": ', 409), ('{"a": 1}', 200)):
            call = chat.begin("x", json_output=True, key=f"key-{status}")
            await settle()
            led.say(text)
            await settle()
            assert (await chat.module.stop_generation(A1)).stopped
            if status == 200:
                assert (await call.answer()).finish_reason == "stopped"
                continue
            for each in (call, chat.begin("x", json_output=True, key="key-409")):
                problem = await each.problem()
                assert (problem.status, "JSON" in problem.detail) == (409, True)
        kept = await chat.module.dialogue_journal.get_conversation(A1)
        assert [each.content for each in kept] == ["x", '{"a": ', "x", '{"a": 1}']
        assert [each.interrupted for each in kept] == [False, True, False, True]
        assert len(led.asked) == 2


async def test_a_reply_that_never_ends_is_cut_at_its_limit(tmp_path: Path) -> None:
    """Finish reason `length`."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led, settings={"reply_max_chars": 5}) as chat:
        led.say("abc", "defg", "h")
        reply = await chat.ask("x")
        assert (reply.reply, reply.finish_reason) == ("abcde", "length")


async def test_whitespace_is_a_message(tmp_path: Path) -> None:
    """It comes back as it went."""
    async with Chat.in_memory(tmp_path) as chat:
        assert (await chat.ask(" \n\t")).reply == " \n\t"


async def test_replies_are_counted_by_outcome(tmp_path: Path) -> None:
    """Sessions too."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        led.answer("x")
        await chat.ask("x", key="k")
        await chat.ask("x", key="k")
        led.fail(ResponderError("no"))
        await chat.begin("x").problem()

        def count(outcome: str) -> float | None:
            return chat.context.registry.get_sample_value(
                "potoserver_chat_replies_total", {"outcome": outcome}
            )

        assert (count("whole"), count("repeated"), count("failed")) == (1, 1, 1)
        assert chat.context.registry.get_sample_value("potoserver_sessions") == 1
        assert chat.context.registry.get_sample_value("potoserver_chat_reply_seconds_count") == 2


async def test_ending_waits_for_the_calls_that_came_before_it(tmp_path: Path) -> None:
    """Those that come after it belong to the next session."""
    led = LedResponder()
    async with Chat.in_memory(tmp_path, responder=led) as chat:
        first, second = chat.begin("1"), chat.begin("2")
        await settle()
        ending = asyncio.create_task(chat.module.end_session(A1))
        await settle()
        third = chat.begin("3")
        for text in ("one", "two", "three"):
            led.answer(text)
        conversation_id = (await first.answer()).conversation_id
        assert (await second.answer()).conversation_id == conversation_id
        assert (await third.answer()).conversation_id != conversation_id
        ended = await ending
        assert ended.conversation_id == conversation_id
        assert reasons(await chat.archives()) == [Reason.REQUEST]
        (page,) = (await chat.module.list_archives(A1)).archives
        assert (page.id, page.message_count) == (ended.archive_id, 4)
