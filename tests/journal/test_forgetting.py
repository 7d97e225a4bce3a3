"""What is remembered of a user can be forgotten at once, and of nobody else; files that are kept open."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.chat_server.journal.disk import Disk
from modules.chat_server.journal.lock_files import LockFiles
from modules.chat_server.journal.pins import PinIndex
from modules.chat_server.journal.references import ReferenceIndex
from modules.chat_server.journal.tools import RecentArchives
from modules.chat_server.journal.user_keys import UserKeys
from tests.faults.disk import Fault, FaultyDisk
from tests.journal.fence_support import open_files

LINES = frozenset({b"one", b"two"})


def test_keys_of_users() -> None:
    """Each once, as long as the index has it; a user without one takes no room."""
    keys = UserKeys()
    for key in ("a", "b", "a"):
        keys.add("a1", key)
    keys.add("b2", "a")
    assert sorted(keys.of("a1")) == ["a", "b"]
    keys.remove("a1", "a")
    keys.remove("a1", "a")
    assert keys.of("a1") == ["b"]
    keys.remove("a1", "b")
    keys.remove("nobody", "b")
    assert keys.of("a1") == []
    assert keys.of("b2") == ["a"]
    assert list(keys._keys) == ["b2"]


def test_recent_archives_of_a_user_are_forgotten() -> None:
    """And the limit is kept, of which the oldest goes first."""
    recent = RecentArchives(limit=3)
    for number in range(3):
        recent.add("a1", f"c-{number}", f"2024-{number}")
    recent.add("b2", "c-0", "2025")
    assert recent.find("a1", "c-0") is None
    assert recent.find("a1", "c-1") == "2024-1"
    recent.forget("a1", "c-1")
    recent.forget_user("a1")
    assert [recent.find("a1", f"c-{number}") for number in range(3)] == [None] * 3
    assert recent.find("b2", "c-0") == "2025"
    recent.forget_user("b2")
    assert not recent._ids
    assert not recent._keys._keys


def test_references_of_a_user_are_forgotten() -> None:
    """And the room that they took is free."""
    index = ReferenceIndex(limit=9)
    for number in range(3):
        index.add("a1", f"2024-{number}", LINES)
    index.add("b2", "2025", LINES)
    assert index.find("a1", "2024-0") is None, "the oldest made room"
    assert index.find("a1", "2024-1") == LINES
    index.remove_user("a1")
    assert [index.find("a1", f"2024-{number}") for number in range(3)] == [None] * 3
    assert index.find("b2", "2025") == LINES
    index.remove("b2", "2025")
    assert index._size == 0
    assert not index._keys._keys


def test_pins_of_a_user_are_forgotten() -> None:
    """Whatever time of change the folder bears."""
    index = PinIndex()
    for user_id in ("a1", "b2"):
        index.keep(user_id, 5, frozenset({"2024"}))
    index.forget("a1")
    index.forget("nobody")
    assert index.find("a1", 5) is None
    assert index.find("b2", 5) == frozenset({"2024"})


def test_files_that_nobody_uses_are_kept_open_up_to_a_limit(tmp_path: Path) -> None:
    """The one used least lately is closed; one that is in use is nobody else's, and never among them."""
    before = open_files()
    files = LockFiles(Disk(fsync=False), limit=2)
    paths = [tmp_path / f"{number}" for number in range(3)]
    opened = [files.open(path) for path in paths]
    assert open_files() == before + 3
    for path, file in zip(paths, opened, strict=True):
        found = path.stat()
        assert file.identity == (found.st_dev, found.st_ino)
        files.keep(path, file)
    assert open_files() == before + 2
    assert files.take(paths[0]) is None
    assert files.take(paths[1]) is opened[1]
    assert files.take(paths[1]) is None
    files.keep(paths[1], opened[1])
    files.drop(paths[2])
    files.drop(paths[0])
    assert open_files() == before + 1
    files.close()
    assert open_files() == before
    assert files.take(paths[1]) is None


def test_a_file_that_can_t_be_looked_at_is_not_left_open(tmp_path: Path) -> None:
    """Nor one that is no file."""
    before = open_files()
    disk = FaultyDisk(Fault("status", error=5))
    files = LockFiles(disk)
    with pytest.raises(OSError, match="5"):
        files.open(tmp_path / "lock")
    with pytest.raises(OSError, match="directory"):
        files.open(tmp_path)
    assert open_files() == before


def test_a_file_that_can_t_be_closed_hurts_nobody(tmp_path: Path) -> None:
    """Its number is given back all the same."""
    before = open_files()
    disk = FaultyDisk()
    files = LockFiles(disk)
    files.keep(tmp_path / "lock", files.open(tmp_path / "lock"))
    disk.faults.set(Fault("close", error=5))
    files.close()
    assert open_files() == before
