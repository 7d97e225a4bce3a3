"""Dialogs from elsewhere become archives: what is there already, in whatever form, is not added again."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from modules.chat_server.journal import (
    Conversation,
    Dialog,
    DialogueJournal,
    JournalError,
    Reason,
)
from modules.chat_server.journal.archive_import import file_of
from modules.chat_server.journal.errors import UserFullError
from modules.chat_server.journal.records import ImportedDialog
from potoserver import ProblemError
from tests.faults.disk import Fault, FaultyDisk
from tests.journal.support import (
    FIRST,
    SECOND,
    USER,
    LogRecord,
    dialogs_of,
    message,
    opened,
)
from tests.support.clock import ManualClock

FIRST_NAME = "2024-01-15-10-12-04"


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[DialogueJournal]:
    async with opened(tmp_path) as made:
        yield made


def given(
    conversation: Conversation = FIRST, count: int = 2, wanted_id: str | None = FIRST_NAME, word: str = "text"
) -> ImportedDialog:
    """A dialog of that many messages that ended in the second of `FIRST_NAME`."""
    messages = tuple(message(number, f"{word} {number}") for number in range(count))
    dialog = Dialog(conversation, USER.id, messages, FIRST.started_ms + 1000, Reason.REQUEST)
    return ImportedDialog(dialog, wanted_id, "archives")  # where it stood is for errors alone


async def test_what_is_imported_is_an_archive_and_is_imported_once(journal: DialogueJournal) -> None:
    """Under the names that they had; the second time all are there."""
    both = [given(), given(SECOND, 1, f"{FIRST_NAME}-2")]
    outcome = await journal.import_archives(USER, both)
    assert ([archive.id for archive in outcome.imported], outcome.skipped) == (
        [FIRST_NAME, f"{FIRST_NAME}-2"],
        0,
    )
    dialog = await journal.get_archive(USER, FIRST_NAME)
    assert dialog == both[0].dialog
    again = await journal.import_archives(USER, both)
    assert (again.imported, again.skipped) == ((), 2)
    assert len((await journal.list_archives(USER, 10, None)).archives) == 2


async def test_what_has_grown_since_is_there(journal: DialogueJournal) -> None:
    """As the open dialog, or as a longer archive; other words under its name are another dialog."""
    for number in range(3):
        await journal.add_message(USER, message(number), FIRST)
    assert (await journal.import_archives(USER, [given()])).skipped == 1
    await journal.archive_conversation(USER)
    outcome = await journal.import_archives(USER, [given(), given(count=4), given(word="other")])
    assert outcome.skipped == 1
    assert len({archive.conversation.id for archive in outcome.imported} | {FIRST.id}) == 3
    again = await journal.import_archives(USER, [given(), given(count=4), given(word="other")])
    assert (again.imported, again.skipped) == ((), 3)


async def test_what_is_there_holds_up_nothing_behind_it(journal: DialogueJournal) -> None:
    """Neither what has the same name, nor what has it by its words, nor what came with other words before."""
    listed = replace(given(), named_by_content=True)
    await journal.import_archives(USER, [given(), given(word="other")])
    for known in (given(), listed, given(word="other")):
        new = given(Conversation(f"sse-{known.named_by_content}-{known.dialog.messages[0].content}", 1))
        outcome = await journal.import_archives(USER, [known, new])
        assert [archive.conversation.id for archive in outcome.imported] == [new.dialog.conversation.id]


async def test_other_words_of_a_known_conversation_get_a_name_that_stays(journal: DialogueJournal) -> None:
    """In every version of the server: else what was imported before would be added again."""
    outcome = await journal.import_archives(USER, [given(), given(word="other")])
    assert [archive.conversation.id for archive in outcome.imported] == [
        FIRST.id,
        f"{FIRST.id}-23713ec986f8",
    ]


async def test_a_question_that_was_asked_with_a_key_is_known_without_it(journal: DialogueJournal) -> None:
    """No export holds an idempotency key."""
    keyed = message(0, idempotency_key="key", request_digest="digest")
    for each in (keyed, message(1)):
        await journal.add_message(USER, each, FIRST)
    await journal.archive_conversation(USER)
    assert (await journal.import_archives(USER, [given()])).skipped == 1


async def test_what_has_no_name_gets_that_of_its_end(journal: DialogueJournal) -> None:
    """The plain one, while it is free."""
    outcome = await journal.import_archives(USER, [given(wanted_id=None), given(SECOND, wanted_id=None)])
    assert [archive.id for archive in outcome.imported] == [FIRST_NAME, f"{FIRST_NAME}-2"]


async def test_a_dialog_that_has_just_ended_is_news_still(journal: DialogueJournal) -> None:
    """What is imported beside it is older, and says nothing of it."""
    await journal.add_message(USER, message(0), SECOND)
    archive_id = await journal.archive_conversation(USER, ended_ms=FIRST.started_ms + 60_000)
    await journal.import_archives(USER, [given()])
    untold = await journal.untold_archive(USER)
    assert untold is not None
    assert untold.id == archive_id


def test_a_dialog_may_be_as_large_as_a_file_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not by a byte larger."""
    size = len(file_of(given()))
    monkeypatch.setattr("modules.chat_server.journal.archive_import.MAX_FILE_BYTES", size)
    assert len(file_of(given())) == size
    monkeypatch.setattr("modules.chat_server.journal.archive_import.MAX_FILE_BYTES", size - 1)
    with pytest.raises(ProblemError):
        file_of(given())


async def test_who_has_made_room_by_hand_can_import(tmp_path: Path) -> None:
    """What is full is measured again before anybody is refused, with what is to come."""
    block = 4096
    clock = ManualClock()
    async with opened(tmp_path, user_bytes=2 * block, clock=clock) as journal:
        await journal.import_archives(USER, [given(), given(SECOND)])
        archive = dialogs_of(tmp_path) / "archived" / f"{FIRST_NAME}.yaml"
        others = [given(Conversation(f"sse-{number}", 1)) for number in range(3)]
        clock.pass_time(60)
        archive.unlink()
        assert len((await journal.import_archives(USER, others[:1])).imported) == 1
        clock.pass_time(60)
        archive.unlink()
        with pytest.raises(UserFullError):
            await journal.import_archives(USER, others[1:])


async def test_a_name_that_is_taken_or_wrong_gives_way(journal: DialogueJournal) -> None:
    """To the next one of the second in which the dialog ended."""
    others = [
        given(Conversation(f"sse-{number}", FIRST.started_ms), 1, wanted)
        for number, wanted in enumerate((None, FIRST_NAME, "2020-01-01-00-00-00", FIRST_NAME, "x"))
    ]
    outcome = await journal.import_archives(USER, others)
    names = [archive.id for archive in outcome.imported]
    assert names[1] == FIRST_NAME
    assert sorted(names) == [FIRST_NAME, *(f"{FIRST_NAME}-{number}" for number in range(2, 6))]


async def test_an_archive_that_a_person_laid_out_is_known_too(tmp_path: Path) -> None:
    """Beside others, before and behind it; what can't be read is not in the way."""
    async with opened(tmp_path) as journal:
        conversations = [Conversation(f"sse-{number}", FIRST.started_ms) for number in range(4)]
        all_of_them = [given(each, 1, None) for each in conversations]
        names = [archive.id for archive in (await journal.import_archives(USER, all_of_them)).imported]
        folder = dialogs_of(tmp_path) / "archived"
        for name, own, by_hand in ((names[1], b'"sse-1"', b"'sse-1'"), (names[2], b'"sse-2"', b"[")):
            path = folder / f"{name}.yaml"
            path.write_bytes(path.read_bytes().replace(own, by_hand))
        again = await journal.import_archives(USER, all_of_them)
        assert [archive.conversation.id for archive in again.imported] == ["sse-2"]
        assert again.skipped == 3


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (errno.ENOSPC, 507, "The disk is full, so nothing was imported."),
        (errno.EIO, 503, "The disk fails at the moment, so nothing was imported."),
    ],
)
async def test_a_failing_disk_is_told(tmp_path: Path, error: int, status: int, told: str) -> None:
    """And nothing is there of it."""
    disk = FaultyDisk(Fault("write", error=error, how="half"))
    async with opened(tmp_path, disk=disk) as journal:
        with pytest.raises(JournalError) as failed:
            await journal.import_archives(USER, [given()])
        assert (failed.value.status, failed.value.detail) == (status, told)
        assert (await journal.list_archives(USER, 10, None)).archives == ()
    assert list((dialogs_of(tmp_path) / "archived").iterdir()) == []


async def test_an_import_is_logged_by_its_number(tmp_path: Path) -> None:
    """One that adds nothing is not; and the newest of what was imported is no news."""
    log = LogRecord()
    async with opened(tmp_path, log=log) as journal:
        for _ in range(2):
            await journal.import_archives(USER, [given(), replace(given(SECOND), wanted_id=None)])
        assert await journal.untold_archive(USER) is None
    assert log.entries == [
        {
            "logger": "journal:archive",
            "level": "info",
            "event": "archives imported",
            "user": "a1",
            "archives": 2,
        }
    ]
