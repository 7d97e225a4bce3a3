"""Where dialogs are kept."""

from .base import DialogueJournal
from .errors import (
    ConversationEndedError,
    DialogFullError,
    FencedError,
    JournalError,
    JournalFullError,
    JournalUnavailableError,
    UserFullError,
)
from .filesystem import FileSystemDialogueJournal
from .memory import MemoryDialogueJournal
from .records import (
    ArchivePage,
    ArchiveSummary,
    Conversation,
    Dialog,
    KeyedMessage,
    Message,
    OpenDialog,
    Reason,
)

__all__ = [
    "ArchivePage",
    "ArchiveSummary",
    "Conversation",
    "ConversationEndedError",
    "Dialog",
    "DialogFullError",
    "DialogueJournal",
    "FencedError",
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
