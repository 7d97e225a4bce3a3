"""What is kept of archives so that repeated calls are found cheaply."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.chat_server.journal import Conversation, Dialog, archives
from modules.chat_server.journal.dialog_yaml import emit_head, emit_message
from modules.chat_server.journal.keyed import find_question
from modules.chat_server.journal.references import ReferenceIndex, key_line, lines_in
from tests.faults.disk import FaultyDisk

from .support import FIRST, USER, dialogs_of, message, opened


async def _archive(data: Path, count: int, content: str = "text") -> None:
    async with opened(data) as journal:
        for number in range(count):
            conversation = Conversation(f"c-{number}", FIRST.started_ms)
            key = f"key-{number}"
            await journal.add_message(USER, message(0, content, idempotency_key=key), conversation)
            await journal.archive_conversation(USER)


async def test_each_archive_is_read_once_for_all_keys(tmp_path: Path) -> None:
    """Keys that are new cost no further reading; a known one is read again, alone."""
    await _archive(tmp_path, 20)
    disk = FaultyDisk()
    async with opened(tmp_path, disk=disk) as journal:
        for number in range(10):
            assert await journal.find_keyed(USER, f"new-{number}", FIRST.started_ms) is None
        read = [path for name, path in disk.calls if name == "read" and "archived" in path]
        assert len(read) == len(set(read)) == 20
        disk.calls.clear()
        assert await journal.find_keyed(USER, "key-7", FIRST.started_ms) is not None
        read = [path for name, path in disk.calls if name == "read" and "archived" in path]
        assert len(read) == 1


async def test_an_archive_is_parsed_only_where_the_key_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that stands in every text, as a part of another key or as a line of its own, costs nothing."""
    await _archive(tmp_path, 5, 'say key-1\nidempotency_key: "say"\nend')
    monkeypatch.setattr(archives, "parse_dialog", None)
    async with opened(tmp_path) as journal:
        for key in ("say", "key", "key-", "-1", "1~"):
            assert await journal.find_keyed(USER, key, FIRST.started_ms) is None


async def test_what_was_archived_since_is_found(tmp_path: Path) -> None:
    """The index knows the older ones only."""
    await _archive(tmp_path, 2)
    async with opened(tmp_path) as journal:
        assert await journal.find_keyed(USER, "k", FIRST.started_ms) is None
        await journal.add_message(USER, message(0, idempotency_key="k"), FIRST)
        await journal.archive_conversation(USER)
        assert await journal.find_keyed(USER, "k", FIRST.started_ms) is not None


async def test_an_archive_that_was_taken_away_is_passed_over(tmp_path: Path) -> None:
    """Also when the index still knows it."""
    await _archive(tmp_path, 1)
    async with opened(tmp_path) as journal:
        assert await journal.find_keyed(USER, "key-0", FIRST.started_ms) is not None
        (archive,) = (dialogs_of(tmp_path) / "archived").iterdir()
        archive.unlink()
        assert await journal.find_keyed(USER, "key-0", FIRST.started_ms) is None


def test_a_dialog_without_a_message_holds_no_question() -> None:
    """A person may have emptied it."""
    assert find_question([Dialog(FIRST, "a1", ())], "k", 0) is None


@pytest.mark.parametrize("key", ["k", '"', "\\", "a:b#c", "~" * 128])
def test_a_line_is_what_the_emitter_writes(key: str) -> None:
    """Whatever the key is made of."""
    data = emit_head(FIRST, "a1") + emit_message(message(0, idempotency_key=key))
    assert lines_in(data) == {key_line(key)}


def test_the_index_is_bounded() -> None:
    """What was asked for least lately goes first; an archive with too many lines is not kept."""
    index = ReferenceIndex(limit=4)
    for name in ("a", "b"):
        index.add("u", name, frozenset({b"1"}))
    assert index.find("u", "a") == {b"1"}
    index.add("u", "c", frozenset({b"2"}))
    assert (index.find("u", "b"), index.find("u", "a")) == (None, {b"1"})
    index.add("u", "d", frozenset({b"1", b"2", b"3", b"4"}))
    assert (index.find("u", "d"), index.find("u", "a")) == (None, {b"1"})


def test_what_is_removed_from_the_index_leaves_its_room() -> None:
    """Exactly that which it took; what was not in it leaves none."""
    index = ReferenceIndex(limit=5)
    index.add("u", "large", frozenset({b"1", b"2"}))
    index.add("u", "small", frozenset({b"1"}))
    index.remove("u", "large")
    index.remove("u", "large")
    index.add("u", "other", frozenset({b"1", b"2"}))
    assert index.find("u", "large") is None
    assert index.find("u", "small") is not None and index.find("u", "other") is not None
    index.add("u", "third", frozenset())
    assert index.find("u", "small") is None
