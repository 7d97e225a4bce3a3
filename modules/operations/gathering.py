"""What all nodes tell of themselves, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from potoserver import Gathered, NodeInfo

from .wire import EventRates, HookRows, LeavingRow, NodeRow, NodeView, OfNode, OperationsView

HOOK_ROWS = 50
"""How many departures of each kind are listed."""

_Row = TypeVar("_Row", bound=OfNode)


class OfAll(NamedTuple):
    """What the engine tells of all users; nothing while it is away."""

    online: int | None = None
    leaving_count: int | None = None
    leaving: tuple[LeavingRow, ...] = ()


def put_together(
    of_all: OfAll, gathered: Gathered[NodeView], living: Sequence[NodeInfo], limit: int
) -> OperationsView:
    """All nodes at one moment.

    Args:
        of_all: What is known of all users.
        gathered: What each node tells.
        living: The nodes that live.
        limit: List so many connections at most.
    """
    views = gathered.answers
    each = list(views.values())
    connections = _rows(views, living, lambda view: view.connections)
    if len(views) > 1:
        connections.sort(key=lambda row: row.since, reverse=True)
    return OperationsView(
        started_at=min(view.started_at for view in each),
        draining=all(view.draining for view in each),
        nodes=tuple(_node(node, views.get(node.id)) for node in living),
        online=of_all.online,
        leaving_count=of_all.leaving_count,
        leaving=of_all.leaving,
        connection_count=sum(view.connection_count for view in each),
        connections=tuple(connections[:limit]),
        events=_summed(view.events for view in each),
        calls_in_flight=sum(view.calls_in_flight for view in each),
        hooks=_hooks(views, living),
        alarms=tuple(sorted(_rows(views, living, lambda view: view.alarms), key=lambda row: row.since)),
    )


def _rows(
    views: Mapping[str, NodeView], living: Sequence[NodeInfo], of: Callable[[NodeView], Sequence[_Row]]
) -> list[_Row]:
    """A list of each node's, behind each other; each row says whose it is where there are several."""
    if len(living) < 2:
        return [row for view in views.values() for row in of(view)]
    return [row.model_copy(update={"node": node_id}) for node_id, view in views.items() for row in of(view)]


def _node(node: NodeInfo, view: NodeView | None) -> NodeRow:
    if view is None:
        return NodeRow(
            id=node.id,
            host=None,
            pid=None,
            started_at=None,
            draining=node.draining,
            connections=node.connections,
            answers=False,
        )
    return NodeRow(
        id=node.id,
        host=view.host,
        pid=view.pid,
        started_at=view.started_at,
        draining=view.draining,
        connections=view.connection_count,
        answers=True,
    )


def _summed(rates: Iterable[EventRates | None]) -> EventRates | None:
    """Of those that are known, which the first look of a node's is not."""
    known = [each.model_dump() for each in rates if each is not None]
    if not known:
        return None
    return EventRates(**{name: round(sum(each[name] for each in known), 2) for name in known[0]})


def _hooks(views: Mapping[str, NodeView], living: Sequence[NodeInfo]) -> HookRows:
    failing = _rows(views, living, lambda view: view.hooks.failing)
    parked = _rows(views, living, lambda view: view.hooks.parked)
    return HookRows(
        failing_count=sum(view.hooks.failing_count for view in views.values()),
        parked_count=sum(view.hooks.parked_count for view in views.values()),
        failing=tuple(failing[:HOOK_ROWS]),
        parked=tuple(sorted(parked, key=lambda row: row.at, reverse=True)[:HOOK_ROWS]),
    )
