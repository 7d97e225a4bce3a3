"""The journal's system calls: by what name each can be made to fail, and who may read what is made."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from modules.chat_server.journal.disk import Disk


class Recorded(Disk):
    """Keeps the name of each call, and the permissions that what it is about has behind it."""

    def __init__(self) -> None:
        super().__init__(fsync=True)
        self.calls: list[tuple[str, int]] = []

    @override
    def _call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        result = super()._call(name, function, *arguments)
        try:
            mode = stat.S_IMODE(os.stat(arguments[0]).st_mode)
        except OSError:
            mode = 0  # it has been closed or removed
        self.calls.append((name, mode))
        return result


@pytest.fixture
def umask() -> Iterator[None]:
    """Everybody may do everything with what is made without a word."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_what_is_made_is_the_owners_alone_from_its_first_moment(tmp_path: Path) -> None:
    """Whoever opens it before its permissions are set right would have it open still."""
    disk = Recorded()
    assert disk.make_folder(tmp_path / "folder")
    assert not disk.make_folder(tmp_path / "folder")
    assert {mode for _, mode in disk.calls} == {0o700}
    disk.calls.clear()
    for handle in (
        disk.lock(tmp_path / "lock"),
        disk.open(tmp_path / "file", create=True),
        disk.open(tmp_path / "new", exclusive=True),
    ):
        disk.close(handle)
    assert {mode for name, mode in disk.calls if name != "close"} == {0o600}


def test_a_file_is_given_back_once(tmp_path: Path) -> None:
    """The second time its number may be another's."""
    disk = Recorded()
    handle = disk.open(tmp_path / "file", create=True)
    disk.calls.clear()
    for _ in range(2):
        disk.close(handle)
    assert [name for name, _ in disk.calls] == ["close"]


def test_each_call_has_the_name_of_its_method(tmp_path: Path) -> None:
    """By these a test says which is to fail."""
    disk = Recorded()
    path, other = tmp_path / "file", tmp_path / "other"

    def made_by(method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        disk.calls.clear()
        result = method(*arguments, **options)
        assert {name for name, _ in disk.calls} == {method.__name__.removesuffix("_all")}
        return result

    made_by(disk.make_folder, tmp_path / "folder")
    made_by(disk.close, made_by(disk.lock, tmp_path / "lock"))
    made_by(disk.put, other, b"x")
    path.touch(0o644)
    handle = made_by(disk.open, path, create=True)
    made_by(disk.write_all, handle, b"text")
    made_by(disk.flush, handle)
    made_by(disk.truncate, handle, 2)
    made_by(disk.set_mode, handle, 0o600)
    made_by(disk.status, handle)
    made_by(disk.sync_folder, tmp_path)
    made_by(disk.rename, path, other)
    made_by(disk.find, other)
    assert made_by(disk.read, other, 9) == b"te"
    assert made_by(disk.sizes, tmp_path, leaving_out="lock") == [2]
    assert made_by(disk.names, tmp_path / "folder") == []
    made_by(disk.remove, other)
