"""The threads on which the journal does what blocks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from modules.chat_server.journal.spent import counted, counting, spend
from modules.chat_server.journal.threads import Threads


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(2, "reader")
    yield made
    made.close()


async def test_there_are_no_more_than_were_asked_for(threads: Threads) -> None:
    """However many calls there are; and by their names a debugger shows whose they are."""

    def name() -> str:
        time.sleep(0.001)
        return threading.current_thread().name

    names = await asyncio.gather(*(threads.run(name) for _ in range(50)))
    assert set(names) == {"reader_0", "reader_1"}


async def test_what_they_take_counts_for_who_asks(threads: Threads) -> None:
    """Else a user's reading would never rest."""
    with counting() as spent:
        assert await threads.run(sum, range(100_000), start=50) == 4_999_950_050
    assert spent.seconds > 0


def test_a_call_spends_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not what its thread has spent on others before."""
    moments = iter((3.0, 5.5))
    monkeypatch.setattr(time, "thread_time", lambda: next(moments))
    with counting() as spent:
        assert counted(len, "text") == 4
    assert spent.seconds == 2.5


def test_what_is_spent_adds_up() -> None:
    """Call by call; what nobody counts is not kept."""
    spend(5)
    with counting() as spent:
        spend(1)
        spend(2)
    assert spent.seconds == 3
