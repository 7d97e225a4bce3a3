"""Search through a user's archives, page by page."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modules.chat_server.journal import DialogueJournal, Reason
from modules.chat_server.journal.dialog_yaml import NotADialogError, parse_dialog
from modules.chat_server.reads import Reads
from modules.chat_server.search import Found, Query, Searcher
from potoserver import User
from tests.journal.support import USER, dialogs_of, opened
from tests.search.support import START_MS, dialog_bytes, laid_out, naive_has, put_archive, texts
from tests.support.clock import ManualClock

DAY_MS = 24 * 3600 * 1000


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[DialogueJournal]:
    async with opened(tmp_path / "data") as journal:
        yield journal


def searcher(journal: DialogueJournal, **options: Any) -> Searcher:
    clock = ManualClock()
    reads = Reads(clock)
    reads._clock = type("NoRest", (), {"call_later": staticmethod(lambda _, done: done())})()
    return Searcher(journal, reads, **options)


async def pages(
    searcher: Searcher, query: Query, limit: int = 20, cursor: str | None = None
) -> AsyncIterator[list[Found]]:
    while True:
        page = await searcher.page(USER, query, limit, cursor)
        assert len(page.found) <= limit
        yield list(page.found)
        cursor = page.cursor
        if cursor is None:
            return


async def ids_of(searcher: Searcher, query: Query, limit: int = 20) -> list[tuple[str, str]]:
    return [
        (found.archive_id, found.message.id) async for page in pages(searcher, query, limit) for found in page
    ]


def archive(
    folder: Path, number: int, contents: list[str], *, reason: Reason = Reason.REQUEST, suffix: str = ""
) -> str:
    """An archive of day `number`."""
    started_ms = START_MS + number * DAY_MS
    data = dialog_bytes(contents, number=number, started_ms=started_ms, reason=reason)
    return put_archive(folder / "data", data, started_ms + len(contents) * 1000, suffix=suffix)


async def test_every_match_is_told_with_where_it_stands(journal: DialogueJournal, tmp_path: Path) -> None:
    """Newest archive first, in it in the order of messages, with a snippet that marks the words."""
    old = archive(tmp_path, 1, ["Where is Ithaca?", "An island", "ITHACA, and on"])
    new = archive(tmp_path, 2, ["Nothing", "ithacan things"], suffix="-2")
    found = (await searcher(journal).page(USER, Query.of("ithaca"), 20, None)).found
    assert [(each.archive_id, each.message.id) for each in found] == [
        (new, "m-2-1"),
        (old, "m-1-0"),
        (old, "m-1-2"),
    ]
    assert found[0].title == "Nothing"
    assert found[1].conversation_id.endswith("000000001")
    assert [(part.text, part.match) for part in found[1].snippet] == [
        ("Where is ", False),
        ("Ithaca", True),
        ("?", False),
    ]


async def test_filters(journal: DialogueJournal, tmp_path: Path) -> None:
    """By role, reason, title, and the message's own time; all at once, too."""
    archive(tmp_path, 1, ["Ships and sails", "ships"], reason=Reason.DISCONNECT)
    archive(tmp_path, 2, ["Harbours", "ships", "ships"], reason=Reason.REQUEST)
    search = searcher(journal)

    async def messages(**filters: str) -> list[str]:
        return [message for _, message in await ids_of(search, Query.of("ships", **filters))]

    assert await messages() == ["m-2-1", "m-2-2", "m-1-0", "m-1-1"]
    assert await messages(role="user") == ["m-2-2", "m-1-0"]
    assert await messages(role="assistant") == ["m-2-1", "m-1-1"]
    assert await messages(reason="disconnect") == ["m-1-0", "m-1-1"]
    assert await messages(title="harbour") == ["m-2-1", "m-2-2"]
    assert await messages(title="SHIPS sails") == ["m-1-0", "m-1-1"]
    assert await messages(after="2024-01-17T10:12:05Z") == ["m-2-2"]
    assert await messages(before="2024-01-16T10:12:04Z") == ["m-1-0"]
    assert await messages(after="2024-01-16T10:12:04Z", before="2024-01-17T10:12:05Z") == ["m-2-1", "m-1-1"]
    assert await messages(role="user", reason="request", title="harbours", after="2024-01-01") == ["m-2-2"]


async def test_all_words_must_be_in_one_message(journal: DialogueJournal, tmp_path: Path) -> None:
    """Anywhere in it, in any order; a phrase as it stands."""
    archive(tmp_path, 1, ["red green", "green", "red", "greenish infrared"])
    search = searcher(journal)
    assert [each for _, each in await ids_of(search, Query.of("green red"))] == ["m-1-0", "m-1-3"]
    assert [each for _, each in await ids_of(search, Query.of('"red green"'))] == ["m-1-0"]


async def test_only_the_users_own_archives_are_searched(journal: DialogueJournal, tmp_path: Path) -> None:
    """Another user's are not, nor is another's file that was put among one's own."""
    data = dialog_bytes(["secret"], user="b2")
    put_archive(tmp_path / "data", data, START_MS, user="b2")
    put_archive(tmp_path / "data", data, START_MS)
    assert await ids_of(searcher(journal), Query.of("secret")) == []
    assert (await searcher(journal).page(User("b2"), Query.of("secret"), 20, None)).found != ()


async def test_what_can_not_be_read_is_passed_over(journal: DialogueJournal, tmp_path: Path) -> None:
    """Torn files, links, folders and foreign ones, with the word in them."""
    data = dialog_bytes(["needle"])
    put_archive(tmp_path / "data", data[:-30], START_MS)
    put_archive(tmp_path / "data", b"needle", START_MS, suffix="-2")
    put_archive(tmp_path / "data", b"needle: [", START_MS, suffix="-3")
    folder = dialogs_of(tmp_path / "data") / "archived"
    (folder / "2024-01-01-00-00-00.yaml").symlink_to(tmp_path / "elsewhere")
    (folder / "2024-01-02-00-00-00.yaml").mkdir()
    (folder / "needle.yaml").write_bytes(data)
    good = archive(tmp_path, 0, ["needle"], suffix="-9")
    assert await ids_of(searcher(journal), Query.of("needle")) == [(good, "m-0-0")]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_make_a_whole(journal: DialogueJournal, tmp_path: Path, limit: int) -> None:
    """Each match once and in order, wherever a page ends."""
    for number in range(7):
        archive(tmp_path, number, [f"match {at}" for at in range(number % 4)] or ["none"])
    expected = [(number, at) for number in reversed(range(7)) for at in range(number % 4)]
    found = await ids_of(searcher(journal), Query.of("match"), limit)
    assert [tuple(map(int, message.split("-")[1:])) for _, message in found] == expected


async def test_a_page_that_takes_its_time_is_given_out_as_it_is(
    journal: DialogueJournal, tmp_path: Path
) -> None:
    """Even without a match, with a cursor to go on; so no search keeps others from the disk for long."""
    for number in range(10):
        archive(tmp_path, number, ["needle" if number == 0 else "hay"])
    now_s: Iterator[float] = (step * 0.2 for step in itertools.count())
    slow = searcher(journal, now_s=lambda: next(now_s))
    sizes = [len(page) async for page in pages(slow, Query.of("needle"))]
    assert len(sizes) == 4
    assert sizes == [0, 0, 0, 1]


async def test_archives_that_come_and_go_between_pages_move_nothing(
    journal: DialogueJournal, tmp_path: Path
) -> None:
    """What was there all along is found once each, also when the archive is gone at which a page ended."""
    ids = [archive(tmp_path, number, ["match one", "match two"]) for number in range(6)]
    folder = dialogs_of(tmp_path / "data") / "archived"
    search = searcher(journal)
    for limit, gone in itertools.product((1, 2, 3), range(6)):
        there = {number for number in range(6) if number != gone}
        found: list[tuple[str, str]] = []
        kept = (folder / f"{ids[gone]}.yaml").read_bytes()
        added = None
        async for page in pages(search, Query.of("match"), limit):
            found += [(each.archive_id, each.message.id) for each in page]
            (folder / f"{ids[gone]}.yaml").unlink(missing_ok=True)
            added = added or archive(tmp_path, 9, ["match new"])
        assert len(found) == len(set(found))
        assert {(ids[number], f"m-{number}-{at}") for number in there for at in (0, 1)} <= set(found)
        (folder / f"{ids[gone]}.yaml").write_bytes(kept)
        (folder / f"{added}.yaml").unlink()


@pytest.mark.parametrize("query", ["nowhere", "word"])
async def test_memory_stays_bounded(journal: DialogueJournal, tmp_path: Path, query: str) -> None:
    """Fifteen megabytes of archives pass through less than three, with a match in each or in none."""
    for number in range(150):
        archive(tmp_path, number, ["word " * 5000] * 4)
    peak, count = await peak_of(searcher(journal), query)
    if peak >= 3_000_000:
        # The interpreter's table of interned strings takes as much where it grows just then. Now it has room.
        peak, count = await peak_of(searcher(journal), query)
    print(f"{query}: {peak:,} bytes at the peak")
    assert count == (600 if query == "word" else 0)
    assert peak < 3_000_000


async def peak_of(search: Searcher, query: str) -> tuple[int, int]:
    """The most that a search held, in bytes, and how much it found."""
    gc.collect()
    tracemalloc.start()
    try:
        count = sum([len(page) async for page in pages(search, Query.of(query))])
        return tracemalloc.get_traced_memory()[1], count
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", ":", "../x:1", "1" * 100_000),
        *(f"2024-01-15-10-30-00:{skip}" for skip in ("", "-1", "1:1", "9" * 9, "٣", " 1")),
    ],
)
async def test_a_cursor_that_is_none_is_refused(journal: DialogueJournal, cursor: str) -> None:
    """By a ValueError that names it."""
    with pytest.raises(ValueError, match="cursor"):
        await searcher(journal).page(USER, Query.of("a"), 20, cursor)


async def test_a_cursor_far_behind_or_ahead_is_no_fault(journal: DialogueJournal, tmp_path: Path) -> None:
    """It may be of an archive that is no more, or shorter than it was."""
    one = archive(tmp_path, 1, ["match", "match"])
    search = searcher(journal)
    for cursor, count in (
        (f"{one}:1", 1),
        (f"{one}:99999999", 0),
        ("0000-00-00-00-00-00", 0),
        ("9999-99-99-99-99-99", 2),
    ):
        assert len((await search.page(USER, Query.of("match"), 20, cursor)).found) == count


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.lists(texts, min_size=1, max_size=4), st.none() | st.integers(0, 2**32)), max_size=6
    ),
    texts,
    st.integers(1, 4),
)
async def test_a_search_finds_what_a_look_at_every_message_finds(
    dialogs: list[tuple[list[str], int | None]], word: str, limit: int
) -> None:
    """Over files of any layout, page by page, in the right order."""
    query_text = word.replace('"', " ").strip()[:20].strip()
    sources = [content for contents, _ in dialogs for content in contents]
    if not query_text and sources:
        query_text = sources[0].replace('"', " ").strip()[:3].strip()
    if not query_text:
        return
    with TemporaryDirectory() as name:
        data_dir = Path(name) / "data"
        expected: list[tuple[str, str]] = []
        for number, (contents, seed) in enumerate(dialogs):
            started_ms = START_MS + number * DAY_MS
            data = dialog_bytes(contents, number=number, started_ms=started_ms)
            if seed is not None:
                data = laid_out(data, seed)
            archive_id = put_archive(data_dir, data, started_ms)
            try:
                messages = parse_dialog(data).messages
            except NotADialogError:
                continue
            expected = [
                (archive_id, each.id) for each in messages if naive_has(each.content, [query_text])
            ] + expected
        async with opened(data_dir) as journal:
            assert await ids_of(searcher(journal), Query.of(f'"{query_text}"'), limit) == expected
