"""What happens beside one's own words: other tabs, archives, the connection's ups and downs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from potoserver.client import ClientError, Connected, Disconnected, Module, StreamEvent, Subscription

from .connection import ConnectionState
from .slash import REMEMBERED, Slash
from .view import View
from .words import archived_notice


class Happenings:
    """Follows a subscription and says what it tells, each thing once.

    Args:
        chat: The chat's methods.
        slash: Knows which archives were announced, and which messages are on the screen.
        view: Where it is said.
        on_question: Called with each earlier question of the user's that is shown.
    """

    def __init__(self, chat: Module, slash: Slash, view: View, on_question: Callable[[str], None]) -> None:
        self._chat = chat
        self._slash = slash
        self._view = view
        self._on_question = on_question
        self._own_calls: deque[str] = deque(maxlen=REMEMBERED)
        self._handlers: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "message": self._message,
            "failed": self._failed,
            "archived": self.tell_archived,
            "restored": lambda data: self._slash.tell_restored(str(data.get("id"))),
            "archives": self._archives,
            "shutdown": lambda _: self._view.note("The server stops."),
            "delta": lambda _: None,  # the finished message follows
            "online": lambda _: None,
        }
        self.state = ConnectionState()

    def is_own(self, request_id: str) -> None:
        """The events of this call need not be told: who made it shows its reply."""
        self._own_calls.append(request_id)

    def is_shown(self, message_id: str) -> None:
        """This message is on the screen."""
        self._slash.seen.append(message_id)

    async def follow(self, events: Subscription) -> None:
        """Follows the events to their end.

        Raises:
            ClientError: The stream has ended for good.
        """
        async for event in events:
            await self._take(event)

    async def _take(self, event: StreamEvent) -> None:
        if isinstance(event, Disconnected):
            if self.state.lost(event):
                self._view.note(f"Connection lost ({event.detail}); trying again.")
        elif isinstance(event, Connected):
            self.state.connected()
            self._view.note("Connected again.")
            self.tell_archived(event.data.get("archived"))
            if event.gap:
                await self.catch_up()
        elif event.type in self._handlers and isinstance(event.data, dict):
            self._handlers[event.type](event.data)
        else:
            self._view.note(f"{event.type}: {event.data}")

    def _message(self, data: Mapping[str, Any]) -> None:
        self.is_shown(str(data.get("messageId")))
        if data.get("requestId") not in self._own_calls:
            self._view.message(data, elsewhere=True)

    def _failed(self, data: Mapping[str, Any]) -> None:
        if data.get("requestId") not in self._own_calls:
            self._view.wrong(f"A reply elsewhere will not come: {data.get('detail')}")

    def _archives(self, data: Mapping[str, Any]) -> None:
        title = f": {data['title']}" if data.get("title") else ""
        self._view.note(f"What is archived was changed elsewhere ({data.get('change')}{title}).")

    def tell_archived(self, archived: Mapping[str, Any] | None) -> None:
        """Says that a dialog was archived, and how to go on with it; nothing for None."""
        archive_id = str(archived["id"]) if archived and archived.get("id") else None
        if archived is None or archive_id is None or archive_id in self._slash.told:
            return
        self._slash.told.add(archive_id)
        self._slash.newest = archive_id
        self._view.note(archived_notice(archived))

    async def catch_up(self, most: int | None = None) -> None:
        """Shows what of the conversation is not on the screen, the newest `most` messages of it."""
        try:
            messages = (await self._chat.getConversation())["messages"]
        except ClientError as error:
            self._view.wrong(f"The conversation can't be shown: {error}")
            return
        new = [each for each in messages if each["id"] not in self._slash.seen]
        shown = new if most is None else new[-most:]
        if len(shown) < len(new):
            self._view.note(f"{len(new) - len(shown)} earlier messages are not shown.")
        self._view.messages(shown)
        for each in new:
            self.is_shown(each["id"])
            if each["role"] == "user":
                self._on_question(each["content"])
