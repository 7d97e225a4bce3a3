"""Several nodes as real processes: one folder of data, one Valkey, nginx before them."""

from __future__ import annotations

import asyncio
import random
import shlex
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from tests.support.nginx import running_nginx
from tests.support.process import CHECKOUT, ServerProcess
from tests.support.server_folder import ServerFolder
from tests.support.valkey import ValkeyProcess


def deployed_options() -> list[str]:
    """What deploy/valkey.conf sets, as on Valkey's command line."""
    lines = (CHECKOUT / "deploy" / "valkey.conf").read_text().splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [each for line in words if line for each in (f"--{line[0]}", *line[1:])]


class ClusterProcess(ServerFolder):
    """Nodes on one folder of data and one Valkey, by default with nginx before them.

    To a test it looks like one server: what is done to it is done to all nodes, and its log is theirs, in
    order of time. So what is promised of one server can be tried on several.

    Args:
        folder: Where the nodes are started; their logs are in `logs-1`, `logs-2` there.
        args: Further flags, of each node.
        nodes: How many.
        environment: Further environment variables, of each node.
        behind_nginx: Whether nginx spreads the connections; else `url` is any node, each time anew.

    Attributes:
        nodes: The nodes; each can be stopped, killed and started by itself, and keeps its port.
        valkey: Their engine, which writes all it does to its disk.
    """

    def __init__(
        self,
        folder: Path,
        *args: str,
        nodes: int = 2,
        environment: Mapping[str, str] | None = None,
        behind_nginx: bool = True,
    ) -> None:
        self._stack = AsyncExitStack()
        self._behind_nginx = behind_nginx
        self._nginx_port: int | None = None
        (folder / "valkey").mkdir(parents=True, exist_ok=True)
        self.valkey = ValkeyProcess(folder / "valkey", *deployed_options())
        self.environment = dict(environment or {})
        self.nodes = [
            ServerProcess(folder, "--engine", self.valkey.url, *args, log_folder=f"logs-{number}")
            for number in range(1, nodes + 1)
        ]
        super().__init__(folder, *(node.log_file for node in self.nodes))

    @property
    def port(self) -> int:
        """Where a client goes: nginx's, or that of any node."""
        return self._nginx_port or random.choice(self.nodes).port

    @property
    def url(self) -> str:
        """Where a client goes."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """All that the nodes have written to their terminals."""
        return "".join(f"--- node {number}\n{node.output}" for number, node in enumerate(self.nodes, 1))

    async def start(self) -> ClusterProcess:
        """Starts all nodes at once and waits until they serve; Valkey and nginx too, at the first start.

        A restart keeps their ports.
        """
        if not self.valkey.running:
            self.valkey.start()
            self._stack.callback(self.valkey.kill)
        for node in self.nodes:
            node.environment = self.environment
        await asyncio.gather(*(node.start() for node in self.nodes))
        if self._behind_nginx and self._nginx_port is None:
            ports = [node.port for node in self.nodes]
            self._nginx_port = await self._stack.enter_async_context(running_nginx(self.folder, *ports))
        return self

    async def until_in_use(self, node: ServerProcess, limit_s: float = 30) -> None:
        """Waits until nginx gives requests to a node again that was away: it leaves it alone for a while."""
        async with asyncio.timeout(limit_s), aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"{node.url}/health") as answer:
                    own_s = (await answer.json())["uptime"]
                async with session.get(f"{self.url}/health") as answer:
                    # The others have been up for longer.
                    if answer.status == 200 and 0 <= (await answer.json())["uptime"] - own_s < 1:
                        return
                await asyncio.sleep(0.05)

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal to all nodes."""
        for node in self.nodes:
            node.send_signal(number)

    async def wait(self, limit_s: float = 60) -> int:
        """Waits for the end of all nodes; returns the greatest exit status by its size."""
        return max(await asyncio.gather(*(node.wait(limit_s) for node in self.nodes)), key=abs)

    async def stop(self, number: signal.Signals = signal.SIGTERM, limit_s: float = 60) -> int:
        """Ends all nodes at once with a signal; returns the greatest exit status by its size."""
        return max(await asyncio.gather(*(node.stop(number, limit_s) for node in self.nodes)), key=abs)

    async def __aenter__(self) -> ClusterProcess:
        return await self.start()

    async def __aexit__(self, *error: object) -> None:
        await asyncio.gather(*(node.__aexit__(*error) for node in self.nodes))
        await self._stack.aclose()
