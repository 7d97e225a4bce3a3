"""`kill -9` at every named point: nothing acknowledged is lost, nothing is doubled, whoever returns goes on.

Two users come to each point, two points are reached in one process, and it is killed when all four are there.
After the restart one user of each point is back within the grace, the other never.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from modules.chat_server.journal import Conversation, Message, Reason
from modules.chat_server.journal.dialog_yaml import emit_footer, emit_head, emit_message
from tests.faults.crash_points import CRASH_POINTS, LAID, CrashPoint, Given, Leaves
from tests.faults.plan import FaultPlan
from tests.process.test_kill import Ledger, check_all_archived, check_disk
from tests.support import saved
from tests.support.process import ServerProcess, chat, patient, tokens_of
from tests.support.sse import open_stream

pytestmark = pytest.mark.process

GRACE_MS = 6000
WITH_ARCHIVE = (Given.ARCHIVE, Given.RESTORING, Given.NAMING, Given.PINNING, Given.DELETING)
STARTED_MS = 1_705_313_523_120
IN_LONG_FORM = ("delete", "import", "name", "pin", "restore", "told")
"""What users do with archives: in the short form each system call of these fails, or ends the process, in
`tests/journal/test_restoring.py`."""


@dataclass
class Visitor:
    """One of the two who come to a point.

    Attributes:
        point: Which one.
        user: Whose dialog it is.
        conversation: The one that is open before the point, once it is known.
    """

    point: CrashPoint
    user: str
    conversation: str | None = None

    @property
    def token(self) -> str:
        return f"t-{self.user}"


class Life:
    """A chain of servers on one folder, each killed at a point; the next one's start is the restart.

    Args:
        folder: For the data, the logs and the plan.
        points: At which to kill.
        at_start: What recovery finds is found by the start, instead of by the user's first call.
    """

    def __init__(self, folder: Path, points: Sequence[CrashPoint], *, at_start: bool = False) -> None:
        self._points = points
        self._at_start = at_start
        self._ledger = Ledger()
        self._plan = FaultPlan(folder)
        self._users = [f"{who}-{number}" for number in range(len(points)) for who in ("back", "gone")]
        environment = tokens_of(self._users) | self._plan.environment
        self._server = ServerProcess(
            folder,
            environment=environment
            | {
                "POTO_MODULES": patient("chat_server", "tests.process.rogues:FaultyDisksApart"),
                "SESSION_RECONNECT_GRACE": str(GRACE_MS),
                "POTO_LOG__BACKUPS": "100",
            },
        )
        self.reached: list[str] = []

    async def live(self) -> None:
        """Goes through all the points, then looks at all that is left."""
        async with self._server, aiohttp.ClientSession() as session:
            for number in range(0, len(self._points), 2):
                points = self._points[number : number + 2]
                visitors = [
                    Visitor(point, f"{who}-{number + position}")
                    for position, point in enumerate(points)
                    for who in ("back", "gone")
                ]
                # Where a point is reached by who comes first, nobody else may come before.
                visitors.sort(key=lambda visitor: not visitor.point.is_shared)
                for visitor in visitors:
                    await self._prepare(session, visitor)
                await self._die(session, visitors)
                for visitor in visitors:
                    self._check_left(visitor)
                self._plan.set()
                await self._server.start()
                await asyncio.gather(
                    *(self._come_back(session, each) for each in visitors if each.user.startswith("back"))
                )
                self.reached += [point.name for point in points]
            await saved.until_nothing_is_open(self._server.data_dir)
            assert await self._server.stop() == 0
        check_all_archived(self._server, self._ledger.acknowledged)
        self._check_reasons()

    async def _prepare(self, session: aiohttp.ClientSession, visitor: Visitor) -> None:
        point = visitor.point
        if point.given in (*LAID, Given.LEFT_OPEN):
            if not self._laid_at_start(point):
                _lay(self._server.data_dir, point.given, visitor)
            return
        if point.given is Given.NOTHING:
            return
        if point.given is Given.IMPORTING:
            return
        if point.given is Given.DELETING:
            # What is deleted is nothing that must be kept.
            await chat(session, self._server.url, f"{visitor.user} has gone", visitor.token)
        else:
            await self._say(session, visitor, f"{visitor.user} has come")
        if point.given in (*WITH_ARCHIVE, Given.UNTOLD):
            await self._end(session, visitor)
            visitor.conversation = None
        if point.given is Given.RESTORING:
            await self._say(session, visitor, f"{visitor.user} says more")
            if point.leaves is Leaves.OPEN:
                visitor.conversation = None  # it is to be the other one
        if point.given is Given.TAKEN_NAMES:
            _take_names(self._server.data_dir, visitor.user)

    def _laid_at_start(self, point: CrashPoint) -> bool:
        return point.given is Given.LEFT_OPEN or (self._at_start and point.given in LAID)

    async def _say(self, session: aiohttp.ClientSession, visitor: Visitor, text: str) -> None:
        answer = await chat(session, self._server.url, text, visitor.token)
        visitor.conversation = answer["conversationId"]
        self._ledger.acknowledge(visitor.user, text)

    async def _end(self, session: aiohttp.ClientSession, visitor: Visitor) -> None:
        await self._call(session, visitor, "endSession")

    async def _call(
        self, session: aiohttp.ClientSession, visitor: Visitor, method: str, **arguments: Any
    ) -> Any:
        answer = await session.post(
            f"{self._server.url}/ChatServerModule/{method}",
            json=arguments,
            headers={"Authorization": f"Bearer {visitor.token}"},
        )
        assert answer.status == 200, await answer.text()
        return await answer.json()

    async def _change(self, session: aiohttp.ClientSession, visitor: Visitor) -> None:
        """What the user does with the archive that is there, or imports."""
        given = visitor.point.given
        if given is Given.IMPORTING:
            await self._call(session, visitor, "importArchives", archives=_export_of(visitor))
            return
        listed = await self._call(session, visitor, "listArchives", limit=1)
        archive_id = listed["archives"][0]["id"]
        method, arguments = {
            Given.RESTORING: ("restoreArchive", {}),
            Given.NAMING: ("renameArchive", {"title": "Trees"}),
            Given.PINNING: ("pinArchive", {"pinned": True}),
            Given.DELETING: ("deleteArchive", {}),
        }[given]
        await self._call(session, visitor, method, id=archive_id, **arguments)

    async def _die(self, session: aiohttp.ClientSession, visitors: Sequence[Visitor]) -> None:
        """Leads them to their points, one after the other; the process is gone when this returns."""
        point = visitors[0].point
        names = " and ".join(sorted({visitor.point.name for visitor in visitors}))
        if self._laid_at_start(point):
            await self._server.stop(signal.SIGKILL)
            for visitor in visitors:
                _lay(self._server.data_dir, visitor.point.given, visitor)
        users: dict[CrashPoint, list[str]] = {}
        for visitor in visitors:
            users.setdefault(visitor.point, []).append(visitor.user)
        self._plan.set(*(fault for point in users for fault in point.faults(users[point])))
        tasks = []
        try:
            if self._laid_at_start(point):
                await self._server.launch()
            elif point.given is Given.SHUTDOWN:
                self._server.send_signal(signal.SIGTERM)
            else:
                for number, visitor in enumerate(visitors, 1):
                    tasks.append(asyncio.create_task(self._lead(session, visitor)))
                    await self._plan.until_reached(number)
            assert await self._server.wait() == -signal.SIGKILL, names
            assert len(self._plan.reached) == len(visitors), f"{names} were not reached"
        except TimeoutError:
            pytest.fail(f"{names} were never reached: {self._plan.reached}\n{self._server.output}")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _lead(self, session: aiohttp.ClientSession, visitor: Visitor) -> None:
        point = visitor.point
        if point.given is Given.UNTOLD:
            await open_stream(session, f"{self._server.url}/subscribe", visitor.token)
        elif point.given in (Given.ENDING, Given.TAKEN_NAMES):
            await self._end(session, visitor)
        elif point.given in (*WITH_ARCHIVE, Given.IMPORTING) and point.given is not Given.ARCHIVE:
            await self._change(session, visitor)
        else:
            await chat(session, self._server.url, f"{visitor.user} at {point.name}", visitor.token)

    def _check_left(self, visitor: Visitor) -> None:
        """What the kill has left is what the point says; all the acknowledged is there."""
        point = visitor.point
        data_dir = self._server.data_dir
        check_disk(data_dir, self._ledger.acknowledged)
        current = self._server.current(visitor.user)
        found = saved.load_open(current) if current.exists() else None
        if point.leaves is Leaves.OPEN:
            assert found is not None, point.name
            assert "reason" not in found.fields, point.name
            assert visitor.conversation in (None, found.conversation), point.name
            visitor.conversation = found.conversation
        elif point.leaves is Leaves.ENDED:
            ended = [dialog for dialog in _dialogs_of(data_dir, visitor.user) if "reason" in dialog.fields]
            assert visitor.conversation in (None, *(dialog.conversation for dialog in ended)), point.name
            assert found is None or "reason" in found.fields, point.name
        else:
            assert found is None, point.name

    async def _come_back(self, session: aiohttp.ClientSession, visitor: Visitor) -> None:
        """Back within the grace: the same conversation goes on, unless it had ended."""
        point = visitor.point
        reader = await open_stream(session, f"{self._server.url}/subscribe", visitor.token)
        connected = (await reader.next("connected")).data
        before = visitor.conversation
        await self._say(session, visitor, f"{visitor.user} is back")
        assert visitor.conversation == connected["conversation"], point.name
        assert (visitor.conversation == before) == (point.leaves is Leaves.OPEN), point.name
        if point.given in (Given.NAMING, Given.PINNING, Given.IMPORTING):
            await self._change(session, visitor)  # what was cut off can be done again
        await reader.close()

    def _check_reasons(self) -> None:
        """Who did not come back finds the dialog archived as `recovered`, or for the reason that it had."""
        own = {
            Given.ENDING: "request",
            Given.TAKEN_NAMES: "request",
            Given.SHUTDOWN: "shutdown",
            Given.UNTOLD: "request",
            Given.FOOTER: "timeout",
            Given.LEFT_OPEN: "recovered",
        }
        for number, point in enumerate(self._points):
            reasons = [
                dialog.fields["reason"]
                for dialog in _dialogs_of(self._server.data_dir, f"gone-{number}")
                if not dialog.conversation.startswith("taken")
            ]
            if point.given is Given.DELETING:
                assert reasons == ["request"] * (point.how == "before"), point.name
                continue
            if point.given is Given.IMPORTING:
                renamed = {"import:one-renamed": 1, "import:all-renamed": 2, "import:unmarked": 2}
                assert reasons == ["request"] * renamed.get(point.name, 0), point.name
                continue
            if point.given is Given.RESTORING:
                other = "recovered" if point.leaves is Leaves.OPEN else "request"
                assert sorted(reasons) == sorted(["superseded", other]), point.name
                continue
            if point.given in (*WITH_ARCHIVE, Given.RENAMED):
                assert reasons.pop(0) in ("request", "timeout"), point.name
            expected = {
                Leaves.NOTHING: [],
                Leaves.OPEN: ["recovered"],
                Leaves.ENDED: [own.get(point.given)],
            }
            assert reasons == expected[point.leaves], point.name


def _export_of(visitor: Visitor) -> list[dict[str, Any]]:
    """Two archives from elsewhere."""
    at = "2024-01-15T10:12:03.120Z"
    return [
        {
            "conversationId": f"from-elsewhere-{number}-{visitor.user}",
            "startedAt": at,
            "endedAt": at,
            "messages": [
                {"id": f"m-{number}-{visitor.user}", "role": "user", "content": "x", "timestamp": at}
            ],
        }
        for number in range(2)
    ]


def _dialogs_of(data_dir: Path, user: str) -> list[saved.Saved]:
    dialogs = [*saved.archives(data_dir), *saved.open_dialogs(data_dir)]
    return [dialog for dialog in dialogs if dialog.fields["user"] == user]


def _lay(data_dir: Path, given: Given, visitor: Visitor) -> None:
    """Leaves a user's folder as a crash would."""
    user = visitor.user
    dialogs = data_dir / "users" / user / "dialogs"
    (dialogs / "archived").mkdir(parents=True, mode=0o700)
    conversation = Conversation(f"left-{user}", STARTED_MS)
    whole = emit_head(conversation, user)
    for role in ("user", "assistant"):
        whole += emit_message(Message(role, "left", f"m-{role}-{user}", STARTED_MS))
    footer = emit_footer(STARTED_MS + 5000, Reason.TIMEOUT, 2)
    files = {
        Given.TORN: whole + b'- role: "user"\n  content: "hal',
        Given.NO_LINE_END: whole[:-1],
        Given.JUNK: b"no dialog at all\n",
        Given.FOOTER: whole + footer,
        Given.LEFT_OPEN: whole,
    }
    if given in files:
        (dialogs / "current.yaml").write_bytes(files[given])
    else:
        (dialogs / "archived" / "2024-01-15-10-12-08.yaml").write_bytes(whole + footer)
    (data_dir / "open" / user).touch(mode=0o600)
    if given not in (Given.JUNK, Given.RENAMED):
        visitor.conversation = conversation.id


def _take_names(data_dir: Path, user: str) -> None:
    """Gives every name that an archive may get in the next minute to another one."""
    archived = data_dir / "users" / user / "dialogs" / "archived"
    for number in range(-1, 60):
        second = datetime.now(UTC) + timedelta(seconds=number)
        conversation = Conversation(f"taken-{user}-{number}", STARTED_MS)
        part = emit_head(conversation, user) + emit_message(
            Message("user", "taken", f"m-{conversation.id}", STARTED_MS)
        )
        path = archived / f"{second:%Y-%m-%d-%H-%M-%S}.yaml"
        path.write_bytes(part + emit_footer(STARTED_MS, Reason.REQUEST, 1))


def test_every_point_has_its_own_name() -> None:
    """So a failure names one."""
    assert len({point.name for point in CRASH_POINTS}) == len(CRASH_POINTS)


@pytest.mark.parametrize(
    "of",
    [
        pytest.param(of, marks=[pytest.mark.long] if of in IN_LONG_FORM else [])
        for of in sorted({point.of for point in CRASH_POINTS})
    ],
)
async def test_kill_9_at_every_named_point_loses_and_doubles_nothing(tmp_path: Path, of: str) -> None:
    """Every point is reached; who returns goes on with the same conversation, the other's is `recovered`."""
    points = [point for point in CRASH_POINTS if point.of == of]
    life = Life(tmp_path, points)
    await life.live()
    assert life.reached == [point.name for point in points]


@pytest.mark.long
async def test_kill_9_in_the_recovery_of_a_start_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The same where recovery is killed in the background of a start, and done again by the next one."""
    points = [point for point in CRASH_POINTS if point.given in LAID]
    life = Life(tmp_path, points, at_start=True)
    await life.live()
    assert life.reached == [point.name for point in points]
