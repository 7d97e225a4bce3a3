"""Real nodes on one folder and one Valkey; each has its own way to Valkey, and its own clock."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from tests.cluster.checker.history import Rules
from tests.faults.clock import MachineClock
from tests.faults.proxy import Proxy
from tests.support.cluster import deployed_options
from tests.support.process import CHECKOUT, ServerProcess
from tests.support.valkey import ValkeyProcess

_START_AGAIN_S = 1.0
_READY_S = 60.0


class Cluster:
    """What a run has its faults done to.

    Args:
        folder: Everything of the run is in it.
        users: Who may come.
        rules: The settings.
        count: How many nodes.
        code: Where potoserver and its modules are; a copy of the checkout with a fault in it, perhaps.
    """

    def __init__(
        self, folder: Path, users: Sequence[str], rules: Rules, count: int = 3, code: Path = CHECKOUT
    ) -> None:
        self.folder = folder
        self._stack = AsyncExitStack()
        (folder / "valkey").mkdir(parents=True)
        self.valkey = ValkeyProcess(folder / "valkey", *deployed_options())
        self.proxies = [Proxy(self.valkey.port) for _ in range(count)]
        self.clocks = [MachineClock(folder / f"clock-{number}.json") for number in range(count)]
        self.nodes: list[ServerProcess] = []
        self._environment = {
            "PYTHONPATH": f"{code}:{CHECKOUT}",
            "SESSION_RECONNECT_GRACE": str(rules.grace_ms),
            "SESSION_TIMEOUT": str(rules.timeout_ms),
            "SESSION_CHECK_INTERVAL": str(rules.check_ms),
            "POTO_AUTH__TOKENS": json.dumps({f"t-{user}": {"user": user} for user in users}),
            "POTO_LIMITS__CALLS_PER_MINUTE": "0",
            "POTO_CHAT__ECHO__DELAY_MS": "20",
            "POTO_SHUTDOWN_TIMEOUT_S": "15",
        }

    async def __aenter__(self) -> Cluster:
        self.valkey.start()
        self._stack.callback(self.valkey.kill)
        for number, proxy in enumerate(self.proxies):
            await self._stack.enter_async_context(proxy)
            node = ServerProcess(
                self.folder,
                "--engine",
                f"valkey://127.0.0.1:{proxy.port}",
                environment=self._environment | self.clocks[number].environment,
                log_folder=f"logs-{number}",
            )
            self.nodes.append(node)
            self._stack.push_async_callback(node.__aexit__)
        await asyncio.gather(*(node.start() for node in self.nodes))
        return self

    async def __aexit__(self, *error: object) -> None:
        for number, node in enumerate(self.nodes):
            (self.folder / f"logs-{number}" / "terminal.txt").write_text(node.output)
        await self._stack.aclose()

    @property
    def ports(self) -> list[int]:
        """Where the nodes listen; a restart keeps them."""
        return [node.port for node in self.nodes]

    async def restart(self, number: int) -> None:
        """Starts a node that is down, again and again until it serves: without its engine it does not."""
        while True:
            try:
                await self.nodes[number].start()
                return
            except AssertionError:
                await self.nodes[number].stop(signal.SIGKILL)
                await asyncio.sleep(_START_AGAIN_S)

    async def until_ready(self) -> list[str]:
        """Waits until each node says that it is ready; returns what those say that are not."""
        async with aiohttp.ClientSession() as http:
            told = await asyncio.gather(*(self._until_ready(http, node) for node in self.nodes))
        return [each for each in told if each]

    async def _until_ready(self, http: aiohttp.ClientSession, node: ServerProcess) -> str:
        deadline_s = asyncio.get_running_loop().time() + _READY_S
        while True:
            try:
                timeout = aiohttp.ClientTimeout(total=5)
                async with http.get(f"{node.url}/health/ready", timeout=timeout) as answer:
                    if answer.status == 200:
                        return ""
                    said = f"{answer.status} {await answer.text()}"
            except (aiohttp.ClientError, TimeoutError) as error:
                said = repr(error)
            if asyncio.get_running_loop().time() > deadline_s:
                return f"node on port {node.port} is not ready, though all is well: {said}"
            await asyncio.sleep(0.2)

    async def health(self) -> list[dict[str, object]]:
        """What each node says of itself."""
        async with aiohttp.ClientSession() as http:
            return [await (await http.get(f"{node.url}/health")).json() for node in self.nodes]
