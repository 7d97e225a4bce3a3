"""Repeated calls: what makes two calls the same, and which of them are running."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from potoserver import Call, FieldError, ProblemError

from .journal.base import DialogueJournal
from .journal.records import KeyedMessage
from .reply_stream import ReplyStream

REMEMBERED_MS = 24 * 60 * 60 * 1000
"""How long a key stands for its first call."""


def digest_of(arguments: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of the arguments as canonical JSON: keys sorted, no blanks, ASCII."""
    canonical = json.dumps(arguments, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


class RunningCalls:
    """The calls with an idempotency key that are under way, by user and key."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], tuple[str, ReplyStream]] = {}

    def find(self, call: Call, digest: str) -> ReplyStream | None:
        """The reply that the first call with this key is growing, or None.

        Raises:
            ProblemError: 422, the first call had other arguments.
        """
        if call.idempotency_key is None:
            return None
        found = self._streams.get((call.user.id, call.idempotency_key))
        if found is None:
            return None
        _check_digest(found[0], digest)
        return found[1]

    def add(self, call: Call, digest: str, stream: ReplyStream) -> None:
        """A call begins."""
        if call.idempotency_key is not None:
            self._streams[call.user.id, call.idempotency_key] = digest, stream

    def remove(self, call: Call) -> None:
        """A call has ended; from here on the journal knows."""
        if call.idempotency_key is not None:
            self._streams.pop((call.user.id, call.idempotency_key), None)


async def find_first(
    journal: DialogueJournal, call: Call, digest: str, now_ms: Callable[[], int]
) -> KeyedMessage | None:
    """The question that an earlier call with this key has left in the journal, or None.

    Raises:
        ProblemError: 422, that call had other arguments.
    """
    if call.idempotency_key is None:
        return None
    found = await journal.find_keyed(call.user, call.idempotency_key, now_ms() - REMEMBERED_MS)
    if found is not None:
        _check_digest(found.question.request_digest, digest)
    return found


def _check_digest(first: str | None, digest: str) -> None:
    if first != digest:
        raise ProblemError(
            422,
            "This Idempotency-Key came with another request before; use a new key for a new request.",
            errors=[FieldError("Idempotency-Key", "must be new, or come with the same arguments again")],
        )
