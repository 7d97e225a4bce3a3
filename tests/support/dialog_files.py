"""Dialogs on disk as the journal leaves them, made without a journal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modules.chat_server.journal.dialog_yaml import emit_footer, emit_head, emit_message
from modules.chat_server.journal.layout import Layout, UserPaths, second_name
from modules.chat_server.journal.records import Conversation, Message, Reason

BEGIN_MS = 1_700_000_000_000
"""2023-11-14T22:13:20Z."""


def conversation_at(started_ms: int, tail: str = "abcdefghi") -> Conversation:
    """A conversation that began then."""
    return Conversation(f"sse-{started_ms}-{tail}", started_ms)


def make_folders(data_dir: Path, user_id: str) -> UserPaths:
    """The folders of data and of one user, and an empty current file."""
    layout = Layout(data_dir)
    paths = layout.user(user_id)
    for folder in (data_dir, layout.users, layout.open, paths.folder, paths.dialogs, paths.archived):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not paths.current.exists():
        write(paths.current, b"")
    return paths


def write(path: Path, data: bytes) -> Path:
    """A file for the owner alone."""
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def lines_of(user_id: str, conversation: Conversation, texts: Sequence[str]) -> bytes:
    """A dialog without a footer: the texts are question and answer by turns, a second apart."""
    data = emit_head(conversation, user_id)
    for number, text in enumerate(texts):
        role = "assistant" if number % 2 else "user"
        at_ms = conversation.started_ms + 1000 * (number + 1)
        data += emit_message(Message(role, text, f"m-{conversation.started_ms}-{number}", at_ms))
    return data


def archive(
    data_dir: Path,
    user_id: str,
    texts: Sequence[str] = ("Hello!", "Hello!"),
    *,
    number: int = 0,
    reason: Reason = Reason.DISCONNECT,
) -> Path:
    """An archived dialog, a minute later for each number."""
    paths = make_folders(data_dir, user_id)
    conversation = conversation_at(BEGIN_MS + 60_000 * number)
    ended_ms = conversation.started_ms + 50_000
    data = lines_of(user_id, conversation, texts) + emit_footer(ended_ms, reason, len(texts))
    return write(paths.archived / f"{second_name(ended_ms)}.yaml", data)


def leave_open(data_dir: Path, user_id: str, texts: Sequence[str] = ("Are you there?",)) -> Path:
    """An open dialog with its marker, begun a day after the archives."""
    paths = make_folders(data_dir, user_id)
    write(paths.marker, b"")
    return write(paths.current, lines_of(user_id, conversation_at(BEGIN_MS + 86_400_000), texts))
