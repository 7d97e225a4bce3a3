"""One user's open dialog on disk: begin, append, take back, end. Blocking; one thread at a time."""

from __future__ import annotations

import errno
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from .batches import Steps, at_once
from .dialog_yaml import (
    MAX_FILE_BYTES,
    MAX_MESSAGES,
    NotADialogError,
    emit_footer,
    emit_head,
    emit_message,
    parse_dialog,
)
from .disk import Handle
from .errors import (
    ArchiveIsCurrentError,
    ConversationEndedError,
    DialogFullError,
)
from .moves import Moves
from .order import Place
from .records import Conversation, Dialog, Message, OpenDialog, Reason, Restored
from .recovery import OpenFile
from .restoring import open_part
from .scan import scan
from .taking_back import TakenBack
from .tools import Tools, archive_errors, journal_errors

_FOOTER_ROOM: Final = 1024


@dataclass(slots=True)
class _Append:
    """A message between its write and its flush.

    Attributes:
        handle: Open for appending.
        message: As it is kept.
        bytes: How many the write added.
        new: `current.yaml` may not have existed.
    """

    handle: Handle
    message: Message
    bytes: int
    new: bool


class UserDialogs:
    """What is known of one user's open dialog, and what can be done with it.

    A failure leaves the file as it was, or remembers that it must be cut before anything else is done. What
    asks the disk is done within the fence; `write` and `flush` see to that themselves.

    Args:
        user_id: Whose.
        tools: What all users share.

    Attributes:
        wrote: A message or an archive has come to be on disk; for who asks, who sets it back.
        fence: Keeps other nodes off.
    """

    def __init__(self, user_id: str, tools: Tools) -> None:
        self._user_id = user_id
        self._tools = tools
        self._disk = tools.disk
        self._paths = tools.layout.user(user_id)
        self._moves = Moves(user_id, self._paths, tools)
        self.fence = tools.fences.of(user_id, self._paths, self.forget)
        self.wrote = False
        self._recovered = False
        self._file: OpenFile | None = None
        self._append: _Append | None = None

    @property
    def idle(self) -> bool:
        """Nothing is open and nothing is owed: this object can be forgotten."""
        return self._file is None

    @property
    def size(self) -> int:
        """The length of the open dialog's file in bytes; 0 where none is open."""
        return self._file.size if self._file else 0

    def forget(self, settled: bool) -> None:
        """Forgets what is known of the files; `settled`: there is nothing to be looked at or mended."""
        self._file, self._recovered = None, settled

    def is_ready(self, conversation: Conversation) -> bool:
        """Whether a message can be written with nothing else to be done first."""
        file = self._file
        if not self._recovered or self._tools.recent.find(self._user_id, conversation.id):
            return False
        return file is None or (
            not file.suspect and file.reason is None and file.conversation.id == conversation.id
        )

    def recover(self) -> OpenDialog | None:
        """Puts the file in order, once after a crash; an archive that was begun is finished.

        Raises:
            JournalError: The disk refused; call again.
        """
        with archive_errors():
            self._settle()
        file = self._file
        return OpenDialog(file.conversation, file.last_ms, file.messages) if file else None

    def read(self, line: bytes = b"") -> Dialog | None:
        """The open dialog; None without one, or when the line stands nowhere in its file.

        Raises:
            JournalError: The disk refused; call again.
        """
        with journal_errors(failing="The dialog can't be read at the moment."):
            self._settle()
            for _ in range(2):
                if self._file is None:
                    return None
                data = self._disk.read(self._paths.current, self._file.size)
                if line not in data:
                    return None
                try:
                    return parse_dialog(data)
                except NotADialogError:
                    # Somebody wrote into it without changing its length.
                    self._file, self._recovered = None, False
                    self._settle()
            return None

    def make_ready(self, conversation: Conversation) -> None:
        """Does what must come before a message of this conversation can be written.

        Raises:
            JournalError: The disk refused; call again.
            ConversationEndedError: The conversation was archived.
        """
        with journal_errors(
            "The disk is full: an earlier dialog could not be archived yet, so the message was not kept.",
            "An earlier dialog can't be archived at the moment, so the message was not kept.",
        ):
            self._settle()
            if self._tools.recent.find(self._user_id, conversation.id):
                raise ConversationEndedError
            if self._file is not None and self._file.conversation.id != conversation.id:
                at_once(self._end(self._file, Reason.SUPERSEDED, None))

    def write(self, message: Message, conversation: Conversation) -> None:
        """Writes a message; it counts only after `flush`. `make_ready` must have been done.

        Raises:
            UserFullError: The user's dialogs seem to take all they may; nothing was done.
            JournalError: It was not written, and nothing of it is left.
            ValueError: A text holds a lone surrogate.
        """
        changed = self.fence.enter(making=True)
        try:
            with journal_errors():
                self._write(message, conversation, changed=changed)
        except BaseException:
            self.fence.leave()
            raise

    def _write(self, message: Message, conversation: Conversation, *, changed: bool) -> None:
        self._tools.recovery.refuse_links(self._paths)
        if changed or self._notice_edit():
            self.make_ready(conversation)
        file = self._file
        last_ms = file.last_ms if file else conversation.started_ms
        kept = message if message.timestamp_ms >= last_ms else replace(message, timestamp_ms=last_ms)
        data = emit_message(kept)
        if file is None:
            data = emit_head(conversation, self._user_id) + data
        size = (file.size if file else 0) + len(data)
        if size > MAX_FILE_BYTES - _FOOTER_ROOM or (file and file.messages >= MAX_MESSAGES):
            raise DialogFullError
        if message.role == "user":
            self._tools.usage.check(self._user_id, size)
        handle = self._begin(conversation) if file is None else self._disk.open(self._paths.current)
        assert self._file is not None, "there is one, or it was begun"
        self._append = _Append(handle, kept, len(data), new=file is None)
        with self._taken_back(self._file, handle):
            self._disk.write_all(handle, data)

    def flush(self) -> Message:
        """Makes the written message durable.

        Returns:
            The message as it is kept.

        Raises:
            JournalError: It was taken back.
        """
        append, file = self._append, self._file
        assert append is not None and file is not None, "flush follows write"
        try:
            with journal_errors(), self._taken_back(file, append.handle):
                self._tools.flush_and_close(append.handle)
                if append.new:
                    self._disk.sync_folder(self._paths.dialogs)
        finally:
            self.fence.leave()
        file.size += append.bytes
        file.messages += 1
        file.last_ms = append.message.timestamp_ms
        self.wrote = True
        return append.message

    def archive(self, conversation_id: str | None, reason: Reason, ended_ms: int | None) -> Steps[str | None]:
        """Ends the open dialog within the fence, see `DialogueJournal.archive_conversation`.

        Raises:
            JournalError: It could not be finished; call again.
        """
        with self.fence.held(), archive_errors():
            finished = self._settle()
            file = self._file
            if file is not None and conversation_id in {None, file.conversation.id}:
                return (yield from self._end(file, reason, ended_ms))
            if conversation_id is None:
                return finished
            return self._tools.recent.find(self._user_id, conversation_id)

    def restore(self, archive_id: str, data: bytes, archived: Dialog) -> Restored:
        """Makes an archive the open dialog, see `DialogueJournal.restore_archive`.

        Args:
            archive_id: Which one.
            data: Its file's bytes.
            archived: What they hold.

        Raises:
            JournalError: It could not be done; call again.
        """
        with journal_errors(
            "The disk is full; the archive could not be restored. Nothing of it is lost.",
            "The archive can't be restored at the moment. Nothing of it is lost.",
        ):
            dialog, size = self.openable(data, archived)
            superseded = None
            if self._file is not None:
                superseded = at_once(self._end(self._file, Reason.SUPERSEDED, None))
            try:
                self._file = self._moves.from_archive(archive_id, data, dialog, size)
            except OSError:
                # Undone, or done after all: what is found on the disk counts.
                self._file, self._recovered = None, False
                with suppress(OSError):
                    self._settle()
                if self._file is None or self._file.conversation != dialog.conversation:
                    raise
            finally:
                self._tools.usage.forget(self._user_id)
            self._tools.recent.forget(self._user_id, dialog.conversation.id)
            self._tools.former.add(self._user_id, archive_id, dialog.conversation.id)
            self.wrote = True
        file = self._file
        assert file is not None, "it was moved back"
        return Restored(OpenDialog(file.conversation, file.last_ms, file.messages), superseded)

    def openable(self, data: bytes, archived: Dialog) -> tuple[Dialog, int]:
        """What of an archive's file becomes the open dialog, and how many bytes.

        Raises:
            JournalError: It can't be made that; or the disk refused.
        """
        with archive_errors():
            self._settle()
        if self._file is not None and self._file.conversation.id == archived.conversation.id:
            raise ArchiveIsCurrentError
        return open_part(data, archived)

    def _settle(self) -> str | None:
        """Does what is owed: recovery, taking a failed write back, finishing an archive; gives its id."""
        self._tools.recovery.refuse_links(self._paths)
        if not self._recovered:
            self._file = self._tools.recovery.examine(self._user_id, self._paths)
            self._recovered = True
            if self._file is not None and self._file.reason is None:
                # Archived or not before: a restore that seemed to fail may have opened it.
                self._tools.recent.forget(self._user_id, self._file.conversation.id)
        if self._file is not None and self._file.suspect:
            self._repair(self._file)
        self._notice_edit()
        if self._file is not None and self._file.reason is not None:
            assert self._file.ended_ms is not None, "it has its footer"
            return at_once(self._finish(self._file, Place(self._file.ended_ms)))
        return None

    def _begin(self, conversation: Conversation) -> Handle:
        """Makes folders, marker and file for a new dialog; returns the open file."""
        paths = self._paths
        if self._disk.find(paths.current) is None:
            # Synced even when they exist: an earlier try may have failed between the two. A file in its
            # place means that all this was done.
            for folder in (paths.folder, paths.dialogs, paths.archived):
                self._disk.make_folder(folder)
                self._disk.sync_folder(folder.parent)
        try:
            self._tools.recovery.mark(paths)
            handle = self._disk.open(paths.current, create=True)
            with self._disk.closed_on_error(handle):
                found = self._disk.status(handle)
                if found.st_size:
                    self._recovered = False
                    raise FileExistsError(errno.EEXIST, "somebody put a dialog here", str(paths.current))
        except OSError:
            self._tools.recovery.unmark_at_last(paths)
            raise
        self._file = OpenFile(conversation, 0, found.st_ino, conversation.started_ms, 0)
        return handle

    def _end(self, file: OpenFile, reason: Reason, ended_ms: int | None) -> Steps[str | None]:
        """Writes and flushes the footer, then finishes."""
        ended = max(self._tools.clock.now_ms() if ended_ms is None else ended_ms, file.last_ms)
        place = self._tools.order.place(self._user_id, self._paths, ended)
        footer = emit_footer(place.ended_ms, reason, file.messages)
        handle = self._disk.open(self._paths.current)
        with self._taken_back(file, handle):
            self._disk.write_all(handle, footer)
            yield
            self._tools.flush_and_close(handle)
        file.size += len(footer)
        self._log_archive("footer flushed", file, bytes=file.size)
        file.reason, file.ended_ms = reason, place.ended_ms
        return (yield from self._finish(file, place))

    def _finish(self, file: OpenFile, place: Place) -> Steps[str | None]:
        """Renames a dialog that has its footer, and clears up behind it. Safe to repeat after any failure."""
        renamed = self._moves.to_archive(file, place)
        yield
        yield from self._tools.recovery.clear(self._paths)
        self._log_archive("archive durable, marker cleared", file)
        self._file = None
        self.wrote = True
        if not renamed:
            return None
        assert file.archive_id is not None and file.reason is not None, "it was renamed"
        self._tools.recent.add(self._user_id, file.conversation.id, file.archive_id)
        self._tools.usage.archived(self._user_id, file.size)
        self._tools.metrics.archives.labels(file.reason.value).inc()
        self._tools.archive_log.info(
            "conversation archived",
            archive=file.archive_id,
            user=self._user_id,
            conversation=file.conversation.id,
            reason=file.reason.value,
            messages=file.messages,
        )
        return file.archive_id

    def _log_archive(self, step: str, file: OpenFile, **more: object) -> None:
        self._tools.archive_log.debug(step, user=self._user_id, conversation=file.conversation.id, **more)

    def _notice_edit(self) -> bool:
        """Looks whether somebody else changed the file: its whole messages go on, the rest is set aside."""
        file = self._file
        if file is None or file.suspect or file.reason is not None:
            return False
        found = self._disk.find(self._paths.current)
        if found is not None and (found.st_ino, found.st_size) == (file.inode, file.size):
            return False
        self._tools.recovery_log.warning(
            "open dialog was changed from outside", user=self._user_id, conversation=file.conversation.id
        )
        if found is not None and stat.S_ISREG(found.st_mode):
            dialog = scan(self._disk.read(self._paths.current, MAX_FILE_BYTES + 1)).dialog
            if dialog is not None and dialog.conversation.id != file.conversation.id:
                why = "it is another conversation"
                self._tools.recovery.set_aside(self._user_id, self._paths, "unreadable", why, found.st_size)
        self._file = self._tools.recovery.examine(self._user_id, self._paths)
        return True

    def _taken_back(self, file: OpenFile, handle: Handle) -> TakenBack:
        """On a failure, cuts the file back to what is known to be whole, now or before the next use."""
        return TakenBack(self._disk, handle, file, self._repair)

    def _repair(self, file: OpenFile) -> None:
        found = self._disk.find(self._paths.current)
        if found is not None and found.st_ino == file.inode:
            handle = self._disk.open(self._paths.current)
            with self._disk.closed_on_error(handle):
                self._disk.truncate(handle, file.size)
                self._tools.flush_and_close(handle)
        file.suspect = False
        if file.messages == 0:
            self._file = None
            self._tools.recovery.unmark_at_last(self._paths)
