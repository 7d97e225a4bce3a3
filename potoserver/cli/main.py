"""Reads the command line and runs what it asks for."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import UnsupportedOperation
from pathlib import Path
from typing import Annotated

import typer

from potoserver.cli import pages
from potoserver.cli.check import check
from potoserver.cli.modules import add_module_commands, show_modules
from potoserver.cli.new_module import new_module
from potoserver.cli.serve import serve
from potoserver.cli.token import show_token
from potoserver.logs import DebugPatterns
from potoserver.module.loader import ModuleLoadError
from potoserver.settings import CONFIG_FLAG, Loaded, SettingsError, load
from potoserver.text import visible
from potoserver.version import package_version

OK, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130
"""The exit statuses: all ended in order; something failed or is left; bad configuration or usage; Ctrl+C."""

_OWN_COMMANDS = frozenset({"serve", "token", "modules", "check"})
_COMPLETING = "_POTOSERVER_COMPLETE"
"""The variable by which a shell asks what may come next; the words so far are in others."""

_KEYS = {
    "config": CONFIG_FLAG,
    "host": "host",
    "port": "port",
    "data_dir": "data_dir",
    "log_dir": "log_dir",
    "engine": "engine",
    "workers": "workers",
    "debug": "log.debug",
}
"""Every flag's parameter, and the key of the setting that it sets."""

# All are texts here: the settings check them, and their message names key and source.
_Config = Annotated[
    str | None, typer.Option(metavar="FILE", help="Settings file, else potoserver.yaml where there is one.")
]
_Host = Annotated[str | None, typer.Option(metavar="HOST", help="Address to listen on.")]
_Port = Annotated[str | None, typer.Option(metavar="PORT", help="Port to listen on; 0 takes a free one.")]
_DataDir = Annotated[str | None, typer.Option(metavar="FOLDER", help="Folder of the dialogs.")]
_LogDir = Annotated[str | None, typer.Option(metavar="FOLDER", help="Folder of server.log.")]
_Engine = Annotated[
    str | None,
    typer.Option(metavar="URL", help="What keeps presence and event logs: memory://, valkey://host:6379/0."),
]
_Workers = Annotated[
    str | None, typer.Option(metavar="N", help="Processes on this address; needs an engine they share.")
]
_Debug = Annotated[
    str | None, typer.Option(metavar="PATTERNS", help="Loggers at debug level: 'session:*,journal:*'.")
]
_Version = Annotated[bool, typer.Option("--version", help="Print the version and exit.")]


def main() -> None:
    """Runs this process's command line and exits."""
    # `python -m` finds modules in the current folder; the console script must do so too.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    # What is imported by now stays. Else the collector would look through all of it time and again while the
    # modules are loaded, and once more at the exit: a sixth of all that a start costs.
    gc.freeze()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs a command line. Errors are one line on stderr.

    Args:
        arguments: The words after the program's name.

    Returns:
        The exit status: `OK`, `FAILED`, `BAD_USAGE` or `INTERRUPTED`.
    """
    try:
        status = _app(arguments)(arguments, prog_name="potoserver", standalone_mode=False)
        if status == INTERRUPTED:
            _drop_output()
        sys.stdout.flush()
    except (SettingsError, ModuleLoadError) as error:
        if isinstance(error, ModuleLoadError) and DebugPatterns(error.debug).match("module:load"):
            traceback.print_exception(error.__cause__ or error)
        return _fail(str(error), BAD_USAGE)
    except typer.TyperException as error:
        return _fail(error.format_message(), BAD_USAGE)
    except BrokenPipeError:
        _drop_output()  # who read it has had enough
        return FAILED
    except OSError as error:
        _drop_output()
        return _fail(str(error), FAILED)
    except (typer.Abort, KeyboardInterrupt):
        _drop_output()
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last place that can tell of it
        if DebugPatterns(os.environ.get("DEBUG", "")).match("cli"):
            traceback.print_exception(error)
        return _fail(f"the command failed: {type(error).__name__}: {error}", FAILED)
    return status if isinstance(status, int) else OK


def _fail(problem: str, status: int) -> int:
    print(f"potoserver: {visible(' '.join(problem.split()))}", file=sys.stderr)  # noqa: T201 - the command line's own voice
    return status


def _drop_output() -> None:
    """Lets nothing more be written to the output: at its exit Python would, and fail or hang once more."""
    with suppress(UnsupportedOperation):  # an output without a descriptor is no process's own
        descriptor = sys.stdout.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _app(arguments: Sequence[str]) -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    flags: dict[str, str] = {}

    def load_here() -> Loaded:
        return load(flags, os.environ, Path.cwd())

    def serve_here(loaded: Loaded) -> int:
        return serve(loaded, arguments)

    def with_flags(action: Callable[[Loaded], int]) -> Callable[..., None]:
        """A command that takes every flag, also one given before it, and does something with the settings."""

        def command(
            context: typer.Context,
            config: _Config = None,
            host: _Host = None,
            port: _Port = None,
            data_dir: _DataDir = None,
            log_dir: _LogDir = None,
            engine: _Engine = None,
            workers: _Workers = None,
            debug: _Debug = None,
            version: _Version = False,
        ) -> None:
            given = {_KEYS[name]: value for name, value in context.params.items() if name in _KEYS}
            flags.update({key: value for key, value in given.items() if value is not None})
            if version:
                typer.echo(f"potoserver {package_version()}")
                raise typer.Exit
            if context.invoked_subcommand is None:
                raise typer.Exit(action(load_here()))

        return command

    about = "A chat server that keeps people's dialogs. Without a command it serves."
    app.callback(invoke_without_command=True, help=about, epilog=pages.ROOT)(with_flags(serve_here))
    app.command(
        "serve",
        help="Serves until SIGTERM, SIGINT or SIGHUP. This is what happens without a command.",
        epilog=pages.SERVE,
    )(with_flags(serve_here))
    app.command(
        "check", help="Says whether a server could start here, and what is in its way.", epilog=pages.CHECK
    )(with_flags(check))

    modules = typer.Typer(rich_markup_mode=None)
    modules.callback(
        invoke_without_command=True,
        help="Lists the modules and what they offer over HTTP; `modules new` begins one.",
        epilog=pages.MODULES,
    )(with_flags(show_modules))
    modules.command("list", help="Lists the modules and what they offer over HTTP.", epilog=pages.MODULES)(
        with_flags(show_modules)
    )
    app.add_typer(modules, name="modules")

    @modules.command("new", epilog=pages.MODULES_NEW)
    def new_command(
        name: Annotated[str, typer.Argument(help="Its name: `greeter`, or `Greeter`.")],
        config: _Config = None,
    ) -> None:
        """Writes a plugin to start from, its test and a page about it, and says what comes next."""
        flags.update({"config": config} if config is not None else {})
        new_module(load_here(), name)

    @app.command("token", epilog=pages.TOKEN)
    def token_command(
        token: Annotated[
            str | None,
            typer.Argument(help="A token of your own, `-` reads it from the input; else a new one."),
        ] = None,
    ) -> None:
        """Makes a token, or hashes one, and shows how to configure it."""
        show_token(token)

    _add_what_modules_bring(app, arguments)
    return app


def _add_what_modules_bring(app: typer.Typer, arguments: Sequence[str]) -> None:
    """Adds the modules' commands where one of them, or a list of all, is asked for."""
    asked = os.environ.get("COMP_WORDS", os.environ.get("_TYPER_COMPLETE_ARGS", ""))
    completing = _COMPLETING in os.environ
    early_flags, word = _peek(asked.split()[1:] if completing else arguments)
    if word in _OWN_COMMANDS and not completing:
        return
    if word is None and not completing and "--help" not in arguments:
        return
    try:
        add_module_commands(app, load(early_flags, os.environ, Path.cwd()))
    except (SettingsError, ModuleLoadError) as error:
        if completing:
            return  # the shell shows what there is
        if word is not None:
            raise
        typer.echo(f"potoserver: the modules' commands are missing here: {error}", err=True)


def _peek(arguments: Sequence[str]) -> tuple[dict[str, str], str | None]:
    """The flags before the first word, and that word: it may be a command that a module brings."""
    flags: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if flag.startswith("--") and name in _KEYS:
            flags[_KEYS[name]] = value if equals else next(rest, "")
        elif not argument.startswith("-"):
            return flags, argument
    return flags, None
