"""Power loss: whatever a disk may hold after it, recovery keeps the promises and the user goes on.

Each workload is recorded call by call; from every prefix of the record every state is built that a file
system may leave, see `tests/faults/crash_consistency.py`, and the real recovery and archive run on it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from modules.chat_server.journal import Conversation, JournalError, Message, Reason
from modules.chat_server.journal.base import DialogueJournal
from modules.chat_server.journal.dialog_yaml import emit_footer, emit_head, emit_message
from modules.chat_server.journal.disk import Disk
from modules.chat_server.journal.records import Dialog, ImportedDialog
from potoserver import User
from tests.faults.crash_consistency import Crashes, CrashState, RecordingDisk
from tests.faults.disk import Fault, Stopped
from tests.journal.support import FIRST, SECOND, USER, dialogs_of, load, make_journal, message, yaml_files

OTHER = User("b2")
THIRD = Conversation("sse-1705313523999-ccccccccc", FIRST.started_ms + 999)
OTHERS = Conversation("sse-1705313523122-ddddddddd", FIRST.started_ms)
LATER = Conversation("sse-1705313529999-eeeeeeeee", FIRST.started_ms + 6000)
SEVERAL_BLOCKS = "several lines\n" * 700


class Record:
    """What a workload does on a recording disk, and what it was promised.

    Args:
        data: The data folder.
        disk: The disk.
    """

    def __init__(self, data: Path, disk: RecordingDisk) -> None:
        self.data = data
        self.disk = disk
        self.sent: dict[str, str] = {}

    async def say(
        self,
        journal: DialogueJournal,
        number: int,
        conversation: Conversation = FIRST,
        text: str = "",
        **fields: str,
    ) -> None:
        user = OTHER if conversation is OTHERS else USER
        said = message(number, text or None, **fields)
        self.sent[said.id] = said.content
        await journal.add_message(user, said, conversation)
        self.disk.promise(f"message {user.id} {said.id}")

    async def archive(self, journal: DialogueJournal, user: User = USER, name: str | None = None) -> None:
        archive_id = await journal.archive_conversation(user, name, reason=Reason.DISCONNECT)
        if archive_id is not None:
            self.disk.promise(f"archive {user.id} {archive_id}")


Workload = Callable[[Record, DialogueJournal], Awaitable[None]]


async def append(record: Record, journal: DialogueJournal) -> None:
    """A first message and later ones, a long one among them."""
    await record.say(journal, 0)
    await record.say(journal, 1)
    await record.say(journal, 2, text=SEVERAL_BLOCKS)


async def archive(record: Record, journal: DialogueJournal) -> None:
    """Two dialogs archived in the same second: the second one's name is taken."""
    for conversation, number in ((FIRST, 0), (SECOND, 2)):
        await record.say(journal, number, conversation)
        await record.archive(journal)


async def supersede(record: Record, journal: DialogueJournal) -> None:
    """Another conversation begins while one is open."""
    await record.say(journal, 0, FIRST)
    await record.say(journal, 2, SECOND)


async def told(record: Record, journal: DialogueJournal) -> None:
    """The user is told of two archives, one after the other."""
    for conversation, number in ((FIRST, 0), (SECOND, 2)):
        await record.say(journal, number, conversation)
        await record.archive(journal)
        newest = await journal.untold_archive(USER)
        assert newest is not None
        await journal.mark_told(USER, newest.id)


async def restore(record: Record, journal: DialogueJournal) -> None:
    """An archive becomes current in the place of another dialog, and goes on; then that is archived."""
    await record.say(journal, 0, FIRST)
    archive_id = await journal.archive_conversation(USER)
    assert archive_id is not None
    await record.say(journal, 2, SECOND)
    assert await journal.restore_archive(USER, archive_id) is not None
    record.disk.promise(f"open {USER.id} {FIRST.id}")
    await record.say(journal, 4, FIRST)


async def restore_and_end(record: Record, journal: DialogueJournal) -> None:
    """What was restored is archived again, in the same second: under the name that it had."""
    await record.say(journal, 0, FIRST)
    archive_id = await journal.archive_conversation(USER)
    assert archive_id is not None
    await journal.restore_archive(USER, archive_id)
    await record.archive(journal)


async def mark(record: Record, journal: DialogueJournal) -> None:
    """A title is given and changed, a pin is set."""
    await record.say(journal, 0, FIRST, text=SEVERAL_BLOCKS)
    await record.archive(journal)
    (archive,) = (await journal.list_archives(USER, 1, None)).archives
    await journal.rename_archive(USER, archive.id, "Trees")
    record.disk.promise(f"title {USER.id} Trees|Woods")
    await journal.pin_archive(USER, archive.id, pinned=True)
    record.disk.promise(f"pinned {USER.id} yes")
    await journal.rename_archive(USER, archive.id, "Woods")
    record.disk.promise(f"title {USER.id} Woods")


async def delete(record: Record, journal: DialogueJournal) -> None:
    """One of two archives is deleted: for good, and the other one stays."""
    await journal.add_message(USER, message(0), FIRST)
    doomed = await journal.archive_conversation(USER)
    assert doomed is not None
    await record.say(journal, 2, SECOND)
    await record.archive(journal)
    assert await journal.delete_archive(USER, doomed)
    record.disk.promise(f"gone {USER.id} m-0")


async def bring(record: Record, journal: DialogueJournal) -> None:
    """Two archives are imported for a user of whom nothing is there."""
    given = [
        ImportedDialog(
            Dialog(name, USER.id, (message(number),), FIRST.started_ms + 60_000, Reason.REQUEST),
            wanted_id=None,
            path=f"archives.{number}",
        )
        for number, name in ((0, FIRST), (2, SECOND))
    ]
    outcome = await journal.import_archives(USER, given)
    for number, added in zip((0, 2), outcome.imported, strict=True):
        record.disk.promise(f"message {USER.id} m-{number}")
        record.disk.promise(f"archive {USER.id} {added.id}")


async def two_users(record: Record, journal: DialogueJournal) -> None:
    """Appends of two users, grouped; then their archives."""
    for number in (0, 2):
        await asyncio.gather(
            record.say(journal, number, FIRST, idempotency_key="k"),
            record.say(journal, number + 100, OTHERS),
        )
    await asyncio.gather(record.archive(journal), record.archive(journal, OTHER))


async def recover(record: Record, journal: DialogueJournal) -> None:
    """What was left open is found, goes on and is archived."""
    found = await journal.recover(USER)
    await record.say(journal, 4, found.conversation if found else SECOND)
    await record.archive(journal)


async def failing(record: Record, journal: DialogueJournal) -> None:
    """Calls that fail, are taken back and repeated."""
    for number in (0, 1, 2):
        for _ in range(4):
            with suppress(JournalError):
                await record.say(journal, number)
                break
    for _ in range(4):
        with suppress(JournalError):
            await record.archive(journal, name=FIRST.id)
            break


WHOLE = emit_head(FIRST, USER.id) + emit_message(message(0)) + emit_message(message(1))
FOOTER = emit_footer(FIRST.started_ms + 5000, Reason.TIMEOUT, 2)
TORN = emit_message(message(2))[:40]
LEFT = {
    "torn": WHOLE + TORN,
    "torn-first": WHOLE[:150],
    "no-line-end": WHOLE[:-1],
    "torn-footer": WHOLE + FOOTER[:30],
    "footer": WHOLE + FOOTER,
    "junk": b"no dialog\n",
    "gone": None,
}


def lay(data: Path, left: bytes | None) -> None:
    """Leaves a user's folder as a crash would."""
    dialogs = dialogs_of(data)
    (dialogs / "archived").mkdir(parents=True)
    (data / "open").mkdir()
    (data / "open" / USER.id).touch()
    if left is None:
        (dialogs / "archived" / "2024-01-15-10-12-08.yaml").write_bytes(WHOLE + FOOTER)
    else:
        (dialogs / "current.yaml").write_bytes(left)


class Verdict:
    """Runs recovery on crash states, and says what is broken.

    Args:
        folder: For the states.
        sent: What the workload's messages hold, by id.
        shared: The folder is a further node's then, which takes the users over.
    """

    def __init__(self, folder: Path, sent: dict[str, str], *, shared: bool = False) -> None:
        self._folder = folder
        self._shared = shared
        self._sent = sent
        self.states = 0

    async def on(self, state: CrashState) -> None:
        """Lets a server start on this state, its users go on, and looks at all the files."""
        data = self._folder / "state"
        data.mkdir()
        self.states += 1
        try:
            state.put_into(data)
            await self._go_on(data, state)
        except (AssertionError, JournalError) as error:
            raise AssertionError(
                f"after {state.steps} steps, promised {sorted(state.promised)}:\n{error!r}\n"
                + "\n".join(f"{name}: {content!r:.400}" for name, content in state.files.items())
            ) from error
        finally:
            shutil.rmtree(data)

    async def _go_on(self, data: Path, state: CrashState) -> None:
        journal = make_journal(data, disk=Disk(fsync=False), shared=self._shared)
        left = await journal.start()
        for user_id in {USER.id, *left}:
            await journal.take(User(user_id), 2)
        for user_id in left:
            await journal.recover(User(user_id))
        self._check(data, state.promised)
        self._check_unmarked(data)
        users = {USER.id, *left, *(what.split()[1] for what in state.promised)}
        further = set(state.promised)
        for number, user in enumerate(map(User, sorted(users)), 900):
            found = await journal.recover(user)
            said = Message("user", "on", f"m-{number}", LATER.started_ms)
            self._sent[said.id] = said.content
            later = Conversation(f"{LATER.id}{number}", LATER.started_ms)
            await journal.add_message(user, said, found.conversation if found else later)
            further.add(f"message {user.id} {said.id}")
            archive_id = await journal.archive_conversation(user)
            further.add(f"archive {user.id} {archive_id}")
            assert await journal.untold_archive(user) is not None, "the user is told of what has just ended"
        await journal.close()
        self._check(data, frozenset(what for what in further if not what.startswith("open ")))
        for current in data.glob("users/*/dialogs/current.yaml"):
            assert current.read_bytes() == b"", f"{current} is not empty"
        assert list((data / "open").iterdir()) == []

    def _check(self, data: Path, promised: frozenset[str]) -> None:
        try:
            files = yaml_files(data)
        except yaml.YAMLError as error:
            raise AssertionError(f"a file is no YAML: {error}") from error
        found: dict[str, str] = {}
        for path, loaded in files.items():
            assert isinstance(loaded, dict), f"{path} is no YAML of a dialog"
            for item in loaded["messages"]:
                assert item["id"] not in found, f"{item['id']} is in {found[item['id']]} and in {path}"
                found[item["id"]] = path
                assert item["content"] == self._sent.get(item["id"], item["content"]), item
        conversations = [loaded["conversation"] for loaded in files.values()]
        assert len(conversations) == len(set(conversations)), f"a conversation is in two files: {files}"
        for what in promised:
            kind, user, name = what.split()
            if kind == "message":
                assert f"/users/{user}/" in found.get(name, ""), f"{name} is lost"
            elif kind == "open":
                current = load(dialogs_of(data, user) / "current.yaml") or {}
                assert current.get("conversation") == name, f"{name} is lost"
                assert "reason" not in current, f"{name} is lost"
            elif kind == "title":
                titles = {loaded.get("title") for loaded in files.values()}
                assert titles & set(name.split("|")), f"the title {name} is lost"
            elif kind == "pinned":
                assert any(loaded.get("pinned") for loaded in files.values()), "the pin is lost"
            elif kind == "gone":
                assert name not in found, f"{name} is there again, not lost"
            else:
                archive = load(dialogs_of(data, user) / "archived" / f"{name}.yaml") or {}
                assert "reason" in archive, f"{name} is lost"

    def _check_unmarked(self, data: Path) -> None:
        """No dialog is open that the next start would not find."""
        for current in data.glob("users/*/dialogs/current.yaml"):
            user = current.parents[1].name
            assert current.read_bytes() == b"" or (data / "open" / user).exists(), f"{current} has no marker"


async def record_of(
    data: Path,
    workload: Workload,
    *faults: Fault,
    left: str = "",
    deaf: Fault | None = None,
    shared: bool = False,
) -> Record:
    """Runs a workload on a recording disk."""
    data.mkdir()
    if left:
        lay(data, LEFT[left])
    disk = RecordingDisk(data, *faults, deaf=deaf)
    record = Record(data, disk)
    if left not in ("", "junk", "torn-first"):
        # A message that lacks its line end was never acknowledged.
        for number in (0,) if left == "no-line-end" else (0, 1):
            disk.promise(f"message {USER.id} m-{number}")
    journal = make_journal(data, disk=disk, shared=shared)
    await journal.start()
    await journal.take(USER, 1)
    await workload(record, journal)
    await journal.close()
    return record


async def look_at_all(folder: Path, record: Record, crashes: Crashes) -> int:
    """Runs recovery on every state; returns how many there were."""
    verdict = Verdict(folder, record.sent)
    for state in crashes.states():
        await verdict.on(state)
    return verdict.states


SEED = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)

WORKLOADS = [
    *(append, archive, supersede, told, two_users),
    *(restore, restore_and_end, mark, delete, bring),
]
HALF_TAKEN = Fault("write", "*/current.yaml", at=2, how="half", error=errno.ENOSPC)
FAULTS = {
    "write-half-taken": [HALF_TAKEN],
    "first-write-refused": [Fault("write", "*/current.yaml", error=errno.ENOSPC)],
    "flush-refused": [Fault("flush", "*/current.yaml", at=2, error=errno.EIO)],
    "first-name-not-flushed": [Fault("sync_folder", "*/dialogs", at=2, error=errno.EIO)],
    "cut-refused-too": [HALF_TAKEN, Fault("truncate", "*/current.yaml", error=errno.EIO)],
    "flush-of-the-cut-refused-too": [HALF_TAKEN, Fault("flush", "*/current.yaml", at=2, error=errno.EIO)],
    "footer-half-taken": [Fault("write", "*/current.yaml", at=4, how="half", error=errno.ENOSPC)],
    "rename-refused-and-done": [Fault("rename", how="after", error=errno.EIO)],
    "archive-name-not-flushed": [Fault("sync_folder", "*/archived", error=errno.EIO)],
}


def crashes_of(record: Record, *, whole: bool, first: int = 0, most: int = 2000) -> Crashes:
    """Every state, writes torn at a few places; in the long form at each byte, then up to `most` a prefix."""
    return Crashes(record.disk, first, most=most if whole else 0, every_byte=whole, dice=random.Random(SEED))


async def check(folder: Path, record: Record, *, whole: bool) -> None:
    crashes = crashes_of(record, whole=whole)
    count = await look_at_all(folder, record, crashes)
    print(f"{count} states of {len(record.disk.record)} steps; seed {SEED} drew in {crashes.drawn} prefixes")


short_and_long = pytest.mark.parametrize(
    "whole",
    [False, pytest.param(True, marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
    ids=["short", "long"],
)


@short_and_long
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda each: each.__name__)
async def test_power_loss_loses_and_doubles_nothing(
    memory_path: Path, workload: Workload, whole: bool
) -> None:
    """Append, archive, supersede, told, restore, title, pin, delete, import: every state of every prefix."""
    await check(memory_path, await record_of(memory_path / "data", workload), whole=whole)


@pytest.mark.parametrize("workload", [append, restore], ids=lambda each: each.__name__)
async def test_power_loss_in_a_shared_folder_loses_and_doubles_nothing(
    memory_path: Path, workload: Workload
) -> None:
    """The next home takes the user over, whatever is left of the token."""
    record = await record_of(memory_path / "data", workload, shared=True)
    crashes = Crashes(record.disk, most=40, dice=random.Random(SEED))
    verdict = Verdict(memory_path, record.sent, shared=True)
    torn = 0
    for state in crashes.states():
        lock, current = (
            state.files.get(f"users/a1/dialogs/{each}", b"") for each in (".lock", "current.yaml")
        )
        is_whole = lock == b"%020d\n" % 1
        torn += bool(lock) and not is_whole
        assert is_whole or not current, "the token is durable before anything is written"
        await verdict.on(state)
    print(f"{verdict.states} states, seed {SEED}")
    assert torn > 0


@short_and_long
@pytest.mark.parametrize("left", LEFT)
async def test_power_loss_in_a_recovery_loses_and_doubles_nothing(
    memory_path: Path, left: str, whole: bool
) -> None:
    """What a first crash has left is recovered; a second one comes at any moment of that."""
    await check(memory_path, await record_of(memory_path / "data", recover, left=left), whole=whole)


@short_and_long
@pytest.mark.parametrize("fault", FAULTS)
async def test_power_loss_around_a_failed_call_loses_and_doubles_nothing(
    memory_path: Path, fault: str, whole: bool
) -> None:
    """A call fails and is taken back; the power goes at any moment around it."""
    record = await record_of(memory_path / "data", failing, *FAULTS[fault])
    assert record.disk.faults.reached == len(FAULTS[fault]), "each is met"
    await check(memory_path, record, whole=whole)


async def killed_and_recovered(data: Path, fault: Fault) -> tuple[Record, int] | None:
    """Kills the process at a call, and lets another one go on; None where there are fewer calls."""
    data.mkdir()
    disk = RecordingDisk(data)
    record = Record(data, disk)
    journal = make_journal(data, disk=disk)
    await journal.start()
    disk.faults.set(fault)
    try:
        await archive(record, journal)
    except Stopped:
        pass
    else:
        return None
    finally:
        disk.faults.set()
        disk.faults.stopped = False
        await journal.close()
    killed = len(disk.record)
    journal = make_journal(data, disk=disk)
    for user_id in await journal.start():
        await journal.recover(User(user_id))
    found = await journal.recover(USER)
    await record.say(journal, 6, found.conversation if found else THIRD)
    await record.archive(journal)
    await journal.close()
    return record, killed


@pytest.mark.parametrize(
    "fault", [Fault(stop=True, how="after"), Fault("write", stop=True, how="half")], ids=["after", "half"]
)
@short_and_long
async def test_power_loss_after_a_kill_loses_and_doubles_nothing(
    memory_path: Path, fault: Fault, whole: bool
) -> None:
    """What a killed process wrote and never flushed may go although the next one has read it."""
    states = 0
    seen: set[int] = set()
    for at in range(1, 200):
        data = memory_path / str(at)
        done = await killed_and_recovered(data, replace(fault, at=at))
        if done is None:
            break
        record, killed = done
        if killed not in seen:  # else the call has changed nothing
            seen.add(killed)
            states += await look_at_all(
                memory_path, record, crashes_of(record, whole=whole, first=killed, most=100)
            )
        shutil.rmtree(data)
    else:
        pytest.fail("the workload makes more calls than the loop allows")
    print(f"{states} states after {len(seen)} kills, of {at - 1} calls; seed {SEED}")


LIES = {
    "no flush at all": (append, Fault("flush")),
    "the folder of a new dialog": (append, Fault("sync_folder", "*/dialogs")),
    "the marker": (append, Fault("sync_folder", "*/open")),
    "a footer": (archive, Fault("flush")),
    "the folders' names behind a rename": (archive, Fault("sync_folder", "*/dialogs")),
    "the folder of a restored dialog": (restore, Fault("sync_folder", "*/dialogs")),
    "the folder that a restored dialog leaves": (restore, Fault("sync_folder", "*/archived")),
    "a title's file": (mark, Fault("flush", "*/.anew")),
    "the folder behind a title": (mark, Fault("sync_folder", "*/archived")),
    "the folder behind a deletion": (delete, Fault("sync_folder", "*/archived")),
    "an import's files": (bring, Fault("flush", "*/.anew-*")),
    "the folder behind an import": (bring, Fault("sync_folder", "*/archived")),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_disk_that_does_not_flush_is_caught(memory_path: Path, lie: str) -> None:
    """The check sees it when what is acknowledged was not flushed: it would see a journal that forgets to."""
    workload, deaf = LIES[lie]
    record = await record_of(memory_path / "data", workload, deaf=deaf)
    seen = r"lost|no marker|in two files|is in .* and in|no YAML|is told of"
    with pytest.raises(AssertionError, match=seen):
        await look_at_all(memory_path, record, crashes_of(record, whole=False))
