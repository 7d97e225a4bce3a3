"""The command `chat`."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final

import typer

from ..online import ONLINE_STATUSES, Token, Url, choose_server, run_online
from .asking import Asking

_EXAMPLES: Final = f"""\b
Examples:
  potoserver chat                                   talk; /help shows the commands
  potoserver chat --once "What is new?"             one reply, on the output
  potoserver chat < questions.txt > replies.txt     a message a line
  potoserver chat --system "Answer in one line."    with what the model is told beforehand
  POTO_TOKEN=… potoserver chat --url https://chat.example.org

{ONLINE_STATUSES}"""


def chat(
    context: typer.Context,
    url: Url = None,
    token: Token = None,
    once: Annotated[
        str | None, typer.Option("--once", metavar="MESSAGE", help="Say this, print the reply, and end.")
    ] = None,
    system: Annotated[
        str | None,
        typer.Option("--system", metavar="TEXT", help="Tell the model this before the dialog, each time."),
    ] = None,
    reasoning: Annotated[
        bool, typer.Option("--reasoning", help="Have the model think first, and show what it thought.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Each answer of the server as a line of JSON.")
    ] = False,
) -> None:
    """Talks with a server: in a terminal with a prompt, else a message a line."""
    if once is not None and not once.strip():
        raise typer.TyperException("--once: there is no message in it")
    server = choose_server(context.obj, url, token, "test-token")
    asking = Asking(system if system and system.strip() else None, reasoning)
    if once is not None:
        from .plain import once as say_once  # noqa: PLC0415 - each way loads what it needs

        status = run_online(say_once(server, once, asking, as_json=json), server)
    elif json or not _is_terminal():
        from .plain import converse  # noqa: PLC0415

        status = run_online(converse(server, asking, as_json=json), server)
    else:
        from .interactive import talk  # noqa: PLC0415

        status = run_online(talk(server, asking), server)
    if status:
        raise typer.Exit(status)


# A plain function has no epilog; what stands in its docstring is printed as it is.
chat.__doc__ = f"{chat.__doc__}\n\n{_EXAMPLES}"


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
