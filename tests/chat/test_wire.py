"""The chat's methods over HTTP, through the whole server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from modules.chat_server.journal import FileSystemDialogueJournal
from modules.chat_server.module import ChatServerModule
from modules.chat_server.settings import ChatSettings
from modules.who_is_online import WhoIsOnline
from potoserver.server import StartError

from ..support.server import RunningServer, RunServer, log_lines
from .support import LedResponder

CHAT = "ChatServerModule"


Serving = Callable[..., AbstractAsyncContextManager[RunningServer]]


@pytest.fixture
def serving(running_server: RunServer) -> Serving:
    """Starts a server with the chat, or the modules given; `chat` holds settings of its section."""

    def serve(tmp_path: Path, *modules: Any, chat: dict[str, Any] | None = None, **settings: Any) -> Any:
        sections = {"chat": ChatSettings.model_validate({"journal": {"fsync": "never"}} | (chat or {}))}
        return running_server(tmp_path, modules or (ChatServerModule(),), sections=sections, **settings)

    return serve


async def test_a_call_is_answered_with_camel_case_json(tmp_path: Path, serving: Serving) -> None:
    """The contract's fields, no more."""
    async with serving(tmp_path) as running:
        body = {"message": "Test message", "jsonOutput": False, "reasoningEnabled": True}
        status, reply = await running.call(f"{CHAT}/chatWithHistory", body)
        assert status == 200
        assert reply == {
            "conversationId": reply["conversationId"],
            "messageId": reply["messageId"],
            "reply": "Test message",
            "reasoning": "The message is repeated as it came.",
            "finishReason": "stop",
        }


async def test_a_call_streams_deltas_and_done(tmp_path: Path, serving: Serving) -> None:
    """With `Accept: text/event-stream`."""
    async with serving(tmp_path) as running:
        answer = await running.session.post(
            f"{running.url}/{CHAT}/chatWithHistory",
            json={"message": "one two"},
            headers={"Authorization": "Bearer test-token", "Accept": "text/event-stream"},
        )
        events = [
            dict(line.split(": ", 1) for line in event.split("\n") if ": " in line)
            for event in (await answer.text()).strip().split("\n\n")
        ]
        assert [each["event"] for each in events] == ["delta", "delta", "done"]
        assert [json.loads(each["data"])["text"] for each in events[:2]] == ["one", " two"]
        assert json.loads(events[2]["data"])["reply"] == "one two"


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("chatWithHistory", {"message": ""}, ["message"]),
        ("chatWithHistory", {}, ["message"]),
        ("chatWithHistory", {"message": 1, "jsonOutput": "yes"}, ["message", "jsonOutput"]),
        ("chatWithHistory", {"message": "x", "more": 1}, ["more"]),
        ("listArchives", {"limit": 0}, ["limit"]),
        ("listArchives", {"limit": 101}, ["limit"]),
        ("listArchives", {"cursor": "none of yours"}, ["cursor"]),
    ],
)
async def test_bad_arguments_are_422_by_field(
    tmp_path: Path, path: str, body: dict[str, Any], fields: list[str], serving: Serving
) -> None:
    """One entry per bad field."""
    async with serving(tmp_path) as running:
        status, problem = await running.call(f"{CHAT}/{path}", body)
        assert status == 422
        assert sorted(each["field"] for each in problem["errors"]) == sorted(fields)


async def test_the_dialog_and_its_archive_can_be_read(tmp_path: Path, serving: Serving) -> None:
    """getConversation, endSession, listArchives, getArchive; another user's archive is 404."""
    async with serving(tmp_path) as running:
        _, reply = await running.call(f"{CHAT}/chatWithHistory", {"message": "x"}, **{"Idempotency-Key": "k"})
        _, open_dialog = await running.call(f"{CHAT}/getConversation")
        assert open_dialog["conversationId"] == reply["conversationId"]
        assert [each.pop("idempotencyKey") for each in open_dialog["messages"]] == ["k", None]
        assert [(each["role"], each["content"]) for each in open_dialog["messages"]] == [
            ("user", "x"),
            ("assistant", "x"),
        ]
        _, ended = await running.call(f"{CHAT}/endSession")
        assert ended["conversationId"] == reply["conversationId"]
        _, listed = await running.call(f"{CHAT}/listArchives", {"limit": 1})
        (entry,) = listed["archives"]
        assert (entry["id"], entry["reason"], entry["messageCount"]) == (ended["archiveId"], "request", 2)
        _, archive = await running.call(f"{CHAT}/getArchive", {"id": entry["id"]})
        assert archive["messages"] == open_dialog["messages"]
        for path in (entry["id"], "../" + entry["id"], ""):
            status, _ = await running.call(f"{CHAT}/getArchive", {"id": path}, token="admin-token")
            assert status == 404
        _, nothing = await running.call(f"{CHAT}/getConversation")
        assert nothing == {"conversationId": None, "messages": []}


async def test_pages_of_archives_go_on_where_the_last_one_ended(tmp_path: Path, serving: Serving) -> None:
    """Newest first, none twice."""
    async with serving(tmp_path) as running:
        ended = []
        for number in range(5):
            await running.call(f"{CHAT}/chatWithHistory", {"message": str(number)})
            ended.append((await running.call(f"{CHAT}/endSession"))[1]["archiveId"])
        found, cursor = [], None
        while True:
            _, page = await running.call(f"{CHAT}/listArchives", {"limit": 2, "cursor": cursor})
            found += [each["id"] for each in page["archives"]]
            cursor = page["cursor"]
            if cursor is None:
                break
        assert found == ended[::-1]


async def test_admins_see_sessions_and_users_only_their_own(tmp_path: Path, serving: Serving) -> None:
    """getActiveSessionCount, getUserSessionInfo, listSessions are 403 without the role."""
    async with serving(tmp_path) as running:
        await running.call(f"{CHAT}/chatWithHistory", {"message": "x"})
        _, own = await running.call(f"{CHAT}/getSessionInfo")
        assert set(own) == {
            "userId",
            "conversationId",
            "startedAt",
            "lastActivity",
            "isActive",
            "connections",
        }
        assert (own["userId"], own["isActive"], own["connections"]) == ("a1", True, 0)
        for path, body, expected in (
            ("getActiveSessionCount", {}, 1),
            ("getUserSessionInfo", {"userId": "a1"}, own),
            ("getUserSessionInfo", {"userId": "nobody"}, None),
            ("listSessions", {}, [own | {"node": None}]),
        ):
            assert await running.call(f"{CHAT}/{path}", body, token="admin-token") == (200, expected)
            assert (await running.call(f"{CHAT}/{path}", body))[0] == 403


async def test_the_log_names_who_ended_whose_session(tmp_path: Path, serving: Serving) -> None:
    """An operator's end alone: not the user's own, and not what was not there to end."""
    async with serving(tmp_path) as running:
        await running.call(f"{CHAT}/chatWithHistory", {"message": "x"})
        await running.call(f"{CHAT}/endSession")
        _, asked = await running.call(f"{CHAT}/chatWithHistory", {"message": "y"})
        for _ in range(2):
            await running.call(f"{CHAT}/endUserSession", {"userId": "a1"}, token="admin-token")
    (line,) = [each for each in log_lines(tmp_path) if each["event"] == "session ended by operator"]
    told = {key: line[key] for key in ("level", "logger", "operator", "user", "conversation")}
    assert told == {
        "level": "info",
        "logger": "session:operator",
        "operator": "admin",
        "user": "a1",
        "conversation": asked["conversationId"],
    }


async def test_health_tells_of_sessions(tmp_path: Path, serving: Serving) -> None:
    """`activeSessions`, and what is not archived yet."""
    async with serving(tmp_path) as running:
        await running.call(f"{CHAT}/chatWithHistory", {"message": "x"})
        answer = await running.session.get(f"{running.url}/health")
        health = await answer.json()
        assert (health["status"], health["activeSessions"], health["pendingArchives"]) == ("healthy", 1, 0)


async def test_openapi_knows_the_results(tmp_path: Path, serving: Serving) -> None:
    """The schema of the reply, by its wire names."""
    async with serving(tmp_path) as running:
        text = await (await running.session.get(f"{running.url}/openapi.json")).text()
        assert "finishReason" in text and "archiveId" in text and "lastActivity" in text


async def subscribe(running: RunningServer, token: str = "test-token") -> aiohttp.ClientResponse:
    return await running.session.get(f"{running.url}/subscribe", headers={"Authorization": f"Bearer {token}"})


async def next_event(stream: aiohttp.ClientResponse, wanted: str) -> Any:
    async with asyncio.timeout(20):
        name = None
        while True:
            line = (await stream.content.readline()).decode().rstrip("\n")
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data" and name == wanted:
                return json.loads(value)


async def test_without_a_grace_the_archive_is_there_at_once(tmp_path: Path, serving: Serving) -> None:
    """Connect, talk, hang up, on real sockets and the real clock; the next connection is told."""
    async with serving(tmp_path, presence={"grace_ms": 0}) as running:
        stream = await subscribe(running)
        connected = await next_event(stream, "connected")
        _, reply = await running.call(f"{CHAT}/chatWithHistory", {"message": "x"})
        assert connected["conversation"] == reply["conversationId"]
        assert connected["archived"] is None
        assert (await next_event(stream, "message"))["content"] == "x"
        stream.close()
        async with asyncio.timeout(20):
            while not (await running.call(f"{CHAT}/listArchives"))[1]["archives"]:
                await asyncio.sleep(0.01)
        again = await next_event(await subscribe(running), "connected")
        assert again["archived"]["conversation"] == reply["conversationId"]
        assert again["archived"]["reason"] == "disconnect"
    archived = list((tmp_path / "data/users/a1/dialogs/archived").iterdir())
    assert len(archived) == 1
    assert (tmp_path / "data/users/a1/dialogs/current.yaml").stat().st_size == 0
    events = [line["event"] for line in log_lines(tmp_path)]
    for expected in ("session started", "session activity updated", "session ended", "dialog archived"):
        assert expected in events


async def test_stopping_the_server_archives_and_ends_in_order(tmp_path: Path, serving: Serving) -> None:
    """With a subscriber, and a reply in flight that is cut off in time."""
    led = LedResponder()
    module = ChatServerModule(responder=led)
    async with serving(tmp_path, module, shutdown_timeout_s=4) as running:
        stream = await subscribe(running)
        await next_event(stream, "connected")
        call = asyncio.create_task(running.call(f"{CHAT}/chatWithHistory", {"message": "x"}))
        led.say("so far")
        await next_event(stream, "delta")
        assert await running.server.stop()
        status, reply = await call
        assert (status, reply["reply"], reply["finishReason"]) == (200, "so far", "shutdown")
    (archive,) = (tmp_path / "data/users/a1/dialogs/archived").iterdir()
    assert 'reason: "shutdown"' in archive.read_text()


async def test_a_data_folder_in_use_stops_the_start_in_one_line(tmp_path: Path, serving: Serving) -> None:
    """A second server on the same data."""
    async with serving(tmp_path):
        with pytest.raises(StartError, match="owned by another") as error:
            async with serving(tmp_path):
                pass
        assert "\n" not in str(error.value)


async def test_who_is_online_is_told_and_asked(tmp_path: Path, serving: Serving) -> None:
    """Every subscriber hears it, many changes at once as one event; an admin may ask, a user may not."""
    async with serving(tmp_path, WhoIsOnline(), presence={"grace_ms": 0}) as running:
        admin = await subscribe(running, "admin-token")
        assert await next_event(admin, "online") == {"users": ["admin"], "count": 1}
        user = await subscribe(running)
        assert await next_event(admin, "online") == {"users": ["a1", "admin"], "count": 2}
        assert await running.call("WhoIsOnline/whoIsOnline", token="admin-token") == (200, ["a1", "admin"])
        assert (await running.call("WhoIsOnline/whoIsOnline"))[0] == 403
        user.close()
        assert await next_event(admin, "online") == {"users": ["admin"], "count": 1}


def test_the_modules_are_found_in_the_folder() -> None:
    """As the server finds them: by path."""
    from potoserver.module.loader import find_modules

    found = find_modules(Path(__file__).parents[2] / "modules", None)
    assert [each.name() for each in found] == ["ChatServerModule", "Operations", "WhoIsOnline"]
    assert FileSystemDialogueJournal.__module__ == "modules.chat_server.journal.filesystem"
