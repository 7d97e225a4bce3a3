"""Each thing that can be wrong with the files of a folder of data, to be planted in one where nothing is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from modules.chat_server.journal.dialog_yaml import emit_footer
from modules.chat_server.journal.records import Reason
from tests.support.dialog_files import BEGIN_MS, archive, conversation_at, leave_open, lines_of, write

FIRST = "2023-11-14-22-14-10"
"""The id of the first archive of a1 and of b2."""
LATER = "2024-01-15-10-30-00"
NOBODY = 65534
"""The user of that name, on most systems."""
WORDS = ("Question 0", "Answer 0", "Question 1", "Answer 1", "Are you there?")
"""What is said in the dialogs of a1 and c3."""


def make_sound(folder: Path) -> None:
    """Two archives of a1 and one of b2, an open dialog of c3; nothing is wrong with them."""
    for number in range(2):
        archive(folder, "a1", (f"Question {number}", f"Answer {number}"), number=number)
    archive(folder, "b2")
    leave_open(folder, "c3")


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        plant: Plants it in a folder of data.
        kind: What `dialogs verify` says that it is.
        file: The name of the file that it is told of.
        mended: Whether `--repair` mends it.
    """

    plant: Callable[[Path], object]
    kind: str
    file: str
    mended: bool


FAULTS: dict[str, Fault] = {}


def fault(
    name: str, kind: str, file: str = f"{FIRST}.yaml", *, mended: bool = False
) -> Callable[[Callable[[Path], object]], None]:
    """Marks what plants one."""

    def keep(plant: Callable[[Path], object]) -> None:
        FAULTS[name] = Fault(plant, kind, file, mended)

    return keep


def give_away(path: Path) -> None:
    """Makes a file somebody else's on this machine."""
    if os.geteuid():
        pytest.skip("only root can give a file away")
    os.chown(path, NOBODY, -1)


def at(data: Path, user: str = "a1") -> Path:
    """The folder of a user's dialogs."""
    return data / "users" / user / "dialogs"


def first(data: Path, user: str = "a1") -> Path:
    """The file of a user's first archive."""
    return at(data, user) / "archived" / f"{FIRST}.yaml"


def cut(path: Path, size: int) -> None:
    """Takes so many bytes from the end."""
    os.truncate(path, path.stat().st_size - size)


def replace(path: Path, old: bytes, new: bytes) -> None:
    """Writes something else in the place of what stands there."""
    before = path.read_bytes()
    assert old in before
    path.write_bytes(before.replace(old, new))


@fault("an archive whose footer is cut", "torn", mended=True)
def _(data: Path) -> None:
    cut(first(data), 10)


@fault("an archive that is cut in a message", "torn", mended=True)
def _(data: Path) -> None:
    cut(first(data), 120)


@fault("an archive without a footer", "torn", mended=True)
def _(data: Path) -> None:
    write(first(data), lines_of("a1", conversation_at(BEGIN_MS), WORDS[:2]))


@fault(
    "an archive with something unreadable before a whole message: only a person can tell what was there",
    "torn",
)
def _(data: Path) -> None:
    archive(data, "a1", ("Question 0", "Answer 0", "Question 1"))
    replace(first(data), b'role: "assistant"', b'role: "assist: [')


@fault("an archive of which only the head is there", "torn")
def _(data: Path) -> None:
    os.truncate(first(data), 60)


@fault("an archive that is no YAML", "no-dialog")
def _(data: Path) -> None:
    write(first(data), b"\0\x1b[2J: [")


@fault("an archive that is no dialog", "no-dialog")
def _(data: Path) -> None:
    write(first(data), b"hello: 5\nuser: [a1]\n")


@fault("an empty archive", "no-dialog")
def _(data: Path) -> None:
    write(first(data), b"")


@fault("another user's archive", "other-user")
def _(data: Path) -> None:
    write(first(data, "c3"), first(data, "b2").read_bytes())


@fault("a count that is wrong", "count")
def _(data: Path) -> None:
    replace(first(data), b"message_count: 2", b"message_count: 3")


@fault("a count that is wrong in a file that was laid out by hand", "count")
def _(data: Path) -> None:
    replace(first(data), b"message_count: 2\n", b"message_count:    3    # two?\n" + b"# \n" * 500)


@fault("a name that is not the end's", "name", f"{LATER}.yaml")
def _(data: Path) -> None:
    first(data).rename(at(data) / f"archived/{LATER}.yaml")


@fault("a conversation in two archives", "duplicate")
def _(data: Path) -> None:
    write(at(data) / f"archived/{FIRST}-2.yaml", first(data).read_bytes())


@fault("a conversation in an archive that is open, too", "duplicate", "current.yaml")
def _(data: Path) -> None:
    leave_open(data, "a1")
    write(at(data) / "current.yaml", lines_of("a1", conversation_at(BEGIN_MS), WORDS[:2]))


@fault("a message twice", "duplicate")
def _(data: Path) -> None:
    replace(first(data), f"m-{BEGIN_MS}-1".encode(), f"m-{BEGIN_MS}-0".encode())


@fault("times that go back", "order")
def _(data: Path) -> None:
    replace(first(data), b'timestamp: "2023-11-14T22:13:21', b'timestamp: "2023-11-14T22:13:29')


@fault("a beginning behind the messages and the end", "order")
def _(data: Path) -> None:
    replace(first(data), b'started: "2023-11-14T22:13', b'started: "2023-11-14T22:59')


@fault("a file that nobody makes, among archives", "foreign", "notes.txt")
def _(data: Path) -> None:
    write(at(data) / "archived/notes.txt", b"mine")


@fault("a file that nobody makes, beside the dialog", "foreign", "todo.md")
def _(data: Path) -> None:
    write(at(data) / "todo.md", b"mine")


@fault("a folder that is no user's", "foreign", "No User")
def _(data: Path) -> None:
    (data / "users" / "No User").mkdir()


@fault("a marker that is no user's", "foreign", "No User")
def _(data: Path) -> None:
    (data / "open" / "No User").touch()


@fault("a link in the place of an archive", "unreadable", f"{LATER}.yaml")
def _(data: Path) -> None:
    (at(data) / f"archived/{LATER}.yaml").symlink_to(first(data))


@fault("a link in the place of a user's folder", "unreadable", "d4")
def _(data: Path) -> None:
    (data / "users" / "d4").symlink_to(data / "users" / "a1")


@fault("a pipe in the place of the open dialog", "unreadable", "current.yaml", mended=True)
def _(data: Path) -> None:
    (at(data) / "current.yaml").unlink()
    os.mkfifo(at(data) / "current.yaml", 0o600)


@fault("a marker without a dialog", "stray-mark", "a1", mended=True)
def _(data: Path) -> None:
    write(data / "open" / "a1", b"")


@fault("a marker of a user without files", "stray-mark", "z9", mended=True)
def _(data: Path) -> None:
    write(data / "open" / "z9", b"")


@fault("an open dialog without a marker", "unmarked", "current.yaml", mended=True)
def _(data: Path) -> None:
    (data / "open" / "c3").unlink()


@fault("an open dialog with a torn end", "torn", "current.yaml", mended=True)
def _(data: Path) -> None:
    current = at(data, "c3") / "current.yaml"
    write(current, current.read_bytes() + b'- role: "assistant"\n  content: "Hal')


@fault("an open dialog that is none", "no-dialog", "current.yaml", mended=True)
def _(data: Path) -> None:
    write(at(data, "c3") / "current.yaml", b"Are you there?")


@fault("an open dialog of another user", "other-user", "current.yaml", mended=True)
def _(data: Path) -> None:
    leave_open(data, "d4")
    write(at(data, "d4") / "current.yaml", lines_of("e5", conversation_at(BEGIN_MS), ["Mine"]))


@fault("an archive that was begun", "unfinished", "current.yaml", mended=True)
def _(data: Path) -> None:
    current = at(data, "c3") / "current.yaml"
    write(current, current.read_bytes() + emit_footer(BEGIN_MS + 90_000_000, Reason.TIMEOUT, 1))


@fault("an archive that others may read", "mode", mended=True)
def _(data: Path) -> None:
    first(data).chmod(0o644)


@fault("a folder that others may enter", "mode", "users", mended=True)
def _(data: Path) -> None:
    (data / "users").chmod(0o755)


@fault("an archive of another user of the machine", "owner")
def _(data: Path) -> None:
    give_away(first(data))


@fault("what recovery has set aside", "set-aside", f"current.torn-{LATER}")
def _(data: Path) -> None:
    write(at(data) / f"current.torn-{LATER}", b"half")


@fault("what a repair has set aside", "set-aside", f"{FIRST}.torn-{LATER}")
def _(data: Path) -> None:
    write(at(data) / f"archived/{FIRST}.torn-{LATER}", b"half")


@fault("half a change", "leftover", ".anew", mended=True)
def _(data: Path) -> None:
    write(at(data) / "archived/.anew", first(data).read_bytes()[:-150])


@fault("a change of which nothing was written", "leftover", ".anew", mended=True)
def _(data: Path) -> None:
    write(at(data) / "archived/.anew", b"")


@fault("half a change without one whole message", "leftover", ".anew")
def _(data: Path) -> None:
    write(at(data) / "archived/.anew", lines_of("a1", conversation_at(BEGIN_MS), ["Half"])[:-20])


@fault("half an import that holds words of its own", "leftover", ".anew-3")
def _(data: Path) -> None:
    write(at(data) / "archived/.anew-3", lines_of("a1", conversation_at(BEGIN_MS + 1), ["Other words"]))


@fault("half a change that holds words of its own", "leftover", ".anew")
def _(data: Path) -> None:
    write(at(data) / "archived/.anew", lines_of("a1", conversation_at(BEGIN_MS), ["Words of its own"]))


@fault("half a signing key", "leftover", ".signing-key-0123456789abcdef")
def _(data: Path) -> None:
    write(data / ".signing-key-0123456789abcdef", b"x")
