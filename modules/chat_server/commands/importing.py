"""`dialogs import`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import typer

from potoserver import SystemClock, User, visible

from ..importing.shapes import NewArchive
from ..journal import JournalError
from .import_files import MOST_TOLD, BadImportError, Batch, ImportFile, open_import
from .output import Work, fail, print_json, warn
from .owned import OwnedJournal, owned_journal

_BATCH_BYTES: Final = 8 * 1024 * 1024
_BATCH: Final = 200

Send = Callable[[Batch], tuple[list[dict[str, Any]], int]]
"""Adds a batch; gives what was added, as on the wire, and how many were there already."""


def import_dialogs(
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
    with open_import(path) as file:
        try:
            given = ImportFile(file, user_id, title, SystemClock().now_ms())
            if given.user_id is None:
                raise typer.TyperException("--user is missing: the file names nobody")
            user = _user(given.user_id)
            checking = Work("Checking", given.size)
            with checking.shown():
                count = given.check(checking.step)
            with owned_journal(data_dir, user_bytes) as owned:
                send_all(given, count, path, lambda batch: _add(owned, user, batch), as_json=as_json)
        except BadImportError as error:
            raise _refused(path, error) from None
    return 0


def send_all(given: ImportFile, count: int, path: str, send: Send, *, as_json: bool) -> None:
    """Adds all of a file, batch by batch, and says what that came to."""
    imported: list[dict[str, Any]] = []
    skipped = 0
    work = Work("Importing", count)
    with work.shown():
        for batch in given.batches(_BATCH_BYTES, _BATCH):
            added, there = send(batch)
            imported += added
            skipped += there
            work.step(len(batch.raw))
    if as_json:
        print_json({"imported": imported, "skipped": skipped})
    else:
        known = f", {skipped} were there already" if skipped else ""
        typer.echo(f"{visible(path)}: {len(imported)} archives imported{known}")


def _add(owned: OwnedJournal, user: User, batch: Batch) -> tuple[list[dict[str, Any]], int]:
    try:
        outcome = owned.run(owned.journal.import_archives(user, batch.dialogs))
    except JournalError as error:
        raise fail(error.detail) from None
    added = [NewArchive(id=each.id, title=each.shown_title) for each in outcome.imported]
    return [each.model_dump(by_alias=True) for each in added], outcome.skipped


def _user(user_id: str) -> User:
    try:
        return User.create(user_id)
    except ValueError as error:
        raise typer.TyperException(f"--user: {error}") from None


def _refused(path: str, error: BadImportError) -> typer.Exit:
    for each in error.faults[:MOST_TOLD]:
        warn(f"{path}: {each}")
    return fail(f"{path} can't be imported; nothing was added")
