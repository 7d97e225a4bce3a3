"""`dialogs`: the dialogs of all users, read and mended where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from .folder import DialogFolder
from .listing import list_dialogs, show_dialog
from .verify import verify

_Data = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="FOLDER", help="Folder of the dialogs, else the configured one."),
]
_User = Annotated[
    str | None, typer.Option("--user", metavar="ID", help="Only this user's, else everybody's.")
]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")]

_STATUSES: Final = """\b
Exit status: 0 all went well, 1 something could not be read or done,
2 wrong usage or no such folder or dialog.
"""

_ABOUT: Final = f"""\b
Examples:
  potoserver dialogs list --user a1
  potoserver dialogs show 2024-01-15-10-30-00 --user a1

{_STATUSES}"""

_LIST: Final = f"""\b
Examples:
  potoserver dialogs list
  potoserver dialogs list --user a1 --json | jq -r .title
  potoserver dialogs list --data-dir /backup/data

{_STATUSES}"""

_SHOW: Final = f"""\b
Examples:
  potoserver dialogs show 2024-01-15-10-30-00
  potoserver dialogs show current --user a1
  potoserver dialogs show 2024-01-15-10-30-00 --json | jq -r '.messages[].content'

{_STATUSES}"""


_VERIFY: Final = """\b
Examples:
  potoserver dialogs verify
  potoserver dialogs verify --data-dir /backup/data --json | jq -r .kind | sort | uniq -c
  potoserver dialogs verify --repair       with the server stopped

\b
Exit status: 0 nothing is wrong, 1 something is (what was mended does not
count), 2 wrong usage, no such folder, or --repair beside a running server.
"""


def dialogs_app() -> typer.Typer:
    """The command and those below it."""
    app = typer.Typer(
        help="Lists, shows and mends the dialogs of all users, beside a running server too.",
        epilog=_ABOUT,
        no_args_is_help=True,
        rich_markup_mode=None,
    )

    @app.command("list", epilog=_LIST)
    def list_command(
        context: typer.Context, user: _User = None, json: _Json = False, data_dir: _Data = None
    ) -> None:
        """Lists each user's open dialog, then the archives, newest first."""
        _leave(list_dialogs(_folder(context.obj, data_dir), user, as_json=json))

    @app.command("show", epilog=_SHOW)
    def show_command(
        context: typer.Context,
        id: Annotated[str, typer.Argument(help="An archive's id, or `current` for an open dialog.")],  # noqa: A002 - its name in the usage
        user: _User = None,
        json: _Json = False,
        data_dir: _Data = None,
    ) -> None:
        """Shows one dialog. Where several users have one of that id, `--user` says whose."""
        _leave(show_dialog(_folder(context.obj, data_dir), user, id, as_json=json))

    @app.command("verify", epilog=_VERIFY)
    def verify_command(
        context: typer.Context,
        user: _User = None,
        json: _Json = False,
        repair: Annotated[
            bool,
            typer.Option(
                "--repair", help="Mend what a start would, and what can't lose a word; no server may run."
            ),
        ] = False,
        data_dir: _Data = None,
    ) -> None:
        """Reads every file and says what is torn, foreign or inconsistent."""
        _leave(verify(_folder(context.obj, data_dir), user, as_json=json, repair=repair))

    return app


def _folder(loaded: Any, data_dir: Path | None) -> DialogFolder:
    return DialogFolder(loaded.settings.data_dir if data_dir is None else data_dir.absolute())


def _leave(status: int) -> None:
    if status:
        raise typer.Exit(status)
