"""A whole server in the test's process, on a real socket, its clock in the test's hand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import BaseModel
from pytest_aiohttp import AiohttpClient, AiohttpServer

from potoserver import Clock, ServerModule
from potoserver.engine.base import Engine
from potoserver.logs import Logs
from potoserver.metrics import Metrics
from potoserver.server import PotoServer
from potoserver.settings.model import Settings


class RunningServer:
    """A started server and a client session for it.

    Attributes:
        server: The server itself.
        session: A session; `test-token` is user a1, `admin-token` is user admin.
        url: Where it serves, no slash at the end.
        folder: Its data and logs.
    """

    def __init__(self, server: PotoServer, session: aiohttp.ClientSession, url: str, folder: Path) -> None:
        self.server = server
        self.session = session
        self.url = url
        self.folder = folder

    @property
    def core(self) -> Any:
        return self.server.core

    async def call(
        self, path: str, arguments: object = None, *, token: str = "test-token", **headers: str
    ) -> tuple[int, Any]:
        """Posts a JSON body; returns status and JSON."""
        answer = await self.session.post(
            f"{self.url}/{path}",
            json={} if arguments is None else arguments,
            headers={"Authorization": f"Bearer {token}"} | headers,
        )
        text = await answer.text()
        return answer.status, json.loads(text) if text else None

    def sample(self, name: str, **labels: str) -> float:
        """A metric's value; 0 where there is none yet."""
        return self.core.metrics.registry.get_sample_value(name, labels) or 0.0


RunServer = Callable[..., AbstractAsyncContextManager[RunningServer]]
"""The fixture `running_server`: a folder, modules, by name `clock`, `engine`, `sections`, any settings."""


def server_runner(aiohttp_server: AiohttpServer, aiohttp_client: AiohttpClient) -> RunServer:
    """Makes the fixture `running_server` of pytest-aiohttp's own."""

    @asynccontextmanager
    async def run(
        folder: Path,
        modules: Iterable[ServerModule] = (),
        *,
        clock: Clock | None = None,
        engine: Callable[[Metrics], Engine] | None = None,
        sections: dict[str, BaseModel] | None = None,
        **settings: Any,
    ) -> AsyncIterator[RunningServer]:
        """Starts a server for the length of a block; its end is an orderly stop."""
        made = Settings.model_validate({"data_dir": folder / "data", "log_dir": folder / "logs"} | settings)
        logs = Logs(made.log, made.log_dir, terminal=None)
        logs.start()
        try:
            server = PotoServer(made, sections=sections, logs=logs, clock=clock, engine=engine)
            for module in modules:
                server.register_module(module)
            test_server = await aiohttp_server(server.app, access_log=None)
            client = await aiohttp_client(test_server, cookie_jar=aiohttp.DummyCookieJar())
            try:
                url = f"http://127.0.0.1:{test_server.port}"
                yield RunningServer(server, client.session, url, folder)
                await server.stop()
            finally:
                await client.close()
        finally:
            logs.stop()

    return run


def log_lines(folder: Path) -> list[dict[str, Any]]:
    """What a stopped server logged."""
    return [json.loads(line) for line in (folder / "logs" / "server.log").read_text().splitlines()]
