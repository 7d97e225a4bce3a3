"""`dialogs search`, `export` and `restore`, on the files of a folder of data."""

from __future__ import annotations

import asyncio
import io
import json
import os
import zipfile
from pathlib import Path

import aiohttp
import pytest

from potoserver.cli import run
from tests.cli.conftest import Said
from tests.support.dialog_files import archive, leave_open, make_folders, write
from tests.support.process import ServerProcess, chat
from tests.support.terminal import ended, terminal

FIRST, SECOND, THIRD = "2023-11-14-22-14-10", "2023-11-14-22-15-10", "2023-11-14-22-16-10"
ESCAPES = "\x1b[2J coffee \x9b31m"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three archives of `a1`, one and an open dialog of `b/2`."""
    folder = tmp_path / "data"
    archive(folder, "a1", ("Where is the coffee machine?", "On the second floor"), number=0)
    archive(folder, "a1", ("And the tea?", "Beside the COFFEE"), number=1)
    archive(folder, "a1", ("Thanks", ESCAPES), number=2)
    archive(folder, "b/2", ("No coffee here", "No"))
    leave_open(folder, "b/2", ("More coffee!",))
    return folder


def found(out: str) -> list[tuple[str, str, str]]:
    """User, archive and role of each line of JSON."""
    return [(each["user"], each["archiveId"], each["role"]) for each in map(json.loads, out.splitlines())]


# Search


def test_words_are_found_in_all_dialogs_the_open_ones_too(data: Path, said: Said) -> None:
    """Whatever the case; of each user the open dialog first, then the newest archive."""
    status, out, err = said("search", "coffee", "--json")
    assert (status, err) == (0, "")
    assert found(out) == [
        ("a1", THIRD, "assistant"),
        ("a1", SECOND, "assistant"),
        ("a1", FIRST, "user"),
        ("b/2", "current", "user"),
        ("b/2", FIRST, "user"),
    ]
    match = json.loads(out.splitlines()[2])
    assert match["title"] == "Where is the coffee machine?"
    assert [(part["text"], part["match"]) for part in match["snippet"]] == [
        ("Where is the ", False),
        ("coffee", True),
        (" machine?", False),
    ]


@pytest.mark.parametrize(
    ("arguments", "archives"),
    [
        (["coffee", "--user", "b/2"], ["current", FIRST]),
        (["coffee machine"], [FIRST]),
        (["machine coffee"], [FIRST]),
        (['"machine coffee"'], []),
        (["coffee", "--role", "user"], [FIRST, "current", FIRST]),
        (["coffee", "--reason", "disconnect"], [THIRD, SECOND, FIRST, FIRST]),
        (["coffee", "--after", "2023-11-14T22:14:00Z"], [THIRD, SECOND, "current"]),
        (["coffee", "--before", "2023-11-14T22:14:00Z"], [FIRST, FIRST]),
        (["coffee", "--title", "tea"], [SECOND]),
        (["--title", "tea"], [SECOND]),
        (["--user", "a1", "--before", "2023-11-14T22:14:00Z"], [FIRST]),
    ],
)
def test_a_search_can_be_narrowed(data: Path, said: Said, arguments: list[str], archives: list[str]) -> None:
    """By user, phrase, role, reason, time and title."""
    _, out, _ = said("search", *arguments, "--json")
    assert [each for _, each, _ in found(out)] == archives


def test_the_table_shows_where_and_what(data: Path, said: Said) -> None:
    """And nothing in it commands the terminal."""
    status, out, _ = said("search", "coffee", "--user", "a1")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["user", "id", "role", "message"]
    assert lines[1].split(maxsplit=3) == ["a1", THIRD, "assistant", r"\x1b[2J coffee \x9b31m"]
    assert not set("\x1b\x9b") & set(out)


def test_what_is_not_there_is_said_and_no_failure(data: Path, said: Said) -> None:
    """The output stays empty, for programs."""
    assert said("search", "nonsense") == (0, "", "potoserver: no message was found\n")
    assert said("search", "nonsense", "--json") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "QUERY: must hold a word to look for, where nothing else narrows the search"),
        ([""], "QUERY: must hold a word to look for"),
        (["x" * 1001], "QUERY: must have at most 1000 characters"),
        (["x", "--after", "yesterday"], "--after: must be a date or a time such as"),
        (["x", "--title", " "], "--title: must hold a word"),
        (["x", "--role", "nobody"], "'nobody' is not one of 'user', 'assistant'"),
        (["x", "--reason", "none"], "'none' is not one of"),
        (["x", "--user", "nobody"], "nobody has no dialogs"),
        (["x", "--data-dir", "none"], "there is no folder of data"),
    ],
)
def test_a_search_that_can_be_none_is_one_line(
    data: Path, said: Said, arguments: list[str], words: str
) -> None:
    """With status 2, and the part of it that is wrong."""
    status, out, err = said("search", *arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


# Export


def test_an_export_holds_a_users_archives_oldest_first(data: Path, said: Said, tmp_path: Path) -> None:
    """As JSON; what was written is said."""
    status, out, err = said("export", "--user", "a1", "--output", "a1.json")
    assert (status, out, err) == (0, "a1.json: 3 archives of a1\n", "")
    exported = json.loads((tmp_path / "a1.json").read_text())
    assert exported["user"] == "a1"
    assert [each["id"] for each in exported["archives"]] == [FIRST, SECOND, THIRD]
    assert exported["archives"][2]["messages"][1]["content"] == ESCAPES
    assert (tmp_path / "a1.json").stat().st_mode & 0o777 == 0o600


def test_an_export_goes_to_the_output_and_may_be_a_part(
    data: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Byte for byte, so that it can be sent on."""
    monkeypatch.chdir(data.parent)
    assert run(["dialogs", "export", "--user", "a1", "--format", "zip", SECOND]) == 0
    printed = capfdbinary.readouterr()
    with zipfile.ZipFile(io.BytesIO(printed.out)) as archives:
        assert archives.namelist() == [f"{SECOND}.yaml"]
        assert (
            archives.read(f"{SECOND}.yaml")
            == (make_folders(data, "a1").archived / f"{SECOND}.yaml").read_bytes()
        )


def test_an_export_to_a_terminal_commands_nothing(data: Path, tmp_path: Path) -> None:
    """And a zip is not for one."""
    with terminal("dialogs", "export", "--user", "a1", "--format", "markdown", cwd=tmp_path) as child:
        status, printed = ended(child)
    assert status == 0
    assert r"\x1b[2J coffee \x9b31m" in printed
    with terminal("dialogs", "export", "--user", "a1", "--format", "zip", cwd=tmp_path) as child:
        status, printed = ended(child)
    assert status == 2
    assert "a zip is nothing for a terminal: give --output FILE" in printed


def test_what_can_not_be_read_is_named_in_the_file_and_by_the_status(
    data: Path, said: Said, tmp_path: Path
) -> None:
    """The rest is there."""
    write(make_folders(data, "a1").archived / f"{SECOND}.yaml", b"nonsense")
    status, out, err = said("export", "--user", "a1", "--output", "a1.json", "--json")
    assert status == 1
    assert json.loads(out) == {"file": "a1.json", "user": "a1", "archives": 2, "skipped": [SECOND]}
    assert f"{SECOND}.yaml" in err
    assert json.loads((tmp_path / "a1.json").read_text())["skipped"] == [SECOND]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing option '--user'"),
        (["--user", "nobody"], "nobody has no dialogs"),
        (["--user", "a1", "2024-01-01-00-00-00"], "there is no archive 2024-01-01-00-00-00 of this user"),
        (["--user", "a1", "--output", "there.json"], "there.json is there already"),
        (["--user", "a1", "--output", "none/x.json"], "none/x.json can't be written: No such file"),
        (["--user", "a1", "--json"], "give --output, too"),
        (["--user", "a1", "--format", "pdf"], "'pdf' is not one of"),
    ],
)
def test_an_export_that_can_not_be_made_is_one_line(
    data: Path, said: Said, tmp_path: Path, arguments: list[str], words: str
) -> None:
    """And leaves nothing, nor changes what is there."""
    (tmp_path / "there.json").write_text("mine")
    status, out, err = said("export", *arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1
    assert (tmp_path / "there.json").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "there.json"]


def test_ctrl_c_leaves_no_half_export(tmp_path: Path) -> None:
    """Neither under its name nor under another one."""
    paths = make_folders(tmp_path / "data", "a1")
    whole = archive(tmp_path / "data", "a1", ["word " * 100] * 400)
    for number in range(2, 5000):  # more than can be done before the interrupt
        os.link(whole, paths.archived / f"{FIRST}-{number}.yaml")
    with terminal("dialogs", "export", "--user", "a1", "-o", "out.json", cwd=tmp_path) as child:
        child.expect("Exporting")
        child.sendcontrol("c")
        status, printed = ended(child)
    assert status == 130
    assert "Traceback" not in printed
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_leaves_no_half_export(data: Path, said: Said, tmp_path: Path) -> None:
    """One line says so."""
    os.symlink("/dev/full", tmp_path / ".out.json.part")
    status, _, err = said("export", "--user", "a1", "--output", "out.json")
    assert status == 2
    assert "out.json can't be written" in err
    assert not (tmp_path / "out.json").exists()


# Restore


def test_a_restored_archive_is_the_open_dialog(data: Path, said: Said) -> None:
    """One copy of it, with its marker, and nothing is wrong afterwards."""
    status, out, _ = said("restore", SECOND, "--user", "a1")
    assert status == 0
    assert "is the current dialog again, with 2 messages" in out
    _, out, _ = said("list", "--user", "a1", "--json")
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["current", THIRD, FIRST]
    assert said("verify")[0] == 0


def test_what_was_open_is_archived_first(data: Path, said: Said) -> None:
    """And named."""
    status, out, _ = said("restore", FIRST, "--user", "b/2", "--json")
    assert status == 0
    restored = json.loads(out)
    _, out, _ = said("list", "--user", "b/2", "--json")
    entries = [json.loads(line) for line in out.splitlines()]
    assert [(each["id"], each["reason"]) for each in entries] == [
        ("current", None),
        (restored["superseded"], "superseded"),
    ]
    assert entries[0]["conversationId"] == restored["conversationId"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([FIRST], "--user is missing: whose archive is it?"),
        ([FIRST, "--user", "a1", "--url", "http://localhost"], "the token says whose it is"),
        ([FIRST, "--url", "nowhere"], "--url: "),
        (["2024-01-01-00-00-00", "--user", "a1"], "a1 has no archive 2024-01-01-00-00-00"),
        (["../../b", "--user", "a1"], "a1 has no archive ../../b"),
        ([FIRST, "--user", "nobody"], "nobody has no dialogs"),
        ([FIRST, "--user", "a1", "--data-dir", "none"], "there is no folder of data"),
    ],
)
def test_what_can_not_be_restored_is_one_line(
    data: Path, said: Said, arguments: list[str], words: str
) -> None:
    """And changes nothing."""
    before = sorted((path, path.stat().st_size) for path in data.rglob("*.yaml"))
    status, out, err = said("restore", *arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert sorted((path, path.stat().st_size) for path in data.rglob("*.yaml")) == before


@pytest.mark.process
async def test_beside_a_running_server_all_is_read_and_nothing_changed(tmp_path: Path, said: Said) -> None:
    """Its open dialog is found; a restore says that the server has it, and can be done there."""
    archive(tmp_path / "data", "a1", ("Old words", "Yes"))
    async with ServerProcess(tmp_path) as server, aiohttp.ClientSession() as session:
        await chat(session, server.url, "New words")
        _, out, _ = await asyncio.to_thread(said, "search", "words", "--json")
        assert [each for _, each, _ in found(out)] == ["current", "current", FIRST]
        _, out, _ = await asyncio.to_thread(said, "export", "--user", "a1", "-o", "a1.json")
        assert out == "a1.json: 1 archive of a1\n"
        status, _, err = await asyncio.to_thread(said, "restore", FIRST, "--user", "a1")
        assert status == 2
        assert "is owned by another potoserver process" in err
        assert len(server.archives()) == 1
        at = ("--url", server.url)
        status, out, _ = await asyncio.to_thread(said, "restore", FIRST, *at, "--json")
        assert status == 0
        restored = json.loads(out)
        assert restored["messageCount"] == 2
        assert [path.stem for path in server.archives()] == [restored["superseded"]]
        status, _, err = await asyncio.to_thread(said, "restore", "2024-01-01-00-00-00", *at)
        assert status == 1
        assert "no such archive" in err
