"""What an event stream says that can't be had now, or will end in a moment."""

from __future__ import annotations

import random

from potoserver.events import Frame, to_json


def unavailable(reason: str, retry_ms: int) -> Frame:
    """The event `unavailable`: it passes by itself. With jitter, lest all come back at once.

    Args:
        reason: For programs, such as `draining`.
        retry_ms: The reconnection time that clients are told, in milliseconds; one to three times that.
    """
    retry_after_ms = _spread(retry_ms)
    data = to_json({"reason": reason, "retryAfterMs": retry_after_ms})
    return Frame.encode("unavailable", data, retry_ms=retry_after_ms)


def shutdown(retry_ms: int) -> Frame:
    """The event `shutdown`, of one stream: each is told another time, lest all come to another node at once.

    Args:
        retry_ms: The reconnection time that clients are told, in milliseconds; one to three times that.
    """
    retry_after_ms = _spread(retry_ms)
    return Frame.encode("shutdown", to_json({"retryAfterMs": retry_after_ms}), retry_ms=retry_after_ms)


def _spread(retry_ms: int) -> int:
    return round(retry_ms * random.uniform(1, 3))  # noqa: S311 - spread, no secret
