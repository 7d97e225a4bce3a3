"""The command `chat`."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final

import typer

from ..online import ONLINE_STATUSES, Token, Url, choose_server, run_online

_EXAMPLES: Final = f"""\b
Examples:
  potoserver chat                                   talk; /help shows the commands
  potoserver chat --once "What is new?"             one reply, on the output
  potoserver chat < questions.txt > replies.txt     a message a line
  POTO_TOKEN=… potoserver chat --url https://chat.example.org

{ONLINE_STATUSES}"""


def chat(
    context: typer.Context,
    url: Url = None,
    token: Token = None,
    once: Annotated[
        str | None, typer.Option("--once", metavar="MESSAGE", help="Say this, print the reply, and end.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Each answer of the server as a line of JSON.")
    ] = False,
) -> None:
    """Talks with a server: in a terminal with a prompt, else a message a line."""
    if once is not None and not once.strip():
        raise typer.TyperException("--once: there is no message in it")
    server = choose_server(context.obj, url, token, "test-token")
    if once is not None:
        from .plain import once as say_once  # noqa: PLC0415 - each way loads what it needs

        status = run_online(say_once(server, once, as_json=json), server)
    elif json or not _is_terminal():
        from .plain import converse  # noqa: PLC0415

        status = run_online(converse(server, as_json=json), server)
    else:
        from .interactive import talk  # noqa: PLC0415

        status = run_online(talk(server), server)
    if status:
        raise typer.Exit(status)


# A plain function has no epilog; what stands in its docstring is printed as it is.
chat.__doc__ = f"{chat.__doc__}\n\n{_EXAMPLES}"


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
