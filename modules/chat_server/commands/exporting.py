"""`dialogs export`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import typer

from potoserver import visible

from ..export import FORMS, ExportFormat
from .folder import DialogFolder
from .output import Work, counted, print_json, warn

_FILE_MODE: Final = 0o600


def export_dialogs(
    folder: DialogFolder,
    user_id: str,
    ids: Sequence[str],
    form: ExportFormat,
    output: Path | None,
    *,
    as_json: bool,
) -> int:
    """Writes a user's archives, oldest first, as one file.

    Args:
        folder: Of the dialogs.
        user_id: Whose.
        ids: Which; empty for all.
        form: As what.
        output: Where to; it must not be there. None for the output.
        as_json: Says what was written as JSON, with `output` alone.

    Returns:
        The exit status: 1 when an archive could not be read; the file then says which.

    Raises:
        typer.TyperException: There is no such archive, or the file can't be written there.
    """
    if not folder.chosen(user_id):
        return 1
    if output is None and as_json:
        raise typer.TyperException("--json says what was written to a file: give --output, too")
    if output is None and form == "zip" and sys.stdout.isatty():
        raise typer.TyperException("a zip is nothing for a terminal: give --output FILE")
    wanted = _wanted(folder.archive_ids(user_id), ids)
    work = Work("Exporting", len(wanted))
    with work.shown(), _opened(output) as write:
        count, skipped = _write(folder, user_id, wanted, form, write, work)
    if output is not None:
        if as_json:
            print_json({"file": str(output), "user": user_id, "archives": count, "skipped": skipped})
        else:
            left_out = f", {len(skipped)} could not be read" if skipped else ""
            typer.echo(f"{visible(str(output))}: {counted(count, 'archive')} of {visible(user_id)}{left_out}")
    elif skipped:
        warn(f"{len(skipped)} archives could not be read; the file names them")
    return 1 if skipped or folder.unread else 0


def _wanted(known: Sequence[str], ids: Sequence[str]) -> list[str]:
    """The archives to write, oldest first."""
    missing = set(ids) - set(known)
    if missing:
        raise typer.TyperException(f"there is no archive {visible(min(missing))} of this user")
    return [each for each in reversed(known) if not ids or each in ids]


def _write(
    folder: DialogFolder,
    user_id: str,
    wanted: Sequence[str],
    form: ExportFormat,
    write: Callable[[bytes], object],
    work: Work,
) -> tuple[int, list[str]]:
    made = FORMS[form]()
    count, skipped = 0, []
    write(made.begin(user_id))
    for archive_id in wanted:
        stored = folder.stored(user_id, archive_id)
        dialog = stored.dialog() if stored is not None else None
        if stored is not None and dialog is not None:
            write(made.add(archive_id, stored.data, dialog))
            count += 1
        elif stored is not None:
            skipped.append(archive_id)  # else it was deleted since
        work.step()
    write(made.end(skipped))
    return count, skipped


@contextmanager
def _opened(output: Path | None) -> Iterator[Callable[[bytes], object]]:
    """What takes the bytes. A file gets its name once it is whole; what is left of half a one is removed."""
    if output is None:
        if sys.stdout.isatty():
            yield lambda data: sys.stdout.write(visible(data.decode()))
        else:
            yield sys.stdout.buffer.write
            sys.stdout.buffer.flush()
        return
    if os.path.lexists(output):
        raise typer.TyperException(f"{visible(str(output))} is there already")
    half = output.with_name(f".{output.name}.part")
    try:  # around the making, too: wherever Ctrl+C is pressed, nothing is left
        with _made(half, output) as file:
            yield file.write
        half.rename(output)
    except BaseException:
        with suppress(OSError):
            half.unlink()
        raise


def _made(half: Path, output: Path) -> IO[bytes]:
    try:
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _FILE_MODE)
    except OSError as error:
        raise typer.TyperException(f"{visible(str(output))} can't be written: {error.strerror}") from None
    return os.fdopen(descriptor, "wb")
