"""`dialogs list` and `dialogs show`."""

from __future__ import annotations

from typing import Any, Final

import typer
from rich.text import Text

from potoserver import iso_utc, visible

from ..journal.records import Dialog
from ..journal.titles import title_of
from ..wire import ArchivedDialog, ArchiveEntry
from .folder import OPEN_ID, DialogFolder, Found
from .output import Column, Rows, plain_console, print_json, user_column

_COLUMNS: Final = (
    Column("id", 22),
    Column("reason", 10),
    Column("messages", 8, right=True),
    Column("title"),
)
_MOST_NAMED: Final = 5


def list_dialogs(folder: DialogFolder, user_id: str | None, *, as_json: bool) -> int:
    """Prints a line for each dialog.

    Returns:
        The exit status: 1 when something could not be read.
    """
    users = folder.chosen(user_id)
    rows = Rows((user_column(users), *_COLUMNS))
    for each in users:
        dialog = folder.open_dialog(each)
        if dialog is not None:
            _print(rows, _open_entry(each, dialog), as_json)
        for summary in folder.summaries(each):
            _print(rows, {"user": each, **ArchiveEntry.of(summary).model_dump(by_alias=True)}, as_json)
    rows.print()
    return 1 if folder.unread else 0


def _open_entry(user_id: str, dialog: Dialog) -> dict[str, Any]:
    """Like an archive's entry, without an end."""
    whole = ArchivedDialog.of(OPEN_ID, dialog).model_dump(by_alias=True, exclude={"messages"})
    return {"user": user_id, **whole, "messageCount": len(dialog.messages)}


def _print(rows: Rows, entry: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(entry)
        return
    rows.add(
        entry["user"],
        entry["id"],
        entry["reason"] or "open",
        str(entry["messageCount"]),
        f"★ {entry['title']}" if entry["pinned"] else entry["title"],
    )


def show_dialog(folder: DialogFolder, user_id: str | None, archive_id: str, *, as_json: bool) -> int:
    """Prints one dialog.

    Returns:
        The exit status.

    Raises:
        typer.TyperException: There is none, or several users have one.
    """
    found = _find(folder, user_id, archive_id)
    if as_json:
        whole = ArchivedDialog.of(found.archive_id, found.dialog).model_dump(by_alias=True)
        print_json({"user": found.user_id, **whole})
    else:
        _show(found)
    return 0


def _find(folder: DialogFolder, user_id: str | None, archive_id: str) -> Found:
    found: Found | None = None
    owners: list[str] = []
    for each in folder.chosen(user_id):
        one = folder.get(each, archive_id)
        if one is not None:
            found = found or one
            owners.append(each)
        if len(owners) > _MOST_NAMED:
            break
    if found is None:
        raise typer.TyperException(
            f"there is no dialog {visible(archive_id)}; `dialogs list` shows what there is"
        )
    if len(owners) > 1:
        names = ", ".join(map(visible, owners[:_MOST_NAMED])) + (", …" if len(owners) > _MOST_NAMED else "")
        raise typer.TyperException(
            f"several users have a dialog {archive_id}: {names}; say whose with --user"
        )
    return found


def _show(found: Found) -> None:
    dialog = found.dialog
    console = plain_console()
    ended = "open" if dialog.ended_ms is None else f"{iso_utc(dialog.ended_ms)}, {dialog.reason}"
    for name, value in (
        ("user", found.user_id),
        ("conversation", dialog.conversation.id),
        ("started", iso_utc(dialog.conversation.started_ms)),
        ("ended", ended),
        ("title", title_of(dialog) + (" (pinned)" if dialog.pinned else "")),
        ("messages", str(len(dialog.messages))),
    ):
        console.print(Text.assemble((f"{name:13}", "dim"), visible(value)), soft_wrap=True)
    for message in dialog.messages:
        said = "interrupted" if message.interrupted else ""
        by = message.model or ""
        head = "  ".join(filter(None, (visible(by), iso_utc(message.timestamp_ms), said)))
        console.print()
        console.print(Text.assemble((visible(message.role), "bold"), (f"  {head}", "dim")), soft_wrap=True)
        if message.reasoning:
            console.print(Text(visible(message.reasoning), style="italic dim"), soft_wrap=True)
        console.print(Text(visible(message.content)), soft_wrap=True)
