"""Users who hold a stream open and talk without a pause, while nodes come and go."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aiohttp

from potoserver.client import Connected, Disconnected, PotoClient, StreamEvent
from tests.support import saved
from tests.support.cluster import ClusterProcess
from tests.support.sse import EventReader

LIMIT_S = 90.0
"""How long a test waits for what must come, on a busy machine."""
CHAT = "ChatServerModule/chatWithHistory"


class Talker:
    """One user: the client library holds the stream, the calls are made and repeated here, one by one.

    Args:
        name: Whose token `t-<name>` is.
        url: Where the nodes are reached.
        http: For the calls.
        strict: Whether a call may fail by 503 with Retry-After alone, as when nodes are stopped in order.
            When they are killed it may also break off.

    Attributes:
        name: The user.
        said: Each text that was answered, in order.
        conversations: The conversations that the answers name.
        events: The stream's messages, as they came.
        connections: Each time that the stream was opened.
        drops: Each time that it ended or could not be had.
    """

    def __init__(self, name: str, url: str, http: aiohttp.ClientSession, *, strict: bool) -> None:
        self.name = name
        self._url = url
        self._http = http
        self._strict = strict
        self._client = PotoClient(url, f"t-{name}")
        self._told = asyncio.Condition()
        self.said: list[str] = []
        self.conversations: set[str] = set()
        self.events: list[StreamEvent] = []
        self.connections: list[Connected] = []
        self.drops: list[Disconnected] = []

    async def run(self, until: asyncio.Event) -> None:
        """Connects, and talks until the event is set; then waits for what is still to come, and goes."""
        async with self._client:
            following = asyncio.create_task(self._follow())
            try:
                await self.until(lambda: bool(self.connections))
                while not until.is_set():
                    await self._say(f"{self.name} says {len(self.said)} and goes on")
                await self._say(f"{self.name} says goodbye")
                await self.until(
                    lambda: [each.data["content"] for each in self.events[-2:]] == [self.said[-1]] * 2
                )
            finally:
                following.cancel()
                await asyncio.wait([following])
        if not following.cancelled():
            following.result()

    async def until(self, condition: object) -> None:
        """Waits until a condition of what this user has seen holds."""
        assert callable(condition)
        async with asyncio.timeout(LIMIT_S), self._told:
            await self._told.wait_for(condition)

    async def talks_again(self) -> None:
        """Waits until the stream is open and two more texts were answered."""
        count = len(self.said) + 2
        await self.until(lambda: len(self.said) >= count and len(self.connections) > len(self.cuts))

    @property
    def cuts(self) -> list[Disconnected]:
        """The times that an open stream ended: not those that one could not be had."""
        return [each for each in self.drops if each.data["tries"] == 1]

    async def _follow(self) -> None:
        async for event in self._client.subscribe():
            async with self._told:
                if isinstance(event, Connected):
                    self.connections.append(event)
                elif isinstance(event, Disconnected):
                    self.drops.append(event)
                elif event.type == "message":
                    self.events.append(event)
                self._told.notify_all()

    async def _say(self, text: str) -> None:
        key = uuid.uuid4().hex
        async with asyncio.timeout(LIMIT_S):
            while not await self._tried(text, key):
                pass
        async with self._told:
            self.said.append(text)
            self._told.notify_all()

    async def _tried(self, text: str, key: str) -> bool:
        """One call; whether it was answered. Every other one is streamed."""
        headers = {"Authorization": f"Bearer t-{self.name}", "Idempotency-Key": key}
        if len(self.said) % 2:
            headers["Accept"] = "text/event-stream"
        try:
            async with self._http.post(
                f"{self._url}/{CHAT}", json={"message": text}, headers=headers
            ) as answer:
                if answer.status == 503:
                    await asyncio.sleep(float(answer.headers["Retry-After"]))
                    return False
                assert answer.status == 200, (answer.status, await answer.text())
                if answer.content_type == "application/json":
                    done = await answer.json()
                else:
                    reader = EventReader(answer)
                    await reader.end()
                    await reader.close()
                    last = reader.seen[-1] if reader.seen else None
                    if last is not None and last.type == "error" and last.data["status"] == 503:
                        await asyncio.sleep(1)
                        return False
                    if last is None or last.type != "done":
                        raise aiohttp.ClientPayloadError(f"the reply broke off: {reader.seen}")
                    done = last.data
        except aiohttp.ClientError:
            if self._strict:
                raise
            await asyncio.sleep(0.2)
            return False
        assert done["reply"] == text
        self.conversations.add(done["conversationId"])
        return True

    def check(self) -> None:
        """One conversation; no gap; every event once, in order, and none missing."""
        assert len(self.conversations) == 1, (self.name, self.conversations)
        told = {each.data["conversation"] for each in self.connections}
        assert told <= {*self.conversations, None}, (self.name, told)
        ids = [each.id for each in self.events]
        assert len(ids) == len(set(ids)), f"{self.name} was told something twice"
        texts = [each.data["content"] for each in self.events]
        order = {text: place for place, text in enumerate(self.said)}
        places = [order[text] for text in texts]
        assert places == sorted(places), f"{self.name} was told in another order than it was said"
        # Also of what a home kept and had no time to tell before it died.
        assert not any(each.gap for each in self.connections), self.name
        amiss = {text: texts.count(text) for text in self.said if texts.count(text) != 2}
        assert amiss == {}, f"{self.name} was not told of each question and each reply once: {amiss}"


@asynccontextmanager
async def talking(
    cluster: ClusterProcess, names: Iterable[str], *, strict: bool
) -> AsyncIterator[list[Talker]]:
    """Lets users talk for the length of a block, then waits until all have heard everything."""
    ended = asyncio.Event()
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as http:
        talkers = [Talker(name, cluster.url, http, strict=strict) for name in names]
        async with asyncio.TaskGroup() as group:
            for talker in talkers:
                group.create_task(talker.run(ended))
            await asyncio.gather(*(talker.until(lambda it=talker: len(it.said) > 1) for talker in talkers))
            yield talkers
            ended.set()


def check_archives(cluster: ClusterProcess, talkers: Iterable[Talker]) -> None:
    """All that was answered stands once in the one archive of its user, each reply behind its question."""
    for talker in talkers:
        [archive] = [each for each in saved.archives(cluster.data_dir) if each.fields["user"] == talker.name]
        assert {archive.conversation} == talker.conversations
        assert archive.messages == [(role, text) for text in talker.said for role in ("user", "assistant")]
