"""Disks that fail: each system call of the journal and the logs can be made to fail, wait or be the last."""

from __future__ import annotations

import fnmatch
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from typing_extensions import override

from modules.chat_server.journal.disk import Disk

How = Literal["before", "after", "half"]


class Stopped(BaseException):
    """The process ended here."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to some calls; the first fault of a plan that a call meets is the one it gets.

    Attributes:
        call: The name of the calls, as `Disk` has them; empty for all.
        path: A pattern for what they are about; `*` stands for any text, slashes too.
        at: Which of these calls is the first one to be hit, from 1.
        times: How many are hit, from that one on; 0 for all.
        how: Fails `before` it has an effect, `after` it, or once a write has taken `half` of its bytes.
        error: The errno that the call fails with; None lets it succeed, a `half` one as a short write.
        stop: The process ends at the call, as `how` says: once every fault of the plan with this is reached.
        hold: The call waits until the plan is changed, and blocks its thread.
        delay_s: The call takes so much longer.
    """

    call: str = ""
    path: str = "*"
    at: int = 1
    times: int = 1
    how: How = "before"
    error: int | None = None
    stop: bool = False
    hold: bool = False
    delay_s: float = 0.0

    def meets(self, name: str, path: str) -> bool:
        """Whether it is about such a call."""
        return self.call in ("", name) and fnmatch.fnmatchcase(path, self.path)


class Faults:
    """A plan of faults, met by calls from any thread; it may be changed at any time.

    Args:
        faults: The first plan.

    Attributes:
        reached: How many calls were hit since the plan was set.
        stopped: The process has ended: no call does anything any more.
    """

    def __init__(self, *faults: Fault) -> None:
        self.reached = 0
        self.stopped = False
        self._lock = threading.Lock()
        self._paths: dict[int, str] = {}
        self._changed = threading.Event()
        self.set(*faults)

    def set(self, *faults: Fault) -> None:
        """Another plan: its calls are counted from here, and what was held goes on."""
        with self._lock:
            self._replace(faults)

    def _replace(self, faults: tuple[Fault, ...]) -> None:
        self._faults = faults
        self._counts = [0] * len(faults)
        self._left_to_stop = sum(fault.stop for fault in faults)
        self.reached = 0
        self._changed.set()
        self._changed = threading.Event()

    def call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Makes a call as the plan says."""
        with self._lock:
            if self.stopped:
                raise Stopped
            self._look()
            path = self._path_of(arguments)
            fault = self._next(name, path)
            changed = self._changed
        if fault is None:
            return self._make(name, function, arguments)
        time.sleep(fault.delay_s)
        if fault.hold:
            self._note(f"{name} held {path}")
            self._await(changed)
        result = None
        if fault.how == "half" and name == "write":
            half = arguments[1][: max(1, len(arguments[1]) // 2)]
            result = self._make(name, function, (arguments[0], half))
        elif fault.how != "before" or name == "close" or (fault.error is None and not fault.stop):
            with suppress(OSError) if fault.stop else nullcontext():
                result = self._make(name, function, arguments)  # a failed close still gives the number back
        if fault.stop:
            self._stop(f"{name} {fault.how} {path}", changed)
        if fault.error is not None:
            raise OSError(fault.error, os.strerror(fault.error))
        return result

    def path_of(self, arguments: tuple[Any, ...]) -> str:
        """What a call with these arguments is about; empty where that is not known."""
        with self._lock:
            return self._path_of(arguments)

    def _path_of(self, arguments: tuple[Any, ...]) -> str:
        for each in reversed(arguments):
            if isinstance(each, Path):
                return str(each)
        descriptor = arguments[0] if arguments else None
        return self._paths.get(descriptor, "") if isinstance(descriptor, int) else ""

    def _next(self, name: str, path: str) -> Fault | None:
        hit = None
        for position, fault in enumerate(self._faults):
            if not fault.meets(name, path):
                continue
            self._counts[position] += 1
            count = self._counts[position]
            if hit is None and count >= fault.at and (not fault.times or count < fault.at + fault.times):
                hit = fault
                self.reached += 1
        return hit

    def _make(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if name == "close":
            with self._lock:
                self._paths.pop(arguments[0], None)
        result = function(*arguments)
        if getattr(function, "__wrapped__", function) is os.open:
            with self._lock:
                self._paths[result] = str(arguments[0])
        return result

    def _stop(self, where: str, changed: threading.Event) -> None:
        with self._lock:
            self._left_to_stop -= 1
            last = self._left_to_stop == 0
            self._note(where)
        if not last:
            self._await(changed)
        self._end()

    def _await(self, changed: threading.Event) -> None:
        while not changed.wait(0.02):
            with self._lock:
                self._look()

    def _look(self) -> None:
        """Before each call, with the lock held; for a plan that comes from elsewhere."""

    def _note(self, where: str) -> None:
        """A call was reached that is held, or at which the process is to end."""

    def _end(self) -> None:
        """The process ends."""
        self.stopped = True
        raise Stopped


class FaultyDisk(Disk):
    """The journal's system calls under a plan. Flushes take no time: nothing here outlives the kernel.

    Args:
        faults: The first plan.

    Attributes:
        faults: The plan.
        calls: Every call that was made or hit, with what it was about; a test may clear it.
    """

    def __init__(self, *faults: Fault) -> None:
        super().__init__(fsync=True)
        self.faults = Faults(*faults)
        self.calls: list[tuple[str, str]] = []

    def targets(self, name: str) -> list[str]:
        """What the calls of a name were about."""
        return [path for called, path in self.calls if called == name]

    @override
    def _call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        if not self.faults.stopped:
            self.calls.append((name, self.faults.path_of(arguments)))
        return self.faults.call(name, self._effect(name, function), *arguments)

    def _effect(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """What is done where the plan lets a call through."""
        return _nothing if name in ("flush", "sync_folder") else function


def seam(faults: Faults) -> Callable[..., Any]:
    """What takes the place of `Disk._call` and `RotatingFile._call`, for all there are in the process."""

    def call(_: object, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        return faults.call(name, function, *arguments)

    return call


def _nothing(*_arguments: object) -> None:
    """Stands for a flush."""


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A real file system of that size, mounted for the length of a block; skips where nobody may mount.

    The folder must be empty. On macOS and Windows there is no tmpfs; elsewhere mounting takes root.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a real full disk takes Linux and root: a tmpfs is mounted")
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size_bytes},mode=0700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs can't be mounted here: {mounted.stderr.decode(errors='replace').strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Takes all the room that a small disk has left; removing the file frees it."""
    filler = folder / ".filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return filler
