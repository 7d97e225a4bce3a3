"""The command `serve`."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Sequence

from potoserver.cli.check import folder_problem
from potoserver.cli.supervisor import Supervisor
from potoserver.clock import SystemClock
from potoserver.lifeline import Lifeline
from potoserver.logs import LOG_FILE_NAME, Logs, StdlibBridge
from potoserver.server import PotoServer, StartError
from potoserver.settings import Loaded, Settings, SettingsError
from potoserver.signals import ignore_signals
from potoserver.version import package_version

_COLLECTION = (10_000, 10, 80)
"""After how many new objects the youngest are looked through; after how many times of that the next older.

Everybody waits while they are: for 20,000 up to 40 ms on a slow machine, for these half of that. The next
older are those that outlived that: after 40 times it took 140 ms, after these 10 up to 58.
"""


def serve(loaded: Loaded, arguments: Sequence[str] = ()) -> int:
    """Runs a server until it is told to stop, or several of them: its workers.

    Args:
        loaded: The settings.
        arguments: The command line that they come from, without the program's name; workers get it too.

    Returns:
        The exit status: 0 when all ended in order, 1 when not, or when it could not start.

    Raises:
        SettingsError: The folder of data or that of logs can't be used.
    """
    settings = loaded.settings
    # Both are looked at before either is made: a start that is refused leaves nothing behind.
    for key, folder in (("data_dir", settings.data_dir), ("log_dir", settings.log_dir)):
        problem = folder_problem(folder)
        if problem:
            raise _unusable(loaded, key, problem)
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        problem = f"{settings.data_dir} can't be made: {error.strerror}"
        raise _unusable(loaded, "data_dir", problem) from None
    lifeline = Lifeline.inherited(os.environ)
    logs = Logs(settings.log, settings.log_dir, sys.stderr, lifeline.number if lifeline else None)
    try:
        logs.start()
    except OSError as error:
        problem = f"{settings.log_dir} can't be written: {error.strerror}"
        raise _unusable(loaded, "log_dir", problem) from None
    if lifeline is None:
        _say(_greeting(loaded, package_version()))
    failure = ""
    try:
        if settings.workers > 1 and lifeline is None:
            return asyncio.run(Supervisor(settings, logs, arguments).run())
        with StdlibBridge(logs):
            server = PotoServer(
                settings,
                sections=loaded.sections,
                modules=loaded.modules,
                logs=logs,
                clock=SystemClock(),
            )
            _collect_garbage_seldom()
            return asyncio.run(_served(server, lifeline))
    except StartError as error:
        failure = str(error)
        logs.get("engine").critical("start failed", error=failure)
    except Exception as error:  # noqa: BLE001 - the last place that can tell of it
        failure = f"the server failed: {type(error).__name__}: {error}"
        logs.get("engine").critical("server failed", exc_info=error)
    finally:
        logs.stop()
        if failure:
            _say(f"potoserver: {' '.join(failure.split())}")
    return 1


def _collect_garbage_seldom() -> None:
    """Has the collector leave alone what is there for good, and look less often for what is garbage.

    By default it looks after each 700 new objects. When thousands of users connect at once, half of all the
    time would go into looking through their connections again and again, in pauses of a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTION)


def _unusable(loaded: Loaded, key: str, problem: str) -> SettingsError:
    return SettingsError(key, loaded.sources.get(key, ""), problem)


def _greeting(loaded: Loaded, version: str) -> str:
    settings = loaded.settings
    lines = [
        f"potoserver {version}",
        f"  address  {settings.host} port {settings.port or 'any free one'}",
        f"  data     {settings.data_dir}",
        f"  logs     {settings.log_dir / LOG_FILE_NAME}",
        f"  modules  {', '.join(each.name() for each in loaded.modules) or 'none'}",
        f"  tokens   {_tokens(settings)}",
    ]
    if settings.workers > 1:
        lines.append(f"  workers  {settings.workers}, each with a log of its own: server-1.log and so on")
    return "\n".join(lines)


def _tokens(settings: Settings) -> str:
    if settings.development_tokens:
        return "for development, on this machine only: test-token (user a1), admin-token (user admin)"
    known = f"{len(settings.auth.tokens)} configured"
    signed = settings.auth.jwt_secret or settings.auth.jwt_public_key_file
    return f"{known}, and JSON Web Tokens" if signed else known


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the command line's own voice


async def _served(server: PotoServer, lifeline: Lifeline | None) -> int:
    try:
        return await server.serve(lifeline)
    finally:
        ignore_signals()
