"""The abstract journal: where dialogs are kept, whatever they are kept on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from potoserver import User

from .records import (
    ArchivePage,
    ArchiveSummary,
    Conversation,
    Dialog,
    ImportedDialog,
    ImportOutcome,
    KeyedMessage,
    Message,
    OpenDialog,
    Reason,
    Restored,
)
from .stored import Visit


class DialogueJournal(ABC):
    """Keeps each user's one open dialog and the archives.

    Where several nodes share one storage, a user is one node's at a time, with a token that grows whenever
    that changes. Each call about a user who was not taken, or whom a node with a higher token has had since,
    raises `FencedError` then, and does nothing.

    Calls for one user may come at the same time; they take effect one after the other. Once a call that
    changes something has begun, cancelling the caller does not stop it half-way.
    """

    @abstractmethod
    async def start(self) -> Sequence[str]:
        """Takes the storage over. Quick, whatever number of users exists.

        Returns:
            The ids of the users whose dialogs were left open, for `recover`.

        Raises:
            JournalError: The storage can't be used, or another process owns it.
        """

    @abstractmethod
    async def left_open(self) -> Sequence[str]:
        """The ids of the users who have a dialog open now, at whatever node.

        Raises:
            JournalError: It can't be read.
        """

    @abstractmethod
    async def close(self) -> None:
        """Gives the storage back; every append has been flushed before."""

    @abstractmethod
    async def take(self, user: User, token: int) -> None:
        """This node has the user from now on; nothing that it knows of the user's dialogs holds any more.

        Touches no file: the token counts from the first call on that finds the user's folder, and from then
        on nobody with a lower one gets in. Without effect where the storage is not shared.

        Raises:
            ValueError: The token has a sign, or more than 20 digits.
        """

    @abstractmethod
    async def let_go(self, user: User) -> None:
        """This node has the user no more: forgets what it knows, writes nothing. Harmless when repeated."""

    @abstractmethod
    async def recover(self, user: User) -> OpenDialog | None:
        """Puts a user's open dialog in order after a crash, once; later calls only tell what is open.

        A torn tail is cut and set aside; a dialog with a whole footer is archived with its own reason; a
        file that is no dialog is set aside. Every other method does this first for the user that it is
        about, so nobody has to wait for others' recovery.

        Returns:
            The dialog that is open, or None.
        """

    @abstractmethod
    async def get_conversation(self, user: User) -> list[Message]:
        """The messages of the user's open dialog, oldest first; empty without one."""

    @abstractmethod
    async def add_message(self, user: User, message: Message, conversation: Conversation) -> Message:
        """Appends a message; once this returns it is on disk.

        The first message of a conversation begins its dialog. Another dialog of the user that is still
        open is archived first, as `superseded`; one whose archiving was begun is finished first.

        Returns:
            The message as it was kept, its timestamp not before the one before it.

        Raises:
            JournalFullError: No room. Nothing of the message was kept.
            UserFullError: A message of role `user` would take the user's dialogs beyond their limit. Nothing
                of it was kept. Other messages and archives never fail for this.
            JournalUnavailableError: The disk fails. Nothing of the message was kept.
            ConversationEndedError: The conversation was archived lately, so a late message of it never ends
                or enters a newer one. Nothing of the message was kept.
            ValueError: The text holds a lone surrogate, which no file can keep.
        """

    @abstractmethod
    async def archive_conversation(
        self,
        user: User,
        conversation_id: str | None = None,
        *,
        reason: Reason = Reason.REQUEST,
        ended_ms: int | None = None,
    ) -> str | None:
        """Ends a dialog: footer, flush, rename, folder flush. Idempotent per conversation.

        Args:
            user: Whose.
            conversation_id: Which one; None for the one that is open now.
            reason: Why it ended. Once a footer is written, its reason stands.
            ended_ms: When; None for now. Never before the last message, nor before the user's newest archive,
                unless that is more than a day ahead: archives are in the order in which dialogs ended.

        Returns:
            The archive's id, also when that conversation was archived before; None when it holds no
            message, or is not this user's open one and was not archived lately.

        Raises:
            JournalError: It could not be finished; call again.
        """

    @abstractmethod
    async def list_archives(
        self, user: User, limit: int, cursor: str | None, *, pinned: bool | None = None
    ) -> ArchivePage:
        """A page of the user's archives.

        Args:
            user: Whose.
            limit: How many at most.
            cursor: Where an earlier page ended; None to begin.
            pinned: Only those that are, or only those that are not; None for all.

        Raises:
            ValueError: The cursor is none that this gave.
        """

    @abstractmethod
    async def get_archive(self, user: User, archive_id: str) -> Dialog | None:
        """One archive of the user, whole; None where there is no such one."""

    @abstractmethod
    async def rename_archive(
        self, user: User, archive_id: str, title: str | None, *, only_untitled: bool = False
    ) -> ArchiveSummary | None:
        """Gives an archive a title, or with None takes the given one away; durable once this returns.

        Args:
            user: Whose.
            archive_id: Which one.
            title: As `titles.as_title` gives it.
            only_untitled: An archive that was given a title stays as it is.

        Returns:
            The archive as it is now; None where there is no such one.

        Raises:
            JournalError: It stays as it was.
        """

    @abstractmethod
    async def pin_archive(self, user: User, archive_id: str, *, pinned: bool) -> ArchiveSummary | None:
        """Pins an archive, or takes the pin away; durable once this returns.

        Returns:
            The archive as it is now; None where there is no such one.

        Raises:
            JournalError: It stays as it was.
        """

    @abstractmethod
    async def find_restorable(self, user: User, archive_id: str) -> ArchiveSummary | None:
        """Sees whether `restore_archive` would do it; changes nothing.

        Returns:
            The archive; None where there is no such one.

        Raises:
            ArchiveIsCurrentError: Its conversation is the one that is open.
            ArchiveLaidOutError: A person has laid it out in another way.
            JournalError: It can't be read.
        """

    @abstractmethod
    async def restore_archive(self, user: User, archive_id: str) -> Restored | None:
        """Makes an archive the open dialog again, under its old conversation, title and pin.

        Another dialog that is open is archived first, as `superseded`. The archive is moved, so there is one
        copy of it at every moment; a crash before this returns may leave it an archive.

        Returns:
            What is open now; None where there is no such archive.

        Raises:
            JournalError: It is an archive still; the dialog that was open may be archived. Call again.
        """

    @abstractmethod
    async def delete_archive(self, user: User, archive_id: str, *, unless_pinned: bool = False) -> bool:
        """Deletes an archive for good; durable once this returns.

        No archive of another conversation gets its id, for as long as the journal is open: who still shows
        the one must not hit the other.

        Args:
            user: Whose.
            archive_id: Which one.
            unless_pinned: One that is pinned stays.

        Returns:
            Whether one was deleted.

        Raises:
            JournalError: It is not known to be gone; call again.
        """

    @abstractmethod
    async def import_archives(self, user: User, dialogs: Sequence[ImportedDialog]) -> ImportOutcome:
        """Adds archives from elsewhere, all or none; durable once this returns.

        What is there already, as it is or grown longer, is skipped. Where the conversation is there with
        other words, the archive is added under another conversation's name, always the same one.

        Raises:
            ProblemError: 422, one is larger than a dialog can be.
            UserFullError: They would take the user's dialogs beyond their limit.
            JournalError: The disk refused. Nothing was added; a crash may leave some, each whole, and the
                same call again adds the others.
        """

    @abstractmethod
    async def stored_users(self) -> Sequence[str]:
        """The ids of all users of whom anything is kept.

        Raises:
            JournalError: They can't be read.
        """

    @abstractmethod
    async def expired_archives(
        self, user: User, before_ms: int | None, keep: int | None
    ) -> Sequence[ArchiveSummary]:
        """The user's archives that are too old or too many, newest first; never a pinned one.

        Nobody is held up by this: calls that change something meanwhile take effect.

        Args:
            user: Whose.
            before_ms: Those that ended before are too old: wall time, milliseconds since 1970 UTC. None for
                no such limit.
            keep: So many of those that are not pinned are not too many, the newest. None for no such limit.

        Raises:
            JournalError: They can't be read.
        """

    @abstractmethod
    async def find_keyed(self, user: User, key: str, since_ms: int) -> KeyedMessage | None:
        """The newest question that came with this idempotency key since then, open or archived.

        Args:
            user: Whose.
            key: The idempotency key.
            since_ms: Wall time, milliseconds since 1970 UTC.
        """

    @abstractmethod
    async def untold_archive(self, user: User) -> ArchiveSummary | None:
        """The user's newest archive; None without one, or when `mark_told` named it or a newer one."""

    @abstractmethod
    async def mark_told(self, user: User, archive_id: str) -> None:
        """Keeps that the user was told of an archive. A crash may undo this: then it is told again."""

    @abstractmethod
    async def archive_ids(self, user: User) -> list[str]:
        """The ids of the user's archives, newest first, also of those that can't be read."""

    @abstractmethod
    async def visit_archives(self, user: User, ids: Sequence[str], visit: Visit) -> None:
        """Shows archives to `visit` in that order, those that are still there, until it answers False.

        No other call for the user waits for this, so each archive is as it was at some moment of it.

        Raises:
            JournalError: The disk refused.
            Exception: What `visit` raised.
        """
