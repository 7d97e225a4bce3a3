"""The way to Valkey: calls within a bounded time, and none at all while it is known to be away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, cast
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from structlog.typing import FilteringBoundLogger

from potoserver.engine.valkey.batches import Batches, away
from potoserver.engine.valkey.keys import CALL_S, CONNECT_S, CONNECTIONS
from potoserver.engine.valkey.scripts import Call
from potoserver.errors import UnavailableError
from potoserver.settings.engine_url import SCHEMES, shown_engine

_CANCEL_AGAIN_S: Final = 0.5
_LIMIT_S: Final = CALL_S * 1.5
"""For a call, and for the place that it waits for where Valkey is slow."""
_LATE_S: Final = 0.4
"""A call can't take so much longer, unless this process stood still."""
FAILURES: Final = (RedisError, RedisClusterException, OSError, TimeoutError)
"""What a call raises when Valkey can't be reached."""
_TIMEOUTS: Final = (TimeoutError, RedisTimeoutError)


def client_url(url: str) -> str:
    """A shared engine's URL as redis-py takes it.

    Raises:
        ValueError: The scheme is another one.
    """
    scheme, colon, rest = url.partition(":")
    if scheme not in SCHEMES or not colon:
        raise ValueError(f"the engine's URL begins with one of {', '.join(SCHEMES)}, not {scheme!r}")
    return f"{SCHEMES[scheme]}:{rest}"


class Cancellations:
    """Those of the running task, from now on. redis-py swallows one at times: a pipeline, a subscription."""

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before = self._task.cancelling() if self._task is not None else 0

    def check(self) -> None:
        """Raises CancelledError if there was one."""
        if self._task is not None and self._task.cancelling() > self._before:
            raise asyncio.CancelledError


async def end(tasks: Iterable[asyncio.Task[None] | None]) -> None:
    """Cancels tasks until each has ended."""
    left = {task for task in tasks if task is not None}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN_S)


class Link:
    """Runs scripts and commands on one Valkey, or on a cluster of them.

    Nothing is repeated by itself: what has failed may have been done. Once a call finds Valkey away, all
    others fail at once, until one that is marked as `probe` gets through.

    Args:
        url: `valkey://`, `valkeys://`, `redis://`, `rediss://` or `unix://`.
        logger: Where it says that Valkey is away and back.

    Raises:
        ValueError: The scheme is another one.
    """

    def __init__(self, url: str, logger: FilteringBoundLogger) -> None:
        self._url = client_url(url)
        self.shown = shown_engine(url)
        """The URL, without a password."""
        self.about: Mapping[str, Any] = {}
        """What Valkey said of itself when this was opened; of a cluster, the server that the URL names."""
        self._logger = logger
        self._client: Redis | RedisCluster | None = None
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._batches = Batches(self._together, at_once=CONNECTIONS // 2)
        self._in_order = Batches(self._together, at_once=1)
        self.trouble: str | None = None
        """Why Valkey can't be reached, as of the last call; None while it can."""
        self.on_away: Callable[[], None] = lambda: None
        """Called when it is found to be away, and when a call's answer was not read in time."""

    async def open(self) -> None:
        """Connects, and finds out whether it is a cluster.

        Raises:
            UnavailableError: It can't be reached.
        """
        plain = self._plain(self._url)
        try:
            async with asyncio.timeout(CONNECT_S + CALL_S):
                self.about = await plain.info()
                if not self.about.get("cluster_enabled"):
                    self._client = plain
                    return
                await plain.aclose()
                options = dict(self._options())
                cluster = RedisCluster.from_url(self._url, max_connections=CONNECTIONS * 2, **options)
                self._client = await cluster.initialize()
        except FAILURES as error:
            await plain.aclose()
            raise UnavailableError(f"{self.shown} can't be reached: {error}") from error

    def _options(self) -> dict[str, Any]:
        options = {
            "socket_timeout": CALL_S,
            "socket_connect_timeout": CONNECT_S,
            "retry": Retry(NoBackoff(), 0),
        }
        # redis-py takes it for TCP alone.
        return options if self._url.startswith("unix:") else options | {"socket_keepalive": True}

    def _plain(self, url: str) -> Redis:
        # Two more than may be under way: one for the subscription, one that is being given back.
        pool = ConnectionPool.from_url(url, max_connections=CONNECTIONS + 2, **self._options())
        return Redis.from_pool(pool)

    async def close(self) -> None:
        """Closes all connections; whoever waits is told. What is under way has its time, which is short."""
        await end([*self._batches.tasks, *self._in_order.tasks])
        self._batches.refuse()
        self._in_order.refuse()
        if self._client is None:
            return
        client, self._client = self._client, None
        for _ in range(CONNECTIONS):  # a connection that is being made now would be left open
            await self._places.acquire()
        await client.aclose()
        for _ in range(CONNECTIONS):
            self._places.release()

    async def subscriber(self, route: str) -> Redis:
        """A client for subscriptions alone, to where the channel of that route is published; to be closed."""
        if not isinstance(self._client, RedisCluster):
            return self._plain(self._url)
        node = self._client.get_node_from_key(route)
        if node is None:
            raise away()
        url = urlsplit(self._url)
        user_info, at, _ = url.netloc.rpartition("@")
        host = f"[{node.host}]" if ":" in str(node.host) else node.host
        return self._plain(url._replace(netloc=f"{user_info}{at}{host}:{node.port}", path="").geturl())

    async def run(self, call: Call, *, probe: bool = False) -> Any:
        """Runs a script and returns its answer.

        Raises:
            UnavailableError: Valkey is away, or has not answered in time; the script may have run.
        """
        if probe:
            return await self._guarded(lambda: self._run(call), probe=True)
        if self.trouble is not None:
            raise away()
        return await self._batches.run(call)

    async def send(self, call: Call) -> Any:
        """As `run`, but in the order of the calls to this, all of them being of one short script."""
        if self.trouble is not None:
            raise away()
        return await self._in_order.run(call)

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Runs scripts together and returns their answers in order.

        Those of one slot run in the order of the calls.

        Raises:
            UnavailableError: As `run`; any of them may have run.
        """
        answers = await self._together(calls)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def _together(self, calls: Sequence[Call]) -> list[Any]:
        return cast(list[Any], await self._guarded(lambda: self._run_all(calls)))

    async def commands(self, commands: Sequence[tuple[str | bytes, ...]]) -> list[Any]:
        """Runs single commands together and returns their answers in order.

        Raises:
            UnavailableError: As `run`.
        """
        return cast(list[Any], await self._guarded(lambda: self._pipeline(commands)))

    async def _guarded(self, work: Callable[[], Awaitable[Any]], *, probe: bool = False) -> Any:
        if self.trouble is not None and not probe:
            raise away()
        cancellations = Cancellations()
        begun_s = time.monotonic()
        try:
            async with asyncio.timeout(_LIMIT_S), self._places:
                if self.trouble is not None and not probe:
                    raise away()
                answer = await work()
        except ResponseError as error:
            raise self._refused(error) from error
        except FAILURES as error:
            if isinstance(error, _TIMEOUTS) and time.monotonic() - begun_s > _LIMIT_S + _LATE_S:
                self.on_away()  # to this call: its answer may lie there, unread
            else:
                self._found_away(error)
                await self._drop_idle()
            raise away() from error
        cancellations.check()
        if probe and self.trouble is not None:
            self.trouble = None
            self._logger.info("engine back")
        return answer

    def _refused(self, error: Exception) -> UnavailableError:
        """It answers, but refuses: a replica, no memory, no right to do it; or a fault of a script."""
        self._logger.warning("engine refused a call", error=str(error))
        return away()

    def _found_away(self, error: Exception) -> None:
        known, self.trouble = self.trouble, f"{type(error).__name__}: {error}"
        if known is None:
            self._logger.warning("engine away", error=self.trouble)
            self._batches.refuse()
            self._in_order.refuse()
            self.on_away()

    async def _drop_idle(self) -> None:
        """Where one connection leads nowhere the others may, too; a new one tells."""
        client = self._client
        with suppress(*FAILURES):
            if isinstance(client, RedisCluster):
                for node in client.get_nodes():
                    await node.disconnect()
            elif client is not None:
                await client.connection_pool.disconnect(inuse_connections=False)

    def _connected(self) -> Redis | RedisCluster:
        if self._client is None:
            raise away()
        return self._client

    async def _run(self, call: Call) -> Any:
        client = self._connected()
        wire = call.wire()
        try:
            return await client.execute_command(*call.script.command, *wire)
        except NoScriptError:  # the first time, and after a restart
            return await client.execute_command("EVAL", call.script.source, *wire)

    async def _run_all(self, calls: Sequence[Call]) -> list[Any]:
        commands: list[tuple[str | bytes, ...]] = [(*each.script.command, *each.wire()) for each in calls]
        answers = await self._pipeline(commands, raises=False)
        for at, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                answers[at] = await self._run(calls[at])
            elif isinstance(answer, Exception):
                answers[at] = self._refused(answer)
        return answers

    async def _pipeline(
        self, commands: Sequence[tuple[str | bytes, ...]], *, raises: bool = True
    ) -> list[Any]:
        client = self._connected()
        if isinstance(client, RedisCluster):
            pipeline: Any = client.pipeline()
        else:
            pipeline = client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return cast(list[Any], await pipeline.execute(raise_on_error=raises))
