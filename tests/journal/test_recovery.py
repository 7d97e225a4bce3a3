"""What is found after a crash: kept as far as it is whole, the rest set aside and reported."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from modules.chat_server.journal import DialogueJournal, Message, OpenDialog, Reason, recovery
from modules.chat_server.journal.dialog_yaml import emit_footer, emit_head, emit_message
from potoserver import User
from tests.journal.support import (
    FIRST,
    SECOND,
    USER,
    LogRecord,
    dialogs_of,
    load,
    make_journal,
    message,
    opened,
    yaml_files,
)

LONG = "several\n\nlines: 'of' \"text\" 😀\n- role: x"
MESSAGES = [
    message(0),
    message(1, LONG, model="m"),
    message(2, "tab\t\x85", interrupted=True),
    message(3, LONG),
]


def whole_file(messages: list[Message], *, footer: bool = False, user: str = "a1") -> bytes:
    data = emit_head(FIRST, user) + b"".join(map(emit_message, messages))
    return data + (emit_footer(FIRST.started_ms + 5000, Reason.TIMEOUT, len(messages)) if footer else b"")


def place(data_dir: Path, content: bytes | None, user: str = "a1") -> Path:
    """Leaves a user's folder as a crash would: a marker, and a file or none."""
    dialogs = dialogs_of(data_dir, user)
    (dialogs / "archived").mkdir(parents=True, exist_ok=True)
    (data_dir / "open").mkdir(exist_ok=True)
    (data_dir / "open" / user).touch()
    if content is not None:
        (dialogs / "current.yaml").write_bytes(content)
    return dialogs


def aside(dialogs: Path) -> dict[str, bytes]:
    """What was set aside, by name."""
    return {path.name: path.read_bytes() for path in dialogs.glob("current.*-*")}


async def test_start_reads_the_markers_alone(memory_path: Path) -> None:
    """The users whose dialogs were left open are told by id; what is no user's marker is passed over."""
    names = ["a1", "%41%2Fb", "%F0%9F%98%80", "A1", "%zz", "a%2fb", "%FF"]
    (memory_path / "open").mkdir()
    for name in names:
        (memory_path / "open" / name).touch()
    log = LogRecord()
    journal = make_journal(memory_path, log=log)
    assert sorted(await journal.start()) == ["A/b", "a1", "😀"]
    await journal.close()
    about = {"logger": "journal:recovery", "level": "warning", "event": "marker of no user"}
    assert log.entries == [
        {**about, "file": str(memory_path / "open" / name)} for name in ("%FF", "%zz", "A1", "a%2fb")
    ]


async def test_an_open_dialog_goes_on(memory_path: Path) -> None:
    """A dialog left open is told, counted and logged, and takes the next message."""
    place(memory_path, whole_file(MESSAGES))
    log = LogRecord()
    async with opened(memory_path, log=log) as journal:
        found = await journal.recover(USER)
        assert found == OpenDialog(FIRST, MESSAGES[-1].timestamp_ms, 4)
        assert await journal.recover(USER) == found
        assert await journal.get_conversation(USER) == MESSAGES
        await journal.add_message(USER, message(4), FIRST)
    assert log.entries[0] == {
        "logger": "journal:recovery",
        "level": "info",
        "event": "open dialog recovered",
        "user": "a1",
        "conversation": FIRST.id,
        "messages": 4,
        "bytes": len(whole_file(MESSAGES)),
        "torn_bytes": 0,
        "ended": None,
    }
    assert log.events().count("open dialog recovered") == 1
    assert [item["id"] for item in load(dialogs_of(memory_path) / "current.yaml")["messages"]][-1] == "m-4"


async def test_cut_at_every_byte_of_the_last_messages(memory_path: Path) -> None:
    """Wherever the last two messages are cut, each whole message is kept and the rest is set aside."""
    data = whole_file(MESSAGES)
    first = len(whole_file(MESSAGES[:2]))
    ends = [len(whole_file(MESSAGES[:count])) for count in range(5)]
    for cut in range(first, len(data) + 1):
        folder = memory_path / str(cut)
        folder.mkdir()
        dialogs = place(folder, data[:cut])
        # The newline alone may lack: then all of the message's values are there.
        kept = max(count for count in range(1, 5) if ends[count] - 1 <= cut)
        log = LogRecord()
        async with opened(folder, log=log) as journal:
            found = await journal.recover(USER)
            assert found is not None
            assert (found.messages, found.conversation) == (kept, FIRST)
            assert await journal.get_conversation(USER) == MESSAGES[:kept]
            assert (dialogs / "current.yaml").read_bytes() == data[: ends[kept]]
            torn = data[ends[kept] : cut]
            assert list(aside(dialogs).values()) == ([torn] if torn else [])
            assert ("file set aside" in log.events()) == bool(torn)
            await journal.add_message(USER, message(9), FIRST)
        assert [item["id"] for item in load(dialogs / "current.yaml")["messages"]] == [
            *(each.id for each in MESSAGES[:kept]),
            "m-9",
        ]


async def test_cut_at_every_byte_of_the_footer(memory_path: Path) -> None:
    """A torn footer is cut and the dialog stays open; a whole one is archived with its own reason."""
    data = whole_file(MESSAGES, footer=True)
    begin = len(whole_file(MESSAGES))
    for cut in range(begin + 1, len(data) + 1):
        folder = memory_path / str(cut)
        folder.mkdir()
        dialogs = place(folder, data[:cut])
        async with opened(folder) as journal:
            found = await journal.recover(USER)
            page = await journal.list_archives(USER, 10, None)
        if cut >= len(data) - 1:
            assert found is None
            assert [(each.id, each.reason, each.ended_ms) for each in page.archives] == [
                ("2024-01-15-10-12-08", Reason.TIMEOUT, FIRST.started_ms + 5000)
            ]
            assert (dialogs / "current.yaml").read_bytes() == b""
            assert not (folder / "open" / "a1").exists()
        else:
            assert found is not None
            assert (found.messages, page.archives) == (4, ())
            assert list(aside(dialogs).values()) == [data[begin:cut]]
            assert (dialogs / "current.yaml").read_bytes() == data[:begin]


async def test_a_count_cut_short_is_no_footer(memory_path: Path) -> None:
    """`message_count: 12` cut to `message_count: 1` is torn, though it is valid YAML."""
    many = [message(number) for number in range(12)]
    place(memory_path, whole_file(many, footer=True)[:-2])
    async with opened(memory_path) as journal:
        found = await journal.recover(USER)
    assert found is not None
    assert found.messages == 12


async def test_a_head_cut_at_every_byte_is_set_aside(memory_path: Path) -> None:
    """A first append that is torn leaves no dialog; its bytes are kept aside, and a new dialog can begin."""
    data = whole_file([message(0)])
    for cut in range(1, len(data) - 1):
        folder = memory_path / str(cut)
        folder.mkdir()
        dialogs = place(folder, data[:cut])
        async with opened(folder) as journal:
            assert await journal.recover(USER) is None
            assert not (folder / "open" / "a1").exists()
            assert aside(dialogs) == {"current.torn-2024-01-15-10-12-03": data[:cut]}
            await journal.add_message(USER, message(2), FIRST)
        assert len(yaml_files(folder)) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"not: [yaml",
        b"\x00" * 100,
        b"[" * 200_000,
        b"just: another\nmapping: 1\n",
        b"- a list\n",
        b"plain words\n",
        whole_file([message(0)], user="somebody-else"),
        "héllo".encode("latin-1"),
    ],
)
async def test_what_is_no_dialog_is_set_aside(memory_path: Path, content: bytes) -> None:
    """A file that is no dialog of the user's is kept under another name and reported."""
    dialogs = place(memory_path, content)
    log = LogRecord()
    async with opened(memory_path, log=log) as journal:
        assert await journal.recover(USER) is None
        assert await journal.get_conversation(USER) == []
        await journal.add_message(USER, message(0), FIRST)
    name = "current.unreadable-2024-01-15-10-12-03"
    assert aside(dialogs) == {name: content}
    entry = log.entries[0]
    assert (entry["logger"], entry["level"], entry["event"]) == (
        "journal:recovery",
        "warning",
        "file set aside",
    )
    assert (entry["user"], entry["file"], entry["bytes"]) == ("a1", str(dialogs / name), len(content))


async def test_the_beginning_of_a_dialog_is_set_aside_as_torn(memory_path: Path) -> None:
    """By its name: an operator need not look into it to know that no message was in it."""
    data = whole_file([message(0)])[:-20]
    dialogs = place(memory_path, data)
    async with opened(memory_path) as journal:
        assert await journal.recover(USER) is None
    assert aside(dialogs) == {"current.torn-2024-01-15-10-12-03": data}


async def test_another_users_dialog_is_set_aside_as_such(memory_path: Path) -> None:
    """The operator who has put it there is told what is wrong with it."""
    place(memory_path, whole_file(MESSAGES, user="somebody-else"))
    log = LogRecord()
    async with opened(memory_path, log=log) as journal:
        assert await journal.recover(USER) is None
    assert log.entries[0]["why"] == "it is another user's"


async def test_a_dialog_found_with_its_end_is_told_with_its_reason(memory_path: Path) -> None:
    """It needs no rest of the session: it is archived at once."""
    place(memory_path, whole_file(MESSAGES, footer=True))
    log = LogRecord()
    async with opened(memory_path, log=log) as journal:
        assert await journal.recover(USER) is None
    assert (log.entries[0]["event"], log.entries[0]["ended"]) == ("open dialog recovered", "timeout")


@pytest.mark.parametrize("told", [b"\xff\xfe\n", b"2024-01-15-10", b"junk\n", b"", None])
async def test_a_marker_that_tells_no_archive_is_in_no_dialogs_way(
    memory_path: Path, told: bytes | None
) -> None:
    """Whatever stands in it, torn or written by somebody, or a folder in its place: the end's name counts."""
    place(memory_path, whole_file(MESSAGES, footer=True))
    marker = memory_path / "open" / "a1"
    if told is None:
        marker.unlink()
        marker.mkdir()
    else:
        marker.write_bytes(told)
    async with opened(memory_path) as journal:
        assert await journal.recover(USER) is None
        (archive,) = (await journal.list_archives(USER, 10, None)).archives
    assert archive.id == "2024-01-15-10-12-08"


async def test_set_aside_overwrites_nothing(memory_path: Path) -> None:
    """Files set aside in one second get suffixes."""
    for number in range(3):
        place(memory_path, b"junk %d" % number)
        async with opened(memory_path) as journal:
            await journal.recover(USER)
    base = "current.unreadable-2024-01-15-10-12-03"
    found = aside(dialogs_of(memory_path))
    assert found == {base: b"junk 0", f"{base}-2": b"junk 1", f"{base}-3": b"junk 2"}


async def test_damage_before_the_end_keeps_what_is_whole_before_it(memory_path: Path) -> None:
    """Messages up to the damage are kept; damage and what follows are set aside together."""
    data = whole_file(MESSAGES)
    begin = len(whole_file(MESSAGES[:2]))
    broken = data[:begin] + b"\x00" * 20 + data[begin + 20 :]
    dialogs = place(memory_path, broken)
    async with opened(memory_path) as journal:
        assert await journal.get_conversation(USER) == MESSAGES[:2]
    assert list(aside(dialogs).values()) == [broken[begin:]]


async def test_zeros_behind_the_end_are_torn(memory_path: Path) -> None:
    """A length that reached the disk before its bytes did is cut."""
    dialogs = place(memory_path, whole_file(MESSAGES) + b"\x00" * 300)
    async with opened(memory_path) as journal:
        assert await journal.get_conversation(USER) == MESSAGES
    assert list(aside(dialogs).values()) == [b"\x00" * 300]


@pytest.mark.parametrize("content", [None, b""])
async def test_a_marker_without_a_dialog_is_taken_away(memory_path: Path, content: bytes | None) -> None:
    """A crash after the rename, or before the first append, leaves no more than a marker."""
    dialogs = place(memory_path, content)
    (dialogs / "archived" / "2024-01-15-10-12-03.yaml").write_bytes(whole_file(MESSAGES, footer=True))
    async with opened(memory_path) as journal:
        assert await journal.recover(USER) is None
    assert (dialogs / "current.yaml").read_bytes() == b""
    assert list((memory_path / "open").iterdir()) == []
    assert len(yaml_files(memory_path)) == 1


async def test_a_marker_without_a_user_is_taken_away(memory_path: Path) -> None:
    """A crash between marker and folder leaves nothing to recover."""
    (memory_path / "open").mkdir()
    (memory_path / "open" / "a1").touch()
    async with opened(memory_path) as journal:
        assert await journal.recover(USER) is None
    assert list((memory_path / "open").iterdir()) == []


async def test_every_method_recovers_first(memory_path: Path) -> None:
    """Whatever is asked first about a user puts the user's dialog in order."""
    calls: list[Callable[[DialogueJournal], Awaitable[object]]] = [
        lambda journal: journal.get_conversation(USER),
        lambda journal: journal.add_message(USER, message(9), FIRST),
        lambda journal: journal.archive_conversation(USER),
        lambda journal: journal.list_archives(USER, 1, None),
        lambda journal: journal.get_archive(USER, "2024-01-15-10-12-03"),
        lambda journal: journal.find_keyed(USER, "k", 0),
    ]
    for number, call in enumerate(calls):
        folder = memory_path / str(number)
        folder.mkdir()
        place(folder, whole_file(MESSAGES)[:-20])
        async with opened(folder) as journal:
            await call(journal)
        assert len(aside(dialogs_of(folder))) == 1, number


async def test_another_conversation_after_a_crash(memory_path: Path) -> None:
    """A dialog left open is archived as superseded when another one begins, with nobody adopting it."""
    place(memory_path, whole_file(MESSAGES))
    async with opened(memory_path) as journal:
        await journal.add_message(USER, message(9), SECOND)
        page = await journal.list_archives(USER, 10, None)
    assert [(each.conversation, each.reason) for each in page.archives] == [(FIRST, Reason.SUPERSEDED)]


async def test_a_dialog_without_its_marker_is_found_at_the_users_next_call(memory_path: Path) -> None:
    """A file put back from a backup is an open dialog, and gets its marker."""
    place(memory_path, whole_file(MESSAGES))
    (memory_path / "open" / "a1").unlink()
    async with opened(memory_path) as journal:
        assert await journal.recover(USER) is not None
    assert (memory_path / "open" / "a1").exists()


async def test_a_dialog_that_a_person_laid_out_anew_goes_on(memory_path: Path) -> None:
    """Valid YAML in another layout is read, and goes on when this format can be appended to it."""
    text = whole_file([message(0)]).decode().replace('"text 0"', "'text 0'  # mine").rstrip("\n")
    dialogs = place(memory_path, text.encode())
    async with opened(memory_path) as journal:
        await journal.add_message(USER, message(1), FIRST)
        assert await journal.get_conversation(USER) == [message(0), message(1)]
    assert aside(dialogs) == {}


async def test_what_would_swallow_the_next_message_is_cut(memory_path: Path) -> None:
    """Valid YAML whose end would take an appended message for something else is set aside from there."""
    dialogs = place(memory_path, whole_file([message(0)]) + b"notes:\n")
    async with opened(memory_path) as journal:
        await journal.add_message(USER, message(1), FIRST)
        assert await journal.get_conversation(USER) == [message(0), message(1)]
    assert list(aside(dialogs).values()) == [b"notes:\n"]


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
async def test_something_else_in_the_files_place_is_set_aside(memory_path: Path, kind: str) -> None:
    """A folder, a link or a pipe named current.yaml neither hangs nor misleads the server."""
    dialogs = place(memory_path, None)
    current = dialogs / "current.yaml"
    outside = memory_path / "outside.txt"
    outside.write_bytes(whole_file(MESSAGES))
    if kind == "folder":
        current.mkdir()
    elif kind == "link":
        current.symlink_to(outside)
    else:
        os.mkfifo(current)
    log = LogRecord()
    async with opened(memory_path, log=log) as journal:
        assert await journal.recover(USER) is None
        await journal.add_message(USER, message(0), FIRST)
    assert log.entries[0]["why"] == "it is no ordinary file"
    assert outside.read_bytes() == whole_file(MESSAGES)
    assert current.is_file()
    assert not current.is_symlink()


async def test_recovery_of_one_user_leaves_others_alone(memory_path: Path) -> None:
    """Asking about one user reads no other user's file."""
    place(memory_path, b"junk", "a1")
    others = place(memory_path, b"junk", "b2")
    async with opened(memory_path) as journal:
        await journal.recover(USER)
        assert aside(others) == {}
        await journal.recover(User("b2"))
    assert len(aside(others)) == 1


async def test_a_file_of_the_largest_size_goes_on(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte."""
    data = whole_file(MESSAGES)
    place(memory_path, data)
    monkeypatch.setattr(recovery, "MAX_FILE_BYTES", len(data))
    async with opened(memory_path) as journal:
        assert await journal.recover(USER) is not None


async def test_a_file_larger_than_any_dialog_is_set_aside_whole(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version, or a person, may have made it so: none of it is cut off."""
    async with opened(memory_path) as journal:
        for number in range(40):
            await journal.add_message(USER, message(number), FIRST)
    current = dialogs_of(memory_path) / "current.yaml"
    before = current.read_bytes()
    monkeypatch.setattr(recovery, "MAX_FILE_BYTES", len(before) - 500)
    log = LogRecord()
    async with opened(memory_path, log=log) as journal:
        assert await journal.recover(USER) is None
    assert log.entries[0]["why"] == "it is larger than any dialog"
    assert [path.read_bytes() for path in dialogs_of(memory_path).glob("current.unreadable-*")] == [before]
    assert current.read_bytes() == b""
