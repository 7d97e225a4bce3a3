"""For the tests of a module: a whole server in the test's own process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from potoserver.listen import bind, listening
from potoserver.logs import Logs
from potoserver.server import PotoServer
from potoserver.settings import load


@asynccontextmanager
async def serving(*modules: str, folder: Path, modules_dir: Path | None = None) -> AsyncIterator[str]:
    """Runs a server with these modules for the length of a block, on a free port of this machine.

    It is as `python -m potoserver` in that folder: a `potoserver.yaml` there has its settings, `data` and
    `logs` are made there, `test-token` is user a1. The environment is not read. The end of the block is an
    orderly stop.

    Args:
        modules: Names of plugins in `modules_dir`, or `package.module:Class`.
        folder: Where it runs.
        modules_dir: Where plugins are; without it the checkout's `modules`.

    Yields:
        Its URL, such as `http://127.0.0.1:40001`.

    Raises:
        SettingsError: A setting is wrong.
        ModuleLoadError: A module can't be loaded.
        StartError: A module can't be made.
    """
    flags = {"modules": json.dumps(modules), "modules_dir": modules_dir and str(modules_dir), "port": "0"}
    loaded = load(flags, {}, folder)
    settings = loaded.settings
    logs = Logs(settings.log, settings.log_dir, terminal=None)
    logs.start()
    try:
        server = PotoServer(settings, sections=loaded.sections, modules=loaded.modules, logs=logs)
        runner = web.AppRunner(server.app, access_log=None)
        sockets = bind(settings.host, settings.port)
        try:
            await runner.setup()
            async with listening(server.core, runner, sockets) as urls:
                yield urls[0]
                await server.stop()
        finally:
            await runner.cleanup()
            for each in sockets:
                each.close()
    finally:
        logs.stop()
