"""The checker of histories: a sound one passes, and there is a broken one for each promise."""

from __future__ import annotations

import asyncio
import copy
import random
from pathlib import Path

import pytest

from tests.cluster import test_checker_events, test_checker_messages, test_checker_sessions
from tests.cluster.checker import events, faults, messages, sessions, untold
from tests.cluster.checker.books import Books
from tests.cluster.checker.broken import FAULTS, broken_copy
from tests.cluster.checker.checks import check
from tests.cluster.checker.history import Asked, History
from tests.cluster.checker.run import RULES
from tests.cluster.checker.spans import Span, after, joined, within, without
from tests.cluster.checker.tab import Tab
from tests.cluster.histories import T, sound

BROKEN = {
    promise
    for module in (test_checker_events, test_checker_messages, test_checker_sessions)
    for promise, _ in module.BROKEN
}
"""The promises that hand-made histories break."""


def test_a_sound_history_passes() -> None:
    assert check(sound()) == []


def test_every_promise_is_broken_here() -> None:
    promises = {
        value
        for module in (messages, sessions, events, untold, faults)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str) and " " in value
    }
    logged = {sessions.STARTED, sessions.ENDED, sessions.ADOPTED, untold.NOT_PUBLISHED}
    assert promises - logged == BROKEN


def test_a_history_is_kept_and_read_as_it_is(tmp_path: Path) -> None:
    history = sound()
    history.asked.append(Asked("u", 1, T, T, 0))
    history.left.append("something")
    file = tmp_path / "history.jsonl"
    history.write(file)
    assert History.read(file) == history
    assert check(History.read(file)) == check(copy.deepcopy(history))


def test_spans() -> None:
    spans = [Span(5, 9), Span(0, 2), Span(8, 12), Span(3, 3)]
    assert joined(spans) == [(0, 2), (5, 12)]
    assert joined(spans, over=3) == [(0, 12)]
    assert without(spans, [Span(1, 6), Span(7, 8)]) == [(0, 1), (6, 7), (8, 12)]
    assert within(spans, Span(1, 10)) == [(1, 2), (5, 10)]
    assert after(0, 10, []) == 10
    assert after(0, 10, [Span(-5, -1), Span(4, 6), Span(12, 20), Span(30, 40)]) == 12
    assert after(5, 3, [Span(4, 10)]) == 13


async def test_a_stream_that_is_dropped_while_it_opens_does_not_stay_open() -> None:
    gone: list[asyncio.Event] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone.append(over := asyncio.Event())
        try:
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass
        over.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    books = Books(History(1, RULES), [server.sockets[0].getsockname()[1]])
    tab = Tab(books, "u", 0, random.Random(1))
    tab.come(resume=False)
    while not books.history.streams:
        await asyncio.sleep(0)
    tab.drop(reset=True)
    async with asyncio.timeout(10):
        while len(gone) < 2:  # it has come again
            await asyncio.sleep(0.01)
        await gone[0].wait()
    await tab.leave(reset=True)
    server.close()


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_the_faults_that_the_checker_must_find_can_still_be_made(tmp_path: Path, name: str) -> None:
    """The code that each replaces is there, once, and what it breaks is what the checker tells of."""
    fault = FAULTS[name]
    folder = broken_copy(name, tmp_path / "code")
    for change in fault.changes:
        assert change.instead in (folder / change.file).read_text()
    assert set(fault.breaks) <= BROKEN
