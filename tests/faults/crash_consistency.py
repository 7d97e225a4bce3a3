"""What a disk may hold after the power went: every state that a record of system calls allows, built again.

In the manner of ALICE and CrashMonkey. What no completed flush has made durable may be there, may be missing,
may be torn, and may have come in another order:

- Bytes written to a file are durable once that file was flushed. Before that the file may have its old
  length, or the new one with zeros instead of any part of the new bytes, or any length between.
- A name (a file made, renamed or removed, a folder made) is durable once its folder was flushed; flushing the
  file does nothing for its name. A rename is durable once both folders were, and is never seen half done.
- Before that, names in different places come in any order; changes of one and the same name keep theirs, as
  every journaling file system keeps it. Data and names know nothing of each other: a rename may be there
  without the bytes that were written before it.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from typing_extensions import override

from tests.faults.disk import Fault, FaultyDisk

BLOCK = 4096
FOLDER = -1
"""Stands for a folder's inode: folders have no bytes of their own here, and are never renamed."""


@dataclass(frozen=True, slots=True)
class Made:
    """A file or a folder got its first name."""

    name: str
    inode: int


@dataclass(frozen=True, slots=True)
class Renamed:
    """A file got another name."""

    source: str
    target: str
    inode: int


@dataclass(frozen=True, slots=True)
class Removed:
    """A file lost its name."""

    name: str
    inode: int


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes were added to a file's end."""

    inode: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """A file was cut to a length."""

    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Flushed:
    """A file's bytes are durable."""

    inode: int


@dataclass(frozen=True, slots=True)
class FolderFlushed:
    """A folder's names are durable."""

    name: str


@dataclass(frozen=True, slots=True)
class Promised:
    """The program has told somebody that something is kept."""

    what: str


NameChange = Made | Renamed | Removed
DataChange = Written | Cut
Step = NameChange | DataChange | Flushed | FolderFlushed | Promised


class RecordingDisk(FaultyDisk):
    """Keeps a record of every change that the journal makes under a folder.

    Args:
        root: The folder; what is in it now is durable.
        faults: Faults to meet on the way.
        deaf: A flush of this name and path is answered, and does nothing: a disk that lies.

    Attributes:
        record: What was done, in order.
    """

    def __init__(self, root: Path, *faults: Fault, deaf: Fault | None = None) -> None:
        super().__init__(*faults)
        self.record: list[Step] = []
        self.base_names: dict[str, int] = {}
        self.base_data: dict[int, bytes] = {}
        self._root = root
        self._deaf = deaf
        self._taking = threading.RLock()
        self._inodes = itertools.count()
        self._open: dict[int, int] = {}
        for path in sorted(root.rglob("*")):
            inode = FOLDER if path.is_dir() else next(self._inodes)
            self.base_names[self._name(path)] = inode
            if inode != FOLDER:
                self.base_data[inode] = path.read_bytes()
        self._names = dict(self.base_names)

    def promise(self, what: str) -> None:
        """Notes that from here on something must be kept."""
        with self._taking:
            self.record.append(Promised(what))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    @override
    def _effect(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def recorded(*arguments: Any) -> Any:
            with self._taking:
                if name not in ("flush", "sync_folder"):
                    result = function(*arguments)
                    self._keep(name, function, arguments, result)
                    return result
                if self._deaf is None or not self._deaf.meets(name, self.faults.path_of(arguments)):
                    is_file = name == "flush"
                    target = arguments[0]
                    done = Flushed(self._open[target]) if is_file else FolderFlushed(self._name(target))
                    self.record.append(done)
                return None

        return recorded

    def _keep(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], result: Any) -> None:
        if function is os.open:
            self._open[result] = self._made(self._name(arguments[0]))
        elif function is os.mkdir:
            self._made(self._name(arguments[0]), folder=True)
        elif name == "write":
            self.record.append(Written(self._open[arguments[0]], bytes(arguments[1][:result])))
        elif name == "truncate":
            self.record.append(Cut(self._open[arguments[0]], arguments[1]))
        elif name == "rename":
            source, target = (self._name(each) for each in arguments)
            inode = self._names[target] = self._names.pop(source)
            self.record.append(Renamed(source, target, inode))
        elif name == "remove":
            gone = self._name(arguments[0])
            self.record.append(Removed(gone, self._names.pop(gone)))
        elif name == "put":
            inode = self._made(self._name(arguments[0]))
            self.record += [Cut(inode, 0), Written(inode, arguments[1])]

    def _made(self, name: str, *, folder: bool = False) -> int:
        """The inode of a name; a new one where there was none."""
        inode = self._names.get(name)
        if inode is None:
            inode = self._names[name] = FOLDER if folder else next(self._inodes)
            self.record.append(Made(name, inode))
        return inode


@dataclass(frozen=True)
class CrashState:
    """What a disk may hold after a crash.

    Attributes:
        steps: How many steps of the record had been done.
        files: Every file's bytes, by name; None for a folder.
        promised: What had been promised by then.
    """

    steps: int
    files: Mapping[str, bytes | None]
    promised: frozenset[str]

    def put_into(self, folder: Path) -> None:
        """Makes these files in an empty folder."""
        for name, data in sorted(self.files.items()):
            path = folder / name
            if data is None:
                path.mkdir(mode=0o700)
            else:
                path.write_bytes(data)

    @property
    def key(self) -> bytes:
        """Equal for states that are the same."""
        parts = repr((sorted(self.files.items()), sorted(self.promised)))
        return hashlib.sha256(parts.encode()).digest()


@dataclass
class Crashes:
    """Builds the states that a record allows.

    Args:
        disk: With the record.
        first: The first prefix to look at: how many steps had been done.
        most: States for each prefix; where there are more, so many are drawn. 0 for all.
        every_byte: Tears a write at each of its bytes; else at its ends, its middle and between blocks.
        dice: Draws them.

    Attributes:
        drawn: For how many prefixes states had to be drawn.
    """

    disk: RecordingDisk
    first: int = 0
    most: int = 0
    every_byte: bool = False
    dice: random.Random = field(default_factory=lambda: random.Random(0))
    drawn: int = 0

    def states(self) -> Iterator[CrashState]:
        """Every state of every prefix, each once."""
        seen: set[bytes] = set()
        for steps in range(self.first, len(self.disk.record) + 1):
            for state in self._of_prefix(steps):
                if state.key not in seen:
                    seen.add(state.key)
                    yield state

    def _of_prefix(self, steps: int) -> Iterator[CrashState]:
        done = self.disk.record[:steps]
        promised = frozenset(step.what for step in done if isinstance(step, Promised))
        names, subsets = _names_of(self.disk.base_names, done)
        data = _data_of(self.disk.base_data, done, self._torn)
        inodes = sorted(data)
        count = len(subsets)
        for inode in inodes:
            count *= len(data[inode])
        choices: Iterable[tuple[int, ...]]
        sizes = [len(subsets), *(len(data[inode]) for inode in inodes)]
        if self.most and count > self.most:
            self.drawn += 1
            # All done and nothing done are always among them.
            ends = [tuple(0 for _ in sizes), tuple(size - 1 for size in sizes)]
            some = (tuple(map(self.dice.randrange, sizes)) for _ in range(self.most - len(ends)))
            choices = itertools.chain(ends, some)
        else:
            choices = itertools.product(*(range(size) for size in sizes))
        for subset, *versions in choices:
            content = {inode: data[inode][each] for inode, each in zip(inodes, versions, strict=True)}
            yield CrashState(steps, _tree(names, subsets[subset], content), promised)

    def _torn(self, data: bytes) -> Iterator[bytes]:
        """What may be there of bytes whose write was not flushed, but for none and all of them."""
        size = len(data)
        blocks = range(BLOCK, size, BLOCK)
        some = {1, size // 2, size - 1, *blocks} & {*range(1, size)}
        cuts = range(1, size) if self.every_byte else sorted(some)
        for cut in cuts:
            yield data[:cut]
            yield data[:cut] + bytes(size - cut)
        yield bytes(size)
        for block in blocks:  # the blocks behind it came, those before did not
            yield bytes(block) + data[block:]


def _names_of(base: Mapping[str, int], done: Iterable[Step]) -> tuple[dict[str, int], list[list[NameChange]]]:
    """The names that are certain, and each choice of further changes that may have become durable too."""
    pending: list[tuple[NameChange, set[str]]] = []  # with the folders that must yet be flushed
    certain: list[NameChange] = []
    for step in done:
        if isinstance(step, NameChange):
            pending.append((step, {_folder(name) for name in _touched(step)}))
        elif isinstance(step, FolderFlushed):
            for _, folders in pending:
                folders.discard(step.name)
            kept: list[tuple[NameChange, set[str]]] = []
            # Backwards: a change is certain too where a later one of the same name is.
            needed: set[str] = set()
            for change, folders in reversed(pending):
                if not folders or needed & _touched(change):
                    needed |= _touched(change)
                    certain.append(change)
                else:
                    kept.append((change, folders))
            pending = kept[::-1]
            certain = _in_order(certain, done)
    names = dict(base)
    for change in certain:
        _apply(names, change)
    changes = [change for change, _ in pending]
    subsets = [
        [change for change, chosen in zip(changes, choice, strict=True) if chosen]
        for choice in itertools.product((False, True), repeat=len(changes))
        if _is_possible(changes, choice)
    ]
    return names, subsets


def _in_order(certain: list[NameChange], done: Iterable[Step]) -> list[NameChange]:
    chosen = {id(change) for change in certain}
    return [step for step in done if isinstance(step, NameChange) and id(step) in chosen]


def _is_possible(changes: list[NameChange], choice: tuple[bool, ...]) -> bool:
    missing: set[str] = set()
    for change, chosen in zip(changes, choice, strict=True):
        if not chosen:
            missing |= _touched(change)
        elif missing & _touched(change):
            return False
    return True


def _touched(change: NameChange) -> set[str]:
    return {change.source, change.target} if isinstance(change, Renamed) else {change.name}


def _folder(name: str) -> str:
    return PurePosixPath(name).parent.as_posix()


def _apply(names: dict[str, int], change: NameChange) -> None:
    if isinstance(change, Made):
        names[change.name] = change.inode
    elif isinstance(change, Removed):
        del names[change.name]
    else:
        names[change.target] = names.pop(change.source)


def _data_of(
    base: Mapping[int, bytes], done: Iterable[Step], torn: Callable[[bytes], Iterator[bytes]]
) -> dict[int, list[bytes]]:
    """What each file may hold: the least first, the most last."""
    durable = dict(base)
    pending: dict[int, list[DataChange]] = {}
    for step in done:
        if isinstance(step, Made) and step.inode != FOLDER:
            durable[step.inode] = b""
        elif isinstance(step, DataChange):
            pending.setdefault(step.inode, []).append(step)
        elif isinstance(step, Flushed):
            for change in pending.pop(step.inode, ()):
                durable[step.inode] = _changed(durable[step.inode], change)
    versions = {}
    for inode, kept in durable.items():
        content = kept
        found = [content]
        for change in pending.get(inode, ()):
            if isinstance(change, Written):
                found += [content + part for part in torn(change.data)]
            content = _changed(content, change)
            found.append(content)
        versions[inode] = list(dict.fromkeys(found))
    return versions


def _changed(content: bytes, change: DataChange) -> bytes:
    return content + change.data if isinstance(change, Written) else content[: change.size]


def _tree(
    names: Mapping[str, int], further: Iterable[NameChange], content: Mapping[int, bytes]
) -> dict[str, bytes | None]:
    names = dict(names)
    for change in further:
        _apply(names, change)
    tree: dict[str, bytes | None] = {}
    for name in sorted(names, key=lambda name: name.count("/")):
        parent = _folder(name)
        if parent in tree or parent == ".":  # what lies in a folder that is not there is not there
            tree[name] = None if names[name] == FOLDER else content[names[name]]
    return tree
