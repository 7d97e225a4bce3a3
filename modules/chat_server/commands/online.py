"""What the commands share that talk to a running server."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from potoserver import visible
from potoserver.client import ClientError, NotSignedInError, PotoClient

from .output import fail, warn

DEFAULT_PORT: Final = 3799

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        envvar="POTO_URL",
        help="Where the server is; else localhost, at the configured port.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        envvar="POTO_TOKEN",
        show_envvar=True,
        help="Who you are. The variable is safer: a list of processes shows flags.",
    ),
]
ONLINE_STATUSES: Final = """\b
Exit status: 0 all went well, 1 the server can't be reached or said no,
2 wrong usage, 130 interrupted.
"""


@dataclass(frozen=True, slots=True)
class ServerChoice:
    """The server that is meant, and who asks.

    Attributes:
        url: Where it is.
        token: Who asks.
        assumed: Whether nobody gave that token: it is the one for development.
    """

    url: str
    token: str
    assumed: bool = False

    def client(self) -> PotoClient:
        """A client for it, to be used in `async with`."""
        return PotoClient(self.url, token=self.token)


def choose_server(loaded: Any, url: str | None, token: str | None, development_token: str) -> ServerChoice:
    """The server and the token that were given, or those of development on this machine.

    Args:
        loaded: The settings.
        url: As given.
        token: As given.
        development_token: Taken, and said so, for a server on this machine when none is given.

    Raises:
        typer.TyperException: The URL is none, or there is no token.
    """
    given = url or f"http://localhost:{loaded.settings.port or DEFAULT_PORT}"
    try:
        PotoClient(given)
    except ValueError as error:
        raise typer.TyperException(f"--url: {error}") from None
    if token:
        if not all("!" <= char <= "~" for char in token):
            raise typer.TyperException("--token: a token is of visible ASCII characters, without a blank")
        return ServerChoice(given, token)
    if not _is_loopback(urlsplit(given).hostname or ""):
        raise typer.TyperException(f"no token for {given}: give one with --token or POTO_TOKEN")
    warn(f"no token given, so the one for development is taken: {development_token}")
    return ServerChoice(given, development_token, assumed=True)


def run_online(work: Coroutine[Any, Any, int], server: ServerChoice) -> int:
    """Runs a command's work to its exit status.

    Raises:
        typer.Exit: The server can't be reached or said no; that is told in a line.
    """
    try:
        return asyncio.run(work)
    except NotSignedInError as error:
        if server.assumed:
            why = "the server has tokens of its own: give yours with --token or POTO_TOKEN"
            raise fail(why) from None
        raise fail(f"the server does not take this token: {error}") from None
    except ClientError as error:
        raise fail(visible(str(error))) from None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
