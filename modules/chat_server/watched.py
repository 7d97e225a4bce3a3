"""What admins who watch the sessions are told. Times are ISO 8601, UTC."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from potoserver import WireModel

Waiting = Literal["grace", "reply", "archive", "adoption", "timeout"]


class SessionState(WireModel):
    """A session, or one that has ended and is not archived yet."""

    user_id: str
    conversation_id: str
    started_at: str
    last_activity: str
    connections: int | None = Field(description="Null while the engine is away.")
    waiting_for: Waiting | None = Field(
        description="What comes next: the end of the grace, of a reply in flight, of the adoption or of the "
        "time without activity; or the archive. Null for a user who is simply there."
    )
    waiting_until: str | None = Field(description="When that comes at the latest, or is tried again.")
    detail: str | None = Field(description="More about it: what the last try to archive it failed with.")
    is_active: bool = Field(description="False while an ended session is being archived.")
    node: str | None = Field(None, description="The node that it is on; null where there is one node alone.")


class ArchivedEvent(WireModel):
    """A dialog that was archived."""

    user_id: str
    archive_id: str
    conversation_id: str
    reason: str
    cause: str | None = Field(description="Why the user's last connection ended, where that ended it.")
    ended_at: str
    message_count: int | None = Field(description="Null where it was not looked up.")


class SessionRates(WireModel):
    """How much is going on, by the second."""

    messages_per_s: float
    replies_per_s: float
    archives_per_s: float


class ArchiveSeconds(WireModel):
    """From the end of a session to its archive on the disk, of late."""

    count: int
    p50: float
    p99: float


class SessionsOfNode(WireModel):
    """What there is on one node."""

    active: int
    pending_archives: int
    sessions: tuple[SessionState, ...]
    archived: tuple[ArchivedEvent, ...]
    rates: SessionRates | None
    archives_took_s: tuple[float, ...] = Field(description="Of the archives of late, the shortest first.")


class SessionsSeen(WireModel):
    """What has changed since the item before."""

    snapshot: bool = Field(description="This is all of it: forget what came before.")
    at: str = Field(description="The server's time; count down from it.")
    active: int = Field(description="Sessions, whether listed or not.")
    pending_archives: int = Field(description="Sessions that have ended and are not archived yet.")
    sessions: tuple[SessionState, ...] = Field(description="New and changed ones, by `conversationId`.")
    gone: tuple[str, ...] = Field(description="The conversations that are not listed any more.")
    archived: tuple[ArchivedEvent, ...] = Field(description="Oldest first.")
    rates: SessionRates | None = Field(description="Null at the first look.")
    archive_seconds: ArchiveSeconds | None = Field(description="Null where nothing was archived of late.")
    silent: tuple[str, ...] = Field(
        description="Nodes that live and do not answer at the moment; what is there is missing here."
    )
