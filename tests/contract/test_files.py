"""The contract's sentences on files that no other test is about."""

from __future__ import annotations

from pathlib import Path

from modules.chat_server import ChatServerModule
from modules.chat_server.journal.records import Reason
from modules.chat_server.settings import ChatSettings
from tests.support.server import RunServer

CHAT = "ChatServerModule"


async def test_a_dialog_is_marked_as_long_as_it_is_open(tmp_path: Path, running_server: RunServer) -> None:
    """From before its first message to its archive; a user without a dialog has no mark."""
    mark = tmp_path / "data" / "open" / "a1"
    async with running_server(tmp_path, [ChatServerModule()], sections={"chat": ChatSettings()}) as running:
        await running.call(f"{CHAT}/getConversation")
        assert not mark.exists()
        assert (await running.call(f"{CHAT}/chatWithHistory", {"message": "Hello"}))[0] == 200
        assert mark.read_bytes() == b""
        assert (await running.call(f"{CHAT}/endSession"))[0] == 200
        assert not mark.exists()


async def test_a_file_grows_by_appending_alone(tmp_path: Path, running_server: RunServer) -> None:
    """What was written stays byte for byte, to the archive, whose file is the one that grew."""
    dialogs = tmp_path / "data" / "users" / "a1" / "dialogs"
    async with running_server(tmp_path, [ChatServerModule()], sections={"chat": ChatSettings()}) as running:
        before, inode = b"", 0
        for text in ("One", "Two\nlines", 'Three "quoted" \U0001f98a'):
            assert (await running.call(f"{CHAT}/chatWithHistory", {"message": text}))[0] == 200
            now = (dialogs / "current.yaml").read_bytes()
            assert now.startswith(before)
            assert len(now) > len(before)
            before, inode = now, inode or (dialogs / "current.yaml").stat().st_ino
        assert (await running.call(f"{CHAT}/endSession"))[0] == 200
        [archive] = (dialogs / "archived").iterdir()
        footer = archive.read_bytes().removeprefix(before)
        assert [line.partition(b":")[0] for line in footer.splitlines()] == [
            b"ended",
            b"reason",
            b"message_count",
        ]
        assert archive.stat().st_ino == inode
        assert (dialogs / "current.yaml").read_bytes() == b""


def test_there_are_six_reasons() -> None:
    """As the contract names them."""
    assert {str(reason) for reason in Reason} == {
        *("disconnect", "timeout", "shutdown", "request", "recovered", "superseded")
    }
