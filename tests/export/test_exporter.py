"""Export in turns: whole, in order, and out of the way of the user's other calls."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, TypeVar, get_args

import pytest

from modules.chat_server.export import Exporter, ExportFormat, UnknownArchiveError
from modules.chat_server.journal import FileSystemDialogueJournal, JournalUnavailableError
from modules.chat_server.journal.spent import spend
from modules.chat_server.reads import Reads
from potoserver import Download, User
from tests.journal.support import USER, LogRecord, dialogs_of, opened
from tests.search.support import START_MS, dialog_bytes, put_archive
from tests.support.clock import ManualClock, settle

HOUR_MS = 3600 * 1000
T = TypeVar("T")


@pytest.fixture
def log() -> LogRecord:
    return LogRecord()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[FileSystemDialogueJournal]:
    async with opened(tmp_path / "data") as journal:
        yield journal


@pytest.fixture
def reads(clock: ManualClock) -> Reads:
    return Reads(clock)


@pytest.fixture
def exporter(
    journal: FileSystemDialogueJournal, reads: Reads, clock: ManualClock, log: LogRecord
) -> Exporter:
    return Exporter(journal, reads, clock, log("session:export"))


def make(folder: Path, count: int, content: str = "text", messages: int = 2) -> list[str]:
    """Archives, oldest first; their ids."""
    ids = []
    for number in range(count):
        started_ms = START_MS + number * HOUR_MS
        data = dialog_bytes([content] * messages, number=number, started_ms=started_ms)
        ids.append(put_archive(folder / "data", data, started_ms + HOUR_MS // 2))
    return ids


async def led(work: Awaitable[T], clock: ManualClock) -> T:
    """Its result, however long there is rest before it."""
    doing = asyncio.ensure_future(work)
    async with asyncio.timeout(20):
        while not doing.done():
            await clock.advance(0.5)
            await asyncio.sleep(0.002)
    return await doing


async def next_of(chunks: AsyncIterator[bytes], clock: ManualClock) -> bytes | None:
    return await led(anext(chunks, None), clock)


async def chunks_of(download: Download, clock: ManualClock) -> AsyncIterator[bytes]:
    while (chunk := await next_of(download.chunks, clock)) is not None:
        yield chunk


async def whole(download: Download, clock: ManualClock) -> bytes:
    return b"".join([chunk async for chunk in chunks_of(download, clock)])


async def ids_in(download: Download, clock: ManualClock) -> list[str]:
    return [each["id"] for each in json.loads(await whole(download, clock))["archives"]]


async def test_all_archives_are_in_it_oldest_first(
    exporter: Exporter, clock: ManualClock, log: LogRecord, tmp_path: Path
) -> None:
    """Over many turns; it is named for the day, and logged when it is done."""
    ids = make(tmp_path, 1200)
    download = await led(exporter.export(USER, "json", None), clock)
    assert (download.content_type, download.file_name) == ("application/json", "archives-2024-01-15.json")
    assert log.events() == []
    assert await ids_in(download, clock) == ids
    (entry,) = log.entries
    assert (entry["event"], entry["archives"], entry["format"]) == ("archives exported", 1200, "json")


async def test_some_archives_by_their_ids(exporter: Exporter, clock: ManualClock, tmp_path: Path) -> None:
    """Each once and in order, whatever the order of the ids; an unknown one is told before any is sent."""
    ids = make(tmp_path, 5)
    chosen = await led(exporter.export(USER, "json", [ids[3], ids[1], ids[3]]), clock)
    assert await ids_in(chosen, clock) == [ids[1], ids[3]]
    for unknown in ("2020-01-01-00-00-00", "../current", "", ids[0] + ".yaml"):
        with pytest.raises(UnknownArchiveError) as caught:
            await led(exporter.export(USER, "json", [ids[0], unknown]), clock)
        assert caught.value.position == 1
    with pytest.raises(UnknownArchiveError):
        await led(exporter.export(User("b2"), "json", [ids[0]]), clock)


@pytest.mark.parametrize("form", get_args(ExportFormat))
async def test_without_archives_it_is_an_empty_file_of_its_kind(
    exporter: Exporter, clock: ManualClock, form: ExportFormat
) -> None:
    """And no error."""
    assert await whole(await led(exporter.export(USER, form, None), clock), clock)


async def test_what_can_not_be_read_is_passed_over_and_told(
    exporter: Exporter, clock: ManualClock, tmp_path: Path, log: LogRecord
) -> None:
    """Torn files, links, and another user's; what was deleted meanwhile is just not there."""
    ids = make(tmp_path, 4)
    folder = dialogs_of(tmp_path / "data") / "archived"
    (folder / f"{ids[1]}.yaml").write_bytes(b"torn: [")
    (folder / f"{ids[2]}.yaml").write_bytes(dialog_bytes(["secret"], user="b2"))
    (folder / "2030-01-01-00-00-00.yaml").symlink_to(folder / f"{ids[0]}.yaml")
    download = await led(exporter.export(USER, "json", None), clock)
    (folder / f"{ids[3]}.yaml").unlink()
    loaded = json.loads(await whole(download, clock))
    assert [each["id"] for each in loaded["archives"]] == [ids[0]]
    assert loaded["skipped"] == [ids[1], ids[2], "2030-01-01-00-00-00"]
    assert log.entries[-1]["skipped"] == 3


async def test_what_is_archived_meanwhile_is_not_in_it(
    exporter: Exporter, clock: ManualClock, tmp_path: Path
) -> None:
    """It is of one moment."""
    ids = make(tmp_path, 2)
    download = await led(exporter.export(USER, "json", None), clock)
    put_archive(tmp_path / "data", dialog_bytes(["new"]), START_MS + 99 * HOUR_MS)
    assert await ids_in(download, clock) == ids


async def test_the_users_other_readings_go_on_while_a_download_is_taken_slowly(
    exporter: Exporter, reads: Reads, clock: ManualClock, tmp_path: Path
) -> None:
    """Between two chunks no turn is held, however long the caller takes for them."""
    make(tmp_path, 1200)
    download = await led(exporter.export(USER, "json", None), clock)
    for _ in range(2):
        await next_of(download.chunks, clock)
    await clock.advance(5)  # what was read is rested from
    async with asyncio.timeout(5), reads.turn(USER.id):
        pass


async def test_an_export_rests_as_any_other_reading(
    exporter: Exporter,
    journal: FileSystemDialogueJournal,
    clock: ManualClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Turn for turn, so that it takes a fifth of a processor, however large it is."""
    make(tmp_path, 1100)
    visit, turns = journal.visit_archives, 0

    async def costly(*arguments: Any) -> None:
        nonlocal turns
        turns += 1
        await visit(*arguments)
        spend(1)

    monkeypatch.setattr(journal, "visit_archives", costly)
    begun_s = clock.monotonic_s()
    await whole(await led(exporter.export(USER, "zip", None), clock), clock)
    assert turns >= 3
    assert clock.monotonic_s() - begun_s >= 4 * (turns - 1)


async def test_a_disk_that_fails_in_the_middle_breaks_it_off(
    exporter: Exporter, journal: FileSystemDialogueJournal, clock: ManualClock, tmp_path: Path
) -> None:
    """With the journal's own error; so does a server that stops."""
    make(tmp_path, 1200)
    download = await led(exporter.export(USER, "json", None), clock)
    for _ in range(2):
        await next_of(download.chunks, clock)
    await clock.advance(5)
    await journal.close()
    with pytest.raises(JournalUnavailableError):
        await next_of(download.chunks, clock)


@pytest.mark.parametrize("form", get_args(ExportFormat))
async def test_memory_stays_bounded(
    exporter: Exporter, clock: ManualClock, tmp_path: Path, form: ExportFormat
) -> None:
    """Fifteen megabytes of archives pass through less than four."""
    content = random.Random(1).randbytes(50_000).hex()  # of which a zip makes half as much
    make(tmp_path, 150, content=content, messages=1)
    peak, size = await peak_of(exporter, clock, form)
    if peak >= 4_000_000:
        # The interpreter's table of interned strings takes as much where it grows just then. Now it has room.
        peak, size = await peak_of(exporter, clock, form)
    print(f"{form}: {peak:,} bytes at the peak for {size:,}")
    assert peak < 4_000_000
    assert size > (7_000_000 if form == "zip" else 15_000_000)


async def peak_of(exporter: Exporter, clock: ManualClock, form: ExportFormat) -> tuple[int, int]:
    """The most that an export held, and how much it gave; in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        size = 0
        download = await led(exporter.export(USER, form, None), clock)
        async for chunk in chunks_of(download, clock):
            size += len(chunk)
        return tracemalloc.get_traced_memory()[1], size
    finally:
        tracemalloc.stop()


async def test_a_caller_that_goes_leaves_no_work_behind(
    exporter: Exporter, journal: FileSystemDialogueJournal, clock: ManualClock, tmp_path: Path
) -> None:
    """Closed in the middle, nothing more is read."""
    make(tmp_path, 1200)
    download = await led(exporter.export(USER, "json", None), clock)
    chunks = download.chunks
    assert isinstance(chunks, AsyncGenerator)
    for _ in range(2):
        await next_of(chunks, clock)
    await chunks.aclose()
    await settle()
    assert not journal._calls.tasks
