"""Files that a crash, a disk or a person has damaged: what is whole is kept, the rest is set aside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.support import saved
from tests.support.process import ServerProcess, chat
from tests.support.sse import stream

pytestmark = pytest.mark.process

USER = "cut-0000"
AT_ONCE = {"SESSION_RECONNECT_GRACE": "0"}
ENVIRONMENT = AT_ONCE | {"POTO_AUTH__TOKENS": f'{{"test-token": {{"user": "{USER}"}}}}'}
TEXTS = ("First.", "Two words", 'Several lines:\n- שלום\n- \U0001f98a \\ "q" \'')


@dataclass(frozen=True)
class Template:
    """A dialog that a server has written.

    Attributes:
        data: The archive's bytes, footer included.
        conversation: Its conversation.
        ends: The offset behind each message.
        messages: Role and content of each.
    """

    data: bytes
    conversation: str
    ends: tuple[int, ...]
    messages: list[tuple[str, str]]

    def of(self, number: int) -> tuple[str, bytes]:
        """The same dialog as if another user had held it, of the same length."""
        user = f"cut-{number:04d}"
        conversation = f"{self.conversation[:-4]}{number:04d}"
        data = self.data.replace(USER.encode(), user.encode(), 1)
        return user, data.replace(self.conversation.encode(), conversation.encode(), 1)


async def _write_template(folder: Path) -> Template:
    folder.mkdir()
    async with ServerProcess(folder, environment=ENVIRONMENT) as server, aiohttp.ClientSession() as session:
        async with stream(session, f"{server.url}/subscribe") as reader:
            await reader.next("connected")
            for text in TEXTS:
                await chat(session, server.url, text)
            current = server.data_dir / "users" / USER / "dialogs" / "current.yaml"
            opened = current.read_bytes()
        await saved.until_archived(server.data_dir / "users" / USER)
        assert await server.stop() == 0
    data = server.archives(USER)[0].read_bytes()
    assert data.startswith(opened), "archiving adds a footer and nothing else"
    dialog = saved.load(server.archives(USER)[0])
    ends = tuple(
        position + 1
        for position in _line_ends(data)
        if data[:position].rpartition(b"\n")[2].startswith(b"  timestamp:")
    )
    assert len(ends) == len(dialog.messages) == 2 * len(TEXTS)
    return Template(data, dialog.conversation, ends, dialog.messages)


def _line_ends(data: bytes) -> Iterator[int]:
    position = data.find(b"\n")
    while position >= 0:
        yield position
        position = data.find(b"\n", position + 1)


def _lay(data_dir: Path, user: str, current: bytes, *, marked: bool = True) -> Path:
    """Lays a `current.yaml` into a user's folder, as a crash leaves it."""
    dialogs = data_dir / "users" / user / "dialogs"
    dialogs.mkdir(parents=True, mode=0o700)
    (data_dir / "open").mkdir(exist_ok=True, mode=0o700)
    (dialogs / "current.yaml").write_bytes(current)
    if marked:
        (data_dir / "open" / user).touch(mode=0o600)
    return dialogs


async def _recover_all(server: ServerProcess) -> None:
    await server.start()
    await saved.until_nothing_is_open(server.data_dir)
    assert await server.stop() == 0


def _aside(dialogs: Path) -> list[Path]:
    found = [path for path in dialogs.iterdir() if path.is_file() and path.name != "current.yaml"]
    assert not [path for path in found if path.suffix == ".yaml"]
    return found


async def test_a_dialog_cut_at_any_byte_keeps_every_whole_message(tmp_path: Path) -> None:
    """`current.yaml` cut at each byte of its last two messages and its footer, each for a user of its own."""
    template = await _write_template(tmp_path / "template")
    server = ServerProcess(tmp_path, environment=ENVIRONMENT)
    cuts = range(template.ends[-3], len(template.data) + 1)
    for number, cut in enumerate(cuts, 1):
        user, data = template.of(number)
        _lay(server.data_dir, user, data[:cut])
    await _recover_all(server)
    for number, cut in enumerate(cuts, 1):
        user, data = template.of(number)
        dialogs = server.data_dir / "users" / user / "dialogs"
        assert (dialogs / "current.yaml").read_bytes() == b"", f"cut at {cut}"
        [archive] = server.archives(user)
        dialog = saved.load(archive)
        whole = sum(end <= cut for end in template.ends)
        # A message that lacks nothing but its line's end may be kept or set aside: nobody was told of it.
        kept = len(dialog.messages)
        assert kept == whole or (kept == whole + 1 and cut + 1 == template.ends[whole]), f"cut at {cut}"
        assert dialog.messages == template.messages[:kept]
        assert (dialog.fields["user"], dialog.fields["message_count"]) == (user, kept)
        has_footer = cut >= len(data) - 1
        assert dialog.fields["reason"] == ("disconnect" if has_footer else "recovered"), f"cut at {cut}"
        rest = b"" if has_footer else data[template.ends[kept - 1] : cut]
        assert b"".join(path.read_bytes() for path in _aside(dialogs)) == rest, f"cut at {cut}"
    told = [line for line in server.log_lines() if line["event"] == "file set aside"]
    assert {line["level"] for line in told} == {"warning"}
    assert len(told) == len(saved.set_aside(server.data_dir))


async def test_a_dialog_cut_before_its_first_whole_message_is_set_aside(tmp_path: Path) -> None:
    """Nothing of it is a message, and still no byte of it goes."""
    template = await _write_template(tmp_path / "template")
    server = ServerProcess(tmp_path, environment=ENVIRONMENT)
    cuts = range(1, template.ends[0] - 1, 7)
    for number, cut in enumerate(cuts, 1):
        user, data = template.of(number)
        _lay(server.data_dir, user, data[:cut])
    await _recover_all(server)
    for number, cut in enumerate(cuts, 1):
        user, data = template.of(number)
        dialogs = server.data_dir / "users" / user / "dialogs"
        assert server.archives(user) == []
        rest = b"".join(path.read_bytes() for path in [*_aside(dialogs), dialogs / "current.yaml"])
        assert rest == data[:cut], f"cut at {cut}"


NO_DIALOGS = {
    "bytes": b"\x00\x01\xff\xfe",
    "words": b"A note that somebody has put here.\n",
    "list": b"- a\n- b\n",
    "unclosed": b'conversation: "sse-1\nuser: [',
    "alias": b"a: &a [*a]\n",
    "other-mapping": b'name: "no dialog"\n',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("marked", [True, False], ids=["found-at-start", "found-at-the-first-message"])
async def test_a_file_that_is_no_dialog_is_set_aside_and_reported_never_overwritten(
    tmp_path: Path, marked: bool
) -> None:
    """The server starts and serves the user; the file's bytes lie beside under another name."""
    tokens = ", ".join(f'"t-{user}": {{"user": "{user}"}}' for user in NO_DIALOGS)
    server = ServerProcess(tmp_path, environment=AT_ONCE | {"POTO_AUTH__TOKENS": f"{{{tokens}}}"})
    for user, data in NO_DIALOGS.items():
        _lay(server.data_dir, user, data, marked=marked)
    async with server, aiohttp.ClientSession() as session:
        for user in NO_DIALOGS:
            answer = await chat(session, server.url, "Still here?", f"t-{user}")
            assert answer["reply"] == "Still here?"
        told = await server.until_logged("file set aside", len(NO_DIALOGS))
        metrics = await (await session.get(f"{server.url}/metrics")).text()
        assert await server.stop() == 0
    assert {line["user"] for line in told} == set(NO_DIALOGS)
    assert f"potoserver_set_aside_total {len(NO_DIALOGS)}.0" in metrics
    for user, data in NO_DIALOGS.items():
        [aside] = _aside(server.data_dir / "users" / user / "dialogs")
        assert aside.read_bytes() == data
        [archive] = server.archives(user)
        assert saved.load(archive).messages == [("user", "Still here?"), ("assistant", "Still here?")]


async def test_another_users_dialog_in_a_folder_is_set_aside_not_continued(tmp_path: Path) -> None:
    """A folder restored under a wrong name mixes nobody's dialogs."""
    template = await _write_template(tmp_path / "template")
    server = ServerProcess(tmp_path, environment=ENVIRONMENT)
    _, foreign = template.of(9)
    dialogs = _lay(server.data_dir, USER, foreign)
    async with server, aiohttp.ClientSession() as session:
        await chat(session, server.url, "Mine")
        assert await server.stop() == 0
    [aside] = _aside(dialogs)
    assert aside.read_bytes() == foreign
    [archive] = server.archives(USER)
    assert [text for _, text in saved.load(archive).messages] == ["Mine", "Mine"]
