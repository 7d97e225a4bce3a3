"""What every journal promises, run by each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from modules.chat_server.journal import (
    Conversation,
    ConversationEndedError,
    Dialog,
    DialogueJournal,
    FileSystemDialogueJournal,
    JournalUnavailableError,
    MemoryDialogueJournal,
    Message,
    Reason,
    UserFullError,
)
from modules.chat_server.journal.dialog_yaml import parse_dialog
from modules.chat_server.journal.stored import StoredArchive
from potoserver import User
from tests.journal.support import FIRST, SECOND, USER, LogRecord, message
from tests.support.clock import ManualClock

OTHER = User("b2")
USER_BYTES = 4 * 1024 * 1024
"""Far above what a test keeps that is not about it."""
DAY_MS = 24 * 3600 * 1000
IDS = ["../../etc/passwd", "a/b", "A1", "a1", "x" * 200, "😀" * 16, ".", "..", "null", "a\nb", "-", "%41"]


@pytest.fixture
def log() -> LogRecord:
    return LogRecord()


@pytest.fixture(params=["filesystem", "memory"])
async def journal(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock, log: LogRecord
) -> AsyncIterator[DialogueJournal]:
    made: DialogueJournal
    if request.param == "filesystem":
        made = FileSystemDialogueJournal(
            tmp_path / "data",
            clock=clock,
            fsync=True,
            logger=log,
            registry=CollectorRegistry(),
            user_bytes=USER_BYTES,
        )
    else:
        made = MemoryDialogueJournal(
            clock=clock, logger=log, registry=CollectorRegistry(), user_bytes=USER_BYTES
        )
    assert list(await made.start()) == []
    yield made
    await made.close()


async def test_messages_come_back_in_order(journal: DialogueJournal) -> None:
    """What was added is the conversation, oldest first, with every field."""
    full = message(
        1,
        model="gpt",
        reasoning="because\nof this",
        finish_reason="stop",
        interrupted=True,
        reply_to="m-0",
        idempotency_key='k"\\1',
        request_digest="ab" * 32,
    )
    assert await journal.get_conversation(USER) == []
    kept = [await journal.add_message(USER, each, FIRST) for each in (message(0), full, message(2))]
    assert kept == [message(0), full, message(2)]
    assert await journal.get_conversation(USER) == kept
    assert await journal.get_conversation(OTHER) == []


async def test_timestamps_never_go_back(journal: DialogueJournal, clock: ManualClock) -> None:
    """Under a clock stepped back, a message and the end have at least the time before them."""
    await journal.add_message(USER, message(9), FIRST)
    kept = await journal.add_message(USER, message(2), FIRST)
    assert kept.timestamp_ms == message(9).timestamp_ms
    clock.step_wall(-3_600_000)
    archive_id = await journal.archive_conversation(USER)
    assert archive_id is not None
    dialog = await journal.get_archive(USER, archive_id)
    assert dialog is not None
    assert dialog.ended_ms == message(9).timestamp_ms


async def test_a_message_is_not_before_its_conversation(journal: DialogueJournal) -> None:
    """A clock stepped back between the session's start and its first message changes no order."""
    early = Message("user", "hello", "m-0", FIRST.started_ms - 5000)
    assert (await journal.add_message(USER, early, FIRST)).timestamp_ms == FIRST.started_ms


async def test_archiving_keeps_the_dialog_with_reason_and_times(journal: DialogueJournal) -> None:
    """An archive holds the messages, why and when; nothing is open then."""
    kept = (
        await journal.add_message(USER, message(0), FIRST),
        await journal.add_message(USER, message(1), FIRST),
    )
    ended_ms = FIRST.started_ms + 60_000
    archive_id = await journal.archive_conversation(USER, FIRST.id, reason=Reason.TIMEOUT, ended_ms=ended_ms)
    assert archive_id == "2024-01-15-10-13-03"
    expected = Dialog(FIRST, USER.id, kept, ended_ms, Reason.TIMEOUT)
    assert await journal.get_archive(USER, archive_id) == expected
    assert await journal.get_conversation(USER) == []
    assert await journal.recover(USER) is None


async def test_archiving_is_idempotent_per_conversation(journal: DialogueJournal) -> None:
    """A second call gives the first one's id and makes nothing, also when another dialog is open by then."""
    await journal.add_message(USER, message(0), FIRST)
    first = await journal.archive_conversation(USER, FIRST.id)
    assert await journal.archive_conversation(USER, FIRST.id, reason=Reason.TIMEOUT) == first
    await journal.add_message(USER, message(2), SECOND)
    assert await journal.archive_conversation(USER, FIRST.id) == first
    assert [each.id for each in await journal.get_conversation(USER)] == ["m-2"]
    assert len((await journal.list_archives(USER, 10, None)).archives) == 1


async def test_archiving_names_the_conversation(journal: DialogueJournal) -> None:
    """A late archive of an unknown or another's conversation touches nothing."""
    assert await journal.archive_conversation(USER) is None
    assert await journal.archive_conversation(USER, FIRST.id) is None
    await journal.add_message(USER, message(0), SECOND)
    assert await journal.archive_conversation(USER, FIRST.id) is None
    assert await journal.archive_conversation(OTHER, SECOND.id) is None
    assert len(await journal.get_conversation(USER)) == 1


async def test_another_conversation_supersedes(journal: DialogueJournal) -> None:
    """The first message of a new conversation archives the open one as superseded."""
    await journal.add_message(USER, message(0), FIRST)
    await journal.add_message(USER, message(2), SECOND)
    page = await journal.list_archives(USER, 10, None)
    assert [(each.conversation, each.reason) for each in page.archives] == [(FIRST, Reason.SUPERSEDED)]
    assert [each.id for each in await journal.get_conversation(USER)] == ["m-2"]


async def test_a_late_message_of_an_ended_conversation_is_refused(journal: DialogueJournal) -> None:
    """It neither opens the conversation a second time nor ends the newer one."""
    await journal.add_message(USER, message(0), FIRST)
    await journal.add_message(USER, message(2), SECOND)
    with pytest.raises(ConversationEndedError):
        await journal.add_message(USER, message(1), FIRST)
    assert [each.id for each in await journal.get_conversation(USER)] == ["m-2"]


async def test_ends_in_one_second_get_suffixes(journal: DialogueJournal) -> None:
    """Archives of the same second are told apart by -2, -3, … and listed newest first, by number."""
    for number in range(12):
        conversation = Conversation(f"sse-1-{number:09d}", FIRST.started_ms)
        await journal.add_message(USER, message(number), conversation)
        await journal.archive_conversation(USER, conversation.id)
    name = "2024-01-15-10-12-03"
    page = await journal.list_archives(USER, 100, None)
    assert [each.id for each in page.archives] == [f"{name}-{number}" for number in range(12, 1, -1)] + [name]


async def archive(journal: DialogueJournal, number: int, after_ms: int) -> str:
    """Archives a dialog that ends so long after the beginning of the first one; returns the archive's id."""
    conversation = Conversation(f"sse-1-{number:09d}", FIRST.started_ms - DAY_MS)
    stamped = Message("user", "x", f"m-{number}", FIRST.started_ms - DAY_MS)
    await journal.add_message(USER, stamped, conversation)
    archive_id = await journal.archive_conversation(USER, ended_ms=FIRST.started_ms + after_ms)
    assert archive_id is not None
    return archive_id


async def ends(journal: DialogueJournal) -> list[tuple[str, int]]:
    """Each archive's conversation by its number, and how long after the beginning it ended; newest first."""
    seen: list[tuple[str, int]] = []
    cursor: str | None = None
    while True:
        page = await journal.list_archives(USER, 2, cursor)
        seen += [(each.conversation.id[-1], each.ended_ms - FIRST.started_ms) for each in page.archives]
        cursor = page.cursor
        if cursor is None:
            return seen


async def test_archives_are_in_the_order_of_their_ends_though_the_clock_is_behind(
    journal: DialogueJournal,
) -> None:
    """A later dialog does not end before an earlier one; once the clock has caught up it ends in its time."""
    first = await archive(journal, 0, 3_600_100)
    behind = [await archive(journal, number, after) for number, after in ((1, 0), (2, 1000), (3, 3_600_050))]
    assert behind == [f"{first}-{suffix}" for suffix in (2, 3, 4)]
    await archive(journal, 4, 3_600_101)
    await archive(journal, 5, 3_700_000)
    assert await ends(journal) == [
        ("5", 3_700_000),
        ("4", 3_600_101),
        ("3", 3_600_100),
        ("2", 3_600_100),
        ("1", 3_600_100),
        ("0", 3_600_100),
    ]


async def test_a_wildly_wrong_archive_pulls_no_later_one_along(journal: DialogueJournal) -> None:
    """One more than a day ahead is left where it is; a smaller slip beside it still counts."""
    await archive(journal, 0, 3650 * DAY_MS)
    await archive(journal, 1, DAY_MS + 60_000)
    await archive(journal, 2, 0)
    await archive(journal, 3, 58_999)
    assert await ends(journal) == [("0", 3650 * DAY_MS), ("1", DAY_MS + 60_000), ("3", 58_999), ("2", 0)]
    await archive(journal, 4, 60_000)
    assert await ends(journal) == [
        ("0", 3650 * DAY_MS),
        ("4", DAY_MS + 60_000),
        ("1", DAY_MS + 60_000),
        ("3", 58_999),
        ("2", 0),
    ]


async def test_archives_come_by_page(journal: DialogueJournal, clock: ManualClock) -> None:
    """Pages follow one another without gap or repetition, also when an archive is added in between."""
    for number in range(7):
        await journal.add_message(USER, message(number), Conversation(f"c{number}", FIRST.started_ms))
        await journal.archive_conversation(USER)
        await clock.advance(0.4)
    everything = [each.id for each in (await journal.list_archives(USER, 100, None)).archives]
    seen: list[str] = []
    cursor: str | None = None
    for size in (3, 3, 1):
        page = await journal.list_archives(USER, 3, cursor)
        assert len(page.archives) == size
        seen += [each.id for each in page.archives]
        cursor = page.cursor
        await journal.add_message(USER, message(0), Conversation(f"late{len(seen)}", FIRST.started_ms))
        await clock.advance(1)
        await journal.archive_conversation(USER)
    assert cursor is None
    assert seen == everything
    newest = (await journal.list_archives(USER, 1, None)).archives[0]
    assert newest.message_count == 1
    assert newest.conversation.id == "late7"


@pytest.mark.parametrize(
    "cursor", ["", "x", "../2024-01-15-10-12-03", "2024-01-15-10-12-03-1", "2024-01-15-10-12-03\n"]
)
async def test_a_cursor_that_nobody_gave_is_refused(journal: DialogueJournal, cursor: str) -> None:
    """A made-up cursor is a ValueError."""
    with pytest.raises(ValueError, match="cursor"):
        await journal.list_archives(USER, 10, cursor)


@pytest.mark.parametrize(
    "archive_id", ["", "..", "../current", "../../../b2/dialogs/archived/x", "2024-01-15-10-12-99", "a\0b"]
)
async def test_an_unknown_archive_is_none(journal: DialogueJournal, archive_id: str) -> None:
    """An id that is none of the user's, another user's included, finds nothing."""
    await journal.add_message(OTHER, message(0), FIRST)
    others = await journal.archive_conversation(OTHER)
    assert others is not None
    assert await journal.get_archive(USER, others) is None
    assert await journal.get_archive(USER, archive_id) is None


async def test_archives_are_shown_one_by_one_as_they_are_stored(
    journal: DialogueJournal, clock: ManualClock
) -> None:
    """In the order that was asked for, until the visitor has seen enough; what is not there is left out."""
    made = []
    for number in range(3):
        await journal.add_message(USER, message(0), Conversation(f"c-{number}", FIRST.started_ms))
        made.append(await journal.archive_conversation(USER))
        await clock.advance(60)
    ids = await journal.archive_ids(USER)
    assert ids == made[::-1]
    assert await journal.archive_ids(OTHER) == []
    seen: list[StoredArchive] = []

    def visit(stored: StoredArchive) -> bool:
        seen.append(stored)
        return len(seen) < 2

    await journal.visit_archives(USER, [ids[2], "2020-01-01-00-00-00", ids[0], ids[1]], visit)
    assert [stored.id for stored in seen] == [ids[2], ids[0]]
    for stored in seen:
        assert stored.dialog() == await journal.get_archive(USER, stored.id) == parse_dialog(stored.data)
    await journal.visit_archives(OTHER, ids, visit)
    assert len(seen) == 2


async def test_what_a_visitor_raises_is_told(journal: DialogueJournal) -> None:
    """And the journal goes on."""
    await journal.add_message(USER, message(0), FIRST)
    await journal.archive_conversation(USER)

    def visit(stored: StoredArchive) -> bool:
        raise RuntimeError(stored.id)

    ids = await journal.archive_ids(USER)
    with pytest.raises(RuntimeError, match=ids[0]):
        await journal.visit_archives(USER, ids, visit)
    assert await journal.archive_ids(USER) == ids


@pytest.mark.parametrize("user_id", IDS)
async def test_any_accepted_id_is_served(journal: DialogueJournal, user_id: str) -> None:
    """A user's id, whatever it looks like, keeps its own dialog."""
    user = User.create(user_id)
    for each in IDS:
        await journal.add_message(User(each), message(0, f"of {each}"), FIRST)
    assert [each.content for each in await journal.get_conversation(user)] == [f"of {user_id}"]
    archive_id = await journal.archive_conversation(user)
    assert archive_id is not None
    dialog = await journal.get_archive(user, archive_id)
    assert dialog is not None
    assert dialog.user_id == user_id


@pytest.mark.parametrize("user_id", ["", "\ud800", "x" * 201, "/" * 67])
async def test_an_id_without_a_folder_is_refused(journal: DialogueJournal, user_id: str) -> None:
    """An id that can't be kept is a ValueError, whatever is asked."""
    with pytest.raises(ValueError, match="user id"):
        await journal.add_message(User(user_id), message(0), FIRST)


async def test_a_lone_surrogate_is_refused(journal: DialogueJournal) -> None:
    """Text that no file can hold is refused whole, and the dialog goes on."""
    with pytest.raises(ValueError, match="surrogate"):
        await journal.add_message(USER, message(0, "a\ud800b"), FIRST)
    assert await journal.get_conversation(USER) == []
    await journal.add_message(USER, message(0), FIRST)
    with pytest.raises(ValueError, match="surrogate"):
        await journal.add_message(USER, message(2, "a\ud800b"), FIRST)
    assert len(await journal.get_conversation(USER)) == 1


async def test_parallel_messages_of_one_user_are_all_kept(journal: DialogueJournal) -> None:
    """Fifty at once take effect one after the other."""
    await asyncio.gather(*(journal.add_message(USER, message(number), FIRST) for number in range(50)))
    kept = await journal.get_conversation(USER)
    assert sorted(each.id for each in kept) == sorted(f"m-{number}" for number in range(50))
    assert [each.timestamp_ms for each in kept] == sorted(each.timestamp_ms for each in kept)


async def test_a_users_limit_refuses_messages_but_neither_replies_nor_archives(
    journal: DialogueJournal,
) -> None:
    """The question beyond it is refused whole; a reply is kept, the archive made, others feel nothing."""
    size = USER_BYTES // 3 - 10_000
    for number in (0, 2):
        await journal.add_message(USER, message(number, "x" * size), FIRST)
    with pytest.raises(UserFullError) as refused:
        await journal.add_message(USER, message(4, "x" * 40_000 + "x" * size), FIRST)
    assert refused.value.status == 507
    assert "limits.user_bytes" in refused.value.detail and str(USER_BYTES) in refused.value.detail
    assert [each.id for each in await journal.get_conversation(USER)] == ["m-0", "m-2"]
    await journal.add_message(USER, message(5, "x" * 2 * size), FIRST)
    assert await journal.archive_conversation(USER, FIRST.id) is not None
    with pytest.raises(UserFullError):
        await journal.add_message(USER, message(6), SECOND)
    assert await journal.get_conversation(USER) == []
    assert await journal.recover(USER) is None
    await journal.add_message(USER, message(7), SECOND)
    assert await journal.archive_conversation(USER, SECOND.id) is not None
    await journal.add_message(OTHER, message(0, "x" * size), FIRST)


async def test_a_closed_journal_takes_nothing(journal: DialogueJournal) -> None:
    """After close, a call is refused clearly."""
    await journal.close()
    with pytest.raises(JournalUnavailableError):
        await journal.add_message(USER, message(0), FIRST)


async def test_keyed_question_in_the_open_dialog(journal: DialogueJournal) -> None:
    """A key finds its question, what came before it, and the reply right behind it."""
    question = message(2, idempotency_key="k1", request_digest="d")
    for each in (message(0), message(1), question):
        await journal.add_message(USER, each, FIRST)
    found = await journal.find_keyed(USER, "k1", 0)
    assert found is not None
    assert (found.question, found.reply, found.history) == (question, None, (message(0), message(1)))
    await journal.add_message(USER, message(3), FIRST)
    found = await journal.find_keyed(USER, "k1", 0)
    assert found is not None
    assert found.reply == message(3)
    assert found.conversation == FIRST
    assert await journal.find_keyed(USER, "k", 0) is None
    assert await journal.find_keyed(OTHER, "k1", 0) is None
    assert await journal.find_keyed(USER, "k1", question.timestamp_ms + 1) is None


@pytest.mark.parametrize("key", ['"', "\\", "'a'", "-", "!!", "a:b#c", "null"])
async def test_keyed_question_in_an_archive(journal: DialogueJournal, key: str) -> None:
    """A key survives the archive, whatever it is made of."""
    await journal.add_message(USER, message(0, idempotency_key=key), FIRST)
    await journal.add_message(USER, message(1), FIRST)
    await journal.archive_conversation(USER)
    found = await journal.find_keyed(USER, key, FIRST.started_ms - 1)
    assert found is not None
    assert (found.question.id, found.reply, found.conversation) == ("m-0", message(1), FIRST)


async def test_the_newest_question_with_a_key_counts(journal: DialogueJournal) -> None:
    """A key used again after its time finds the later question."""
    await journal.add_message(USER, message(0, idempotency_key="k"), FIRST)
    await journal.archive_conversation(USER)
    await journal.add_message(USER, message(4, idempotency_key="k"), SECOND)
    found = await journal.find_keyed(USER, "k", 0)
    assert found is not None
    assert found.question.id == "m-4"


async def test_a_reply_that_stands_elsewhere_is_found(journal: DialogueJournal) -> None:
    """A reply naming its question is found behind other messages and in a later dialog."""
    await journal.add_message(USER, message(0, idempotency_key="k"), FIRST)
    await journal.add_message(USER, message(1, reply_to="m-other"), FIRST)
    found = await journal.find_keyed(USER, "k", 0)
    assert found is not None
    assert found.reply is None
    await journal.archive_conversation(USER)
    late = message(7, reply_to="m-0")
    await journal.add_message(USER, late, SECOND)
    found = await journal.find_keyed(USER, "k", 0)
    assert found is not None
    assert found.reply == late
    await journal.archive_conversation(USER)
    found = await journal.find_keyed(USER, "k", 0)
    assert found is not None
    assert found.reply == late


async def test_the_newest_archive_is_untold_until_it_is_marked(journal: DialogueJournal) -> None:
    """A newer one is untold again, an older one never is; each user has their own."""
    assert await journal.untold_archive(USER) is None
    ids = []
    for number, conversation in enumerate((FIRST, SECOND)):
        await journal.add_message(USER, message(number), conversation)
        ended_ms = FIRST.started_ms + (number + 1) * 60_000
        ids.append(await journal.archive_conversation(USER, ended_ms=ended_ms))
        newest = await journal.untold_archive(USER)
        assert newest is not None
        assert newest.id == ids[-1] is not None
        await journal.mark_told(USER, newest.id)
        assert await journal.untold_archive(USER) is None
    await journal.add_message(OTHER, message(0), FIRST)
    await journal.archive_conversation(OTHER)
    assert await journal.untold_archive(OTHER) is not None


async def test_what_is_logged(journal: DialogueJournal, log: LogRecord) -> None:
    """The contract's lines are there with their fields, and never a message's text."""
    await journal.add_message(USER, message(0, "secret words"), FIRST)
    archive_id = await journal.archive_conversation(USER, reason=Reason.DISCONNECT)
    assert log.entries == [
        {
            "logger": "journal:append",
            "level": "info",
            "event": "session message added to dialogue journal",
            "user": "a1",
            "conversation": FIRST.id,
            "message": "m-0",
            "role": "user",
            "bytes": 12,
        },
        {
            "logger": "journal:archive",
            "level": "info",
            "event": "conversation archived",
            "archive": archive_id,
            "user": "a1",
            "conversation": FIRST.id,
            "reason": "disconnect",
            "messages": 1,
        },
    ]
