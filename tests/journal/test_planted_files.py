"""Somebody who can write in the data folder: links, pipes, folders, others' files, YAML made to explode."""

from __future__ import annotations

import dataclasses
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modules.chat_server.journal import JournalError, Message
from modules.chat_server.journal.dialog_yaml import (
    MAX_FILE_BYTES,
    MAX_MESSAGES,
    MAX_VALUES,
    NotADialogError,
    emit_footer,
    emit_head,
    emit_message,
    parse_dialog,
)
from modules.chat_server.journal.records import Reason
from potoserver import User
from potoserver.web.signing import SigningKey
from tests.journal.support import FIRST, SECOND, USER, LogRecord, dialogs_of, make_journal, message, opened

OTHER = User("b2")
QUICK_S = 10.0
"""Generous: each takes a second at most on an idle machine; before, some took minutes and gigabytes."""


async def write_archive(data: Path, user: User, content: str) -> Path:
    """An archive of a user's, with one message."""
    async with opened(data) as journal:
        await journal.add_message(user, message(0, content), SECOND)
        archive_id = await journal.archive_conversation(user)
    return dialogs_of(data, user.id) / "archived" / f"{archive_id}.yaml"


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and what it holds."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Links


@pytest.mark.parametrize("name", ["", "dialogs", "dialogs/archived"])
async def test_a_link_in_a_folder_s_place_is_not_followed(tmp_path: Path, name: str) -> None:
    """Out of the data folder or into another user's: 503, one line of the log, nothing is touched there."""
    data, log = tmp_path / "data", LogRecord()
    await write_archive(data, OTHER, "not yours")
    target = data / "users" / OTHER.id / name
    place = data / "users" / USER.id / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target, target_is_directory=True)
    before = snapshot(data / "users" / OTHER.id)
    async with opened(data, log=log) as journal:
        for _ in range(2):
            with pytest.raises(JournalError) as raised:
                await journal.add_message(USER, message(0), FIRST)
            assert raised.value.status == 503
            for refused in (
                journal.list_archives(USER, 10, None),
                journal.get_archive(USER, "2024-01-15-10-12-03"),
                journal.untold_archive(USER),
                journal.mark_told(USER, "2024-01-15-10-12-03"),
                journal.find_keyed(USER, "k", 0),
                journal.recover(USER),
            ):
                with pytest.raises(JournalError):
                    await refused
        await journal.add_message(OTHER, message(2), FIRST)
        await journal.archive_conversation(OTHER)
    assert before.items() <= snapshot(data / "users" / OTHER.id).items()
    errors = [entry["file"] for entry in log.entries if entry["event"] == "link in a folder's place"]
    assert errors == [str(place)]


async def test_a_folder_that_becomes_a_link_in_mid_dialog_gets_nothing(tmp_path: Path) -> None:
    """The dialog went with the folder; what the link leads to stays as it is."""
    data, away = tmp_path / "data", tmp_path / "away"
    async with opened(data) as journal:
        await journal.add_message(USER, message(0), FIRST)
        folder = data / "users" / USER.id
        folder.rename(away)
        before = snapshot(away)
        folder.symlink_to(away)
        with pytest.raises(JournalError):
            await journal.add_message(USER, message(1), FIRST)
        with pytest.raises(JournalError):
            await journal.archive_conversation(USER)
    # The same files stand there, only the marker, in a folder of its own, has changed.
    assert snapshot(away) == before


@pytest.mark.parametrize("name", ["users", "open"])
@pytest.mark.parametrize("kind", ["link", "file"])
async def test_a_start_refuses_what_is_no_folder_of_its_own(tmp_path: Path, name: str, kind: str) -> None:
    """`users` and `open` too: whoever wants them elsewhere sets `data_dir`."""
    data, away = tmp_path / "data", tmp_path / "away"
    data.mkdir()
    away.mkdir()
    if kind == "link":
        (data / name).symlink_to(away)
    else:
        (data / name).touch()
    journal = make_journal(data)
    with pytest.raises(JournalError, match=rf"/{name} is no folder, and links in it are not followed"):
        await journal.start()
    await journal.close()
    assert not list(away.iterdir())


async def test_the_data_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    """The operator has named it."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    path = await write_archive(tmp_path / "data", USER, "mine")
    assert path.exists()


async def test_a_link_in_the_open_dialog_s_place_is_set_aside(tmp_path: Path) -> None:
    """Its target is neither read nor written; a new dialog begins beside it."""
    data, secret = tmp_path / "data", tmp_path / "secret"
    secret.write_bytes(emit_head(FIRST, USER.id) + emit_message(message(0, "hidden")))
    before = secret.read_bytes()
    dialogs = dialogs_of(data)
    dialogs.mkdir(parents=True)
    (dialogs / "current.yaml").symlink_to(secret)
    async with opened(data) as journal:
        assert await journal.recover(USER) is None
        await journal.add_message(USER, message(1), SECOND)
        assert [each.id for each in await journal.get_conversation(USER)] == ["m-1"]
    assert secret.read_bytes() == before
    assert [path.is_symlink() for path in dialogs.glob("current.unreadable-*")] == [True]


async def test_a_link_in_the_lock_s_place_stops_the_start(tmp_path: Path) -> None:
    """Its target is neither made nor given other permissions."""
    (tmp_path / "data").mkdir()
    target = tmp_path / "target"
    (tmp_path / "data" / ".lock").symlink_to(target)
    for there in (False, True):
        if there:
            target.touch()
            target.chmod(0o644)
        journal = make_journal(tmp_path / "data")
        with pytest.raises(JournalError, match="can't be used"):
            await journal.start()
        await journal.close()
        assert target.exists() == there
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


# What is no ordinary file


def put_pipe(path: Path) -> None:
    os.mkfifo(path)


def put_folder(path: Path) -> None:
    path.mkdir()


def put_link(path: Path) -> None:
    path.symlink_to(path.with_name("target"))


KINDS = pytest.mark.parametrize("put", [put_pipe, put_folder, put_link])


@KINDS
async def test_nothing_in_the_lock_s_place_hangs_the_start(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    """It is refused at once, in words."""
    put(tmp_path / ".lock")
    journal = make_journal(tmp_path)
    with pytest.raises(JournalError, match="can't be used"):
        await journal.start()
    await journal.close()


@KINDS
async def test_nothing_in_the_place_of_what_was_told_hangs_a_user(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    """A pipe or a link is replaced; a folder stays, and the user is told once more."""
    path = await write_archive(tmp_path, USER, "a")
    told = tmp_path / "users" / USER.id / ".told"
    put(told)
    async with opened(tmp_path) as journal:
        assert (await journal.untold_archive(USER)) is not None
        if put is put_folder:
            with pytest.raises(JournalError):
                await journal.mark_told(USER, path.stem)
            assert told.is_dir()
        else:
            await journal.mark_told(USER, path.stem)
            assert await journal.untold_archive(USER) is None
            assert told.read_bytes() == f"{path.stem}\n".encode()
            assert stat.S_IMODE(told.lstat().st_mode) == 0o600
    assert not told.with_name("target").exists()


@KINDS
async def test_nothing_in_the_open_dialog_s_place_hangs_a_user(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    """It is set aside, and a new dialog begins; also where it comes in mid dialog."""
    current = dialogs_of(tmp_path) / "current.yaml"
    current.parent.mkdir(parents=True)
    put(current)
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
        current.unlink()
        put(current)
        await journal.add_message(USER, message(1), FIRST)
        assert [each.id for each in await journal.get_conversation(USER)] == ["m-1"]
    assert len(list(current.parent.glob("current.unreadable-*"))) == 2


@KINDS
async def test_nothing_in_a_marker_s_place_hangs_a_user(tmp_path: Path, put: Callable[[Path], None]) -> None:
    """The user is served, the start is too."""
    (tmp_path / "open").mkdir()
    put(tmp_path / "open" / USER.id)
    async with opened(tmp_path) as journal:
        await journal.add_message(USER, message(0), FIRST)
        assert await journal.archive_conversation(USER) is not None
    assert not (tmp_path / "open" / "target").exists()


async def test_a_file_in_a_folder_s_place_is_an_error_of_that_user_alone(tmp_path: Path) -> None:
    """503; the others are served."""
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / USER.id).write_bytes(b"x")
    async with opened(tmp_path) as journal:
        with pytest.raises(JournalError):
            await journal.add_message(USER, message(0), FIRST)
        await journal.add_message(OTHER, message(0), SECOND)


# Other names of a file


async def test_another_user_s_archive_is_not_shown(tmp_path: Path) -> None:
    """Whether it was copied here, or is a hard link: the file itself says whose it is."""
    theirs = await write_archive(tmp_path, OTHER, "not yours")
    own = await write_archive(tmp_path, USER, "mine")
    log = LogRecord()
    linked, copied = (own.with_name(f"2030-01-01-00-00-0{number}.yaml") for number in (1, 2))
    linked.hardlink_to(theirs)
    copied.write_bytes(theirs.read_bytes().replace(b'user: "', b'user:  "'))
    async with opened(tmp_path, log=log) as journal:
        page = await journal.list_archives(USER, 10, None)
        assert [each.id for each in page.archives] == [own.stem]
        assert await journal.get_archive(USER, linked.stem) is None
        assert await journal.get_archive(USER, copied.stem) is None
        untold = await journal.untold_archive(USER)
        assert untold is not None and untold.id == own.stem
    assert {entry["why"] for entry in log.entries if entry["level"] == "warning"} == {"it is another user's"}


async def test_a_snapshot_by_hard_links_stays_as_it_was(tmp_path: Path) -> None:
    """What `cp -al` has made is a backup: what the user was told is not written into it."""
    path = await write_archive(tmp_path, USER, "a")
    kept = tmp_path / "snapshot"
    async with opened(tmp_path) as journal:
        await journal.mark_told(USER, "2020-01-01-00-00-00")
        kept.hardlink_to(tmp_path / "users" / USER.id / ".told")
        await journal.mark_told(USER, path.stem)
    assert kept.read_bytes() == b"2020-01-01-00-00-00\n"


# YAML

BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % ((each, each) + (each - 1,) * 9)
    for each in range(ord("b"), ord("z"))
)
HEAD = b'conversation: "sse-1-a"\nuser: "a1"\nstarted: "2024-01-15T10:12:03.120Z"\n'
MIB = 1_048_576


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(BOMB, "alias", id="anchors that explode"),
        pytest.param(b"a: &a [*a]", "alias", id="an endless one"),
        pytest.param(b"a: &a {b: c}\n<<: *a\n", "alias", id="a merge of an alias"),
        pytest.param(b"<<: [" + b"{a: b}," * 200_000 + b"{a: b}]", "too many values", id="merges"),
        pytest.param(b"[" * 500_000, "too deeply|nesting depth", id="brackets"),  # ours, or a newer libyaml's
        pytest.param(b"- " * 500_000, "too deeply", id="lists in lists"),
        pytest.param(b"? " * 500_000, "too deeply", id="keys in keys"),
        pytest.param(HEAD + b"messages: " + b"[" * 9 + b"]" * 9, "too deeply", id="deeper than a dialog"),
        pytest.param(b"- a\n" * (4 * MIB), "too many values", id="items"),
        pytest.param(b"[" + b"a," * (7 * MIB) + b"a]", "too many values", id="flow items"),
        pytest.param(b"a: true\n" * (2 * MIB), "too many values", id="fields in our own form"),
        pytest.param(b"--- a\n" * 100_000, "single document", id="documents"),
        pytest.param(HEAD + b"message_count: 1" + b":1" * 500_000, "digits", id="base 60"),
        pytest.param(
            HEAD + b"message_count: 1" + b":1" * 500_000 + b".5", "digits", id="base 60, a fraction"
        ),
        pytest.param(HEAD + b"message_count: " + b"9" * MIB, "digits", id="digits"),
        pytest.param(HEAD + b"message_count: 0x" + b"f" * MIB, "digits", id="hexadecimal"),
        pytest.param(b"!!python/object/apply:os.system ['true']", "constructor", id="a Python object"),
        pytest.param(HEAD + b"messages: !!python/name:os.system ''", "constructor", id="a Python name"),
        pytest.param(HEAD + b"messages: !!binary '" + b"A" * MIB + b"'", "no list", id="binary"),
        pytest.param(HEAD + b"messages: !!int [1]", "Error", id="a number that is a list"),
        pytest.param(HEAD + b"? [a]\n: b\n", "Error", id="a list as key"),
        pytest.param(HEAD.replace(b"a1", b"\xff"), "Error", id="no UTF-8"),
        pytest.param(HEAD + b"messages: null\n\0", "Error", id="a NUL"),
        pytest.param(b" " * (MAX_FILE_BYTES + 1), "larger than", id="too large"),
        pytest.param(b"\t" * MIB, "Error", id="tabs"),
    ],
)
def test_yaml_made_to_explode_is_no_dialog(data: bytes, why: str) -> None:
    """Told within bounds of time, and with no more than the file itself costs."""
    begun_s = time.process_time()
    with pytest.raises(NotADialogError, match=why):
        parse_dialog(data)
    assert time.process_time() - begun_s < QUICK_S


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("\ufeff".encode() + HEAD + b"messages: []\n", id="a byte order mark"),
        pytest.param((HEAD + b"messages: []\n").decode().encode("utf-16"), id="UTF-16"),
        pytest.param(b'user: "b2"\n' + HEAD + b"messages: []\n", id="a key twice: the last one counts"),
        pytest.param(HEAD + b"messages: []\nmore: &unused 1\n", id="an anchor without an alias"),
        pytest.param(b"%YAML 1.1\n---\n" + HEAD + b"messages: []\n...\n", id="a directive"),
    ],
)
def test_what_an_editor_may_make_of_a_file_is_still_the_dialog(data: bytes) -> None:
    """It is harmless, so it is read."""
    dialog = parse_dialog(data)
    assert (dialog.user_id, dialog.messages) == ("a1", ())


@pytest.mark.parametrize("place", ["current", "archive"])
async def test_a_planted_bomb_harms_nobody(tmp_path: Path, place: str) -> None:
    """In the open dialog's place it is set aside; among archives it is none, and reported once."""
    log = LogRecord()
    dialogs = dialogs_of(tmp_path)
    (dialogs / "archived").mkdir(parents=True)
    archive = dialogs / "archived" / "2030-01-01-00-00-00.yaml"
    path = dialogs / "current.yaml" if place == "current" else archive
    path.write_bytes(HEAD + b"messages:\n" + BOMB)
    begun_s = time.process_time()
    async with opened(tmp_path, log=log) as journal:
        for _ in range(2):
            await journal.add_message(USER, message(0), FIRST)
            assert (await journal.list_archives(USER, 10, None)).archives == ()
            assert await journal.get_archive(USER, archive.stem) is None
    assert time.process_time() - begun_s < QUICK_S
    assert len([entry for entry in log.entries if entry["level"] == "warning"]) == 1


async def test_a_dialog_has_a_largest_number_of_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """507 past it, and after its end another one begins: reading costs by the message, however short."""
    monkeypatch.setattr("modules.chat_server.journal.user_dialogs.MAX_MESSAGES", 3)
    async with opened(tmp_path) as journal:
        for number in range(3):
            await journal.add_message(USER, message(number), FIRST)
        with pytest.raises(JournalError, match="largest size") as raised:
            await journal.add_message(USER, message(3), FIRST)
        assert raised.value.status == 507
        assert await journal.archive_conversation(USER) is not None
        await journal.add_message(USER, message(3), SECOND)


def test_the_largest_dialog_of_short_messages_is_read_in_bounded_time() -> None:
    """What a dialog may hold at most a file may hold, too; and not much more."""
    item = emit_message(message(0, "a"))
    data = emit_head(FIRST, "a1") + item * MAX_MESSAGES + emit_footer(FIRST.started_ms, Reason.REQUEST, 1)
    begun_s = time.process_time()
    assert len(parse_dialog(data).messages) == MAX_MESSAGES
    assert time.process_time() - begun_s < QUICK_S
    assert (2 * len(dataclasses.fields(Message)) + 1) * MAX_MESSAGES < MAX_VALUES
    with pytest.raises(NotADialogError, match="too many values"):
        parse_dialog(emit_head(FIRST, "a1") + item * (8 * MAX_MESSAGES))


# The signing key


@KINDS
def test_nothing_in_the_signing_key_s_place_is_taken_for_it(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    """A link is not followed, a pipe does not hang the start, and nothing is replaced."""
    (tmp_path / "target").write_bytes(b"k" * 32)
    put(tmp_path / ".signing-key")
    with pytest.raises((OSError, ValueError), match="signing-key"):
        SigningKey.load(tmp_path, LogRecord()("auth"))


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o620, 0o666])
def test_a_signing_key_that_others_could_read_is_told_and_mended(tmp_path: Path, mode: int) -> None:
    """As after a restore: whoever has read it can log in as anybody, so the operator has to know."""
    log = LogRecord()
    SigningKey.load(tmp_path, log("auth"))
    assert log.entries == []
    (tmp_path / ".signing-key").chmod(mode)
    SigningKey.load(tmp_path, log("auth"))
    assert [entry["event"] for entry in log.entries] == ["signing key could be read by others"]
    assert stat.S_IMODE((tmp_path / ".signing-key").stat().st_mode) == 0o600
