"""The command `check`."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from potoserver.cli.check_engine import check_engine
from potoserver.cli.modules import made
from potoserver.listen import bind
from potoserver.logs import LOG_FILE_NAME
from potoserver.module.base import Check, ServerModule
from potoserver.module.loader import ModuleLoadError
from potoserver.settings import Loaded, Settings
from potoserver.settings.engine_url import EMBEDDED_ENGINE
from potoserver.text import visible
from potoserver.web.signing import KEY_BYTES, KEY_FILE_NAME

_LOCK_FILE_NAME = ".lock"
_LITTLE_ROOM_BYTES = 256 * 1024 * 1024
"""Of free disk, what deserves a note: a dialog may take 16 MiB, and logs half a hundred."""


def check(loaded: Loaded) -> int:
    """Prints a line for each thing that a start needs.

    Returns:
        The exit status: 0 when a server could start, else 1.
    """
    found = list(_checks(loaded))
    for each in found:
        typer.echo(f"{each.state:7} {each.subject}: {visible(' '.join(each.says.split()))}")
    return 1 if any(each.state == "wrong" for each in found) else 0


def _checks(loaded: Loaded) -> Iterator[Check]:
    settings = loaded.settings
    data_dir, log_dir = settings.data_dir, settings.log_dir
    yield Check("settings", "all are known and possible")
    yield from check_engine(settings)
    try:
        modules = [made(each) for each in loaded.modules]
    except ModuleLoadError as error:
        modules = []
        yield Check("modules", str(error), "wrong")
    else:
        yield Check("modules", ", ".join(each.name() for each in loaded.modules) or "none")
    problem = folder_problem(data_dir) or _own_files_problem(data_dir) or _lock_problem(settings)
    yield _judged("data_dir", str(data_dir), problem)
    yield _judged("log_dir", str(log_dir), folder_problem(log_dir) or _file_problem(log_dir / LOG_FILE_NAME))
    yield from _room(data_dir)
    at = f"{settings.host} port {settings.port or 'any free one'}"
    yield _judged("port", at, _port_problem(settings.host, settings.port))
    for module in modules:
        yield from _said_by(module, loaded)


def _said_by(module: ServerModule, loaded: Loaded) -> Sequence[Check]:
    try:
        return tuple(module.startup_checks(loaded.sections.get(module.section), loaded.settings.data_dir))
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        return (Check(module.name(), f"startup_checks failed: {type(error).__name__}: {error}", "note"),)


def _judged(subject: str, value: str, problem: str) -> Check:
    return Check(subject, problem, "wrong") if problem else Check(subject, value)


def folder_problem(folder: Path) -> str:
    """What keeps a server from writing there; the folder itself may still be missing."""
    try:
        existing = _existing(folder)
    except OSError as error:
        return f"{folder} can't be used: {error.strerror}"
    if not existing.is_dir():
        return f"{existing} is no folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} can't be written{_whose(existing)}"
    return ""


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _own_files_problem(data_dir: Path) -> str:
    """What a start by another user of the machine, such as root, has left behind."""
    key = data_dir / KEY_FILE_NAME
    problem = _file_problem(data_dir / _LOCK_FILE_NAME) or _file_problem(key)
    if not problem and key.exists() and key.stat().st_size != KEY_BYTES:
        return f"{key} is no key of {KEY_BYTES} bytes; remove it for a new one"
    return problem


def _file_problem(path: Path) -> str:
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return f"{path} can't be opened{_whose(path)}"
    return ""


def _whose(path: Path) -> str:
    try:
        owner = path.owner()
    except (KeyError, OSError):
        return ""
    return f", it belongs to {owner}"


def _lock_problem(settings: Settings) -> str:
    """Whether another server holds the folder: the file-system journal locks it (`docs/operations.md`).

    Nodes on one engine share it; a server on the embedded engine has it for itself.
    """
    how = fcntl.LOCK_EX if settings.engine == EMBEDDED_ENGINE else fcntl.LOCK_SH
    try:
        with (settings.data_dir / _LOCK_FILE_NAME).open("rb") as file:
            fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return f"another server uses {settings.data_dir}"
    except OSError:
        pass  # nobody has made it yet
    return ""


def _room(data_dir: Path) -> Iterator[Check]:
    try:
        free = shutil.disk_usage(_existing(data_dir)).free
    except OSError:
        return  # that the folder can't be used is said already
    says = f"{free // 1024**2} MiB are free for the data"
    if free >= 10 * 1024**3:
        says = f"{free // 1024**3} GiB are free for the data"
    yield Check("disk", says, "note" if free < _LITTLE_ROOM_BYTES else "ok")


def _port_problem(host: str, port: int) -> str:
    try:
        for sock in bind(host, port):
            sock.close()
    except OSError as error:
        return f"can't listen on {host} port {port}: {error.strerror or error}"
    return ""
