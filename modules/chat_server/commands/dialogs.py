"""`dialogs`: the dialogs of all users, read and mended where they lie."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ..journal import Reason
from .exporting import export_dialogs
from .folder import DialogFolder
from .importing import import_here, import_online
from .listing import list_dialogs, show_dialog
from .online import ServerChoice, Token, choose_server
from .restoring import restore_here, restore_online
from .searching import query_of, search_dialogs
from .verify import verify

_Data = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="FOLDER", help="Folder of the dialogs, else the configured one."),
]
_User = Annotated[
    str | None, typer.Option("--user", metavar="ID", help="Only this user's, else everybody's.")
]
_Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="A running server's, to do it there, as the user of --token."),
]
_OneUser = Annotated[str, typer.Option("--user", metavar="ID", help="Whose.")]
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


_SEARCH: Final = f"""\b
Examples:
  potoserver dialogs search "coffee machine"
  potoserver dialogs search invoice --user a1 --after 2024-03-01 --role user
  potoserver dialogs search --reason shutdown --after 2024-03-01
  potoserver dialogs search '"exactly these words"' --json | jq -r .archiveId

{_STATUSES}"""

_EXPORT: Final = f"""\b
Examples:
  potoserver dialogs export --user a1 --output a1.json
  potoserver dialogs export --user a1 --format markdown | less
  potoserver dialogs export --user a1 --format zip --output a1.zip

{_STATUSES}"""

_IMPORT: Final = f"""\b
Examples:
  potoserver dialogs import a1.json
  potoserver dialogs import a1.json --user b2
  potoserver dialogs import messages.json --user a1 --title "From elsewhere"
  potoserver dialogs import a1.json --url http://localhost:3799    with POTO_TOKEN

{_STATUSES}"""

_RESTORE: Final = f"""\b
Examples:
  potoserver dialogs restore 2024-01-15-10-30-00 --user a1
  potoserver dialogs restore 2024-01-15-10-30-00 --url http://localhost:3799

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


class Role(StrEnum):
    """Who writes messages."""

    USER = "user"
    ASSISTANT = "assistant"


class Form(StrEnum):
    """What an export may be."""

    JSON = "json"
    MARKDOWN = "markdown"
    ZIP = "zip"


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

    @app.command("search", epilog=_SEARCH)
    def search_command(
        context: typer.Context,
        query: Annotated[
            str,
            typer.Argument(
                help='Words that a message holds, in any order; a phrase in "double quotes". Without any, '
                "one of the filters: of each dialog the first message that it admits."
            ),
        ] = "",
        user: _User = None,
        after: Annotated[
            str | None, typer.Option("--after", metavar="TIME", help="Messages from then on: 2024-03-01.")
        ] = None,
        before: Annotated[
            str | None, typer.Option("--before", metavar="TIME", help="Messages before that.")
        ] = None,
        role: Annotated[Role | None, typer.Option("--role", help="Whose messages.")] = None,
        reason: Annotated[Reason | None, typer.Option("--reason", help="Why the dialog ended.")] = None,
        title: Annotated[
            str | None, typer.Option("--title", metavar="WORDS", help="Words in the dialog's title.")
        ] = None,
        json: _Json = False,
        data_dir: _Data = None,
    ) -> None:
        """Looks for messages by their words, in the open dialogs too."""
        asked = query_of(query, after=after, before=before, role=role, reason=reason, title=title)
        _leave(search_dialogs(_folder(context.obj, data_dir), user, asked, as_json=json))

    @app.command("export", epilog=_EXPORT)
    def export_command(
        context: typer.Context,
        user: _OneUser,
        ids: Annotated[list[str] | None, typer.Argument(help="Only these archives, else all.")] = None,
        form: Annotated[
            Form, typer.Option("--format", help="`zip` has the YAML files as they are.")
        ] = Form.JSON,
        output: Annotated[
            Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to, else to the output.")
        ] = None,
        json: Annotated[bool, typer.Option("--json", help="Say what was written as JSON.")] = False,
        data_dir: _Data = None,
    ) -> None:
        """Writes one user's archives as JSON (for `import`), as Markdown, or the files themselves."""
        folder = _folder(context.obj, data_dir)
        _leave(export_dialogs(folder, user, ids or (), form.value, output, as_json=json))

    @app.command("import", epilog=_IMPORT)
    def import_command(
        context: typer.Context,
        file: Annotated[
            str, typer.Argument(metavar="FILE", help="A JSON export, or a list of messages; - for the input.")
        ],
        user: Annotated[
            str | None,
            typer.Option(
                "--user", metavar="ID", help="Whose they become, else the one that the export names."
            ),
        ] = None,
        title: Annotated[
            str | None, typer.Option("--title", metavar="TEXT", help="What a list of messages is called.")
        ] = None,
        url: _Url = None,
        token: Token = None,
        json: _Json = False,
        data_dir: _Data = None,
    ) -> None:
        """Adds the archives of a file to a user's, all or none; those that are there are skipped."""
        if url is not None:
            server = _server(context.obj, url, token, user, data_dir)
            _leave(import_online(server, file, title, as_json=json))
            return
        folder = _folder(context.obj, data_dir)
        limit = context.obj.settings.limits.user_bytes
        _leave(import_here(folder.data_dir, file, user, title, limit, as_json=json))

    @app.command("restore", epilog=_RESTORE)
    def restore_command(
        context: typer.Context,
        id: Annotated[str, typer.Argument(help="The archive's id.")],  # noqa: A002 - its name in the usage
        user: Annotated[
            str | None, typer.Option("--user", metavar="ID", help="Whose, without --url.")
        ] = None,
        url: _Url = None,
        token: Token = None,
        json: _Json = False,
        data_dir: _Data = None,
    ) -> None:
        """Makes an archive the user's current dialog again. What was current is archived first."""
        if url is not None:
            server = _server(context.obj, url, token, user, data_dir)
            _leave(restore_online(server, id, as_json=json))
            return
        if user is None:
            raise typer.TyperException("--user is missing: whose archive is it?")
        folder = _folder(context.obj, data_dir)
        folder.chosen(user)
        _leave(restore_here(folder.data_dir, user, id, as_json=json))

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


def _server(
    loaded: Any, url: str, token: str | None, user: str | None, data_dir: Path | None
) -> ServerChoice:
    if user is not None or data_dir is not None:
        raise typer.TyperException(
            "--user and --data-dir don't go with --url: there the token says whose it is"
        )
    return choose_server(loaded, url, token, "test-token")


def _leave(status: int) -> None:
    if status:
        raise typer.Exit(status)
