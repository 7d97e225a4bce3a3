"""Each system call of the log file fails, or hangs: lines are dropped and counted, never torn or doubled."""

from __future__ import annotations

import errno
import io
import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from potoserver.alarms import QUIET_S
from potoserver.logs import LOG_FILE_NAME, Logs
from potoserver.logs.file import RotatingFile
from potoserver.logs.logs import QUEUE_LINES
from potoserver.settings.model import LogSettings
from tests.faults.disk import Fault, Faults, How, seam
from tests.faults.log_disk import FaultyLogFile, lines_in
from tests.support.clock import ManualClock
from tests.support.server import RunServer

ERRORS = [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EROFS]
MOST_CALLS = 200
LIMIT_S = 10.0


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    faults = Faults()
    monkeypatch.setattr(RotatingFile, "_call", seam(faults))
    return faults


def until(condition: Callable[[], Any]) -> None:
    """Waits for the writer's thread."""
    ends = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.002)


def batches() -> list[list[bytes]]:
    """Lines of several lengths, in batches: more than five files of 300 bytes."""
    numbers = itertools.count()
    return [[b"%03d %s\n" % (next(numbers), b"x" * (7 * each)) for each in range(5)] for _ in range(16)]


@pytest.mark.parametrize("how", ["before", "half", "after"])
@pytest.mark.parametrize(
    "error",
    [pytest.param(each, marks=() if each in ERRORS[:2] else pytest.mark.long) for each in ERRORS],
    ids=[errno.errorcode[each] for each in ERRORS],
)
@pytest.mark.parametrize("times", [1, 5])
def test_each_call_fails(tmp_path: Path, error: int, how: How, times: int) -> None:
    """What `write` says is kept is in the files, once, whole and in order; nothing else is."""
    for at in range(1, MOST_CALLS):
        path = tmp_path / str(at) / "x.log"
        file = FaultyLogFile(path, 300, 50, Fault(at=at, times=times, error=error, how=how))
        kept: list[bytes] = []
        for batch in batches():
            count, failure = file.write(batch)
            assert (failure is None) == (count == len(batch))
            kept += batch[:count]
        reached = file.faults.reached
        file.faults.set()
        # What could not be taken back at once is by the next write.
        assert file.write([b"last\n"]) == (1, None)
        file.close()
        assert lines_in(path) == [*kept, b"last\n"], f"call {at}"
        assert sum(len(batch) for batch in batches()) - len(kept) <= 5 * times
        shutil.rmtree(tmp_path / str(at))
        if not reached:
            break
    else:
        pytest.fail("the file makes more calls than the loop allows")


def test_a_rotation_that_stops_half_way_costs_no_file(tmp_path: Path) -> None:
    """However often the last renaming fails, the older files stay what they are."""
    path = tmp_path / "x.log"
    file = FaultyLogFile(path, 10, 3)
    lines = [b"%08d\n" % number for number in range(4)]
    assert file.write(lines) == (4, None)
    file.faults.set(Fault("rename", f"{path}.1", times=0, error=errno.EBUSY))
    for number in range(4, 9):
        assert file.write([b"%08d\n" % number]) == (1, None)
    assert [int(line) for line in lines_in(path)] == [1, 2, 3, 4, 5, 6, 7, 8]
    file.faults.set()
    assert file.write([b"%08d\n" % 9]) == (1, None)
    file.close()
    assert [int(line) for line in lines_in(path)] == [*range(1, 10)]


@pytest.mark.usefixtures("no_retry")
@pytest.mark.parametrize("name", ["make_folder", "open", "status", "read", "write"])
@pytest.mark.parametrize("error", ERRORS, ids=[errno.errorcode[each] for each in ERRORS])
def test_lines_lost_are_counted_and_told(tmp_path: Path, faults: Faults, error: int, name: str) -> None:
    """While the disk fails who watches is told, once; with it well again one line says how many lack."""
    told: list[bool] = []
    dropped: list[int] = []
    path = tmp_path / LOG_FILE_NAME
    logs = Logs(LogSettings(), tmp_path, None)
    logs.on_dropped = lambda: dropped.append(1)
    logs.watch_file(told.append)
    logs.start()
    logger = logs.get("a")
    logger.info("before")
    until(lambda: len(lines_in(path)) == 1)
    if name not in ("write", "status"):
        path.unlink()  # so that it is opened again
        path.write_text("an old line\n")
    faults.set(Fault(name, times=0, error=error))
    for number in range(20):
        logger.info("lost", number=number)
        until(lambda number=number: len(dropped) == number + 1)
    assert told == [True]
    faults.set()
    logger.info("after")
    until(lambda: told == [True, False])
    logs.stop()
    lines = [json.loads(line) for line in lines_in(path) if line != b"an old line\n"]
    assert [line["event"] for line in lines][-2:] == ["after", "log lines dropped"]
    assert lines[-1]["lines"] == len(dropped) == 20


def test_a_disk_that_stays_full_is_told_of_once(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again and again, also while no new line comes; so what lacks is told without one, too."""
    monkeypatch.setattr("potoserver.logs.writer._RETRY_S", 0.01)
    terminal = io.StringIO()
    logs = Logs(LogSettings(), tmp_path, terminal)
    logs.start()
    faults.set(Fault("write", times=0, error=errno.ENOSPC))
    logs.get("a").info("lost")
    until(lambda: faults.reached >= 5)
    faults.set()
    until(lambda: b"log lines dropped" in b"".join(lines_in(tmp_path / LOG_FILE_NAME)))
    logs.stop()
    assert terminal.getvalue().count("log file can't be written") == 1


def test_who_begins_to_watch_is_told_of_what_is_so_already(tmp_path: Path, faults: Faults) -> None:
    """The disk failed before anybody asked."""
    faults.set(Fault("write", times=0, error=errno.ENOSPC))
    dropped: list[int] = []
    logs = Logs(LogSettings(), tmp_path, None)
    logs.on_dropped = lambda: dropped.append(1)
    logs.start()
    logs.get("a").info("lost")
    until(lambda: dropped)
    told: list[bool] = []
    logs.watch_file(told.append)
    assert told == [True]
    logs.stop()


async def _until(server: Any, condition: Callable[[], Any]) -> None:
    for _ in range(2000):
        if condition():
            return
        assert (await server.session.get(f"{server.url}/health/live")).status == 200
    pytest.fail("it did not come to be so")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
async def test_a_failing_log_disk_raises_an_alarm_and_the_server_serves_on(
    tmp_path: Path, running_server: RunServer, faults: Faults, error: int
) -> None:
    """The alarm `log-disk` is on while lines are lost, in `/health` too, and goes off afterwards."""
    clock = ManualClock()
    async with running_server(tmp_path, clock=clock) as server:
        logger = server.core.logs.get("a")

        def on() -> list[str]:
            return [alarm.name for alarm in server.core.alarms.on()]

        faults.set(Fault("write", times=0, error=error))
        logger.info("lost")
        await _until(server, lambda: on() == ["log-disk"])
        health = await (await server.session.get(f"{server.url}/health")).json()
        assert (health["status"], health["alarms"][0]["alarm"]) == ("degraded", "log-disk")
        await clock.advance(QUIET_S * 3)
        assert on() == ["log-disk"]
        assert server.sample("potoserver_log_lines_dropped_total") >= 1
        faults.set()
        logger.info("kept")
        await _until(server, lambda: "log lines dropped" in (tmp_path / "logs" / LOG_FILE_NAME).read_text())
        server.core.logs.stop()  # the thread tells that it is over after it has written the line
        await clock.advance(QUIET_S * 2)
        assert on() == []


async def test_a_log_disk_that_hangs_stalls_nobody(
    tmp_path: Path, running_server: RunServer, faults: Faults
) -> None:
    """While a write to the log hangs, calls are answered; past the bound lines are dropped, and told of."""
    async with running_server(tmp_path, clock=ManualClock()) as server:
        faults.set(Fault("write", times=0, hold=True))
        begun_s = time.monotonic()
        for number in range(QUEUE_LINES + 2000):
            server.core.logs.get("a").info("waits", number=number)
        for _ in range(20):
            assert (await server.session.get(f"{server.url}/health")).status == 200
        assert time.monotonic() - begun_s < LIMIT_S
        assert [alarm.name for alarm in server.core.alarms.on()] == ["log-disk"]
        dropped = server.sample("potoserver_log_lines_dropped_total")
        assert dropped >= 1
        faults.set()
        path = tmp_path / "logs" / LOG_FILE_NAME
        logged = threading.Event()
        for _ in range(int(LIMIT_S / 0.01)):
            server.core.logs.get("a").info("goes on")
            if "log lines dropped" in path.read_text():
                logged.set()
                break
            assert (await server.session.get(f"{server.url}/health/live")).status == 200
        assert logged.is_set()
    lines = [json.loads(line) for line in lines_in(path)]
    numbers = [line["number"] for line in lines if line["event"] == "waits"]
    assert numbers == sorted(set(numbers)), "none is doubled, and they are in order"
