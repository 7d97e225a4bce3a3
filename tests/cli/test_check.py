"""`check`: what keeps a server from starting, line by line."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from potoserver.cli import run
from tests.support.process import ServerProcess

Said = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs `check` in the test's folder, on any free port; gives its status and lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "0")

    def check(*arguments: str) -> tuple[int, list[str]]:
        status = run([*arguments, "check"])
        printed = capsys.readouterr()
        assert printed.err == ""
        return status, printed.out.splitlines()

    return check


def test_a_fine_place_has_nothing_wrong_and_nothing_is_made(said: Said, tmp_path: Path) -> None:
    """Each line says what was looked at."""
    status, lines = said()
    assert status == 0
    subjects = "settings engine modules data_dir log_dir disk port chat.responder dialogs"
    assert [line.partition(":")[0].split() for line in lines] == [["ok", each] for each in subjects.split()]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
async def test_a_folder_that_a_running_server_owns_is_told(tmp_path: Path, said: Said) -> None:
    """And how many dialogs are open there."""
    async with ServerProcess(tmp_path) as server:
        (server.data_dir / "open" / "somebody").touch()
        status, lines = said()
    assert status == 1
    assert f"wrong   data_dir: another server uses {server.data_dir}" in lines
    assert lines[-1].startswith("ok      dialogs: 1 are open; a start adopts them")


def test_what_another_user_of_the_machine_left_behind_is_told(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was once started as root leaves files that nobody else may open."""
    (tmp_path / "data").mkdir()
    (tmp_path / "logs").mkdir()
    for name in ("data/.lock", "logs/server.log"):
        (tmp_path / name).touch()
        refused = tmp_path / name
        monkeypatch.setattr(os, "access", lambda path, _mode, refused=refused: path != refused)
        status, lines = said()
        assert status == 1
        owner = refused.owner()
        assert any(f"{refused} can't be opened, it belongs to {owner}" in line for line in lines), lines


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_signing_key_that_is_none_is_told(said: Said, tmp_path: Path, size: int) -> None:
    """The start would refuse it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".signing-key").write_bytes(b"x" * size)
    status, lines = said()
    assert status == 1
    assert any("is no key of 32 bytes; remove it for a new one" in line for line in lines)


@pytest.mark.parametrize("name", ["open", "users"])
def test_a_link_in_the_place_of_a_folder_is_told(said: Said, tmp_path: Path, name: str) -> None:
    """The start would refuse it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere")
    status, lines = said()
    assert status == 1
    assert f"wrong   dialogs: {tmp_path / 'data' / name} is no folder, and links are not followed" in lines


def test_little_room_is_a_note(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps no server from starting."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=5 * 1024**2))
    status, lines = said()
    assert status == 0
    assert "note    disk: 5 MiB are free for the data" in lines


def test_a_responder_that_lacks_its_package_is_told(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name and address are told otherwise, its key never."""
    monkeypatch.setenv("POTO_CHAT__RESPONDER", "openai")
    monkeypatch.setenv("POTO_CHAT__OPENAI__MODEL", "llama")
    monkeypatch.setenv("POTO_CHAT__OPENAI__API_KEY", "my-secret-key")
    status, lines = said()
    assert status == 0
    assert any("chat.responder: openai, llama at https://api.openai.com/v1" in line for line in lines)
    assert "my-secret-key" not in "".join(lines)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    status, lines = said()
    assert status == 1
    assert any("pip install 'potoserver[llm]'" in line for line in lines)


def test_a_plugin_may_say_something_and_fail_at_it(said: Said, tmp_path: Path) -> None:
    """What it raises is a note; what it says can't command the terminal."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "feed.py").write_text(
        "from potoserver import Check, ServerModule\n"
        "class Feed(ServerModule):\n"
        "    def startup_checks(self, settings, data_dir):\n"
        "        yield Check('feed', 'away \\x1b[2J', 'wrong')\n"
        "class Loud(ServerModule):\n"
        "    def startup_checks(self, settings, data_dir):\n"
        "        raise ValueError('no\\nway')\n"
    )
    (tmp_path / "potoserver.yaml").write_text("modules_dir: modules\n")
    status, lines = said()
    assert status == 1
    assert lines[-2:] == [
        r"wrong   feed: away \x1b[2J",
        "note    Loud: startup_checks failed: ValueError: no way",
    ]
