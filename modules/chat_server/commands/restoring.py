"""`dialogs restore`: in a folder of data, or a user's own on a running server."""

from __future__ import annotations

from pathlib import Path

import typer

from potoserver import User, visible

from ..journal import JournalError
from .online import ServerChoice, run_online
from .output import fail, print_json
from .owned import ON_THE_SERVER, owned_journal


def restore_here(data_dir: Path, user_id: str, archive_id: str, *, as_json: bool) -> int:
    """Makes an archive the open dialog again, where no server runs; one that starts goes on with it.

    Returns:
        The exit status, 0.

    Raises:
        typer.TyperException: A server runs, or there is no such archive.
        typer.Exit: It could not be done; that is told.
    """
    try:
        user = User.create(user_id)
    except ValueError as error:
        raise typer.TyperException(f"--user: {error}") from None
    with owned_journal(data_dir, instead=ON_THE_SERVER) as owned:
        try:
            restored = owned.run(owned.journal.restore_archive(user, archive_id))
        except JournalError as error:
            raise fail(error.detail) from None
    if restored is None:
        raise typer.TyperException(f"{visible(user_id)} has no archive {visible(archive_id)}")
    _say(restored.dialog.conversation.id, restored.dialog.messages, restored.superseded, as_json=as_json)
    return 0


def restore_online(server: ServerChoice, archive_id: str, *, as_json: bool) -> int:
    """The same for the user whom a running server knows by the token."""

    async def work() -> int:
        async with server.client() as client:
            restored = await client.module("ChatServerModule").restoreArchive(id=archive_id)
        _say(restored["conversationId"], restored["messageCount"], restored["superseded"], as_json=as_json)
        return 0

    return run_online(work(), server)


def _say(conversation_id: str, messages: int, superseded: str | None, *, as_json: bool) -> None:
    """Says what is open now, and what had to be archived for it."""
    if as_json:
        print_json({"conversationId": conversation_id, "messageCount": messages, "superseded": superseded})
        return
    typer.echo(f"{visible(conversation_id)} is the current dialog again, with {messages} messages")
    if superseded is not None:
        typer.echo(f"the dialog that was open is archived as {superseded}")
