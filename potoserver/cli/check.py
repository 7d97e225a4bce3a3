"""The command `check`."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import typer

from potoserver.settings import Loaded

_NO_SUCH_ADDRESS = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def check(loaded: Loaded) -> int:
    """Prints a line for each thing that a start needs.

    Returns:
        The exit status: 0 when a server could start, else 1.
    """
    settings = loaded.settings
    problems = {
        "data_dir": _folder_problem(settings.data_dir),
        "log_dir": _folder_problem(settings.log_dir),
        "port": _port_problem(settings.host, settings.port),
    }
    names = ", ".join(each.name() for each in loaded.modules) or "none"
    typer.echo(f"ok      settings, modules: {names}, engine: {settings.engine}")
    values = {"data_dir": settings.data_dir, "log_dir": settings.log_dir, "port": settings.port}
    for key, problem in problems.items():
        typer.echo(f"wrong   {key}: {problem}" if problem else f"ok      {key}: {values[key]}")
    return 1 if any(problems.values()) else 0


def _folder_problem(folder: Path) -> str:
    """What keeps a server from writing there; the folder itself may still be missing."""
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    if not existing.is_dir():
        return f"{existing} is no folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} can't be written"
    return ""


def _port_problem(host: str, port: int) -> str:
    for each in ("127.0.0.1", "::1") if host == "localhost" else (host,):
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(each, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                # As the server does: only a listening socket is in the way, not one that is closing.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            if each != "::1" or error.errno not in _NO_SUCH_ADDRESS:
                return f"can't listen on {each} port {port}: {error.strerror}"
    return ""
