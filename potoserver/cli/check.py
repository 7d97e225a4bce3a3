"""The command `check`."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import typer

from potoserver.cli.modules import made
from potoserver.listen import bind
from potoserver.module.base import ServerModule
from potoserver.module.loader import ModuleLoadError
from potoserver.settings import Loaded

_LOCK_FILE_NAME = ".lock"


def check(loaded: Loaded) -> int:
    """Prints a line for each thing that a start needs.

    Returns:
        The exit status: 0 when a server could start, else 1.
    """
    settings = loaded.settings
    problems = {
        "modules": _modules_problem(loaded.modules),
        "data_dir": folder_problem(settings.data_dir) or _lock_problem(settings.data_dir),
        "log_dir": folder_problem(settings.log_dir),
        "port": _port_problem(settings.host, settings.port),
    }
    names = ", ".join(each.name() for each in loaded.modules) or "none"
    typer.echo(f"ok      settings, engine: {settings.engine}")
    values = {
        "modules": names,
        "data_dir": settings.data_dir,
        "log_dir": settings.log_dir,
        "port": settings.port,
    }
    for key, problem in problems.items():
        typer.echo(f"wrong   {key}: {problem}" if problem else f"ok      {key}: {values[key]}")
    return 1 if any(problems.values()) else 0


def _modules_problem(modules: Sequence[type[ServerModule]]) -> str:
    try:
        for each in modules:
            made(each)
    except ModuleLoadError as error:
        return str(error)
    return ""


def folder_problem(folder: Path) -> str:
    """What keeps a server from writing there; the folder itself may still be missing."""
    try:
        existing = next(each for each in (folder, *folder.parents) if each.exists())
    except OSError as error:
        return f"{folder} can't be used: {error.strerror}"
    if not existing.is_dir():
        return f"{existing} is no folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} can't be written"
    return ""


def _lock_problem(data_dir: Path) -> str:
    """Whether another server holds the folder: the file-system journal locks it (`docs/operations.md`)."""
    try:
        with (data_dir / _LOCK_FILE_NAME).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return f"another server uses {data_dir}"
    except OSError:
        pass  # nobody has made it yet
    return ""


def _port_problem(host: str, port: int) -> str:
    try:
        for sock in bind(host, port):
            sock.close()
    except OSError as error:
        return f"can't listen on {host} port {port}: {error.strerror or error}"
    return ""
