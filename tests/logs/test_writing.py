"""How lines get to the disk: never in the way of who logs, whatever the disk does."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from potoserver.logs import LOG_FILE_NAME, Logs
from potoserver.logs.entry import Entry
from potoserver.logs.file import RotatingFile
from potoserver.logs.logs import GATHERED_LINES, QUEUE_LINES
from potoserver.logs.writer import Writer
from potoserver.settings.model import LogSettings
from tests.faults.disk import Fault
from tests.faults.log_disk import FaultyLogFile

LIMIT_S = 10.0


def until(condition: Callable[[], Any]) -> None:
    """Waits for the writer's thread."""
    ends = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.002)


def events(path: Path) -> list[str]:
    if not path.exists():
        return []
    whole = path.read_text().rpartition("\n")[0]  # the writer may be in the middle of a line
    return [json.loads(line)["event"] for line in whole.splitlines()]


class Held(io.StringIO):
    """A terminal on hold: writing waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.free = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        assert self.free.wait(LIMIT_S)
        return super().write(text)


def test_a_file_is_rotated_by_size(tmp_path: Path) -> None:
    """No file exceeds the size, so many are kept as set, and no line is split or lost between them."""
    file = RotatingFile(tmp_path / "x.log", max_bytes=100, backups=3)
    lines = [f"{number:09d}\n".encode() for number in range(45)]
    assert file.write(lines[:30]) == (30, None)
    assert file.write(lines[30:]) == (15, None)
    file.close()
    names = ["x.log.3", "x.log.2", "x.log.1", "x.log"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    content = b"".join((tmp_path / name).read_bytes() for name in names)
    assert content == b"".join(lines[10:])
    assert all((tmp_path / name).stat().st_size <= 100 for name in names)
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in names)


def test_a_line_longer_than_the_size_is_kept_whole(tmp_path: Path) -> None:
    """It gets a file of its own."""
    file = RotatingFile(tmp_path / "x.log", max_bytes=10, backups=2)
    assert file.write([b"a\n", b"b" * 50 + b"\n", b"c\n"]) == (3, None)
    file.close()
    assert [(tmp_path / f"x.log{end}").read_bytes()[:1] for end in (".2", ".1", "")] == [b"a", b"b", b"c"]


def test_an_existing_file_is_gone_on_with(tmp_path: Path) -> None:
    """A restart appends; a line that a crash has torn is ended first."""
    (tmp_path / "x.log").write_bytes(b"whole\ntor")
    file = RotatingFile(tmp_path / "x.log", max_bytes=1000, backups=1)
    file.write([b"next\n"])
    file.close()
    assert (tmp_path / "x.log").read_bytes() == b"whole\ntor\nnext\n"


@pytest.mark.parametrize("how", ["rename", "rename and create", "remove", "truncate", "remove the folder"])
def test_an_outside_rotation_is_followed(tmp_path: Path, how: str) -> None:
    """After logrotate moved, removed or emptied the file, lines go to the file at the path."""
    path = tmp_path / "logs" / LOG_FILE_NAME
    logs = Logs(LogSettings(), path.parent, None)
    logs.start()
    logs.get("a").info("one")
    until(lambda: events(path) == ["one"])
    if how.startswith("rename"):
        path.rename(tmp_path / "moved")
        if how == "rename and create":
            path.touch()
    elif how == "truncate":
        os.truncate(path, 0)
    else:
        path.unlink()
        if how == "remove the folder":
            path.parent.rmdir()
    logs.get("a").info("two")
    logs.stop()
    assert events(path) == ["two"]
    if how.startswith("rename"):
        assert events(tmp_path / "moved") == ["one"]


@pytest.mark.usefixtures("no_retry")
def test_a_full_disk_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    """On /dev/full every line is dropped and counted; with space again, lines and one warning are written."""
    path = tmp_path / LOG_FILE_NAME
    path.symlink_to("/dev/full")
    terminal = io.StringIO()
    dropped: list[int] = []
    logs = Logs(LogSettings(), tmp_path, terminal)
    logs.on_dropped = lambda: dropped.append(1)
    logs.start()
    for number in range(5):
        logs.get("a").info(f"lost {number}")
    until(lambda: len(dropped) == 5 and terminal.getvalue().count("lost") == 5)
    until(lambda: terminal.getvalue().count("log file can't be written") == 1)
    path.unlink()
    logs.get("a").info("kept")
    logs.stop()
    assert events(path) == ["kept", "log lines dropped"]
    assert json.loads(path.read_text().splitlines()[1])["lines"] == 5


def test_a_torn_write_leaves_no_part_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full in the middle of a line, what was written of it is cut off again."""
    path = tmp_path / "x.log"
    file = RotatingFile(path, max_bytes=1000, backups=1)
    file.write([b"before\n"])
    real_write = os.write
    space = [10]

    def write(descriptor: int, data: bytes) -> int:
        if not space[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real_write(descriptor, bytes(data)[: space[0]])
        space[0] -= written
        return written

    monkeypatch.setattr(os, "write", write)
    kept, error = file.write([b"first\n", b"second\n", b"third\n"])
    assert kept == 0
    assert error is not None
    assert error.errno == errno.ENOSPC
    assert path.read_bytes() == b"before\n"
    monkeypatch.undo()
    assert file.write([b"after\n"]) == (1, None)
    file.close()
    assert path.read_bytes() == b"before\nafter\n"


@pytest.mark.usefixtures("no_retry")
def test_an_input_output_error_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO drops lines and the next write opens the file anew."""
    path = tmp_path / LOG_FILE_NAME
    dropped: list[int] = []
    logs = Logs(LogSettings(), tmp_path, None)
    logs.on_dropped = lambda: dropped.append(1)
    logs.start()

    def fail(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        logs.get("a").info("lost")
        until(lambda: dropped)
    logs.get("a").info("kept")
    logs.stop()
    assert events(path) == ["kept", "log lines dropped"]


def test_rotation_that_is_not_allowed_lets_the_file_grow(tmp_path: Path) -> None:
    """Where the folder can't be changed lines are kept beyond the size rather than lost."""
    file = FaultyLogFile(tmp_path / "x.log", 10, 2, Fault("rename", times=0, error=errno.EACCES))
    assert file.write([b"a" * 8 + b"\n"] * 5) == (5, None)
    file.close()
    assert (tmp_path / "x.log").stat().st_size == 45


def test_logging_never_waits_for_the_terminal(tmp_path: Path) -> None:
    """A terminal on hold costs its own lines past the bound, counted; the file gets every line."""
    terminal = Held()
    dropped: list[int] = []
    logs = Logs(LogSettings(), tmp_path, terminal)
    logs.on_dropped = lambda: dropped.append(1)
    logs.start()
    logger = logs.get("a")
    logger.info("first")
    assert terminal.reached.wait(LIMIT_S)
    extra = 50
    for number in range(QUEUE_LINES + extra):
        logger.info("more", number=number)
        if number % 5000 == 0:
            until(lambda expected=number + 2: len(events(tmp_path / LOG_FILE_NAME)) == expected)
    assert len(dropped) == extra
    terminal.free.set()
    logs.stop()
    assert len(events(tmp_path / LOG_FILE_NAME)) == QUEUE_LINES + extra + 1
    assert terminal.getvalue().count("log lines dropped lines=50") == 1


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that were handed to the thread of the file, as they come."""
    handed: list[str] = []
    monkeypatch.setattr(Writer, "put", lambda _, entry: handed.append(entry.event))
    return handed


async def test_the_lines_of_a_turn_are_handed_over_together(tmp_path: Path, handed: list[str]) -> None:
    """The thread does not wake for each of them: it gets them as soon as the turn of the loop is over."""
    logger = Logs(LogSettings(), tmp_path, None).get("a")
    for _ in range(2):
        handed.clear()
        logger.info("one")
        logger.info("two")
        assert handed == []
        await asyncio.sleep(0)
        assert handed == ["one", "two"]


async def test_a_turn_holds_so_many_lines_and_no_more(tmp_path: Path, handed: list[str]) -> None:
    """A turn that does not end keeps no more than that out of the file."""
    logger = Logs(LogSettings(), tmp_path, None).get("a")
    for number in range(GATHERED_LINES + 1):
        logger.info(str(number))
    assert len(handed) == GATHERED_LINES
    await asyncio.sleep(0)
    assert handed == [str(number) for number in range(GATHERED_LINES + 1)]


async def test_a_line_of_another_thread_waits_for_no_turn(tmp_path: Path, handed: list[str]) -> None:
    """It is handed over at once, behind what the turn has logged before."""
    logger = Logs(LogSettings(), tmp_path, None).get("a")
    logger.info("one")
    thread = threading.Thread(target=logger.info, args=("two",))
    thread.start()
    thread.join(LIMIT_S)
    assert handed == ["one", "two"]


async def test_stopping_writes_the_lines_of_the_turn(tmp_path: Path) -> None:
    """A process that ends in the middle of a turn has said all that it had to say."""
    logs = Logs(LogSettings(), tmp_path, None)
    logs.start()
    logs.get("a").info("last")
    logs.stop()
    assert events(tmp_path / LOG_FILE_NAME) == ["last"]


def test_stopping_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A writer that hangs is given up on, so that the process can exit."""

    class Hangs:
        free = threading.Event()

        def write(self, entries: Sequence[Entry]) -> int:
            self.free.wait(LIMIT_S)
            return len(entries)

        def close(self) -> None:
            self.free.set()

    sink = Hangs()
    writer = Writer(sink, 10, lambda: None)
    writer.start()
    writer.put(Entry.capture("a", "info", "b", {}))
    began = time.monotonic()
    writer.stop(0.05)
    assert time.monotonic() - began < LIMIT_S / 2
    sink.free.set()


def test_the_writer_outlives_a_sink_that_raises() -> None:
    """A mistake in writing one line costs that line alone."""

    class Raises:
        def __init__(self) -> None:
            self.calls = 0
            self.kept: list[str] = []

        def write(self, entries: Sequence[Entry]) -> int:
            self.calls += 1
            if self.calls == 1:
                raise RuntimeError("a mistake")
            self.kept.extend(entry.event for entry in entries)
            return len(entries)

        def close(self) -> None:
            pass

    sink = Raises()
    dropped: list[int] = []
    writer = Writer(sink, 10, lambda: dropped.append(1))
    writer.start()
    writer.put(Entry.capture("a", "info", "lost", {}))
    until(lambda: dropped)
    writer.put(Entry.capture("a", "info", "kept", {}))
    writer.stop(LIMIT_S)
    assert sink.kept == ["kept", "log lines dropped"]


def test_a_terminal_that_has_gone_is_left_alone(tmp_path: Path) -> None:
    """A closed terminal drops the lines under way, once; the file goes on."""
    reader, end = os.pipe()
    os.close(reader)
    dropped: list[int] = []
    with os.fdopen(end, "w", encoding="ascii") as terminal:
        logs = Logs(LogSettings(), tmp_path, terminal)
        logs.on_dropped = lambda: dropped.append(1)
        logs.start()
        logs.get("a").info("one")
        until(lambda: dropped)
        for _ in range(5):
            logs.get("a").info("more")
        logs.stop()
        assert len(dropped) == 1
        assert len(events(tmp_path / LOG_FILE_NAME)) == 6
        with pytest.raises(BrokenPipeError):
            terminal.close()


def test_a_terminal_of_another_encoding_gets_escapes(tmp_path: Path) -> None:
    """What the terminal can't show is escaped, not an error."""
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(raw, encoding="ascii")
    logs = Logs(LogSettings(), None, terminal)
    logs.start()
    logs.get("a").info("b", name="é")
    logs.stop()
    assert rb"name=\xe9" in raw.getvalue()


def test_a_folder_that_can_not_be_made_is_told_at_the_start(tmp_path: Path) -> None:
    """Where logs can never be written the start says so."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        Logs(LogSettings(), tmp_path / "file", None).start()
