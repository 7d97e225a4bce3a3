"""A folder that several nodes share: who is let into it, what is left behind, what is kept open."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from typing_extensions import override

from modules.chat_server.journal import (
    Conversation,
    FencedError,
    JournalError,
    JournalUnavailableError,
)
from modules.chat_server.journal.dialog_yaml import emit_head, emit_message
from potoserver import User
from tests.faults.disk import FaultyDisk
from tests.journal.fence_support import lock_of, open_files, snapshot, token
from tests.journal.support import (
    FIRST,
    USER,
    dialogs_of,
    make_journal,
    message,
    opened,
)

OTHER = User("b2")
OTHERS = Conversation("sse-1705313523122-ddddddddd", FIRST.started_ms)


async def test_asking_about_users_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither folders nor open files."""
    async with opened(tmp_path, shared=True) as journal:
        before = open_files()
        for number in range(20):
            user = User(f"u{number}")
            await journal.take(user, 1)
            assert await journal.recover(user) is None
            assert await journal.get_conversation(user) == []
            assert (await journal.list_archives(user, 1, None)).archives == ()
            assert await journal.archive_conversation(user) is None
        assert not journal._calls.in_use
        assert open_files() == before
    assert list((tmp_path / "users").iterdir()) == []


async def test_what_another_node_begins_at_that_moment_is_not_touched(tmp_path: Path) -> None:
    """Where there was no folder nobody is kept out: what is being written is not taken for torn."""
    dialogs = dialogs_of(tmp_path)
    torn = (emit_head(FIRST, "a1") + emit_message(message(0)))[:-20]

    class Planting(FaultyDisk):
        @override
        def find(self, path: Path) -> os.stat_result | None:
            found = super().find(path)
            if path == tmp_path / "open" / "a1" and not dialogs.exists():
                dialogs.mkdir(parents=True)
                (dialogs / "current.yaml").write_bytes(torn)
                path.touch()
            return found

    async with opened(tmp_path, shared=True, disk=Planting()) as journal:
        await journal.take(USER, 1)
        assert await journal.get_conversation(USER) == []
        assert (dialogs / "current.yaml").read_bytes() == torn
        assert (tmp_path / "open" / "a1").exists()
        # The next call finds the folder, and goes in.
        assert await journal.get_conversation(USER) == []
        assert [path.read_bytes() for path in dialogs.glob("current.torn-*")] == [torn]


async def test_a_marker_without_a_folder_is_taken_away(tmp_path: Path) -> None:
    """As of a user whose folder was removed by hand; by who is in."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a1").touch()
    async with opened(tmp_path, shared=True) as journal:
        await journal.take(USER, 1)
        assert await journal.recover(USER) is None
        assert not (tmp_path / "open" / "a1").exists()
        assert lock_of(tmp_path).read_bytes() == token(1)


async def test_a_link_in_a_folder_s_place_is_not_followed(tmp_path: Path) -> None:
    """No lock is made there."""
    (tmp_path / "data" / "users" / "a1").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "users" / "a1" / "dialogs").symlink_to(tmp_path / "elsewhere")
    async with opened(tmp_path / "data", shared=True) as journal:
        await journal.take(USER, 1)
        with pytest.raises(JournalUnavailableError):
            await journal.add_message(USER, message(0), FIRST)
    assert list((tmp_path / "elsewhere").iterdir()) == []


# Open files


async def test_hundreds_of_users_hold_few_files_open(tmp_path: Path) -> None:
    """And none once they are let go, or the journal is closed."""
    before = open_files()
    users = [User(f"u{number}") for number in range(300)]
    async with opened(tmp_path, shared=True) as journal:
        for user in users:
            await journal.take(user, 1)
        await asyncio.gather(*(journal.add_message(user, message(0), FIRST) for user in users))
        few = open_files() - before
        assert 200 < few < 280
        for user in users[:200]:
            await journal.let_go(user)
        assert open_files() - before < few - 100
        for user in users[200:]:
            await journal.add_message(user, message(1), FIRST)
    assert open_files() == before


# The folder as a whole


async def test_nodes_share_the_folder_with_each_other_alone(tmp_path: Path) -> None:
    """A server on the embedded engine and a node of a cluster never run on one; each is told of the other."""
    async with opened(tmp_path, shared=True), opened(tmp_path, shared=True):
        alone = make_journal(tmp_path)
        with pytest.raises(JournalError, match="shared by the nodes of a cluster"):
            await alone.start()
        await alone.close()
    async with opened(tmp_path):
        for shared, why in ((True, "does not share it"), (False, "another potoserver process")):
            late = make_journal(tmp_path, shared=shared)
            before = open_files()
            with pytest.raises(JournalError, match=why) as refused:
                await late.start()
            assert refused.value.status == 503
            assert str(tmp_path) in refused.value.detail
            assert open_files() == before
            await late.close()
    async with opened(tmp_path, shared=True):
        pass


async def test_a_start_leaves_other_nodes_open_dialogs_alone(tmp_path: Path) -> None:
    """It tells of whom there are markers, and puts nothing in order before the user is taken."""
    async with opened(tmp_path, shared=True) as journal:
        await journal.take(USER, 1)
        await journal.add_message(USER, message(0), FIRST)
        current = dialogs_of(tmp_path) / "current.yaml"
        current.write_bytes(current.read_bytes() + b"torn")
        before = snapshot(tmp_path)
        late = make_journal(tmp_path, shared=True)
        assert list(await late.start()) == ["a1"]
        with pytest.raises(FencedError):
            await late.recover(USER)
        await late.close()
        assert snapshot(tmp_path) == before


async def test_a_look_from_outside_is_refused_where_the_lock_is_none(tmp_path: Path) -> None:
    """And goes on where there is none yet."""
    async with opened(tmp_path, shared=True) as journal:
        await journal.take(USER, 1)
        assert await journal.expired_archives(USER, None, 0) == []
        await journal.add_message(USER, message(0), FIRST)
        await journal.take(USER, 2)
        assert await journal.expired_archives(USER, None, 0) == []
        lock_of(tmp_path).write_bytes(b"my notes\n")
        with pytest.raises(JournalUnavailableError):
            await journal.expired_archives(USER, None, 0)
