"""What is called on one node holds on all: each call goes to another node than the one before."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.cluster.conftest import StartCluster, skip_without_programs
from tests.support import saved
from tests.support.cluster import ClusterProcess
from tests.support.process import tokens_of
from tests.support.sse import EventReader, open_stream, stream

pytestmark = pytest.mark.process

SLOW = {"POTO_CHAT__ECHO__DELAY_MS": "100"}
CUT_OFF = " ".join(f"w{number}" for number in range(50))
"""Its reply takes 5 s: a node is killed in the middle of it."""
LONG = " ".join(f"w{number}" for number in range(600))
"""Its reply takes a minute at 100 ms a word."""


class Anywhere:
    """One user's calls, to the nodes in turn.

    Args:
        http: For the calls.
        cluster: The nodes.
        token: Whose calls they are.
    """

    def __init__(
        self, http: aiohttp.ClientSession, cluster: ClusterProcess, token: str = "test-token"
    ) -> None:
        self._http = http
        self._urls = cycle([node.url for node in cluster.nodes])
        self._headers = {"Authorization": f"Bearer {token}"}

    async def post(self, method: str, arguments: dict[str, Any], **headers: str) -> aiohttp.ClientResponse:
        """Posts a call to the next node."""
        return await self._http.post(
            f"{next(self._urls)}/{method}", json=arguments, headers=self._headers | headers
        )

    async def call(self, method: str, _headers: dict[str, str] | None = None, **arguments: Any) -> Any:
        """Calls a method of the chat at the next node; it must succeed."""
        answer = await self.post(f"ChatServerModule/{method}", arguments, **(_headers or {}))
        assert answer.status == 200, await answer.text()
        return await answer.json()

    async def chat(self, message: str, key: str | None = None) -> dict[str, Any]:
        """Says something at the next node."""
        headers = {"Idempotency-Key": key} if key else None
        answer: dict[str, Any] = await self.call("chatWithHistory", headers, message=message)
        return answer


@dataclass(frozen=True)
class Shared:
    """Nodes that tests share which leave them as they are: no test meets another one's user.

    Attributes:
        cluster: The nodes, slow to reply.
        http: For the calls.
        users: Who was no test's user yet; `t-<user>` is the token.
    """

    cluster: ClusterProcess
    http: aiohttp.ClientSession
    users: Iterator[str]

    def user(self) -> Anywhere:
        """The calls of a user of the test's own."""
        return Anywhere(self.http, self.cluster, f"t-{next(self.users)}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    skip_without_programs()
    users = [f"u{number}" for number in range(10)]
    cluster = ClusterProcess(tmp_path_factory.mktemp("shared"), environment=SLOW | tokens_of(users))
    connector = aiohttp.TCPConnector(force_close=True)
    async with cluster, aiohttp.ClientSession(connector=connector) as http:
        yield Shared(cluster, http, iter(users))


on_shared_nodes = pytest.mark.asyncio(loop_scope="module")


@on_shared_nodes
@pytest.mark.parametrize("home_first", [True, False], ids=["first-at-home", "first-elsewhere"])
async def test_archives_are_the_same_on_every_node(shared: Shared, home_first: bool) -> None:
    """Ending, listing, reading, searching, renaming, pinning, restoring, exporting, importing, deleting."""
    user = shared.user()
    first = await user.chat("a word about foxes")  # whoever is asked first is the home
    if home_first:
        await user.call("getSessionInfo")
    second = await user.chat("and one about owls")
    assert first["conversationId"] == second["conversationId"]
    archive = (await user.call("endSession"))["archiveId"]
    assert [each["id"] for each in (await user.call("listArchives"))["archives"]] == [archive]
    [match] = (await user.call("searchArchives", query="owls"))["matches"][:1]
    assert match["archiveId"] == archive
    assert (await user.call("renameArchive", id=archive, title="Animals"))["title"] == "Animals"
    assert (await user.call("pinArchive", id=archive, pinned=True))["pinned"] is True
    found = await user.call("getArchive", id=archive)
    assert (found["title"], len(found["messages"])) == ("Animals", 4)
    await user.call("restoreArchive", id=archive)
    third = await user.chat("and a third one")
    assert third["conversationId"] == first["conversationId"]
    kept = (await user.call("getConversation"))["messages"]
    assert [each["content"] for each in kept[::2]] == [
        "a word about foxes",
        "and one about owls",
        "and a third one",
    ]
    archive = (await user.call("endSession"))["archiveId"]
    exported = await user.call("exportArchives", format="json")
    assert await user.call("deleteArchive", id=archive)
    assert (await user.call("listArchives"))["archives"] == []
    await user.call("importArchives", archives=exported["archives"])
    [again] = (await user.call("listArchives"))["archives"]
    assert again["title"] == "Animals"
    assert len((await user.call("getArchive", id=again["id"]))["messages"]) == 6


async def begun(user: Anywhere) -> aiohttp.ClientResponse:
    """A streamed reply of which a piece has come."""
    answer = await user.post(
        "ChatServerModule/chatWithHistory", {"message": LONG}, Accept="text/event-stream"
    )
    assert answer.status == 200, await answer.text()
    async with asyncio.timeout(20):
        while b"event: delta" not in await answer.content.readuntil(b"\n\n"):
            pass
    return answer


@on_shared_nodes
@pytest.mark.parametrize("turns", [0, 1], ids=["call-at-home", "call-elsewhere"])
async def test_a_reply_is_stopped_from_another_node_than_it_comes_from(shared: Shared, turns: int) -> None:
    """Wherever the home is of the two."""
    user = shared.user()
    for _ in range(turns):
        await user.call("getSessionInfo")
    answer = await begun(user)
    assert await user.call("stopGeneration") == {"stopped": True}
    reader = EventReader(answer)
    done = await reader.next("done")
    await reader.close()
    assert done.data["finishReason"] == "stopped"
    assert 0 < len(done.data["reply"]) < len(LONG)


async def test_an_admin_sees_and_ends_everybodys_session_on_any_node(
    start_server: StartCluster, http: aiohttp.ClientSession
) -> None:
    """Each node tells of all, and ends what is at home elsewhere."""
    users = [f"u{number}" for number in range(6)]
    cluster = await start_server(**tokens_of(users, ["admin"]))
    admin = Anywhere(http, cluster, "t-admin")
    conversations = {}
    for number, user in enumerate(users):
        own = Anywhere(http, cluster, f"t-{user}")
        for _ in range(number % 2):
            await own.call("getSessionInfo")  # so half of them are at home on each node
        conversations[user] = (await own.chat("hello"))["conversationId"]
    for _ in cluster.nodes:
        assert [each["userId"] for each in await admin.call("listSessions")] == users
        assert await admin.call("getActiveSessionCount") == len(users)
        for user in users:
            info = await admin.call("getUserSessionInfo", userId=user)
            assert info["conversationId"] == conversations[user]
        await admin.call("getActiveSessionCount")
    for user in users:
        ended = await admin.call("endUserSession", userId=user)
        assert ended["conversationId"] == conversations[user]
        assert cluster.dialogs(user)[0]["reason"] == "request"
    assert await admin.call("listSessions") == []


@on_shared_nodes
async def test_who_signed_in_on_one_node_is_signed_in_on_all(shared: Shared) -> None:
    """By the cookie and by a ticket, which opens one stream, on one node."""
    http, user = shared.http, next(shared.users)
    one, two = (node.url for node in shared.cluster.nodes)
    async with http.post(f"{one}/login", json={"token": f"t-{user}"}) as answer:
        assert answer.status == 200
        cookies = {name: morsel.value for name, morsel in answer.cookies.items()}
    async with http.get(f"{two}/whoami", cookies=cookies) as answer:
        assert (await answer.json())["user"] == user
    bearer = {"Authorization": f"Bearer t-{user}"}
    async with http.post(f"{one}/subscribe/ticket", headers=bearer) as answer:
        ticket = (await answer.json())["ticket"]
    async with stream(http, f"{two}/subscribe", None, ticket=ticket) as reader:
        connected = await reader.next("connected")
    async with http.get(f"{one}/subscribe", params={"ticket": ticket}) as answer:
        assert answer.status == 401
    async with stream(http, f"{one}/subscribe", None, ticket=ticket, last_event_id=connected.id) as reader:
        assert (await reader.next("connected")).data["resumed"] is True


async def test_a_key_is_known_after_the_archive_and_after_a_restart_of_all_nodes(
    start_server: StartCluster, http: aiohttp.ClientSession
) -> None:
    """On each node: the first answer, and nothing is added."""
    cluster = await start_server()
    user = Anywhere(http, cluster)
    first = await user.chat("once", key="k")
    await user.call("endSession")
    assert await user.chat("once", key="k") == first
    assert await user.chat("once", key="k") == first
    assert await cluster.stop() == 0
    await cluster.start()
    assert await user.chat("once", key="k") == first
    assert await user.chat("once", key="k") == first
    assert [len(each["messages"]) for each in cluster.dialogs()] == [2]


async def test_a_key_is_known_on_the_other_node_when_the_home_is_dead(
    start_server: StartCluster, http: aiohttp.ClientSession
) -> None:
    """What was answered is answered again; what was cut off is completed; each question stands once."""
    cluster = await start_server(**SLOW, SESSION_RECONNECT_GRACE="30000")
    user = Anywhere(http, cluster)
    dead, alive = cluster.nodes
    first = await user.chat("one two", key="k-1")
    reader = await open_stream(http, f"{alive.url}/subscribe")
    await user.call("getSessionInfo")
    lost = asyncio.create_task(user.chat(CUT_OFF, key="k-2"))  # at its home
    while (await reader.next("message")).data["content"] != CUT_OFF:
        pass
    await dead.stop(signal.SIGKILL)
    with pytest.raises(aiohttp.ClientError):
        await lost
    again = await _repeated(http, alive.url, CUT_OFF, "k-2")
    assert again["reply"] == CUT_OFF
    assert again["conversationId"] == first["conversationId"]
    assert await _repeated(http, alive.url, "one two", "k-1") == first
    assert await _repeated(http, alive.url, CUT_OFF, "k-2") == again
    await reader.close()
    assert await alive.stop() == 0
    [dialog] = saved.archives(cluster.data_dir)
    assert dialog.messages == [
        (role, text) for text in ("one two", CUT_OFF) for role in ("user", "assistant")
    ]


async def _repeated(http: aiohttp.ClientSession, url: str, message: str, key: str) -> dict[str, Any]:
    """A call that is repeated while it is told to come back later, as clients do."""
    async with asyncio.timeout(60):
        while True:
            async with http.post(
                f"{url}/ChatServerModule/chatWithHistory",
                json={"message": message},
                headers={"Authorization": "Bearer test-token", "Idempotency-Key": key},
            ) as answer:
                if answer.status == 200:
                    return dict(await answer.json())
                assert answer.status == 503, await answer.text()
                await asyncio.sleep(float(answer.headers["Retry-After"]))
