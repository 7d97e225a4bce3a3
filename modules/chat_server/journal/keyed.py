"""Finds a question by its idempotency key, and its answer, among dialogs. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .records import Dialog, KeyedMessage, Message


def find_question(dialogs: Iterable[Dialog], key: str, since_ms: int) -> KeyedMessage | None:
    """The newest question with this key since then, with the answer that its own dialog holds.

    Args:
        dialogs: Newest first.
        key: The idempotency key.
        since_ms: Wall time, milliseconds since 1970 UTC.
    """
    for dialog in dialogs:
        for position in range(len(dialog.messages) - 1, -1, -1):
            question = dialog.messages[position]
            if (
                question.role == "user"
                and question.idempotency_key == key
                and question.timestamp_ms >= since_ms
            ):
                behind = dialog.messages[position + 1 :]
                reply = _answer(question, behind)
                return KeyedMessage(
                    dialog.conversation,
                    question,
                    reply,
                    dialog.messages[:position],
                    replied_in=dialog.conversation if reply else None,
                )
    return None


def _answer(question: Message, behind: tuple[Message, ...]) -> Message | None:
    for message in reversed(behind):
        if message.reply_to == question.id:
            return message
    if behind and behind[0].role == "assistant" and behind[0].reply_to is None:
        return behind[0]
    return None


def with_reply(found: KeyedMessage, dialogs: Iterable[Dialog]) -> KeyedMessage:
    """With the newest message in any of the dialogs that names the question as what it answers."""
    for dialog in dialogs:
        for message in reversed(dialog.messages):
            if message.reply_to == found.question.id:
                return replace(found, reply=message, replied_in=dialog.conversation)
    return found
