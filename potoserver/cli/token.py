"""The command `token`."""

from __future__ import annotations

import hashlib
import secrets
import sys

import typer

_TOKEN_BYTES = 32


def show_token(given: str | None) -> None:
    """Prints a token's hash and a piece of settings file that uses it.

    Args:
        given: The token; `-` reads it from the input; None makes a random one and prints it too.

    Raises:
        typer.TyperException: The token can't be sent in a header.
    """
    if given is None:
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        typer.echo(f"token   {token}")
    else:
        token = sys.stdin.readline().rstrip("\r\n") if given == "-" else given
    if not token or not all("!" <= char <= "~" for char in token):
        raise typer.TyperException("a token must be of visible ASCII characters, without a blank")
    hashed = "sha256:" + hashlib.sha256(token.encode("ascii")).hexdigest()
    typer.echo(f"hash    {hashed}\n\n# for potoserver.yaml\nauth:\n  tokens:")
    typer.echo(f'    "{hashed}":\n      user: "alice"\n      roles: ["user"]')
