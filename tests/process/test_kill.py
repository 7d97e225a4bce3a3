"""`kill -9`, at any moment: what was acknowledged is kept, once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.faults.disk import Fault, How
from tests.faults.plan import FaultPlan
from tests.support import saved
from tests.support.process import ServerProcess, chat, patient
from tests.support.sse import EventReader, open_stream, stream

pytestmark = pytest.mark.process

USERS = [f"user-{number}" for number in range(12)]
ENVIRONMENT = {
    "SESSION_RECONNECT_GRACE": "100",
    "POTO_LIMITS__CALLS_PER_MINUTE": "0",
    "POTO_CHAT__ECHO__DELAY_MS": "1",
    "POTO_LOG__BACKUPS": "100",
    "POTO_MODULES": patient("chat_server"),
    "POTO_AUTH__TOKENS": json.dumps({f"t-{user}": {"user": user} for user in USERS}),
}
TAILS = (
    "",
    " word after word",
    "\n- x\n---\n...",
    ' "quoted" \\ \t: #',
    " \u2028\x85 \U0001f980 שלום",
    " " + "long " * 400,
)


@dataclass
class Ledger:
    """What clients know.

    Attributes:
        acknowledged: User and text of each question whose answer arrived whole.
        said: How many questions were sent.
    """

    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    said: int = 0
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def acknowledge(self, user: str, text: str) -> None:
        self.acknowledged.append((user, text))
        self.more.set()

    async def until(self, count: int) -> None:
        """Waits until so many questions are answered."""
        async with asyncio.timeout(30):
            while len(self.acknowledged) < count:
                self.more.clear()
                await self.more.wait()


async def _say_streamed(session: aiohttp.ClientSession, url: str, token: str, text: str) -> bool:
    """Says something and reads the answer as a stream; whether `done` was seen."""
    answer = await session.post(
        f"{url}/ChatServerModule/chatWithHistory",
        json={"message": text},
        headers={"Authorization": f"Bearer {token}", "Accept": "text/event-stream"},
    )
    assert answer.status == 200, await answer.text()
    reader = EventReader(answer)
    try:
        await reader.end()
    finally:
        await reader.close()
    done = [event for event in reader.seen if event.type == "done"]
    assert not [event for event in reader.seen if event.type == "error"], reader.seen
    if done:
        assert done[0].data["reply"] == text
        assert "".join(e.data["text"] for e in reader.seen if e.type == "delta") == text
    return bool(done)


async def _live(
    session: aiohttp.ClientSession,
    url: str,
    user: str,
    dice: random.Random,
    ledger: Ledger,
    killed: asyncio.Event,
) -> None:
    """Comes, talks, goes and comes again until the server is gone."""
    token = f"t-{user}"
    reader: EventReader | None = None
    try:
        while not killed.is_set():
            if reader is None and dice.random() < 0.8:
                reader = await open_stream(session, f"{url}/subscribe", token)
            for _ in range(dice.randint(1, 4)):
                ledger.said += 1
                text = f"{user} says {ledger.said}.{dice.choice(TAILS)}"
                if dice.random() < 0.4:
                    if await _say_streamed(session, url, token, text):
                        ledger.acknowledge(user, text)
                else:
                    answer = await chat(session, url, text, token)
                    assert answer["reply"] == text
                    ledger.acknowledge(user, text)
            fate = dice.random()
            if fate < 0.3:
                headers = {"Authorization": f"Bearer {token}"}
                ended = await session.post(f"{url}/ChatServerModule/endSession", json={}, headers=headers)
                assert ended.status == 200, await ended.text()
            elif fate < 0.7 and reader is not None:
                await reader.close()
                reader = None
    except (aiohttp.ClientError, ConnectionError):
        # Only the kill may break a connection.
        async with asyncio.timeout(20):
            await killed.wait()
    finally:
        if reader is not None:
            await reader.close()


def check_disk(data_dir: Path, acknowledged: list[tuple[str, str]]) -> list[saved.Saved]:
    """Every acknowledged question stands once with its reply behind it, and no conversation twice."""
    dialogs = [*saved.archives(data_dir), *saved.open_dialogs(data_dir)]
    assert saved.doubled(dialog.conversation for dialog in dialogs) == []
    places: dict[tuple[str, str], list[Path]] = {}
    for dialog in dialogs:
        said = dialog.messages
        for (role, text), behind in zip(said, [*said[1:], ("", "")], strict=True):
            if role == "user" and behind == ("assistant", text):
                places.setdefault((dialog.fields["user"], text), []).append(dialog.path)
        ids = [message["id"] for message in dialog.fields["messages"]]
        assert saved.doubled(ids) == []
    for one in acknowledged:
        assert len(places.get(one, [])) == 1, f"{one} is in {places.get(one)}"
    assert [one for one, where in places.items() if len(where) > 1] == []
    return dialogs


def log_lines(server: ServerProcess) -> list[dict[str, object]]:
    """The lines of all log files; one that a kill cut is left out."""
    lines = []
    for file in server.log_file.parent.glob("server.log*"):
        for line in file.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
    return lines


def check_all_archived(server: ServerProcess, acknowledged: list[tuple[str, str]]) -> None:
    dialogs = check_disk(server.data_dir, acknowledged)
    assert [path for path in saved.current_files(server.data_dir) if path.stat().st_size] == []
    assert list((server.data_dir / "open").iterdir()) == []
    assert list(server.data_dir.glob("users/*/dialogs/archived/.anew-*")) == []
    for dialog in dialogs:
        assert dialog.fields["message_count"] == len(dialog.messages), dialog.path


async def _come_back(
    session: aiohttp.ClientSession, url: str, open_before: dict[str, str], ledger: Ledger
) -> None:
    """Whoever's dialog the kill has left open is back at once, and goes on with the same conversation."""

    async def back(user: str, conversation: str) -> None:
        async with stream(session, f"{url}/subscribe", f"t-{user}") as reader:
            assert (await reader.next("connected")).data["conversation"] == conversation
            ledger.said += 1
            text = f"{user} is back {ledger.said}"
            answer = await chat(session, url, text, f"t-{user}")
            assert answer["conversationId"] == conversation
            ledger.acknowledge(user, text)

    await asyncio.gather(*(back(user, conversation) for user, conversation in open_before.items()))


async def _kill_in_a_loop(folder: Path, seed: int, rounds: int, *, grace_ms: int = 0) -> int:
    """Kills a server again and again; with a grace, half of the users are back within it each time.

    Returns:
        How many dialogs were gone on with after a kill.
    """
    print(f"seed {seed}")
    dice = random.Random(seed)
    ledger = Ledger()
    grace = {"SESSION_RECONNECT_GRACE": str(grace_ms)} if grace_ms else {}
    server = ServerProcess(folder, environment=ENVIRONMENT | grace)
    left_open: list[str] = []
    open_before: dict[str, str] = {}
    gone_on = 0
    for _ in range(rounds):
        await server.start()
        killed = asyncio.Event()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            back = {user: open_before[user] for user in open_before if grace_ms and dice.random() < 0.5}
            await _come_back(session, server.url, back, ledger)
            gone_on += len(back)
            lives = [
                asyncio.create_task(
                    _live(session, server.url, user, random.Random(dice.random()), ledger, killed)
                )
                for user in USERS
            ]
            await ledger.until(len(ledger.acknowledged) + dice.randint(1, 120))
            # Not a wait for something: the moment is meant to be any.
            await asyncio.sleep(dice.uniform(0, 0.05))
            killed.set()
            await server.stop(signal.SIGKILL)
            await asyncio.gather(*lives)
        check_disk(server.data_dir, ledger.acknowledged)
        open_dialogs = list(saved.open_dialogs(server.data_dir))
        left_open += [dialog.conversation for dialog in open_dialogs]
        open_before = {
            dialog.fields["user"]: dialog.conversation
            for dialog in open_dialogs
            if "reason" not in dialog.fields
        }
    await server.start()
    await saved.until_nothing_is_open(server.data_dir)
    assert await server.stop() == 0
    check_all_archived(server, ledger.acknowledged)
    assert left_open, "no round left a dialog open: this checks nothing"
    told = {line["conversation"] for line in log_lines(server) if line["event"] == "open dialog recovered"}
    assert set(left_open) <= told
    reasons = {dialog.fields["reason"] for dialog in saved.archives(server.data_dir)}
    assert "recovered" in reasons
    assert reasons <= {"recovered", "request", "disconnect", "superseded"}
    return gone_on


async def test_kill_9_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Every acknowledged message is in one file after each kill; recovery names each dialog that it found."""
    await _kill_in_a_loop(tmp_path, seed=int(os.environ.get("KILL_SEED", random.randrange(10**6))), rounds=8)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_kill_9_under_load_loses_and_doubles_nothing_in_hundreds_of_rounds(tmp_path: Path) -> None:
    """The same, 300 times over on one folder."""
    await _kill_in_a_loop(
        tmp_path, seed=int(os.environ.get("KILL_SEED", random.randrange(10**6))), rounds=300
    )


async def _kill_and_come_back(folder: Path, rounds: int) -> None:
    seed = int(os.environ.get("KILL_SEED", random.randrange(10**6)))
    gone_on = await _kill_in_a_loop(folder, seed, rounds, grace_ms=10_000)
    print(f"{gone_on} dialogs went on after {rounds} kills")
    assert gone_on >= rounds


async def test_kill_9_and_a_quick_restart_let_the_same_conversations_go_on(tmp_path: Path) -> None:
    """Who is back within the grace goes on with what the kill has cut off; the others are archived."""
    await _kill_and_come_back(tmp_path, rounds=4)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_kill_9_and_a_quick_restart_let_the_same_conversations_go_on_in_many_rounds(
    tmp_path: Path,
) -> None:
    """The same, 100 times over on one folder."""
    await _kill_and_come_back(tmp_path, rounds=100)


# At every step


async def _run_until_it_dies(server: ServerProcess, texts: list[str], ledger: Ledger) -> None:
    """Starts a server that kills itself at some step; talks to it until then."""
    await server.launch()
    ended = asyncio.create_task(server.wait())
    served = asyncio.create_task(server.until_serving())
    await asyncio.wait({ended, served}, return_when=asyncio.FIRST_COMPLETED)
    served.cancel()
    if not ended.done():
        try:
            async with aiohttp.ClientSession() as session:
                for text in texts:
                    await chat(session, server.url, text, "t-user-0")
                    ledger.acknowledge("user-0", text)
                headers = {"Authorization": "Bearer t-user-0"}
                await session.post(f"{server.url}/ChatServerModule/endSession", json={}, headers=headers)
        except (aiohttp.ClientError, ConnectionError):
            pass
        else:
            # It had fewer steps than the one it was to die at.
            server.send_signal(signal.SIGTERM)
    await ended


async def _kill_at_steps(folder: Path, steps: list[Fault]) -> None:
    ledger = Ledger()
    plan = FaultPlan(folder)
    server = ServerProcess(
        folder,
        environment=ENVIRONMENT
        | plan.environment
        | {"POTO_MODULES": patient("chat_server", "tests.process.rogues:FaultyDisks")},
    )
    deaths = set()
    for number, step in enumerate(steps):
        plan.set(step)
        # Each start also recovers what the one before has left, so recovery is killed at its steps too.
        await _run_until_it_dies(server, [f"first of {number}", f"second of {number}\nof two lines"], ledger)
        deaths.update(plan.reached)
        check_disk(server.data_dir, ledger.acknowledged)
    print("died at", sorted(deaths))
    assert {"write", "flush", "rename", "remove", "sync_folder"} <= {death.split()[0] for death in deaths}
    plan.set()
    await server.start()
    await saved.until_nothing_is_open(server.data_dir)
    assert await server.stop() == 0
    check_all_archived(server, ledger.acknowledged)


HOWS: tuple[How, ...] = ("before", "half", "after")


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_kill_9_at_every_step_of_append_archive_or_recovery_loses_nothing(tmp_path: Path) -> None:
    """It ends at each of its journal's system calls, before it, half-way through it and behind it."""
    every = [Fault(path="*/data*", at=number, how=how, stop=True) for number in range(1, 90) for how in HOWS]
    await _kill_at_steps(tmp_path, every)
