"""Search and export over HTTP, through the whole server."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import aiohttp
import pytest

from modules.chat_server.archive_methods import Ending
from modules.chat_server.journal import Reason
from modules.chat_server.module import ChatServerModule
from modules.chat_server.settings import ChatSettings
from tests.search.support import START_MS, dialog_bytes, put_archive

from ..support.server import RunningServer, RunServer, log_lines

CHAT = "ChatServerModule"
NOTHING = "must hold a word to look for, where nothing else narrows the search"
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
async def running(tmp_path: Path, running_server: RunServer) -> AsyncIterator[RunningServer]:
    sections = {"chat": ChatSettings.model_validate({"journal": {"fsync": "never"}})}
    async with running_server(tmp_path, [ChatServerModule()], sections=sections) as running:
        yield running


def archives(folder: Path, *dialogs: list[str], user: str = "a1") -> list[str]:
    """Archives a day apart, oldest first; their ids."""
    return [
        put_archive(
            folder / "data",
            dialog_bytes(contents, number=number, started_ms=START_MS + number * DAY_MS, user=user),
            START_MS + number * DAY_MS,
            user=user,
        )
        for number, contents in enumerate(dialogs)
    ]


async def export(
    running: RunningServer, token: str = "test-token", **arguments: Any
) -> tuple[int, Any, bytes]:
    """Status, headers, body."""
    answer = await running.session.post(
        f"{running.url}/{CHAT}/exportArchives", json=arguments, headers={"Authorization": f"Bearer {token}"}
    )
    return answer.status, answer.headers, await answer.read()


async def test_a_search_tells_each_match_with_its_place(running: RunningServer, tmp_path: Path) -> None:
    """The contract's fields, no more; the snippet in parts that say what to mark."""
    (only,) = archives(tmp_path, ["Where is Ithaca?", "Ithaca is an island."])
    status, page = await running.call(f"{CHAT}/searchArchives", {"query": "ithaca where"})
    assert status == 200
    assert page == {
        "matches": [
            {
                "archiveId": only,
                "conversationId": "sse-1705313523120-000000000",
                "title": "Where is Ithaca?",
                "messageId": "m-0-0",
                "role": "user",
                "timestamp": "2024-01-15T10:12:03.120Z",
                "snippet": [
                    {"text": "Where", "match": True},
                    {"text": " is ", "match": False},
                    {"text": "Ithaca", "match": True},
                    {"text": "?", "match": False},
                ],
            }
        ],
        "cursor": None,
    }


async def test_pages_of_a_search_go_on_where_the_last_one_ended(
    running: RunningServer, tmp_path: Path
) -> None:
    """Until the cursor is null."""
    archives(tmp_path, *(["match", "match", "other"] for _ in range(3)))
    found: list[str] = []
    cursor = None
    while True:
        arguments = {"query": "match", "limit": 4, "cursor": cursor}
        status, page = await running.call(f"{CHAT}/searchArchives", arguments)
        assert status == 200
        found += [each["messageId"] for each in page["matches"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert found == ["m-2-0", "m-2-1", "m-1-0", "m-1-1", "m-0-0", "m-0-1"]


async def test_filters_alone_find_dialogs(running: RunningServer, tmp_path: Path) -> None:
    """Each once, by its first message that they admit; the pages of one word follow from another's cursor."""
    first, second, third = archives(tmp_path, *(["Ships", "sails", "oars"] for _ in range(3)))
    await running.call(f"{CHAT}/renameArchive", {"id": second, "title": "Journeys"})
    for arguments, expected in (
        ({"title": "journey"}, [(second, "m-1-0")]),
        ({"role": "assistant", "title": "ships"}, [(third, "m-2-1"), (first, "m-0-1")]),
        ({"query": " ", "reason": "shutdown"}, []),
    ):
        _, page = await running.call(f"{CHAT}/searchArchives", arguments)
        assert [(each["archiveId"], each["messageId"]) for each in page["matches"]] == expected
    found: list[str] = []
    cursor = None
    for _ in range(4):
        arguments = {"role": "user", "limit": 1, "cursor": cursor}
        _, page = await running.call(f"{CHAT}/searchArchives", arguments)
        assert all(not part["match"] for each in page["matches"] for part in each["snippet"])
        found += [each["archiveId"] for each in page["matches"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert found == [third, second, first]


async def test_the_given_title_is_searched_too(running: RunningServer, tmp_path: Path) -> None:
    """As a filter, beside the one that is made of the first words."""
    first, second = archives(tmp_path, ["Ships", "sails"], ["Harbours", "sails"])
    await running.call(f"{CHAT}/renameArchive", {"id": first, "title": "Journeys"})
    for title, expected in (("journey", [first]), ("harbour", [second]), ("ships", [])):
        _, page = await running.call(f"{CHAT}/searchArchives", {"query": "sails", "title": title})
        assert [each["archiveId"] for each in page["matches"]] == expected


async def test_another_users_archives_are_neither_found_nor_exported(
    running: RunningServer, tmp_path: Path
) -> None:
    """Not even by their ids."""
    ids = archives(tmp_path, ["secret"], user="admin")
    assert (await running.call(f"{CHAT}/searchArchives", {"query": "secret"}))[1]["matches"] == []
    status, _, body = await export(running)
    assert (status, json.loads(body)["archives"]) == (200, [])
    status, _, body = await export(running, ids=ids)
    assert (status, json.loads(body)["detail"]) == (404, "You have no such archive: ids.0.")
    status, _, body = await export(running, "admin-token")
    assert [each["id"] for each in json.loads(body)["archives"]] == ids


async def test_an_export_is_a_download_in_each_form(running: RunningServer, tmp_path: Path) -> None:
    """Named for the day, with the type that it has; the messages of the JSON are those of `getArchive`."""
    ids = archives(tmp_path, ["One", "```\ntwo"], ["Three"])
    status, headers, body = await export(running)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    name = headers["Content-Disposition"]
    assert name.startswith('attachment; filename="archives-20') and name.endswith('.json"')
    loaded = json.loads(body)
    assert [each["id"] for each in loaded["archives"]] == ids
    _, archive = await running.call(f"{CHAT}/getArchive", {"id": ids[0]})
    assert loaded["archives"][0]["messages"] == archive["messages"]
    status, headers, body = await export(running, format="markdown", ids=[ids[1]])
    assert (status, headers["Content-Type"]) == (200, "text/markdown; charset=utf-8")
    assert b"## Three\n" in body and b"## One\n" not in body
    status, headers, body = await export(running, format="zip")
    assert (status, headers["Content-Type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(body)) as file:
        assert file.namelist() == [f"{each}.yaml" for each in ids]


async def test_an_export_that_breaks_off_in_the_middle_does_not_look_whole(
    running: RunningServer, tmp_path: Path
) -> None:
    """The journal is closed while it is sent, as at the stop of the server."""
    archives(tmp_path, *(["text " * 20_000] for _ in range(120)))
    answer = await running.session.post(
        f"{running.url}/{CHAT}/exportArchives", json={}, headers={"Authorization": "Bearer test-token"}
    )
    assert answer.status == 200
    await answer.content.readany()
    module = running.core.modules[CHAT]
    await module.dialogue_journal.close()
    with pytest.raises(aiohttp.ClientError):
        await answer.read()
    await running.server.stop()
    running.core.logs.stop()  # a thread writes it
    assert "download cut" in [line["event"] for line in log_lines(tmp_path)]


@pytest.mark.parametrize(
    ("method", "arguments", "field", "message"),
    [
        ("searchArchives", {}, "query", NOTHING),
        ("searchArchives", {"query": ""}, "query", NOTHING),
        ("searchArchives", {"query": ' "" ', "role": None}, "query", NOTHING),
        ("searchArchives", {"query": "x" * 1001}, "query", "must have at most 1000 characters"),
        ("searchArchives", {"query": "a", "title": " "}, "title", "must hold a word to look for"),
        ("searchArchives", {"query": "a", "limit": 101}, "limit", "must be 100 or less"),
        ("searchArchives", {"query": "a", "role": "system"}, "role", "must be 'user' or 'assistant'"),
        ("searchArchives", {"query": "a", "reason": "boredom"}, "reason", None),
        (
            "searchArchives",
            {"query": "a", "after": "yesterday"},
            "after",
            "must be a date or a time such as 2024-03-01 or 2024-03-01T10:30:00Z",
        ),
        ("searchArchives", {"query": "a", "cursor": "x"}, "cursor", "must be the cursor of an earlier page"),
        ("exportArchives", {"format": "pdf"}, "format", "must be 'json', 'markdown' or 'zip'"),
        ("exportArchives", {"ids": []}, "ids", "must not be empty"),
        ("exportArchives", {"ids": ["x"] * 10_001}, "ids", "must have at most 10000 items"),
        ("exportArchives", {"ids": [1]}, "ids.0", "must be a text"),
    ],
)
async def test_what_can_not_be_used_is_422_by_field(
    running: RunningServer, method: str, arguments: dict[str, Any], field: str, message: str | None
) -> None:
    """In words that say what was expected."""
    status, problem = await running.call(f"{CHAT}/{method}", arguments)
    assert status == 422
    (error,) = problem["errors"]
    assert error["field"] == field
    assert message in (None, error["message"])


def test_every_reason_can_be_searched_for() -> None:
    """The names on the wire are those in the files."""
    assert set(get_args(Ending)) == {reason.value for reason in Reason}
