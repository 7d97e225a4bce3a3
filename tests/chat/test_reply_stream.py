"""A growing reply and those who follow it."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable

import pytest
from typing_extensions import override

from modules.chat_server.reply_stream import DeltaMerger, ReplyStream
from modules.chat_server.wire import ChatReply, ReplyDelta
from potoserver import Done, Encoded, ProblemError, TimerHandle
from potoserver.module.wire import encode_result
from tests.support.clock import ManualClock, settle

ANSWER = ChatReply(conversation_id="c", message_id="m", reply="", reasoning=None, finish_reason="stop")


@pytest.mark.parametrize("behind", [0, 1, 100, 255, 256, 257, 600, 1000])
async def test_who_follows_gets_all_of_it_once(behind: int) -> None:
    """In order, however far it falls behind: it has passed the first pieces when the rest comes at once."""
    stream, count = ReplyStream(), 1000
    pieces = [(f"t{number} ", f"r{number} " if number % 3 else "") for number in range(count)]
    for piece in pieces[:behind]:
        stream.append(*piece)
    following = stream.follow()
    got = [await anext(following) for _ in range(min(behind, 1))]
    for piece in pieces[behind:]:
        stream.append(*piece)
    stream.finish(ANSWER)
    got += [item async for item in following]
    assert got.pop() == Done(ANSWER)
    deltas = [item for item in got if isinstance(item, ReplyDelta)]
    assert "".join(each.text for each in deltas) == "".join(text for text, _ in pieces) == stream.text
    assert "".join(each.reasoning for each in deltas) == "".join(thought for _, thought in pieces)
    assert stream.reasoning == "".join(thought for _, thought in pieces)
    assert len(deltas) < 300, "what was behind is joined"


async def test_a_follower_in_the_midst_of_a_block_goes_on_where_it_was() -> None:
    """The pieces that it had passed are joined with those that it had not."""
    stream = ReplyStream()
    following = stream.follow()
    texts = [f"{number} " for number in range(700)]
    got = []
    for number, text in enumerate(texts):
        stream.append(text, "")
        if number < 300:
            item = await anext(following)
            assert isinstance(item, ReplyDelta)
            assert item.text == text, "who keeps up gets each piece as it comes"
            got.append(item.text)
    stream.finish(ANSWER)
    got += [item.text async for item in following if isinstance(item, ReplyDelta)]
    assert "".join(got) == "".join(texts)


@pytest.mark.parametrize("behind", [0, 1, 300])
async def test_who_keeps_up_is_passed_each_piece_where_it_is_added(behind: int) -> None:
    """Without a turn of the loop for a task that follows; what was there before is yielded, once."""
    stream = ReplyStream()
    yielded: list[ReplyDelta | Done[ChatReply]] = []
    passed: list[Encoded] = []

    async def follow() -> None:
        async for item in stream.follow(passed.append):
            yielded.append(item)

    texts = [f"{number} " for number in range(behind + 400)]
    for text in texts[:behind]:
        stream.append(text, "")
    following = asyncio.ensure_future(follow())
    await settle()
    assert "".join(each.text for each in yielded if isinstance(each, ReplyDelta)) == "".join(texts[:behind])
    for count, text in enumerate(texts[behind:], start=1):
        stream.append(text, "a thought")
        assert len(passed) == count
        assert passed[-1].json == encode_result(ReplyDelta(text=text, reasoning="a thought"))
    stream.finish(ANSWER)
    await following
    assert yielded.pop() == Done(ANSWER)
    assert stream.text == "".join(texts)


async def test_who_stops_following_is_passed_nothing_more() -> None:
    """And the reply goes on."""
    stream = ReplyStream()
    passed: list[Encoded] = []
    following = asyncio.ensure_future(anext(stream.follow(passed.append)))
    await settle()
    stream.append("one", "")
    following.cancel()
    await settle()
    stream.append("two", "")
    assert len(passed) == 1


@pytest.mark.parametrize(
    "text", ["", "word ", 'a "quote" \\ and\nlines\r\t\x00\x7f', "hü \u2028 \U0001f600 </script>"]
)
def test_a_piece_is_encoded_as_its_model_is(text: str) -> None:
    """The short way is no other way."""
    assert ReplyDelta.encoded(text, "") == Encoded(encode_result(ReplyDelta(text=text, reasoning="")))
    assert ReplyDelta.encoded("", text) == Encoded(encode_result(ReplyDelta(text="", reasoning=text)))


async def test_who_wants_the_answer_alone_is_told_that() -> None:
    """Once it is there, whatever pieces come before; the error likewise."""
    stream, failing = ReplyStream(), ReplyStream()
    answers = [asyncio.ensure_future(each.answer()) for each in (stream, failing)]
    stream.append("a piece", "")
    await settle()
    assert not any(answer.done() for answer in answers)
    stream.finish(ANSWER)
    failing.finish(ProblemError(502, "The model failed."))
    assert await answers[0] == await stream.answer() == ANSWER
    with pytest.raises(ProblemError):
        await answers[1]


class _Timers(ManualClock):
    """Knows how many timers were set."""

    count = 0

    @override
    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        self.count += 1
        return super().call_later(delay_s, callback)


async def test_a_text_that_grows_slowly_is_published_piece_by_piece_without_a_timer() -> None:
    """A server of many slow replies is not woken twice for each piece."""
    clock, published = _Timers(), []

    async def publish(text: str) -> None:
        published.append(text)

    merger = DeltaMerger(clock, publish)
    for number in range(5):
        merger.append(f"{number}")
        await settle()
        assert len(published) == number + 1
        await clock.advance(0.05)
    assert clock.count == 0
    merger.append("a")
    await settle()
    merger.append("b")
    merger.append("c")
    await clock.advance(0.049)
    assert (published[5:], clock.count) == (["a"], 1)
    await clock.advance(0.001)
    assert published[5:] == ["a", "bc"]
    merger.append("d")
    await merger.finish()
    await clock.advance(1)
    assert published[5:] == ["a", "bc"]


async def test_a_text_that_ends_before_its_first_piece_is_published_is_published_not_at_all() -> None:
    """At whatever moment the end comes."""
    for turns in range(4):
        published: list[str] = []

        async def publish(text: str, published: list[str] = published) -> None:
            published.append(text)

        merger = DeltaMerger(ManualClock(), publish)
        merger.append("a")
        await settle(turns)
        before = list(published)
        await merger.finish()
        await settle()
        assert published == before
        assert published in ([], ["a"])


def test_what_is_kept_is_bounded_by_the_reply() -> None:
    """Not by the number of its pieces."""
    stream = ReplyStream()
    tracemalloc.start()
    for number in range(100_000):
        stream.append(f" {number % 10}", "")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 3 * len(stream.text)
