"""Import: what an export holds comes back as it was, twice adds nothing, and what is wrong adds nothing."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from modules.chat_server.module import ChatServerModule
from modules.chat_server.settings import ChatSettings
from potoserver.module.rpc import rpc_methods
from potoserver.web.large_bodies import MAX_VALUES

from ..journal.support import dialogs_of, yaml_files
from ..support.server import RunningServer, RunServer

CHAT = "ChatServerModule"
Serving = Callable[..., AbstractAsyncContextManager[RunningServer]]


@pytest.fixture
def serving(running_server: RunServer) -> Serving:
    def serve(folder: Path, **settings: Any) -> Any:
        sections = {"chat": ChatSettings.model_validate({"journal": {"fsync": "never"}})}
        return running_server(folder, (ChatServerModule(),), sections=sections, **settings)

    return serve


@pytest.fixture
async def running(tmp_path: Path, serving: Serving) -> AsyncIterator[RunningServer]:
    async with serving(tmp_path) as running:
        yield running


def archive(**fields: Any) -> dict[str, Any]:
    """One archive of two messages, as an export has it."""
    return {
        "id": "2024-01-15-10-30-00",
        "conversationId": "sse-1705313523120-aaaaaaaaa",
        "title": "Trees",
        "pinned": True,
        "startedAt": "2024-01-15T10:12:03.120Z",
        "endedAt": "2024-01-15T10:30:00.000Z",
        "reason": "disconnect",
        "messages": [said("m-0", "user", "Tell me"), said("m-1", "assistant", "Of trees\nand woods")],
        **fields,
    }


def said(name: str, role: str, content: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": name,
        "role": role,
        "content": content,
        "timestamp": "2024-01-15T10:12:04.001Z",
        "model": None,
        "reasoning": None,
        "finishReason": None,
        "interrupted": False,
        "replyTo": None,
        **fields,
    }


async def send(running: RunningServer, arguments: Any) -> tuple[int, Any]:
    """An import of whatever size."""
    answer = await running.session.post(
        f"{running.url}/{CHAT}/importArchives",
        data=io.BytesIO(json.dumps(arguments).encode()),
        headers={"Authorization": "Bearer test-token", "Content-Type": "application/json"},
    )
    return answer.status, await answer.json(content_type=None)


async def export_of(running: RunningServer, token: str = "test-token") -> Any:
    answer = await running.session.post(
        f"{running.url}/{CHAT}/exportArchives", json={}, headers={"Authorization": f"Bearer {token}"}
    )
    return json.loads(await answer.text())["archives"]


async def test_an_export_imported_elsewhere_is_exported_alike(tmp_path: Path, serving: Serving) -> None:
    """Every word, time, name, title, pin and reason; and importing it twice adds nothing."""
    given = [
        archive(),
        archive(id="2024-01-15-10-30-00-2", conversationId="c2", title=None, pinned=False),
        archive(id="2024-01-15-10-30-00-7", conversationId="c3", reason="superseded"),
    ]
    given[1]["messages"].append(
        said(
            "m-2",
            "assistant",
            "x\u2028\x00 😀",
            model="gpt",
            reasoning="a\nb",
            replyTo="m-0",
            interrupted=True,
        )
    )
    async with serving(tmp_path / "one") as first:
        status, answer = await first.call(f"{CHAT}/importArchives", {"archives": given})
        assert status == 200, answer
        assert answer["skipped"] == 0
        assert [each["id"] for each in answer["imported"]] == [each["id"] for each in given]
        assert [each["title"] for each in answer["imported"]] == ["Trees", "Tell me", "Trees"]
        for text in ("one more", "and another"):
            await first.call(f"{CHAT}/chatWithHistory", {"message": text})
            await first.call(f"{CHAT}/endSession")
        exported = await export_of(first)
        assert exported[:3] == given
    async with serving(tmp_path / "two") as second:
        status, answer = await second.call(f"{CHAT}/importArchives", {"archives": exported})
        assert (status, answer["skipped"]) == (200, 0)
        assert await export_of(second) == exported
        status, answer = await second.call(f"{CHAT}/importArchives", {"archives": exported})
        assert (status, answer) == (200, {"imported": [], "skipped": len(exported)})
        assert await export_of(second) == exported


WRONG = [
    ("messages.0.timestamp", lambda a: a["messages"][0].update(timestamp="2024-02-31T10:12:04.001Z")),
    ("messages.0.timestamp", lambda a: a["messages"][0].update(timestamp="soon")),
    ("messages.1.timestamp", lambda a: a["messages"][1].update(timestamp="2024-01-15T10:12:04.000Z")),
    ("messages.0.timestamp", lambda a: a["messages"][0].update(timestamp="2024-01-15T10:12:03.119Z")),
    ("messages.1.id", lambda a: a["messages"][1].update(id="m-0")),
    ("messages.1.id", lambda a: a["messages"][1].update(id="a b")),
    ("messages.0.role", lambda a: a["messages"][0].update(role="system")),
    ("messages.0.content", lambda a: a["messages"][0].update(content="\ud800")),
    ("messages.0.content", lambda a: a["messages"][0].update(content=1e300)),
    ("messages.0.more", lambda a: a["messages"][0].update(more=1)),
    ("messages", lambda a: a.update(messages=[])),
    ("startedAt", lambda a: a.update(startedAt="1969-12-31T23:59:59.999Z")),
    ("endedAt", lambda a: a.update(endedAt="2024-01-15T10:12:04.000Z")),
    ("endedAt", lambda a: a.update(endedAt="2999-01-01T00:00:00.000Z")),
    ("endedAt", lambda a: a.update(endedAt=None)),
    ("reason", lambda a: a.update(reason="bored")),
    ("conversationId", lambda a: a.update(conversationId="../../etc")),
    ("conversationId", lambda a: a.update(conversationId="")),
    ("title", lambda a: a.update(title="a\nb")),
    ("title", lambda a: a.update(title="x" * 201)),
    ("pinned", lambda a: a.update(pinned="yes")),
]


@pytest.mark.parametrize(("field", "spoil"), WRONG)
async def test_a_corrupt_archive_is_named_and_adds_nothing(
    running: RunningServer, field: str, spoil: Callable[[dict[str, Any]], None]
) -> None:
    """Nor do the good ones beside it: all or nothing, with the path of what is wrong."""
    bad = archive(conversationId="bad")
    spoil(bad)
    given = [archive(), bad, archive(conversationId="c3")]
    status, problem = await running.call(f"{CHAT}/importArchives", {"archives": given})
    assert status == 422
    assert [each["field"] for each in problem["errors"]] == [f"archives.1.{field}"]
    assert await export_of(running) == []
    assert list(running.folder.rglob("*.yaml")) == []


@pytest.mark.parametrize(
    ("arguments", "item"),
    [
        ({"archives": [archive(), {}, {}]}, "archives.1."),
        ({"archives": [archive(messages=[{}, {}]), archive(messages=[{}])]}, "archives.0.messages.0."),
        ({"messages": [{}, {}]}, "messages.0."),
        ({"messages": [{"role": "user", "content": [{}, {}]}]}, "messages.0.content"),
    ],
)
async def test_of_many_bad_items_the_first_is_told(
    running: RunningServer, arguments: dict[str, Any], item: str
) -> None:
    """A megabyte may hold a hundred thousand; to gather all of their faults would hold up everybody."""
    status, problem = await running.call(f"{CHAT}/importArchives", arguments)
    assert status == 422
    assert [each["field"] for each in problem["errors"] if not each["field"].startswith(item)] == []
    assert not any(each["field"].startswith("messages.0.content.1") for each in problem["errors"])


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({}, "archives"),
        ({"archives": [archive()], "messages": [{"role": "user", "content": "x"}]}, "archives"),
        ({"archives": [archive()], "title": "x"}, "title"),
        ({"archives": []}, "archives"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": "x"}], "title": "a\nb"}, "title"),
    ],
)
async def test_what_is_neither_is_refused(
    running: RunningServer, arguments: dict[str, Any], field: str
) -> None:
    """By the field, with what was expected."""
    status, problem = await running.call(f"{CHAT}/importArchives", arguments)
    assert status == 422
    assert field in [each["field"] for each in problem["errors"]]
    assert await export_of(running) == []


async def test_a_list_of_messages_becomes_an_archive(running: RunningServer) -> None:
    """As OpenAI's API has it: texts and parts of text; what else there is in it is left out."""
    listed = [
        {"role": "system", "content": "You are a tree."},
        {"role": "user", "content": [{"type": "text", "text": "Hello "}, {"type": "text", "text": "tree"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "x"}]},
        {"role": "tool", "content": "42", "tool_call_id": "x"},
        {"role": "assistant", "content": "Rustle", "refusal": None},
    ]
    status, answer = await running.call(f"{CHAT}/importArchives", {"messages": listed})
    assert status == 200, answer
    assert [each["title"] for each in answer["imported"]] == ["Hello tree"]
    (exported,) = await export_of(running)
    assert [(each["role"], each["content"]) for each in exported["messages"]] == [
        ("user", "Hello tree"),
        ("assistant", "Rustle"),
    ]
    status, answer = await running.call(f"{CHAT}/importArchives", {"messages": listed, "title": "Again"})
    assert (status, answer) == (200, {"imported": [], "skipped": 1})


async def test_other_words_of_a_known_conversation_are_added_once(running: RunningServer) -> None:
    """An older copy is skipped, a longer one is kept beside what there is, under a name of its own."""
    short = archive(messages=[said("m-0", "user", "Tell me")], id="2024-01-15-10-30-00-4")
    longer = archive(id="2024-01-15-10-30-00-3")
    longer["messages"] = [*longer["messages"], said("m-9", "user", "More")]
    results = []
    for given in (archive(), short, longer, longer, short):
        _, answer = await running.call(f"{CHAT}/importArchives", {"archives": [given]})
        results.append(len(answer["imported"]))
    assert results == [1, 0, 1, 0, 0]
    names = [each["conversationId"] for each in await export_of(running)]
    assert len(set(names)) == len(names) == 2


async def test_a_name_that_is_taken_gets_a_number(running: RunningServer) -> None:
    """No file is ever overwritten, and the name is of the end, whatever it was called."""
    wishes = ["2024-01-15-10-30-00", "2024-01-15-10-30-00", "../x", "2030-01-01-00-00-00"]
    for number, wanted in enumerate(wishes):
        given = archive(id=wanted, conversationId=f"c{number}")
        await running.call(f"{CHAT}/importArchives", {"archives": [given]})
    names = sorted(path.stem for path in (dialogs_of(running.folder / "data") / "archived").iterdir())
    base = "2024-01-15-10-30-00"
    assert names == [base, f"{base}-2", f"{base}-3", f"{base}-4"]


async def test_an_import_is_no_news(running: RunningServer) -> None:
    """Nobody is told of an imported dialog, after a restart, as of one that has just ended."""
    await running.call(f"{CHAT}/importArchives", {"archives": [archive(), archive(conversationId="c2")]})
    told = (dialogs_of(running.folder / "data").parent / ".told").read_text().strip()
    assert told == "2024-01-15-10-30-00-2"


async def test_a_user_without_room_gets_507_and_nothing(tmp_path: Path, serving: Serving) -> None:
    """What the limit says of messages it says of imports."""
    async with serving(tmp_path, limits={"user_bytes": 3 * 4096}) as running:
        given = [archive(conversationId=f"c{number}") for number in range(4)]
        status, problem = await running.call(f"{CHAT}/importArchives", {"archives": given})
        assert status == 507
        assert "nothing was imported" in problem["detail"]
        assert yaml_files(running.folder / "data") == {}
        status, _ = await running.call(f"{CHAT}/importArchives", {"archives": given[:3]})
        assert status == 200


async def test_a_body_larger_than_others_may_be_is_taken_up_to_its_limit(
    tmp_path: Path, serving: Serving
) -> None:
    """Past it 413 that names it; past the number of values 400; another method's limit is what it was."""
    async with serving(tmp_path, limits={"body_bytes": 20_000}) as running:
        large = archive()
        large["messages"][0]["content"] = "x" * 100_000
        status, answer = await send(running, {"archives": [large]})
        assert status == 200, answer
        status, _ = await running.call(f"{CHAT}/chatWithHistory", {"message": "x" * 30_000})
        assert status == 413
        large["messages"][0]["content"] = "x" * (33 * 1024 * 1024)
        status, problem = await send(running, {"archives": [large]})
        assert (status, problem["detail"]) == (413, f"A body may have at most {32 * 1024 * 1024} bytes here.")
        status, problem = await send(running, {"archives": [0] * (MAX_VALUES + 2)})
        assert status == 400


async def test_a_dialog_larger_than_a_file_can_be_is_refused(running: RunningServer) -> None:
    """By its place in what was sent."""
    large = archive(conversationId="large")
    large["messages"][0]["content"] = "x" * (16 * 1024 * 1024)
    status, problem = await send(running, {"archives": [archive(), large]})
    assert (status, problem["errors"][0]["field"]) == (422, "archives.1")
    assert await export_of(running) == []


@pytest.mark.parametrize(
    ("body", "items"),
    [
        ({"archives": [archive()] * 3}, 9),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 4}] * 2}, 10),
    ],
)
def test_whatever_there_may_be_many_of_in_a_body_is_checked_with_python_in_between(
    body: dict[str, Any], items: int
) -> None:
    """Only there another thread gets the interpreter's lock: else a large body holds up all the server."""
    model = rpc_methods(ChatServerModule())["importArchives"].arguments
    raw = json.dumps(body).encode()
    called: list[str] = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
    try:
        model.model_validate_json(raw, by_alias=True, by_name=False)
    finally:
        sys.setprofile(before)
    assert called.count("_let_others_run") == items
