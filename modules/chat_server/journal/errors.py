"""What a journal refuses, as its caller is told."""

from __future__ import annotations

from potoserver import ProblemError


class JournalError(ProblemError):
    """The journal could not keep something; what was kept before is untouched."""


class JournalFullError(JournalError):
    """No room: disk full or over quota (507)."""

    def __init__(self, detail: str = "The disk is full; the message was not kept. Try again later.") -> None:
        super().__init__(507, detail)


class DialogFullError(JournalError):
    """The dialog has reached its largest size; another one can begin (507)."""

    def __init__(
        self,
        detail: str = "This dialog has reached its largest size; the message was not kept. End it to go on.",
    ) -> None:
        super().__init__(507, detail)


class UserFullError(JournalError):
    """The user's dialogs take all that one user's may (507)."""

    def __init__(self, limit_bytes: int, fate: str = "the message was not kept") -> None:
        super().__init__(
            507,
            f"Your dialogs take all the room that one user has (limits.user_bytes, {limit_bytes} bytes); "
            f"{fate}. Export and delete archives to make room, or ask the operator for more.",
        )
        self._limit_bytes = limit_bytes

    def of_an_import(self) -> UserFullError:
        """The same, said of archives that were to be added."""
        return UserFullError(self._limit_bytes, "nothing was imported")


class JournalUnavailableError(JournalError):
    """The disk fails (503)."""

    def __init__(
        self, detail: str = "The dialog can't be written at the moment; the message was not kept."
    ) -> None:
        super().__init__(503, detail, retry_after_s=5)


class FencedError(JournalError):
    """The user's dialogs are another node's, or were never this one's; nothing was done (503).

    Args:
        user_id: Whose, where a newer token was found.
        token: That one.
    """

    def __init__(self, user_id: str = "", token: int = 0) -> None:
        super().__init__(
            503,
            "Your dialogs have moved to another node of the server; nothing was done here. Try again.",
            retry_after_s=1,
        )
        self.user_id = user_id
        self.token = token


class HeldElsewhereError(JournalUnavailableError):
    """Another node is at the user's dialogs at this moment; nothing was done (503)."""

    def __init__(self) -> None:
        super().__init__(
            "Another node of the server is at your dialogs and does not go on; nothing was done. Try again."
        )


class ConversationEndedError(JournalError):
    """The conversation was archived, so nothing can be added to it any more (409)."""

    def __init__(self) -> None:
        super().__init__(409, "This conversation has ended; the message was not kept. Send it again.")


class ArchiveIsCurrentError(JournalError):
    """The archive is an older copy of the dialog that is open (409)."""

    def __init__(self) -> None:
        super().__init__(
            409,
            "This archive is an older copy of your current conversation. End that one first; nothing was "
            "changed.",
        )


class ArchiveLaidOutError(JournalError):
    """A person has laid the archive's file out in a way that only a person can change (409)."""

    def __init__(self) -> None:
        super().__init__(
            409,
            "This archive's file was edited by hand and laid out in another way, so the server can't change "
            "it. Nothing was changed.",
        )
