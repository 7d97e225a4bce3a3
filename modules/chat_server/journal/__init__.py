"""Where dialogs are kept."""

from .base import (
    ArchivePage,
    ArchiveSummary,
    Conversation,
    ConversationEndedError,
    Dialog,
    DialogFullError,
    DialogueJournal,
    JournalError,
    JournalFullError,
    JournalUnavailableError,
    KeyedMessage,
    Message,
    OpenDialog,
    Reason,
    UserFullError,
)
from .filesystem import FileSystemDialogueJournal
from .memory import MemoryDialogueJournal

__all__ = [
    "ArchivePage",
    "ArchiveSummary",
    "Conversation",
    "ConversationEndedError",
    "Dialog",
    "DialogFullError",
    "DialogueJournal",
    "FileSystemDialogueJournal",
    "JournalError",
    "JournalFullError",
    "JournalUnavailableError",
    "KeyedMessage",
    "MemoryDialogueJournal",
    "Message",
    "OpenDialog",
    "Reason",
    "UserFullError",
]
