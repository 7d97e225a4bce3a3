"""`dialogs import`: into a folder of data, or a user's own into a running server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import typer

from potoserver import SystemClock, User, visible

from ..importing.shapes import NewArchive
from ..journal import DialogueJournal, JournalError
from .import_files import MOST_TOLD, BadImportError, Batch, ImportFile, open_import
from .online import ServerChoice, run_online
from .output import Work, counted, fail, print_json, warn
from .owned import ON_THE_SERVER, owned_journal

_BATCH_BYTES: Final = 4 * 1024 * 1024
_BATCH: Final = 200
"""Of one call: far below what `importArchives` takes."""

Send = Callable[[Batch], Awaitable[tuple[list[dict[str, Any]], int]]]
"""Adds a batch; gives what was added, as on the wire, and how many were there already."""


def import_here(
    data_dir: Path, path: str, user_id: str | None, title: str | None, user_bytes: int, *, as_json: bool
) -> int:
    """Adds archives of a file to a user's, where no server runs. All of the file is looked at before.

    Args:
        data_dir: The folder of data.
        path: An export as JSON or a list of messages; `-` for the input.
        user_id: Whose they become; None for the user that the export names.
        title: Of a list of messages.
        user_bytes: What one user's dialogs may take; 0 for no limit.
        as_json: Prints what was added as JSON.

    Returns:
        The exit status, 0.

    Raises:
        typer.TyperException: The file, the user or the folder can't be used; nothing was added.
        typer.Exit: Something in the file can't be imported, or the disk refused; that is told.
    """
    with _checked(path, user_id, title) as (given, count):
        if given.user_id is None:
            raise typer.TyperException("--user is missing: the file names nobody")
        user = _user(given.user_id)
        with owned_journal(data_dir, user_bytes, ON_THE_SERVER) as owned:
            try:
                owned.run(_send_all(given, count, path, _into(owned.journal, user), as_json=as_json))
            except JournalError as error:
                raise fail(error.detail) from None
    return 0


def import_online(server: ServerChoice, path: str, title: str | None, *, as_json: bool) -> int:
    """The same for the user whom a running server knows by the token.

    Args:
        server: The server, and who asks.
        path: As above.
        title: As above.
        as_json: As above.
    """

    async def work(given: ImportFile, count: int) -> int:
        async with server.client() as client:
            method = client.module("ChatServerModule").importArchives

            async def send(batch: Batch) -> tuple[list[dict[str, Any]], int]:
                if given.messages is not None:
                    more = {"title": title} if title is not None else {}
                    outcome = await method(messages=given.messages, **more)
                else:
                    outcome = await method(archives=batch.raw)
                return outcome["imported"], outcome["skipped"]

            await _send_all(given, count, path, send, as_json=as_json)
        return 0

    with _checked(path, None, title) as (given, count):
        return run_online(work(given, count), server)


@contextmanager
def _checked(path: str, user_id: str | None, title: str | None) -> Iterator[tuple[ImportFile, int]]:
    """The file, once all of it was looked at, and how many archives it holds."""
    with open_import(path) as file:
        try:
            given = ImportFile(file, user_id, title, SystemClock().now_ms())
            checking = Work("Checking", given.size)
            with checking.shown():
                count = given.check(checking.step)
            yield given, count
        except BadImportError as error:
            for each in error.faults[:MOST_TOLD]:
                warn(f"{path}: {each}")
            raise fail(f"{path} can't be imported; nothing was added") from None


async def _send_all(given: ImportFile, count: int, path: str, send: Send, *, as_json: bool) -> None:
    """Adds all of a file, batch by batch, and says what that came to."""
    imported: list[dict[str, Any]] = []
    skipped = 0
    work = Work("Importing", count)
    with work.shown():
        for batch in given.batches(_BATCH_BYTES, _BATCH):
            added, there = await send(batch)
            imported += added
            skipped += there
            work.step(len(batch.raw))
    if as_json:
        print_json({"imported": imported, "skipped": skipped})
    else:
        known = f", {skipped} were there already" if skipped else ""
        typer.echo(f"{visible(path)}: {counted(len(imported), 'archive')} imported{known}")


def _into(journal: DialogueJournal, user: User) -> Send:
    async def send(batch: Batch) -> tuple[list[dict[str, Any]], int]:
        outcome = await journal.import_archives(user, batch.dialogs)
        added = [NewArchive(id=each.id, title=each.shown_title) for each in outcome.imported]
        return [each.model_dump(by_alias=True) for each in added], outcome.skipped

    return send


def _user(user_id: str) -> User:
    try:
        return User.create(user_id)
    except ValueError as error:
        raise typer.TyperException(f"--user: {error}") from None
