"""Tickets: what a page puts into the URL of `/subscribe` where it can send neither header nor cookie."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from aiohttp import web

from potoserver.core import Core
from potoserver.events import EventId
from potoserver.users import User
from potoserver.web.credentials import Credentials, Identity
from potoserver.web.signing import SigningKey

FIRST_USE_S = 30
"""How long a ticket waits for its first use."""
RECORD_LIFETIME_S = 86_400.0
"""How long a used ticket is good for a reconnect, from its latest one."""

_PURPOSE = "ticket"
_USED = "used"


@dataclass(frozen=True, slots=True)
class RedeemedTicket:
    """A ticket that was just accepted.

    Attributes:
        id: Names it.
        user_id: Whose it is.
        record: What the engine keeps of it now: `used`, or the ids with which its stream opened.
    """

    id: str
    user_id: str
    record: str


class Tickets:
    """Hands tickets out and takes them in.

    A ticket is signed, so no node has to remember it before its use. What it was used for is small state of
    the engine, so that each node knows.

    Args:
        core: The parts of the server.
        credentials: Tell whether what a ticket came from is still valid.
        key: Signs.
    """

    def __init__(self, core: Core, credentials: Credentials, key: SigningKey) -> None:
        self._core = core
        self._credentials = credentials
        self._key = key

    def issue(self, identity: Identity) -> str:
        """A ticket for one stream of this user.

        It stands in a URL, where others may come to see it: it tells the user's id and nothing more.
        """
        nameless = replace(identity, user=User(identity.user.id))
        claims = self._credentials.claims_of(nameless) | {
            "jti": secrets.token_urlsafe(16),
            "first_use_ms": self._core.clock.wall_ms() + FIRST_USE_S * 1000,
        }
        return self._key.sign(_PURPOSE, claims)

    async def redeem(self, ticket: str, last_event_id: str | None) -> tuple[Identity, RedeemedTicket] | None:
        """Whose a ticket is, if it is good for this request, else None.

        Args:
            ticket: What came in the URL.
            last_event_id: Where the client left off: it must lie in the stream that the ticket opened,
                unless this is the first use.

        Raises:
            UnavailableError: The engine is away, so whether it was used can't be told.
        """
        claims = self._key.verify(_PURPOSE, ticket)
        identity = None if claims is None else self._credentials.restore(claims)
        if claims is None or identity is None:
            return None
        user_id, name = identity.user.id, _record_name(claims["jti"])
        record = await self._core.engine.get_state(user_id, name)
        if record is None:
            in_time = self._core.clock.wall_ms() < claims["first_use_ms"]
            if not in_time or not await self._core.engine.swap_state(
                user_id, name, None, _USED, RECORD_LIFETIME_S
            ):
                return None
            record = _USED
        elif not _continues(record, last_event_id):
            return None
        return identity, RedeemedTicket(claims["jti"], user_id, record)

    async def opened(self, ticket: RedeemedTicket, resume_id: EventId) -> None:
        """Notes the stream that a ticket opened or went on with; only its reconnects may use the ticket now.

        Args:
            ticket: From `redeem`.
            resume_id: The id from which the stream goes on.
        """
        known = _ids_of(ticket.record)
        record = ticket.record
        if all(each.epoch != resume_id.epoch for each in known):
            # The log began anew. The id before stays: the client may be cut off before it gets the new one.
            record = " ".join(map(str, [*known[-1:], resume_id]))
        await self._core.engine.swap_state(
            ticket.user_id, _record_name(ticket.id), ticket.record, record, RECORD_LIFETIME_S
        )

    async def release(self, ticket: RedeemedTicket) -> None:
        """Takes a first use back: the stream was refused for now, and the client will come again.

        The 30 seconds for the first use go on.
        """
        if ticket.record == _USED:
            await self._core.engine.swap_state(ticket.user_id, _record_name(ticket.id), _USED, None, 0)


def _record_name(ticket_id: str) -> str:
    return f"ticket:{ticket_id}"


def _ids_of(record: str) -> list[EventId]:
    """The ids with which the ticket's stream opened, in the newest two lives of the log; none for `used`."""
    return [each for each in map(EventId.parse, record.split(" ")) if each is not None]


def _continues(record: str, last_event_id: str | None) -> bool:
    last = None if last_event_id is None else EventId.parse(last_event_id)
    return last is not None and any(
        each.epoch == last.epoch and each.seq <= last.seq for each in _ids_of(record)
    )


def last_event_id_of(request: web.Request) -> str | None:
    """Where the client left off: the header beats the query; None where neither names an id."""
    return request.headers.get("Last-Event-ID") or request.query.get("lastEventId") or None
