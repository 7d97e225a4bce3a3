"""What the engine tells this node, passed on to whom it is for."""

from __future__ import annotations

import random
from functools import partial

from typing_extensions import override

from potoserver.core import Core
from potoserver.engine.base import EngineListener, Home, LogEntry
from potoserver.engine.presence import Attachment, Cause, Departure
from potoserver.events import Frame

_GAP_SPREAD = 3
"""Over how many times the clients' reconnection time the ends of streams are spread that have lost events."""


class CoreListener(EngineListener):
    """Passes on what the engine tells this node.

    Args:
        core: The parts of the server.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    @override
    def on_entry(self, user_id: str, entry: LogEntry) -> None:
        self._core.subscriptions.deliver(user_id, entry)

    @override
    def on_broadcast(self, event_type: str, frame: Frame) -> int:
        return self._core.subscriptions.broadcast(event_type, frame)

    @override
    def on_gap(self, user_id: str) -> None:
        # Their clients come back by id, and are told of the gap in the opening of the new stream. Not all at
        # once: when the engine has lost its data this is about every user. No event passes the gap meanwhile.
        core = self._core
        spread_s = _GAP_SPREAD * core.settings.retry_ms / 1000
        for subscription in core.subscriptions.of_user(user_id):
            subscription.stop_at_gap()
            close = partial(subscription.stream.close, Cause.KICKED)
            core.clock.call_later(spread_s * random.random(), close)  # noqa: S311 - spread, no secret

    @override
    def on_rejoined(self, user_id: str, attachment: Attachment) -> None:
        self._core.subscriptions.attached_anew(user_id, attachment.generation)
        if attachment.arrived:
            self._core.hooks.arrived(user_id)

    @override
    def on_home_lost(self, home: Home) -> None:
        self._core.homes.lose(home)

    @override
    def on_orphan(self, user_id: str) -> None:
        self._core.homes.adopt(user_id)

    @override
    def on_message(self, sender_node_id: str, payload: bytes) -> None:
        self._core.node_calls.on_message(sender_node_id, payload)

    @override
    def on_departure(self, departure: Departure) -> None:
        self._core.logs.get("presence").info(
            "user departed",
            user=departure.user_id,
            generation=departure.generation,
            cause=str(departure.cause),
            departure=departure.id,
        )
        self._core.hooks.departed(departure)
