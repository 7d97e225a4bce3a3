"""Where dialogs are kept."""

from .base import (
    ArchivePage,
    ArchiveSummary,
    Conversation,
    Dialog,
    DialogueJournal,
    KeyedMessage,
    Message,
    OpenDialog,
    Reason,
)
from .errors import (
    ConversationEndedError,
    DialogFullError,
    JournalError,
    JournalFullError,
    JournalUnavailableError,
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
