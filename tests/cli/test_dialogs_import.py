"""`dialogs import`: what `export` wrote and lists of messages, all or nothing, never twice."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modules.chat_server.commands import importing
from tests.cli.conftest import Said
from tests.support.dialog_files import archive, make_folders
from tests.support.process import ServerProcess, tokens_of

FIRST = "2023-11-14-22-14-10"
ESCAPES = "\x1b[2J coffee \x9b31m \u2028 😀"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three archives of `a1`, one pinned and with a title; nothing of anybody else."""
    folder = tmp_path / "data"
    for number in range(3):
        path = archive(folder, "a1", (f"Question {number}", ESCAPES), number=number)
    path.write_bytes(path.read_bytes().replace(b"messages:", b'title: "My own"\npinned: true\nmessages:', 1))
    return folder


def exported(said: Said, user: str) -> bytes:
    """A user's export."""
    assert said("export", "--user", user, "-o", f"{user}.out")[0] == 0
    path = Path(f"{user}.out")
    data = path.read_bytes()
    path.unlink()
    return data


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*.yaml"))}


@pytest.mark.parametrize("batch", [200, 2])
def test_an_export_imported_elsewhere_is_exported_the_same(
    data: Path, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """With ids, titles, pins and times, whatever the number of batches; and a second time adds nothing."""
    monkeypatch.setattr(importing, "_BATCH", batch)
    first = exported(said, "a1")
    (tmp_path / "a1.json").write_bytes(first)
    (tmp_path / "other").mkdir()
    assert said("import", "a1.json", "--data-dir", "other") == (0, "a1.json: 3 archives imported\n", "")
    status, out, _ = said("export", "--user", "a1", "--data-dir", "other", "-o", "again.json")
    assert status == 0
    assert (tmp_path / "again.json").read_bytes() == first
    before = files(tmp_path / "other")
    status, out, _ = said("import", "a1.json", "--data-dir", "other")
    assert (status, out) == (0, "a1.json: 0 archives imported, 3 were there already\n")
    assert files(tmp_path / "other") == before
    assert said("verify", "--data-dir", "other")[0] == 0


def test_it_can_become_another_users(data: Path, said: Said, tmp_path: Path) -> None:
    """As JSON what was added is said as `importArchives` does."""
    (tmp_path / "a1.json").write_bytes(exported(said, "a1"))
    status, out, _ = said("import", "a1.json", "--user", "b/2", "--json")
    assert status == 0
    outcome = json.loads(out)
    assert [each["title"] for each in outcome["imported"]] == ["Question 0", "Question 1", "My own"]
    assert outcome["skipped"] == 0
    assert len(files(make_folders(data, "b/2").archived)) == 3


@pytest.mark.parametrize("layout", ["pretty", "input"])
def test_a_file_may_be_laid_out_anew_and_come_from_the_input(
    data: Path, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """A tool may have formatted it; `-` is the input."""
    text = exported(said, "a1")
    if layout == "pretty":
        text = json.dumps(json.loads(text), indent=2).encode()
        (tmp_path / "a1.json").write_bytes(text)
        status, out, _ = said("import", "a1.json", "--user", "b2")
    else:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text)))
        status, out, _ = said("import", "-", "--user", "b2")
    assert status == 0
    assert "3 archives imported" in out


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_list_of_messages_becomes_one_archive(
    data: Path, said: Said, tmp_path: Path, wrapped: bool
) -> None:
    """As OpenAI's API has them; other roles are left out, and twice adds nothing."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": "Hello"},
    ]
    (tmp_path / "list.json").write_text(json.dumps({"messages": messages} if wrapped else messages))
    for count in (1, 0):
        status, out, _ = said("import", "list.json", "--user", "b2", "--title", "From elsewhere", "--json")
        assert status == 0
        assert len(json.loads(out)["imported"]) == count
    _, out, _ = said("list", "--user", "b2", "--json")
    (entry,) = [json.loads(line) for line in out.splitlines()]
    assert (entry["title"], entry["messageCount"]) == ("From elsewhere", 2)


def broken(text: bytes, number: int, change: Callable[[Any], object]) -> bytes:
    """An export with one archive changed, an archive a line as before."""
    loaded = json.loads(text)
    change(loaded["archives"][number])
    lines = ",\n".join(json.dumps(each) for each in loaded["archives"])
    return f'{{"potoserver":1,"user":"a1","archives":[\n{lines}\n]}}\n'.encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one["messages"][1].update(timestamp="yesterday"), "archives.2.messages.1.timestamp: "),
        (
            lambda one: one["messages"][1].update(timestamp="2001-01-01T00:00:00Z"),
            "archives.2.messages.1.timestamp: must not be before the message in front of it",
        ),
        (
            lambda one: one.update(endedAt="2999-01-01T00:00:00Z"),
            "archives.2.endedAt: must not be in the future",
        ),
        (lambda one: one.pop("conversationId"), "archives.2.conversationId: Field required"),
        (lambda one: one.update(more=1), "archives.2.more: "),
        (lambda one: one.update(title="two\nlines"), "archives.2.title: must not contain line breaks"),
        (lambda one: one["messages"][0].update(role="system"), "archives.2.messages.0.role: "),
        (lambda one: one["messages"][0].update(content="x" * 17_000_000), "archives.2: must take at most"),
    ],
)
def test_a_corrupt_archive_changes_nothing_and_is_named(
    data: Path,
    said: Said,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Any], object],
    words: str,
) -> None:
    """By the path of the field, though it stands in a later batch."""
    monkeypatch.setattr(importing, "_BATCH", 1)
    (tmp_path / "bad.json").write_bytes(broken(exported(said, "a1"), 2, change))
    before = files(data)
    status, out, err = said("import", "bad.json", "--user", "b2")
    assert (status, out) == (1, "")
    assert f"potoserver: bad.json: {words}" in err
    assert err.endswith("potoserver: bad.json can't be imported; nothing was added\n")
    assert files(data) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "it is no JSON"),
        (b"{", "it is no JSON"),
        (b"\xff\xfe", "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b"5", "it is neither an export"),
        (b'{"potoserver":2,"archives":[]}', "this reads exports of version 1"),
        (b'{"potoserver":1,"user":"a1","archives":[\n', "its end is missing: it was cut off"),
        (b'{"potoserver":1,"user":"a1","archives":[\n{"id":\n]}\n', "archives.0: it is no JSON"),
        (b'{"potoserver":1,"user":"a1","archives":[\n\n]}\n', "archives.0: it is no JSON"),
        (b'{"potoserver":1,"user":"a1","archives":[\n]}\n', "it holds no archive"),
        (b'{"archives":[{}]}', "archives.0.conversationId: Field required"),
        (b"[]", "messages: must hold a text of role user or assistant"),
        (b'[{"role":"nobody"}]', "messages.0.role: "),
        (b'[{"role":"user","content":"\\ud800"}]', "messages: text must not hold a lone surrogate"),
        (b'[{"role":"system","content":"x"}]', "messages: must hold a text of role user or assistant"),
    ],
)
def test_a_file_that_is_none_is_refused_and_changes_nothing(
    data: Path, said: Said, tmp_path: Path, text: bytes, words: str
) -> None:
    """Whatever it is."""
    (tmp_path / "bad.json").write_bytes(text)
    before = files(data)
    status, out, err = said("import", "bad.json", "--user", "b2")
    assert (status, out) == (1, "")
    assert f"bad.json: {words}" in err
    assert files(data) == before


def test_a_cut_export_changes_nothing(data: Path, said: Said, tmp_path: Path) -> None:
    """Wherever it was cut, a download that broke off is never taken for a whole."""
    text = exported(said, "a1")
    before = files(data)
    for size in range(100, len(text) - 4, 331):
        (tmp_path / "bad.json").write_bytes(text[:size])
        assert said("import", "bad.json", "--user", "b2")[0] == 1
    assert files(data) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.json"], "none.json can't be read: No such file"),
        (["list.json"], "--user is missing: the file names nobody"),
        (["list.json", "--user", ""], "--user: a user id must not be empty"),
        (["list.json", "--user", "b2", "--data-dir", "none"], "there is no folder of data"),
        (["a1.json", "--title", "x"], "--title goes with a list of messages"),
        ([], "Missing argument"),
    ],
)
def test_wrong_usage_is_one_line(
    data: Path, said: Said, tmp_path: Path, arguments: list[str], words: str
) -> None:
    """With status 2, and nothing was added."""
    (tmp_path / "list.json").write_text('[{"role": "user", "content": "Hi"}]')
    (tmp_path / "a1.json").write_bytes(exported(said, "a1"))
    before = files(data)
    status, out, err = said("import", *arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1
    assert files(data) == before


def test_the_room_of_one_user_holds_here_too(
    data: Path, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`limits.user_bytes`; what is over it is told."""
    (tmp_path / "a1.json").write_bytes(exported(said, "a1"))
    monkeypatch.setenv("POTO_LIMITS__USER_BYTES", "5000")
    status, out, err = said("import", "a1.json", "--user", "b2")
    assert (status, out) == (1, "")
    assert "limits.user_bytes" in err


@pytest.mark.process
async def test_beside_a_running_server_it_says_so(data: Path, said: Said, tmp_path: Path) -> None:
    """And adds nothing."""
    (tmp_path / "a1.json").write_bytes(await asyncio.to_thread(exported, said, "a1"))
    async with ServerProcess(tmp_path) as server:
        status, _, err = await asyncio.to_thread(said, "import", "a1.json", "--user", "b2")
        assert status == 2
        assert "is owned by another potoserver process" in err
        assert "Or do it there: --url" in err
        assert server.archives("b2") == []


@pytest.mark.process
async def test_a_users_own_are_imported_into_a_running_server(
    data: Path, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches, as the user of the token; twice adds nothing, and what is corrupt is not sent."""
    monkeypatch.setattr(importing, "_BATCH", 2)
    text = await asyncio.to_thread(exported, said, "a1")
    (tmp_path / "a1.json").write_bytes(text)
    (tmp_path / "bad.json").write_bytes(broken(text, 2, lambda one: one.pop("endedAt")))
    (tmp_path / "list.json").write_text('[{"role": "user", "content": "Hi"}]')
    async with ServerProcess(tmp_path / "server", environment=tokens_of(["b2"])) as server:

        async def told(*arguments: str) -> tuple[int, str, str]:
            return await asyncio.to_thread(said, "import", *arguments, "--url", server.url, "--token", "t-b2")

        status, _, err = await told("bad.json")
        assert status == 1
        assert "archives.2.endedAt" in err
        assert server.archives("b2") == []
        assert await told("a1.json") == (0, "a1.json: 3 archives imported\n", "")
        assert await told("a1.json") == (0, "a1.json: 0 archives imported, 3 were there already\n", "")
        status, out, _ = await told("list.json", "--title", "Listed", "--json")
        assert [each["title"] for each in json.loads(out)["imported"]] == ["Listed"]
        assert len(server.archives("b2")) == 4
        status, _, err = await told("a1.json", "--user", "b2")
        assert status == 2
        assert "the token says whose it is" in err
        status, _, err = await asyncio.to_thread(
            said, "import", "a1.json", "--url", server.url, "--token", "wrong"
        )
        assert status == 1
        assert "does not take this token" in err
    status, _, err = await told("a1.json")
    assert status == 1
    assert "Traceback" not in err
