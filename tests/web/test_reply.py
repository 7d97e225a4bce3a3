"""What waits between a method and the reader of its reply."""

from __future__ import annotations

import pytest

from potoserver.errors import ProblemError
from potoserver.web.reply import End, Failure, ReplyBuffer, ReplyOverflowError


async def test_what_waits_is_bounded() -> None:
    """One character more than may wait, and all of it is thrown away, as is what comes then. Told once."""
    buffer = ReplyBuffer(10)
    told: list[str] = []
    buffer.listen(lambda _: False, lambda: told.append("overflow"))
    for _ in range(3):  # what was taken does not count any more
        await buffer.put("12345")
        await buffer.put("67890")
        assert buffer.take(100) == ["12345", "67890"]
    assert told == []
    await buffer.put("12345")
    await buffer.put("678901")
    await buffer.put("x")
    buffer.finish(End("null"))
    assert told == ["overflow"]
    await buffer.wait()
    assert buffer.ending is None
    with pytest.raises(ReplyOverflowError):
        buffer.take(100)


@pytest.mark.parametrize(("most", "taken"), [(1, 1), (10, 2), (14, 2), (15, 3), (100, 4)])
async def test_so_many_characters_are_taken_at_once_and_one_item_at_least(most: int, taken: int) -> None:
    """The end is next when none is left."""
    buffer = ReplyBuffer(100)
    for _ in range(4):
        await buffer.put("12345")
    buffer.finish(End("1"))
    assert buffer.take(most) == ["12345"] * taken
    assert buffer.ending == (End("1") if taken == 4 else None)


async def test_who_writes_at_once_gets_what_comes_while_nothing_waits() -> None:
    """Else the items would come out of order."""
    buffer = ReplyBuffer(100)
    written: list[str] = []
    await buffer.put("a")

    def write_now(item: str) -> bool:
        written.append(item)
        return True

    buffer.listen(write_now, lambda: None)
    await buffer.put("b")
    assert buffer.take(100) == ["a", "b"]
    await buffer.put("c")
    buffer.pass_on("d")
    assert written == ["c", '"d"']
    assert buffer.take(100) == []


async def test_what_comes_after_the_end_or_for_nobody_is_thrown_away() -> None:
    """A method that goes on without a reader holds nothing for one."""
    written: list[str] = []
    ended, left = ReplyBuffer(100), ReplyBuffer(100)
    for buffer in (ended, left):
        await buffer.put("a")
        buffer.listen(lambda item: written.append(item) is None, lambda: None)
    problem = Failure(ProblemError(502, "The model failed."))
    ended.cut(problem)
    left.close()
    for buffer in (ended, left):
        await buffer.put("b")
        assert buffer.take(100) == []
    assert written == []
    ended.finish(End("null"))
    assert ended.ending is problem
