"""Every system call of the journal, in one place: a test can make each of them fail or be the last."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600

_PLAIN: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""What somebody has put in a file's place: a link is not followed, and a pipe does not hang the server."""
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | _PLAIN
_flush_data = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


@dataclass(slots=True)
class Handle:
    """An open file, closed at most once: a number closed twice might be another thread's file by then."""

    descriptor: int
    closed: bool = False


class Disk:
    """Blocking file operations; call them off the loop. Each raises OSError.

    Args:
        fsync: Whether `flush` and `sync_folder` reach the medium; without it they do nothing.
    """

    def __init__(self, *, fsync: bool) -> None:
        self._fsync = fsync

    @property
    def flushes(self) -> bool:
        """Whether a flush reaches the medium, and so may take long."""
        return self._fsync

    def _call(self, name: str, function: Callable[..., Any], *arguments: object) -> Any:
        """Makes one call; the one place to override for fault injection. `name` is the method's."""
        return function(*arguments)

    def lock(self, path: Path, *, shared: bool = False) -> Handle:
        """Takes a lock that the kernel gives back when the process ends, or when this is closed.

        Args:
            path: The file that is locked; made if it is not there.
            shared: Others may hold it too, but none alone.

        Raises:
            BlockingIOError: Another process holds it, in a way that does not go with this one.
        """
        handle = self.open_lock(path)
        try:
            self.try_lock(handle, shared=shared)
        except BaseException:
            os.close(handle.descriptor)
            raise
        return handle

    def open_lock(self, path: Path) -> Handle:
        """Opens a file that is locked, read and written; a new one is for the owner alone."""
        descriptor: int = self._call("lock", os.open, path, os.O_RDWR | os.O_CREAT | _PLAIN, FILE_MODE)
        try:
            _check_ordinary(descriptor, path)
            self._call("lock", os.fchmod, descriptor, FILE_MODE)
        except BaseException:
            os.close(descriptor)
            raise
        return Handle(descriptor)

    def try_lock(self, handle: Handle, *, shared: bool = False) -> None:
        """Locks an open file, and waits for nobody.

        Raises:
            BlockingIOError: Somebody else holds it.
        """
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._call("lock", fcntl.flock, handle.descriptor, how | fcntl.LOCK_NB)

    def unlock(self, handle: Handle) -> None:
        """Gives a lock back; the file stays open."""
        self._call("unlock", fcntl.flock, handle.descriptor, fcntl.LOCK_UN)

    def read_open(self, handle: Handle, size: int) -> bytes:
        """Up to `size` bytes of an open file, from its beginning."""
        data: bytes = self._call("read", os.pread, handle.descriptor, size, 0)
        return data

    def write_over(self, handle: Handle, data: bytes) -> None:
        """Makes a file that was opened to be locked hold just this. A crash may leave it torn."""
        os.lseek(handle.descriptor, 0, os.SEEK_SET)
        self.write_all(handle, data)
        self.truncate(handle, len(data))

    def make_folder(self, path: Path) -> bool:
        """Makes a folder for the owner alone, whatever the umask; False when it was there."""
        try:
            self._call("make_folder", os.mkdir, path, FOLDER_MODE)
        except FileExistsError:
            return False
        self._call("make_folder", os.chmod, path, FOLDER_MODE)
        return True

    def sync_folder(self, path: Path) -> None:
        """Makes the names in a folder durable."""
        if self._fsync:
            self._call("sync_folder", _sync_folder, path)

    def open(self, path: Path, *, create: bool = False, exclusive: bool = False) -> Handle:
        """Opens a file for appending; a new one is for the owner alone, whatever the umask."""
        flags = _FLAGS | (os.O_CREAT if create or exclusive else 0) | (os.O_EXCL if exclusive else 0)
        descriptor: int = self._call("open", os.open, path, flags, FILE_MODE)
        if create or exclusive:
            try:
                if stat.S_IMODE(os.fstat(descriptor).st_mode) != FILE_MODE:
                    self._call("open", os.fchmod, descriptor, FILE_MODE)
            except BaseException:
                os.close(descriptor)
                raise
        return Handle(descriptor)

    def put(self, path: Path, data: bytes) -> None:
        """Makes a small file hold just this. Neither durable nor whole at every moment."""
        self._call("put", _put, path, data)

    def write_all(self, handle: Handle, data: bytes) -> None:
        """Writes every byte, however many calls the system makes of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._call("write", os.write, handle.descriptor, rest) :]

    def flush(self, handle: Handle) -> None:
        """Makes a file's bytes and length durable."""
        if self._fsync:
            self._call("flush", _flush_data, handle.descriptor)

    def truncate(self, handle: Handle, size: int) -> None:
        """Cuts a file."""
        self._call("truncate", os.ftruncate, handle.descriptor, size)

    def close(self, handle: Handle) -> None:
        """Gives a file back; harmless when that was done."""
        if not handle.closed:
            handle.closed = True
            self._call("close", os.close, handle.descriptor)

    @contextmanager
    def closed_on_error(self, handle: Handle) -> Iterator[None]:
        """Gives a file back where what is done with it fails."""
        try:
            yield
        except OSError:
            with suppress(OSError):
                self.close(handle)
            raise

    def status(self, handle: Handle) -> os.stat_result:
        """What an open file is."""
        result: os.stat_result = self._call("status", os.fstat, handle.descriptor)
        return result

    def find(self, path: Path) -> os.stat_result | None:
        """What stands at a path, itself and not what it links to; None for nothing."""
        try:
            result: os.stat_result = self._call("find", os.lstat, path)
        except FileNotFoundError:
            return None
        return result

    def rename(self, source: Path, target: Path) -> None:
        """Gives a file another name, at once. What has that name already is replaced."""
        self._call("rename", os.rename, source, target)

    def set_mode(self, handle: Handle, mode: int) -> None:
        """Gives an open file the permissions of another one."""
        self._call("set_mode", os.fchmod, handle.descriptor, mode)

    def remove(self, path: Path) -> None:
        """Removes a file; harmless when there is none."""
        with suppress(FileNotFoundError):
            self._call("remove", os.unlink, path)

    def names(self, folder: Path) -> list[str]:
        """The names in a folder, in no order; none when there is no such folder."""
        try:
            result: list[str] = self._call("names", os.listdir, folder)
        except FileNotFoundError:
            return []
        return result

    def sizes(self, folder: Path, leaving_out: str = "") -> list[int]:
        """The sizes of the ordinary files in a folder, but for one name; none when it is no folder.

        No link is followed, the folder's own included.
        """
        try:
            result: list[int] = self._call("sizes", _sizes, folder, leaving_out)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return result

    def read(self, path: Path, size: int, offset: int = 0) -> bytes:
        """Up to `size` bytes of a file from `offset` on."""
        data: bytes = self._call("read", _read, path, size, offset)
        return data


def _check_ordinary(descriptor: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, f"{path} is no ordinary file")


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put(path: Path, data: bytes) -> None:
    # Made anew: what is there may be a pipe, or another name of a file that must stay as it is.
    with suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN, FILE_MODE)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _sizes(folder: Path, leaving_out: str) -> list[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    sizes = []
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # it may go at any moment
                    if entry.name != leaving_out and entry.is_file(follow_symlinks=False):
                        sizes.append(entry.stat(follow_symlinks=False).st_size)
    finally:
        os.close(descriptor)
    return sizes


def _read(path: Path, size: int, offset: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | _PLAIN)
    try:
        # A buffer of the whole limit for every small file would cost more than the reading.
        end = min(offset + size, os.fstat(descriptor).st_size)
        parts = []
        while offset < end and (part := os.pread(descriptor, end - offset, offset)):
            parts.append(part)
            offset += len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)
