"""Several nodes on one folder: a user is one node's at a time, and who was it before can do nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from modules.chat_server.journal import (
    DialogueJournal,
    FencedError,
    MemoryDialogueJournal,
)
from modules.chat_server.journal.memory import MemoryStorage
from modules.chat_server.journal.records import Dialog, ImportedDialog, Reason
from potoserver import User
from tests.journal.support import (
    FIRST,
    SECOND,
    USER,
    LogRecord,
    dialogs_of,
    make_journal,
    message,
    opened,
)
from tests.support.clock import ManualClock

OTHER = User("b2")
NONE = "2020-01-01-00-00-00"

Node = Callable[..., Awaitable[DialogueJournal]]


def never(_: object) -> bool:
    raise AssertionError("nothing is to be seen")


CALLS: dict[str, Callable[[DialogueJournal], Awaitable[Any]]] = {
    "recover": lambda journal: journal.recover(USER),
    "get_conversation": lambda journal: journal.get_conversation(USER),
    "add_message": lambda journal: journal.add_message(USER, message(2), FIRST),
    "add_message of another dialog": lambda journal: journal.add_message(USER, message(2), SECOND),
    "archive_conversation": lambda journal: journal.archive_conversation(USER),
    "list_archives": lambda journal: journal.list_archives(USER, 10, None),
    "get_archive": lambda journal: journal.get_archive(USER, NONE),
    "rename_archive": lambda journal: journal.rename_archive(USER, NONE, "Trees"),
    "pin_archive": lambda journal: journal.pin_archive(USER, NONE, pinned=True),
    "find_restorable": lambda journal: journal.find_restorable(USER, NONE),
    "restore_archive": lambda journal: journal.restore_archive(USER, NONE),
    "delete_archive": lambda journal: journal.delete_archive(USER, NONE),
    "import_archives": lambda journal: journal.import_archives(USER, [imported()]),
    "expired_archives": lambda journal: journal.expired_archives(USER, None, 0),
    "find_keyed": lambda journal: journal.find_keyed(USER, "k", 0),
    "untold_archive": lambda journal: journal.untold_archive(USER),
    "mark_told": lambda journal: journal.mark_told(USER, NONE),
    "archive_ids": lambda journal: journal.archive_ids(USER),
    "visit_archives": lambda journal: journal.visit_archives(USER, [NONE], never),
}
"""Every call about a user."""


def imported() -> ImportedDialog:
    dialog = Dialog(SECOND, USER.id, (message(4),), SECOND.started_ms + 60_000, Reason.REQUEST)
    return ImportedDialog(dialog, wanted_id=None, path="archives.0")


def test_every_call_about_a_user_is_tried_here() -> None:
    """One that is new must be kept out too."""
    named = {name.partition(" ")[0] for name in CALLS}
    beside = {"start", "close", "take", "let_go", "left_open", "stored_users"}
    assert named | beside == DialogueJournal.__abstractmethods__


@pytest.fixture(params=["filesystem", "memory"])
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    """Starts a further node on one storage."""
    storage = MemoryStorage()
    async with AsyncExitStack() as nodes:

        async def started() -> DialogueJournal:
            journal: DialogueJournal
            if request.param == "filesystem":
                return await nodes.enter_async_context(opened(tmp_path, shared=True))
            journal = MemoryDialogueJournal(
                clock=ManualClock(), logger=LogRecord(), registry=CollectorRegistry(), storage=storage
            )
            await journal.start()
            return journal

        yield started


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_about_a_user_who_was_not_taken_is_refused(node: Node, call: str) -> None:
    """503, to be repeated at once: the user's home is elsewhere."""
    journal = await node()
    with pytest.raises(FencedError) as refused:
        await CALLS[call](journal)
    assert (refused.value.status, refused.value.retry_after_s) == (503, 1)
    assert "another node" in refused.value.detail
    await journal.take(OTHER, 1)
    with pytest.raises(FencedError):
        await CALLS[call](journal)
    await journal.take(USER, 1)
    await CALLS[call](journal)
    await journal.let_go(USER)
    with pytest.raises(FencedError):
        await CALLS[call](journal)


@pytest.mark.parametrize("call", CALLS)
async def test_who_was_the_home_before_can_do_nothing_more(node: Node, call: str) -> None:
    """Whatever it is asked; and what it had in its memory is worth nothing."""
    old, new = await node(), await node()
    await old.take(USER, 1)
    await old.add_message(USER, message(0), FIRST)
    await new.take(USER, 2)
    await new.add_message(USER, message(1), FIRST)
    for _ in range(2):
        with pytest.raises(FencedError):
            await CALLS[call](old)
    assert [each.id for each in await new.get_conversation(USER)] == ["m-0", "m-1"]


async def test_a_user_goes_from_node_to_node(node: Node) -> None:
    """Each finds what the others have done, however often it was the home before."""
    nodes = [await node(), await node()]
    for token in range(1, 7):
        journal = nodes[token % 2]
        await journal.take(USER, token)
        found = await journal.recover(USER)
        assert (found.messages if found else 0) == token - 1
        await journal.add_message(USER, message(token), FIRST)
    assert len(await nodes[0].get_conversation(USER)) == 6
    archive_id = await nodes[0].archive_conversation(USER)
    await nodes[1].take(USER, 7)
    assert await nodes[1].get_conversation(USER) == []
    assert await nodes[1].archive_ids(USER) == [archive_id]


async def test_a_home_that_is_given_back_and_taken_again_reads_anew(node: Node) -> None:
    """Nothing of the time before is believed: neither what was archived, nor which conversation was open."""
    here, there = await node(), await node()
    await here.take(USER, 1)
    await here.add_message(USER, message(0, idempotency_key="k"), FIRST)
    archive_id = await here.archive_conversation(USER)
    assert archive_id is not None
    assert await here.find_keyed(USER, "k", 0) is not None
    await here.pin_archive(USER, archive_id, pinned=True)
    assert len((await here.list_archives(USER, 10, None, pinned=True)).archives) == 1
    await here.let_go(USER)
    await there.take(USER, 2)
    await there.restore_archive(USER, archive_id)
    await there.let_go(USER)
    await here.take(USER, 3)
    # Archived here before, and open again since.
    await here.add_message(USER, message(1), FIRST)
    assert len(await here.get_conversation(USER)) == 2
    assert (await here.list_archives(USER, 10, None, pinned=True)).archives == ()


async def test_a_token_that_was_given_before_is_good_for_its_node(node: Node) -> None:
    """A node that takes a user twice with one token has the user."""
    journal = await node()
    for number in range(3):
        await journal.take(USER, 5)
        await journal.add_message(USER, message(number), FIRST)
    assert len(await journal.get_conversation(USER)) == 3


async def test_a_lower_token_than_before_is_refused(node: Node) -> None:
    """On the same node too."""
    journal = await node()
    await journal.take(USER, 5)
    await journal.add_message(USER, message(0), FIRST)
    await journal.take(USER, 4)
    with pytest.raises(FencedError):
        await journal.get_conversation(USER)


@pytest.mark.parametrize("token", [-1, 10**20])
async def test_what_is_no_token_is_refused(node: Node, token: int) -> None:
    """It would not fit into its place."""
    journal = await node()
    with pytest.raises(ValueError, match=str(token)):
        await journal.take(USER, token)
    with pytest.raises(FencedError):
        await journal.recover(USER)


@pytest.mark.parametrize("token", [0, 10**20 - 1])
async def test_the_lowest_and_the_highest_token(node: Node, token: int) -> None:
    """Are tokens."""
    journal = await node()
    await journal.take(USER, token)
    await journal.add_message(USER, message(0), FIRST)
    assert len(await journal.get_conversation(USER)) == 1


async def test_letting_go_of_whom_one_does_not_have_is_harmless(node: Node) -> None:
    """Also twice."""
    journal = await node()
    await journal.let_go(USER)
    await journal.take(USER, 1)
    await journal.add_message(USER, message(0), FIRST)
    await journal.let_go(USER)
    await journal.let_go(USER)
    await journal.take(USER, 2)
    assert len(await journal.get_conversation(USER)) == 1


@pytest.mark.parametrize("kind", ["filesystem", "memory"])
async def test_on_a_storage_of_its_own_nobody_need_be_taken(tmp_path: Path, kind: str) -> None:
    """Taking and letting go change nothing there, and no lock is made."""
    journal: DialogueJournal = make_journal(tmp_path)
    if kind == "memory":
        journal = MemoryDialogueJournal(clock=ManualClock(), logger=LogRecord(), registry=CollectorRegistry())
    await journal.start()
    await journal.add_message(USER, message(0), FIRST)
    for number, change in enumerate((journal.take(USER, 2), journal.take(USER, 1), journal.let_go(USER)), 1):
        await change
        await journal.add_message(USER, message(number), FIRST)
    assert len(await journal.get_conversation(USER)) == 4
    await journal.close()
    assert not (dialogs_of(tmp_path) / ".lock").exists()
