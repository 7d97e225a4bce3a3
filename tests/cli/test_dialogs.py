"""`dialogs list` and `dialogs show`, on the files of a folder of data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Said
from tests.support.dialog_files import archive, leave_open, make_folders, write
from tests.support.process import server_environment

ESCAPES = "\x1b[2J\x1b]0;mine\x07\x9b31m \u202egnol"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three archives of `a1`, one and an open dialog of `b/2`."""
    for number in range(3):
        archive(
            tmp_path / "data", "a1", (f"Question {number}", f"Answer {number}\non two lines"), number=number
        )
    archive(tmp_path / "data", "b/2", (ESCAPES, ESCAPES))
    leave_open(tmp_path / "data", "b/2")
    return tmp_path / "data"


def test_the_list_has_each_users_open_dialog_then_the_archives_newest_first(data: Path, said: Said) -> None:
    """Users by name; `--user` chooses one."""
    status, out, err = said("list")
    assert (status, err) == (0, "")
    rows = [line.split()[:4] for line in out.splitlines()]
    assert rows == [
        ["user", "id", "reason", "messages"],
        ["a1", "2023-11-14-22-16-10", "disconnect", "2"],
        ["a1", "2023-11-14-22-15-10", "disconnect", "2"],
        ["a1", "2023-11-14-22-14-10", "disconnect", "2"],
        ["b/2", "current", "open", "1"],
        ["b/2", "2023-11-14-22-14-10", "disconnect", "2"],
    ]
    _, out, _ = said("list", "--user", "b/2")
    assert len(out.splitlines()) == 3


def test_as_json_each_dialog_is_one_line(data: Path, said: Said) -> None:
    """With what `listArchives` tells of it, and whose it is."""
    status, out, _ = said("list", "--json")
    assert status == 0
    entries = [json.loads(line) for line in out.splitlines()]
    assert [(each["user"], each["id"], each["endedAt"] is None) for each in entries] == [
        ("a1", "2023-11-14-22-16-10", False),
        ("a1", "2023-11-14-22-15-10", False),
        ("a1", "2023-11-14-22-14-10", False),
        ("b/2", "current", True),
        ("b/2", "2023-11-14-22-14-10", False),
    ]
    assert set(entries[0]) == set(entries[3])
    assert entries[0]["messageCount"] == 2
    assert entries[0]["startedAt"] == "2023-11-14T22:15:20.000Z"


def test_a_dialog_is_shown_with_its_messages(data: Path, said: Said) -> None:
    """An archive or the open one; as JSON what `getArchive` answers."""
    status, out, _ = said("show", "2023-11-14-22-15-10")
    assert status == 0
    for line in (
        "user         a1",
        "ended        2023-11-14T22:15:10.000Z, disconnect",
        "Answer 1",
        "on two lines",
    ):
        assert line in out.splitlines()
    _, out, _ = said("show", "2023-11-14-22-15-10", "--json")
    shown = json.loads(out)
    assert shown["user"] == "a1"
    assert [each["content"] for each in shown["messages"]] == ["Question 1", "Answer 1\non two lines"]
    _, out, _ = said("show", "current", "--user", "b/2")
    assert "ended        open" in out
    assert "Are you there?" in out


@pytest.mark.parametrize("arguments", [["show", "2023-11-14-22-14-10", "--user", "b/2"], ["list"]])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_nothing_in_a_file_commands_the_terminal(
    data: Path, said: Said, arguments: list[str], flags: list[str]
) -> None:
    """Neither as text nor as JSON, which loads to the same all the same."""
    _, out, err = said(*arguments, *flags)
    assert not set("\x1b\x07\x9b\u202e") & set(out + err)
    if arguments[0] == "show" and flags:
        assert json.loads(out)["messages"][0]["content"] == ESCAPES


def test_titles_and_pins_are_listed_and_shown(data: Path, said: Said) -> None:
    """The one that was given, else the first words."""
    path = make_folders(data, "a1").archived / "2023-11-14-22-15-10.yaml"
    write(path, path.read_bytes().replace(b"messages:", b'title: "My journey"\npinned: true\nmessages:', 1))
    _, out, _ = said("list", "--user", "a1")
    assert [line.split(maxsplit=4)[4] for line in out.splitlines()[1:]] == [
        "Question 2",
        "★ My journey",
        "Question 0",
    ]
    _, out, _ = said("list", "--user", "a1", "--json")
    assert [json.loads(line)["pinned"] for line in out.splitlines()] == [False, True, False]
    _, out, _ = said("show", "2023-11-14-22-15-10")
    assert "title        My journey (pinned)" in out


def test_an_id_that_several_users_have_needs_a_user(data: Path, said: Said) -> None:
    """They are named."""
    status, out, err = said("show", "2023-11-14-22-14-10")
    assert (status, out) == (2, "")
    assert "several users have a dialog 2023-11-14-22-14-10: a1, b/2; say whose with --user" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "--user", "nobody"], "--user: nobody has no dialogs in "),
        (["list", "--user", ""], "--user: a user id must not be empty"),
        (["list", "--data-dir", "none"], "there is no folder of data "),
        (["list", "--data-dir", "potoserver.yaml"], "there is no folder of data "),
        (["show", "2024-01-01-00-00-00"], "there is no dialog 2024-01-01-00-00-00; `dialogs list` shows"),
        (["show", "../../a1"], "there is no dialog ../../a1"),
        (["show", "current", "--user", "a1"], "there is no dialog current"),
        (["show"], "Missing argument"),
        (["nonsense"], "No such command"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    data: Path, said: Said, arguments: list[str], words: str
) -> None:
    """It says what is not there."""
    (data.parent / "potoserver.yaml").touch()
    status, out, err = said(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("potoserver: ")
    assert words in err
    assert len(err.splitlines()) == 1


def test_what_can_not_be_read_is_told_and_the_rest_listed(data: Path, said: Said) -> None:
    """The status says so too; whatever stands in a name or a file."""
    paths = make_folders(data, "a1")
    write(paths.archived / "2023-11-14-22-15-10.yaml", b"\x1b[2J: [")
    (paths.archived / "2024-01-01-00-00-00.yaml").symlink_to(paths.archived / "2023-11-14-22-16-10.yaml")
    (paths.archived / "notes.txt").write_text("mine")
    (data / "users" / "No User \x1b[2J").mkdir()
    write(make_folders(data, "c3").current, b"nonsense")
    status, out, err = said("list", "--json")
    assert status == 1
    assert [json.loads(line)["id"] for line in out.splitlines()] == [
        "2023-11-14-22-16-10",
        "2023-11-14-22-14-10",
        "current",
        "2023-11-14-22-14-10",
    ]
    assert len(err.splitlines()) == 3
    assert "2023-11-14-22-15-10.yaml" in err
    assert "\x1b" not in err


@pytest.mark.parametrize("place", [".", "dialogs", "dialogs/archived"])
def test_no_link_is_followed(data: Path, said: Said, tmp_path: Path, place: str) -> None:
    """In the place of a folder; it is told, and the others are listed."""
    link = data / "users" / "a1" / place
    link.rename(tmp_path / "elsewhere")
    link.symlink_to(tmp_path / "elsewhere")
    status, out, err = said("list", "--json")
    assert status == 1
    assert {json.loads(line)["user"] for line in out.splitlines()} == {"b/2"}
    assert "it is no folder, and links are not followed" in err
    for arguments in (["list"], ["search", "Question"], ["export"]):
        assert said(*arguments, "--user", "a1")[:2] == (1, "")


def test_a_backup_is_read_where_it_lies(data: Path, said: Said, tmp_path: Path) -> None:
    """Any folder of data will do, without a lock and without a change."""
    data.rename(tmp_path / "backup")
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "backup").rglob("*"))
    status, out, _ = said("list", "--data-dir", "backup")
    assert (status, len(out.splitlines())) == (0, 6)
    assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "backup").rglob("*")) == before
    assert not (tmp_path / "data").exists()


def test_a_reader_that_has_had_enough_ends_a_list_quietly(tmp_path: Path) -> None:
    """More is listed than a pipe holds."""
    paths = make_folders(tmp_path / "data", "a1")
    whole = archive(tmp_path / "data", "a1").read_bytes()
    for number in range(2, 600):
        write(paths.archived / f"2023-11-14-22-14-10-{number}.yaml", whole)
    with subprocess.Popen(
        [sys.executable, "-m", "potoserver", "dialogs", "list", "--json"],
        cwd=tmp_path,
        env=server_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == b""
