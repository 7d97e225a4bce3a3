"""User ids of every kind: each is served in a folder of its own, or refused clearly."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from potoserver import folder_name
from tests.support import saved
from tests.support.process import ServerProcess, chat
from tests.support.sse import stream

pytestmark = pytest.mark.process

SERVED = (
    *("a1", "A1", "../../etc/passwd", "..", ".", "a/b", "a\\b", "/etc/passwd", "a b", "~root", "-rf", "*"),
    *("a\nb", "nul\0l", "\x1b[31mred", "\x7f\u2028\u202e", "%2e%2e", "%2F", "con", ".hidden", "user."),
    *("é", "e\u0301", "\U0001f98a", "שלום", "current.yaml", "archived", "a" * 200, "\U0001f98a" * 16),
)
REFUSED = ("", "a" * 201, "a" * 255, "A" * 67, "\U0001f98a" * 64, "\ud800")
SECRET = "a secret of at least thirty-two bytes"


def _decoys(folder: Path) -> Path:
    """Files that a path trick would reach; returns the folder to run in, some levels below."""
    for name in ("etc/passwd", "data/users/a1/dialogs/current.yaml", "run/etc/passwd"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("untouched")
    run = folder / "run" / "here"
    run.mkdir()
    return run


def _outside(folder: Path, run: Path) -> dict[str, bytes | None]:
    below = str(run.relative_to(folder))
    return {name: data for name, data in saved.tree(folder).items() if not name.startswith(below)}


def _check_folders(data_dir: Path, users: tuple[str, ...]) -> None:
    """One folder for each user, with one archive that names the user, and nothing else."""
    names = [path.name for path in (data_dir / "users").iterdir()]
    assert sorted(names) == sorted(folder_name(user) for user in users)
    assert len({name.lower() for name in names}) == len(users), "case alone tells two folders apart"
    assert {path.name for path in data_dir.iterdir()} <= {"users", "open", ".lock", ".signing-key"}
    for user in users:
        found = [path for path in (data_dir / "users" / folder_name(user)).rglob("*") if path.is_file()]
        [archive] = [path for path in found if path.parent.name == "archived"]
        assert len(found) == 2, found
        assert saved.load(archive).fields["user"] == user
        assert saved.load(archive).messages[0] == ("user", f"I am {user!r}")


async def _live(session: aiohttp.ClientSession, server: ServerProcess, user: str, token: str) -> None:
    async with stream(session, f"{server.url}/subscribe", token) as reader:
        assert (await reader.next("connected")).data["user"] == user
        await chat(session, server.url, f"I am {user!r}", token)
        status, _ = await _call(session, server, token, "endSession")
        assert status == 200
        status, listed = await _call(session, server, token, "listArchives")
        assert (status, len(listed["archives"])) == (200, 1)
        archive_id = listed["archives"][0]["id"]
        status, archive = await _call(session, server, token, "getArchive", id=archive_id)
        assert status == 200
        assert archive["messages"][0]["content"] == f"I am {user!r}"


async def _call(
    session: aiohttp.ClientSession, server: ServerProcess, token: str, method: str, **arguments: Any
) -> tuple[int, Any]:
    answer = await session.post(
        f"{server.url}/ChatServerModule/{method}",
        json=arguments,
        headers={"Authorization": f"Bearer {token}"},
    )
    return answer.status, await answer.json(content_type=None)


async def test_any_id_of_a_configured_token_stays_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """Separators, dots, controls, emoji, capitals: each user has one folder, below `data/users`."""
    run = _decoys(tmp_path)
    before = _outside(tmp_path, run)
    tokens = {f"token-{number}": {"user": user} for number, user in enumerate(SERVED)}
    server = ServerProcess(run, environment={"POTO_AUTH__TOKENS": json.dumps(tokens)})
    async with server, aiohttp.ClientSession() as session:
        for token, owner in tokens.items():
            await _live(session, server, owner["user"], token)
        assert await server.stop() == 0
    _check_folders(server.data_dir, SERVED)
    assert _outside(tmp_path, run) == before


def _signed(**claims: Any) -> str:
    return jwt.encode({"exp": int(time.time()) + 600} | claims, SECRET, "HS256")


async def test_any_id_of_a_signed_token_stays_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """The same for the claim `sub`; what has no folder name is 401, and leaves nothing."""
    run = _decoys(tmp_path)
    before = _outside(tmp_path, run)
    served = (*(user for user in SERVED if user != "a1"), "b1")
    server = ServerProcess(run, environment={"POTO_AUTH__JWT_SECRET": SECRET})
    async with server, aiohttp.ClientSession() as session:
        for user in served:
            await _live(session, server, user, _signed(sub=user, roles=["user"]))
        refused: list[dict[str, Any]] = [{"sub": user} for user in (*REFUSED, 7, None, ["a1"])]
        refused.append({})
        for claims in refused:
            status, problem = await _call(session, server, _signed(**claims), "getSessionInfo")
            assert (status, problem["status"]) == (401, 401), claims
            subscribed = await session.get(
                f"{server.url}/subscribe", headers={"Authorization": f"Bearer {_signed(**claims)}"}
            )
            assert subscribed.status == 401
            assert subscribed.headers["WWW-Authenticate"].startswith("Bearer")
        assert await server.stop() == 0
    _check_folders(server.data_dir, served)
    assert _outside(tmp_path, run) == before


TRICKS = (
    *("..", ".", "", "current", "../current", "current.yaml", "/etc/passwd", "\0", "*", "a" * 5000),
    *(
        "../../../a1/dialogs/archived/{id}",
        "../archived/{id}",
        "./{id}",
        "{id}/",
        "{id}.yaml",
        "{id}\n",
        " {id}",
    ),
    *("{id}-1", "{id}-2", "{id}-02", "{id}\0", "%2e%2e/{id}", "..\\{id}"),
)


async def test_another_users_archive_is_not_found(tmp_path: Path) -> None:
    """Its id is 404 for everyone else, an admin too, and no path trick reaches any file."""
    async with ServerProcess(tmp_path) as server, aiohttp.ClientSession() as session:
        await chat(session, server.url, "A secret of a1's")
        assert (await _call(session, server, "test-token", "endSession"))[0] == 200
        [archive] = server.archives("a1")
        status, problem = await _call(session, server, "admin-token", "getArchive", id=archive.stem)
        assert (status, problem["status"]) == (404, 404)
        for trick in TRICKS:
            for token in ("test-token", "admin-token"):
                wanted = trick.replace("{id}", archive.stem)
                status, problem = await _call(session, server, token, "getArchive", id=wanted)
                assert status in (404, 422), (wanted, token)
                assert "secret" not in json.dumps(problem)
        status, _ = await _call(session, server, "test-token", "getUserSessionInfo", userId="admin")
        assert status == 403
        assert await server.stop() == 0
