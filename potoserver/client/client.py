"""PotoClient: a program's side of a potoserver."""

from __future__ import annotations

from typing import Self
from urllib.parse import quote, urlsplit

from potoserver.client.backoff import Backoff
from potoserver.client.calls import Module
from potoserver.client.http import SILENCE_S, Http
from potoserver.client.repeat import RepeatPolicy
from potoserver.client.subscription import Subscription, SubscriptionOptions
from potoserver.client.tokens import Tokens, TokenSource

DEFAULT_REPEAT = RepeatPolicy()
DEFAULT_BACKOFF = Backoff()


class PotoClient:
    """One user's connection to a server, in `async with`.

        async with PotoClient("http://localhost:3799", token="test-token") as client:
            reply = await client.module("ChatServerModule").chatWithHistory(message="Hello!")
            async for event in client.subscribe():
                print(event.type, event.data)

    Args:
        url: Where the server is, with a path where it is behind one.
        token: Who asks: a token, or a function that gives one (it may be async). The function is called again
            when the server takes its latest token no more; what it raises reaches the caller.
        repeat: How long chat calls are repeated when the connection fails or the server is away.

    Raises:
        ValueError: `url` is no http or https URL.
    """

    def __init__(
        self, url: str, token: TokenSource | None = None, *, repeat: RepeatPolicy = DEFAULT_REPEAT
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ValueError(f"expected a URL such as http://localhost:3799, not {url!r}")
        self._http = Http(url, Tokens(token))
        self._repeat = repeat
        self._subscriptions: list[Subscription] = []

    async def __aenter__(self) -> Self:
        await self._http.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        for subscription in self._subscriptions:
            await subscription.close()
        self._subscriptions.clear()
        await self._http.close()

    def module(self, name: str) -> Module:
        """A module of the server, by its name on the wire: `ChatServerModule`."""
        return Module(self._http, quote(name, safe=""), self._repeat)

    def subscribe(
        self,
        *,
        last_event_id: str | None = None,
        lease_s: int | None = 90,
        by_ticket: bool = False,
        silence_s: float = SILENCE_S,
        backoff: Backoff = DEFAULT_BACKOFF,
    ) -> Subscription:
        """The user's events, from the first `async for` on until it is closed, or the client is.

        Args:
            last_event_id: Go on behind this event, the latest that an earlier program has seen.
            lease_s: The server may count this client as gone when it answers no ping for so many seconds
                (10 to 300); None leaves that to the network.
            by_ticket: Opens the stream as a browser's `EventSource` does, with a ticket in the URL.
            silence_s: The stream is given up when nothing comes for so many seconds: more than `heartbeat_s`.
            backoff: The waits between tries.
        """
        options = SubscriptionOptions(lease_s, by_ticket, last_event_id, silence_s, backoff)
        subscription = Subscription(self._http, options)
        self._subscriptions.append(subscription)
        return subscription
