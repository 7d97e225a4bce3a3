"""`sessions`: who talks now, once or live."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from potoserver import visible
from potoserver.client import Backoff, PotoClient, UnavailableError, UnreachableError

from .online import ONLINE_STATUSES, ServerChoice, Token, Url, choose_server, run_online
from .output import plain_console, print_json

_EXAMPLES: Final = f"""\b
Examples:
  potoserver sessions
  potoserver sessions --watch
  POTO_TOKEN=… potoserver sessions --json --url https://chat.example.org

{ONLINE_STATUSES}"""
_ARCHIVES_SHOWN: Final = 5
_BACKOFF: Final = Backoff(base_s=1.0, most_s=5.0)


def sessions(
    context: typer.Context,
    url: Url = None,
    token: Token = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing them as they change.")] = False,
    json: Annotated[bool, typer.Option("--json", help="A JSON object a line instead of a table.")] = False,
) -> None:
    """Shows the sessions of a running server. Needs the token of an admin."""
    server = choose_server(context.obj, url, token, "admin-token")
    work = _watch(server, as_json=json) if watch else _list(server, as_json=json)
    run_online(work, server)


# A plain function has no epilog; what stands in its docstring is printed as it is.
sessions.__doc__ = f"{sessions.__doc__}\n\n{_EXAMPLES}"


async def _list(server: ServerChoice, *, as_json: bool) -> int:
    async with server.client() as client:
        found = await client.module("ChatServerModule").listSessions()
    if as_json:
        for each in found:
            print_json(each)
    elif found:
        plain_console().print(_table(found, datetime.now(UTC)))
    else:
        plain_console().print("no sessions")
    return 0


async def _watch(server: ServerChoice, *, as_json: bool) -> int:
    """Shows what the server tells, for as long as somebody looks. A server that goes is waited for.

    Raises:
        ClientError: It is not there at the start, or says no for good.
    """
    board = Board()
    tries = 0
    console = plain_console()
    live = None if as_json or not console.is_terminal else Live(console=console, get_renderable=board.render)
    async with server.client() as client:
        if live is not None:
            live.start()
        try:
            while True:
                try:
                    async for item in _items(client):
                        tries = 0
                        board.take(item)
                        if as_json:
                            print_json(item)
                        elif live is None:
                            console.print(board.render())
                except (UnreachableError, UnavailableError) as error:
                    if not board.has_begun:
                        raise
                    tries += 1
                    board.lost = str(error)
                await asyncio.sleep(_BACKOFF.wait_s(tries))
        finally:
            if live is not None:
                live.stop()


async def _items(client: PotoClient) -> Any:
    stream = client.module("ChatServerModule").watchSessions.stream()
    async with aclosing(stream):
        async for item in stream:
            yield item


class Board:
    """What `watchSessions` has told so far.

    Attributes:
        lost: Why nothing comes at present; empty while it does.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, Mapping[str, Any]] = {}
        self._archived: deque[Mapping[str, Any]] = deque(maxlen=_ARCHIVES_SHOWN)
        self._latest: Mapping[str, Any] = {}
        self._ahead_s = 0.0
        self.lost = ""

    @property
    def has_begun(self) -> bool:
        """Whether anything was told."""
        return bool(self._latest)

    def take(self, item: Mapping[str, Any]) -> None:
        """Takes what has changed since the item before."""
        self.lost = ""
        self._latest = item
        self._ahead_s = (_time(item["at"]) - datetime.now(UTC)).total_seconds()
        if item["snapshot"]:
            self._sessions.clear()
            self._archived.clear()
        for conversation_id in item["gone"]:
            self._sessions.pop(conversation_id, None)
        for each in item["sessions"]:
            self._sessions[each["conversationId"]] = each
        self._archived.extend(item["archived"])

    def render(self) -> RenderableType:
        """All of it, with ages by the server's clock."""
        now = datetime.fromtimestamp(datetime.now(UTC).timestamp() + self._ahead_s, UTC)
        found = sorted(self._sessions.values(), key=lambda each: str(each["userId"]))
        parts: list[RenderableType] = [_table(found, now), Text()]
        for each in self._archived:
            cause = f", {each['cause']}" if each.get("cause") else ""
            line = f"archived {each['archiveId']} of {each['userId']}: {each['reason']}{cause}"
            parts.append(Text(visible(line), style="dim"))
        rates = self._latest.get("rates") or {}
        told = [f"{self._latest.get('active', 0)} active"]
        told += [f"{rates[name]:.1f} {words}/s" for name, words in _RATES.items() if name in rates]
        parts.append(Text(", ".join(told), style="dim"))
        if silent := self._latest.get("silent"):
            nodes = "1 node does" if len(silent) == 1 else f"{len(silent)} nodes do"
            parts.append(Text(f"{nodes} not answer: sessions are missing here", style="yellow"))
        if self.lost:
            parts.append(Text(visible(f"not connected, trying again: {self.lost}"), style="yellow"))
        return Group(*parts)


_RATES: Final = {"messagesPerS": "messages", "repliesPerS": "replies", "archivesPerS": "archives"}


def _table(found: list[Any] | list[Mapping[str, Any]], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("user", overflow="fold")
    table.add_column("since", justify="right", no_wrap=True)
    table.add_column("last activity", justify="right", no_wrap=True)
    table.add_column("connections", justify="right")
    table.add_column("waits for", no_wrap=True)
    table.add_column("conversation", no_wrap=True)
    has_nodes = any(each.get("node") is not None for each in found)
    if has_nodes:
        table.add_column("node", no_wrap=True)
    for each in found:
        connections = each.get("connections")
        table.add_row(
            Text(visible(str(each["userId"]))),
            _age(each["startedAt"], now),
            _age(each["lastActivity"], now),
            "?" if connections is None else str(connections),
            _waits_for(each, now),
            Text(visible(str(each["conversationId"]))),
            *([Text(visible(str(each.get("node") or "")))] if has_nodes else []),
        )
    return table


def _waits_for(session: Mapping[str, Any], now: datetime) -> str:
    what = session.get("waitingFor")
    if what is None:
        return "" if session.get("isActive", True) else "archive"
    until = session.get("waitingUntil")
    if until is None:
        return visible(str(what))
    return f"{visible(str(what))}, {_short(max(0.0, (_time(until) - now).total_seconds()))}"


def _age(stamp: str, now: datetime) -> str:
    return _short(max(0.0, (now - _time(stamp)).total_seconds()))


def _short(seconds: float) -> str:
    """`7 s`, `12 min`, `3 h`, `2 d`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _time(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp)
