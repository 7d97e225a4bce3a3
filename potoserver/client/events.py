"""What a subscription tells its caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CONNECTED = "connected"
DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of a user's stream.

    Attributes:
        type: What kind: `message`, `delta`, `archived` and so on (docs/protocol.md), or what a module sends.
        data: The event's JSON.
        id: Its place in the user's log, to go on from in another process; None for what is not logged.
    """

    type: str
    data: Any
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Connected(StreamEvent):
    """The stream is open, for the first time or again. What was missed, if it can be had, follows."""

    @property
    def user(self) -> str:
        """Whose stream it is."""
        return str(self.data["user"])

    @property
    def resumed(self) -> bool:
        """Whether the user was here already, or came back within the grace."""
        return bool(self.data.get("resumed"))

    @property
    def gap(self) -> bool:
        """Whether events may be missing: load anew what you keep (`getConversation`)."""
        return bool(self.data.get("gap"))


@dataclass(frozen=True, slots=True)
class Disconnected(StreamEvent):
    """The stream is not open; the client tries again by itself. It has no id, it is the client's own word.

    Its data: `reason`, `detail`, `retryInS`, `tries`.
    """

    @property
    def reason(self) -> str:
        """Why, in a word: what the server said (`draining`, `shutdown`), `lost`, `unreachable`, `answer`."""
        return str(self.data["reason"])

    @property
    def detail(self) -> str:
        """Why, for people."""
        return str(self.data["detail"])

    @property
    def retry_in_s(self) -> float:
        """When the next try begins, in seconds from now."""
        return float(self.data["retryInS"])

    @property
    def tries(self) -> int:
        """How many tries in a row have failed; 1 where a stream that was open has ended."""
        return int(self.data["tries"])
