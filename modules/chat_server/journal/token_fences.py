"""Keeps a node from the dialogs of users that are another node's now, in a folder that both see. Blocking."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn

from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from .disk import Disk
from .errors import FencedError, HeldElsewhereError
from .fencing import TOKEN_DIGITS, Entered, Fence, Fences, checked_token
from .layout import Layout, UserPaths
from .lock_files import LockFile, LockFiles
from .recovery import Recovery
from .tools import journal_errors

_TOKEN: Final = re.compile(rb"[0-9]{20}\n")
_TORN: Final = re.compile(rb"[0-9\n\0]*")
"""What the crash of a machine may leave of a token, and what stands there before the first one."""
_MOST_BYTES: Final = 64
"""More than a token takes: what is longer is none."""
_TRIES: Final = 3
"""At a lock file that somebody replaces while it is opened."""


class TokenFences(Fences):
    """Each user's `.lock` holds the highest token that has ever been in, and is locked while somebody is.

    The token is compared under that lock. So a node that stood still while a user was given to another one
    can't touch the user's dialogs any more, whatever it believes.

    Args:
        disk: The system calls.
        layout: Where things lie.
        recovery: Refuses links in the place of a user's folders.
        forget: Forgets what all users' dialogs together remember of one user.
        logger: `journal:fence`.
    """

    def __init__(
        self,
        disk: Disk,
        layout: Layout,
        recovery: Recovery,
        forget: Callable[[str], None],
        logger: FilteringBoundLogger,
    ) -> None:
        self._disk = disk
        self._layout = layout
        self._recovery = recovery
        self._forget = forget
        self._logger = logger
        self._files = LockFiles(disk)
        self._tokens: dict[str, int] = {}

    @override
    def of(self, user_id: str, paths: UserPaths, forget: Callable[[bool], None]) -> Fence:
        return _TokenFence(self, user_id, paths, forget)

    @override
    def check(self, user_id: str) -> None:
        token, lock = self._token_of(user_id), self._layout.user(user_id).lock
        with self.at_the_lock(user_id), suppress(FileNotFoundError):
            known = _token_in(self._disk.read(lock, _MOST_BYTES), lock)
            if known > token:
                self._refuse(user_id, token, known)

    def take(self, user_id: str, token: int) -> None:
        """This node has a user with this token; forgets what is remembered.

        Raises:
            ValueError: It is no token.
        """
        self._tokens[user_id] = checked_token(token)
        self._forget(user_id)

    def let_go(self, user_id: str) -> None:
        """This node has the user no more; closes what is kept open for that."""
        self._tokens.pop(user_id, None)
        self._forget(user_id)
        self._files.drop(self._layout.user(user_id).lock)

    @override
    def close(self) -> None:
        self._files.close()

    @contextmanager
    def at_the_lock(self, user_id: str) -> Iterator[None]:
        """Tells what the system refuses: the caller what that means, the log what it is."""
        with journal_errors(
            "The disk is full, so this node can't take your dialogs over. Nothing of them is lost.",
            "Your dialogs can't be reached at the moment. Nothing of them is lost.",
        ):
            try:
                yield
            except OSError as error:
                self._logger.warning("dialogs can't be locked", user=user_id, why=str(error))
                raise

    def go_in(self, user_id: str, paths: UserPaths, *, making: bool) -> tuple[Entered, LockFile | None]:
        """See `Fence.enter`; gives what is locked then."""
        token = self._token_of(user_id)
        file = self._locked(paths, making=making)
        if file is None:
            return Entered.NOTHING, None
        try:
            return self._compare(user_id, paths, token, file), file
        except FencedError:
            self.go_out(paths, file)
            raise
        except BaseException:
            # A client of NFS that has lost a lock serves the file no more until it is opened anew.
            self._files.discard(file)
            raise

    def go_out(self, paths: UserPaths, file: LockFile) -> None:
        """Gives the lock back."""
        try:
            self._disk.unlock(file.handle)
        except OSError:
            # What was done is done. A closed file is locked by nobody either.
            self._files.discard(file)
        else:
            self._files.keep(paths.lock, file)

    def _token_of(self, user_id: str) -> int:
        token = self._tokens.get(user_id)
        if token is None:
            raise FencedError
        return token

    def _locked(self, paths: UserPaths, *, making: bool) -> LockFile | None:
        for _ in range(_TRIES):
            file = self._files.take(paths.lock) or self._opened(paths, making=making)
            if file is None:
                return None
            try:
                self._disk.try_lock(file.handle)
                found = self._disk.find(paths.lock)
            except BlockingIOError:
                self._files.keep(paths.lock, file)
                raise HeldElsewhereError from None
            except BaseException:
                self._files.discard(file)
                raise
            if found is not None and (found.st_dev, found.st_ino) == file.identity:
                return file
            # Somebody has removed or replaced it: whoever opens it now would not see this lock.
            self._files.discard(file)
        raise HeldElsewhereError

    def _opened(self, paths: UserPaths, *, making: bool) -> LockFile | None:
        self._recovery.refuse_links(paths)
        if self._disk.find(paths.dialogs) is None:
            # A marker without a folder is taken away, and by nobody but who is in.
            if not making and self._disk.find(paths.marker) is None:
                return None
            for folder in (paths.folder, paths.dialogs):
                self._disk.make_folder(folder)
        return self._files.open(paths.lock)

    def _compare(self, user_id: str, paths: UserPaths, token: int, file: LockFile) -> Entered:
        data = self._disk.read_open(file.handle, _MOST_BYTES)
        known = _token_in(data, paths.lock)
        if known == token:
            return Entered.SAME
        if known > token:
            self._refuse(user_id, token, known)
        self._forget(user_id)
        # Durable before anything else is done: after a crash, too, nobody comes in behind it who is older.
        self._disk.write_over(file.handle, b"%0*d\n" % (TOKEN_DIGITS, token))
        self._disk.flush(file.handle)
        if not data:
            self._disk.sync_folder(paths.dialogs)
        self._logger.debug("dialogs taken over", user=user_id, token=token, before=max(known, 0))
        return Entered.ANEW

    def _refuse(self, user_id: str, token: int, known: int) -> NoReturn:
        self._forget(user_id)
        self._logger.warning("dialogs are another node's", user=user_id, token=token, newer=known)
        raise FencedError(user_id, known)


class _TokenFence(Fence):
    def __init__(
        self, fences: TokenFences, user_id: str, paths: UserPaths, forget: Callable[[bool], None]
    ) -> None:
        super().__init__(forget)
        self._fences = fences
        self._user_id = user_id
        self._paths = paths
        self._file: LockFile | None = None

    @override
    def take(self, token: int) -> None:
        self._fences.take(self._user_id, token)
        self._forget_files(False)

    @override
    def let_go(self) -> None:
        self._fences.let_go(self._user_id)
        self._forget_files(False)

    @override
    def _go_in(self, *, making: bool) -> Entered:
        with self._fences.at_the_lock(self._user_id):
            entered, self._file = self._fences.go_in(self._user_id, self._paths, making=making)
        return entered

    @override
    def _go_out(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._fences.go_out(self._paths, file)


def _token_in(data: bytes, lock: Path) -> int:
    """The token that a lock file holds; -1 for none.

    Raises:
        OSError: It holds something else, which is not to be written over.
    """
    if _TOKEN.fullmatch(data):
        return int(data)
    if not _TORN.fullmatch(data):
        raise OSError(errno.EINVAL, "this is no lock of a user's dialogs", str(lock))
    return -1
