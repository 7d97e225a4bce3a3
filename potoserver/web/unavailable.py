"""What an event stream says that can't be had now."""

from __future__ import annotations

import random

from potoserver.events import Frame, to_json


def unavailable(reason: str, retry_ms: int) -> Frame:
    """The event `unavailable`: it passes by itself. With jitter, lest all come back at once.

    Args:
        reason: For programs, such as `draining`.
        retry_ms: The reconnection time that clients are told, in milliseconds; one to three times that.
    """
    retry_after_ms = round(retry_ms * random.uniform(1, 3))  # noqa: S311 - spread, no secret
    data = to_json({"reason": reason, "retryAfterMs": retry_after_ms})
    return Frame.encode("unavailable", data, retry_ms=retry_after_ms)
