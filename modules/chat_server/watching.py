"""The sessions of all nodes as admins see them, live."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from itertools import chain
from typing import Final, NamedTuple

from potoserver import Gathered, ModuleContext, Snapshots, iso_utc

from .sessions_here import Wanted
from .watched import ArchivedEvent, ArchiveSeconds, SessionRates, SessionsOfNode, SessionsSeen, SessionState

_TOLD: Final = 10_000
"""Of so many archives it is kept that a reader was told: more than all nodes remember together."""


class _Seen(NamedTuple):
    """One look at all nodes."""

    active: int
    pending_archives: int
    sessions: tuple[SessionState, ...]
    archived: tuple[ArchivedEvent, ...]
    rates: SessionRates | None
    archive_seconds: ArchiveSeconds | None
    silent: tuple[str, ...]


class Watching:
    """Tells whoever follows it what there is on all nodes, then what changes.

    Args:
        context: The clock, and the nodes.
        look_here: What there is on one node; a method of the module's, marked `per_node`.
    """

    def __init__(
        self, context: ModuleContext, look_here: Callable[[Wanted], Awaitable[SessionsOfNode]]
    ) -> None:
        self._context = context
        self._look_here = look_here
        self._looks = Snapshots(context.clock, self._look)

    async def follow(self, search: str, limit: int) -> AsyncGenerator[SessionsSeen, None]:
        """All that matches, then what changes of it. Close it when it is not read to its end."""
        shown: dict[str, SessionState] = {}
        told: dict[tuple[str, str], None] = {}
        snapshot = True
        async with aclosing(self._looks.follow(Wanted(search, limit))) as looks:
            async for seen in looks:
                now = {each.conversation_id: each for each in seen.sessions}
                yield SessionsSeen(
                    snapshot=snapshot,
                    at=iso_utc(self._context.presence_now_ms()),
                    active=seen.active,
                    pending_archives=seen.pending_archives,
                    sessions=tuple(each for name, each in now.items() if shown.get(name) != each),
                    gone=tuple(name for name in shown if name not in now),
                    archived=_news(seen.archived, told),
                    rates=seen.rates,
                    archive_seconds=seen.archive_seconds,
                    silent=seen.silent,
                )
                shown, snapshot = now, False

    async def _look(self, wanted: Wanted) -> _Seen:
        nodes = self._context.nodes
        gathered = await nodes.ask_all(self._look_here, wanted)
        return _put_together(gathered, is_alone=len(nodes.living()) == 1, limit=wanted.limit)


def _news(archived: Iterable[ArchivedEvent], told: dict[tuple[str, str], None]) -> tuple[ArchivedEvent, ...]:
    """Those that the reader was not told yet, who is told now. By name: a node may be silent for a while."""
    news = []
    for each in archived:
        key = (each.user_id, each.archive_id)
        if key not in told:
            told[key] = None
            news.append(each)
            if len(told) > _TOLD:
                del told[next(iter(told))]
    return tuple(news)


def _put_together(gathered: Gathered[SessionsOfNode], *, is_alone: bool, limit: int) -> _Seen:
    looks = list(gathered.answers.values())
    sessions = [
        each if is_alone else each.model_copy(update={"node": node_id})
        for node_id, look in gathered.answers.items()
        for each in look.sessions
    ]
    archived = list(chain.from_iterable(look.archived for look in looks))
    if len(looks) > 1:
        # What waits for its archive first, then the newest: as each node has it.
        sessions.sort(key=lambda each: each.started_at, reverse=True)
        sessions.sort(key=lambda each: each.is_active)
        archived.sort(key=lambda each: each.ended_at)
    return _Seen(
        active=sum(look.active for look in looks),
        pending_archives=sum(look.pending_archives for look in looks),
        sessions=tuple(sessions[:limit]),
        archived=tuple(archived),
        rates=_summed([look.rates for look in looks if look.rates is not None]),
        archive_seconds=_archive_seconds(sorted(chain.from_iterable(look.archives_took_s for look in looks))),
        silent=gathered.silent,
    )


def _summed(rates: list[SessionRates]) -> SessionRates | None:
    if not rates:
        return None  # the first look knows none
    return SessionRates(
        messages_per_s=round(sum(each.messages_per_s for each in rates), 2),
        replies_per_s=round(sum(each.replies_per_s for each in rates), 2),
        archives_per_s=round(sum(each.archives_per_s for each in rates), 2),
    )


def _archive_seconds(took_s: list[float]) -> ArchiveSeconds | None:
    if not took_s:
        return None
    p50, p99 = (round(took_s[int(len(took_s) * part)], 3) for part in (0.5, 0.99))
    return ArchiveSeconds(count=len(took_s), p50=p50, p99=p99)
