"""A disk that is full or fails: the operator is told while it lasts, whatever the journal was doing."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from modules.chat_server.journal import Conversation, JournalError
from modules.chat_server.journal.dialog_yaml import emit_head, emit_message
from modules.chat_server.journal.disk import Disk
from potoserver import User
from potoserver.alarms import QUIET_S
from tests.chat.support import A1, Chat, question
from tests.faults.disk import Fault, Faults, seam

NO_ROOM = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG]
FAILING = [errno.EIO, errno.EROFS, errno.EMFILE]


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    faults = Faults()
    monkeypatch.setattr(Disk, "_call", seam(faults))
    return faults


def on(chat: Chat) -> list[str]:
    return [alarm.name for alarm in chat.context.alarms.on()]


async def until(chat: Chat, condition: Callable[[], bool]) -> None:
    """Lets time pass and threads work until something is so."""
    for _ in range(500):
        if condition():
            return
        await chat.clock.advance(0.25)
        await asyncio.sleep(0.005)
    pytest.fail("it did not come to be so")


@pytest.mark.parametrize(
    ("error", "alarm"),
    [(each, "disk-full") for each in NO_ROOM] + [(each, "disk-failing") for each in FAILING],
    ids=[errno.errorcode[each] for each in NO_ROOM + FAILING],
)
async def test_an_append_that_fails_raises_the_alarm_and_one_that_succeeds_ends_it(
    tmp_path: Path, faults: Faults, error: int, alarm: str
) -> None:
    """One alarm for a full disk, another for any other error; it goes once writing went well for a while."""
    async with Chat(tmp_path) as chat:
        await chat.ask("before")
        faults.set(Fault("write", "*/current.yaml", times=0, error=error))
        for _ in range(3):
            assert (await chat.begin("x").problem()).status == (507 if alarm == "disk-full" else 503)
        assert on(chat) == [alarm]
        await chat.clock.advance(QUIET_S * 2)
        assert on(chat) == [alarm], "nothing was written since"
        faults.set()
        await chat.ask("after")
        await chat.clock.advance(QUIET_S)
        assert on(chat) == []
        [line] = chat.context.logged("alarm on")
        assert (line["alarm"], line["log_level"]) == (alarm, "warning")
        assert [line["alarm"] for line in chat.context.logged("alarm off")] == [alarm]


async def test_a_full_disk_shows_while_only_archives_wait(tmp_path: Path, faults: Faults) -> None:
    """Nobody talks any more: the archive that can't be written raises the alarm, and its success ends it."""
    async with Chat(tmp_path) as chat:
        connection, _ = await chat.context.connect(A1.id)
        await chat.ask("before")
        faults.set(Fault("write", times=0, error=errno.ENOSPC))
        await chat.context.disconnect(connection)
        await until(chat, lambda: "disk-full" in on(chat))
        await chat.clock.advance(300)
        assert on(chat) == ["disk-full"]
        assert (await chat.module.health_fields())["pendingArchives"] == 1
        faults.set()
        await until(chat, lambda: not on(chat))
        assert (await chat.module.health_fields())["pendingArchives"] == 0
        assert len(chat.context.logged("conversation archived")) == 1


async def test_a_dialog_that_cannot_be_read_raises_the_alarm(tmp_path: Path, faults: Faults) -> None:
    """Reading, listing and recovering count too; a read that goes well ends nothing."""
    async with Chat(tmp_path) as chat:
        await chat.ask("before")
        faults.set(Fault("read", error=errno.EIO))
        with pytest.raises(JournalError):
            await chat.module.dialogue_journal.get_conversation(A1)
        assert on(chat) == ["disk-failing"]
        assert await chat.open_texts() == ["before", "before"]
        await chat.clock.advance(QUIET_S * 2)
        assert on(chat) == ["disk-failing"]
        await chat.ask("after")
        await chat.clock.advance(QUIET_S)
        assert on(chat) == []
        faults.set(Fault("names", error=errno.EMFILE))
        with pytest.raises(JournalError):
            await chat.module.dialogue_journal.list_archives(A1, 10, None)
        assert on(chat) == ["disk-failing"]


async def test_a_recovery_that_fails_raises_the_alarm(tmp_path: Path, faults: Faults) -> None:
    """A dialog left open that can't be read at the start is told of, and read when that can be done."""
    chat = Chat(tmp_path)
    left = Conversation("left-open", chat.clock.now_ms())
    dialogs = tmp_path / "data" / "users" / A1.id / "dialogs"
    (dialogs / "archived").mkdir(parents=True)
    (dialogs / "current.yaml").write_bytes(
        emit_head(left, A1.id) + emit_message(question("left", chat.clock))
    )
    (tmp_path / "data" / "open").mkdir()
    (tmp_path / "data" / "open" / A1.id).touch()
    faults.set(Fault("read", times=0, error=errno.EIO))
    async with chat:
        await until(chat, lambda: on(chat) == ["disk-failing"])
        faults.set()
        await until(chat, lambda: not (tmp_path / "data" / "open" / A1.id).exists())
        await until(chat, lambda: on(chat) == [])
        assert len(await chat.archives()) == 1


async def test_what_succeeds_before_the_failure_does_not_hide_it(tmp_path: Path, faults: Faults) -> None:
    """A call that archives one dialog and then fails to begin the next leaves the alarm on."""
    async with Chat(tmp_path) as chat:
        journal = chat.module.dialogue_journal
        first, second = (Conversation(f"c-{number}", chat.clock.now_ms()) for number in (1, 2))
        await journal.add_message(A1, question("one", chat.clock), first)
        faults.set(Fault("write", "*/current.yaml", at=2, times=0, error=errno.ENOSPC))
        with pytest.raises(JournalError):
            await journal.add_message(A1, question("two", chat.clock), second)
        assert len(chat.context.logged("conversation archived")) == 1
        await chat.clock.advance(QUIET_S * 2)
        assert on(chat) == ["disk-full"]
        faults.set()


async def test_what_is_no_fault_of_the_disk_raises_no_alarm(tmp_path: Path) -> None:
    """A dialog that has ended refuses a message; the disk is well."""
    async with Chat(tmp_path) as chat:
        journal = chat.module.dialogue_journal
        ended = Conversation("c-1", chat.clock.now_ms())
        await journal.add_message(User("b2"), question("one", chat.clock), ended)
        await journal.archive_conversation(User("b2"))
        with pytest.raises(JournalError, match="has ended"):
            await journal.add_message(User("b2"), question("two", chat.clock), ended)
        assert on(chat) == []


async def test_one_odd_folder_is_an_alarm_of_its_own_that_does_not_flap(
    tmp_path: Path, faults: Faults
) -> None:
    """Others write all the time, and that says nothing of it; the server as a whole is healthy."""
    async with Chat(tmp_path) as chat:
        for _ in range(5):
            faults.set(Fault("write", "*/current.yaml", times=0, error=errno.EACCES))
            assert (await chat.begin("x").problem()).status == 503
            faults.set()
            await chat.ask("of another")
            await chat.clock.advance(60)
            assert on(chat) == ["user-folder"]
        assert not chat.context.alarms.degraded
        assert len(chat.context.logged("alarm on")) == 1
        await chat.clock.advance(60)
        await chat.ask("later")
        await chat.clock.advance(QUIET_S)
        assert on(chat) == []
