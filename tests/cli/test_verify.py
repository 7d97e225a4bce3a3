"""`dialogs verify`: each thing that can be wrong is planted, told, and mended where nothing is lost by it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from fcntl import LOCK_EX, LOCK_UN
from fcntl import flock as lock_file
from pathlib import Path

import aiohttp
import pytest
import yaml

from potoserver.cli import run
from tests.cli.planted_faults import FAULTS, FIRST, WORDS, at, cut, first, give_away, make_sound
from tests.support.commands import held_to_permissions, potoserver
from tests.support.dialog_files import archive, make_folders, write
from tests.support.process import ServerProcess, chat
from tests.support.terminal import ended, terminal

Verify = Callable[..., tuple[int, list[dict[str, object]], str]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of data in which nothing is wrong."""
    make_sound(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Runs `dialogs verify --json` in the test's folder; gives its status, its findings, its error output."""
    monkeypatch.chdir(tmp_path)

    def run_verify(*arguments: str) -> tuple[int, list[dict[str, object]], str]:
        status = run(["dialogs", "verify", "--json", *arguments])
        printed = capsys.readouterr()
        return status, [json.loads(line) for line in printed.out.splitlines()], printed.err

    return run_verify


def contents(data: Path) -> dict[str, tuple[int, bytes]]:
    """Every file's permissions and bytes, every folder's permissions."""
    return {
        str(path.relative_to(data)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in data.rglob("*")
    }


def test_where_nothing_is_wrong_nothing_is_told(data: Path, verify: Verify) -> None:
    """And the status is 0."""
    status, findings, err = verify()
    assert (status, findings) == (0, [])
    assert err == "potoserver: 3 users, 3 archives, 7 messages: nothing is wrong\n"


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_told_and_nothing_is_changed(data: Path, verify: Verify, name: str) -> None:
    """With its kind, its file and its user; the status is 1."""
    fault = FAULTS[name]
    fault.plant(data)
    before = contents(data)
    status, findings, err = verify()
    assert status == 1
    assert (fault.kind, fault.file) in [(each["kind"], Path(str(each["file"])).name) for each in findings], (
        findings
    )
    assert not any(each["mended"] for each in findings)
    assert "\x1b" not in err + json.dumps(findings, ensure_ascii=False)
    assert contents(data) == before


@pytest.mark.parametrize("name", FAULTS)
def test_repair_mends_what_recovery_would_and_loses_no_word(data: Path, verify: Verify, name: str) -> None:
    """What is mended is told as such, and is in order afterwards; the rest is left as it was."""
    fault = FAULTS[name]
    fault.plant(data)
    before = contents(data)
    words = [word for word in WORDS if any(word.encode() in kept for _, kept in before.values())]
    status, findings, _ = verify("--repair")
    told = {(each["kind"], Path(str(each["file"])).name): each["mended"] for each in findings}
    assert told[fault.kind, fault.file] is fault.mended
    left = [key for key, done in told.items() if not done]
    assert status == (1 if left else 0)
    after = contents(data)
    for word in words:
        assert any(word.encode() in kept for _, kept in after.values()), word
    if not fault.mended:
        after.pop(".lock")
        assert after == before
    again, findings, _ = verify()
    assert again == status
    assert sorted((each["kind"], Path(str(each["file"])).name) for each in findings) == sorted(left)


def test_an_archive_that_was_cut_off_is_read_again_after_its_repair(data: Path, verify: Verify) -> None:
    """Its whole messages have a footer again, reason `recovered`; the file as it was lies beside it."""
    path = first(data)
    cut(path, 120)
    torn = path.read_bytes()
    verify("--repair")
    loaded = yaml.safe_load(path.read_bytes())
    assert [each["content"] for each in loaded["messages"]] == ["Question 0"]
    assert (loaded["reason"], loaded["message_count"]) == ("recovered", 1)
    assert loaded["ended"].startswith("2023-11-14T22:14:10")
    (aside,) = path.parent.glob(f"{FIRST}.torn-*")
    assert aside.read_bytes() == torn
    assert aside.stat().st_mode & 0o777 == 0o600


def test_whose_file_it_is_is_told_by_name(data: Path, verify: Verify) -> None:
    """One finding a user, with how many files there are: a server once started as root leaves hundreds."""
    for path in (at(data) / "archived").iterdir():
        give_away(path)
    _, (finding,), _ = verify()
    whose = first(data).owner()
    assert whose != data.owner()
    told = f"it belongs to somebody else ({whose}, not {data.owner()}), and 1 more of this user's"
    assert (finding["kind"], finding["user"], finding["says"]) == ("owner", "a1", told)


def test_one_user_can_be_looked_at_alone(data: Path, verify: Verify) -> None:
    """What is wrong with others is not told then."""
    cut(first(data), 10)
    assert verify("--user", "b2")[0] == 0
    assert verify("--user", "a1")[0] == 1
    status, _, err = verify("--user", "nobody")
    assert status == 2
    assert "nobody has no dialogs" in err


def test_without_a_folder_it_is_wrong_usage(tmp_path: Path, verify: Verify) -> None:
    """Not a clean folder, and none is made."""
    status, _, err = verify()
    assert status == 2
    assert "there is no folder of data" in err
    assert verify("--repair")[0] == 2
    assert not (tmp_path / "data").exists()


def test_the_table_names_kind_file_and_what_was_found(
    data: Path, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the last line sums up."""
    cut(first(data), 120)
    assert run(["dialogs", "verify"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["what", "file", "mended", "says"]
    assert lines[1].split()[:2] == ["torn", f"users/a1/dialogs/archived/{FIRST}.yaml"]
    assert "1 messages are whole" in lines[1]
    assert lines[-1] == "3 users, 3 archives, 5 messages: 1 finding"


@pytest.mark.process
async def test_beside_a_running_server_nothing_is_wrong_and_nothing_repaired(
    tmp_path: Path, verify: Verify
) -> None:
    """The open dialog is no fault; `--repair` says that the server has to stop first."""
    async with ServerProcess(tmp_path) as server, aiohttp.ClientSession() as session:
        await chat(session, server.url, "Hello!")
        status, findings, err = await asyncio.to_thread(verify)
        assert (status, findings) == (0, [])
        assert "1 user, 0 archives, 2 messages" in err
        status, findings, err = await asyncio.to_thread(verify, "--repair")
        assert (status, findings) == (2, [])
        assert err.startswith(f"potoserver: The data folder {server.data_dir} is owned by another")


@pytest.mark.parametrize("held", [True, False])
def test_a_message_that_is_just_being_written_is_no_fault(
    data: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    """Where somebody holds the folder's lock, what a write may look like is looked at twice."""
    current = at(data, "c3") / "current.yaml"
    whole = current.read_bytes()
    write(current, whole[:-5])
    monkeypatch.setattr("time.sleep", lambda _: write(current, whole))
    with (data / ".lock").open("wb") as lock:
        lock_file(lock, LOCK_EX if held else LOCK_UN)
        status, findings, _ = verify()
    assert [each["kind"] for each in findings] == ([] if held else ["torn"])
    assert status == (0 if held else 1)


def test_a_folder_that_may_not_be_read_is_told(data: Path, tmp_path: Path) -> None:
    """The others are looked at all the same."""
    (at(data) / "archived").chmod(0)
    done = potoserver("dialogs", "verify", "--json", cwd=tmp_path, prefix=held_to_permissions())
    (at(data) / "archived").chmod(0o700)
    assert done.returncode == 1, done.stderr
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == ["unreadable"]


def test_in_a_terminal_there_is_a_bar_and_ctrl_c_leaves_it_in_order(tmp_path: Path) -> None:
    """The cursor is there again, no traceback, status 130."""
    paths = make_folders(tmp_path / "data", "a1")
    whole = archive(tmp_path / "data", "a1", ["word " * 100] * 400)
    for number in range(2, 5000):  # more than can be done before the interrupt
        os.link(whole, paths.archived / f"{FIRST}-{number}.yaml")
    with terminal("dialogs", "verify", cwd=tmp_path) as child:
        child.expect("Reading")
        child.sendcontrol("c")
        status, printed = ended(child)
    assert status == 130
    assert "Traceback" not in printed
    assert printed.rindex("\x1b[?25h") > printed.rfind("\x1b[?25l")
