"""The command `modules`, and the commands that modules bring."""

from __future__ import annotations

import inspect

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from potoserver.module.base import ServerModule
from potoserver.module.loader import ModuleLoadError
from potoserver.module.rpc import rpc_methods
from potoserver.settings import Loaded

_WIDTH_WITHOUT_TERMINAL = 160


def show_modules(loaded: Loaded) -> int:
    """Prints each module and its methods, with the first line of what they say about themselves.

    Returns:
        The exit status, 0.

    Raises:
        ModuleLoadError: A module can't be made.
    """
    table = Table(box=None, pad_edge=False)
    for column in ("module", "offers", "roles", "what it does"):
        table.add_column(column, overflow="fold")
    for module in loaded.modules:
        summary = (inspect.getdoc(module) or "").partition("\n")[0]
        section = f"section {module.section}" if module.section else ""
        table.add_row(Text(module.name()), Text(section), "", Text(summary))
        for wire_name, method in sorted(rpc_methods(made(module)).items()):
            roles = ", ".join(sorted(method.roles)) or "any"
            path = f"POST /{module.name()}/{wire_name}"
            table.add_row("", Text(path), Text(roles), Text(method.summary))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH_WITHOUT_TERMINAL)
    console.print(table)
    return 0


def add_module_commands(app: typer.Typer, loaded: Loaded) -> None:
    """Adds the commands of every module. They find what was loaded in their typer context's `obj`.

    Raises:
        ModuleLoadError: A module can't say its commands, or two bring the same one.
    """
    taken = {each.name for each in app.registered_commands} | {each.name for each in app.registered_groups}
    for module in loaded.modules:
        for name, command in made(module).commands().items():
            if name in taken:
                raise ModuleLoadError(f"module {module.name()}: there is a command {name!r} already")
            taken.add(name)
            settings = {"obj": loaded}
            if isinstance(command, typer.Typer):
                app.add_typer(command, name=name, context_settings=settings)
            else:
                app.command(name, context_settings=settings)(command)


def made(module: type[ServerModule]) -> ServerModule:
    """An instance, without a context.

    Raises:
        ModuleLoadError: Its constructor raises.
    """
    try:
        return module()
    except (Exception, SystemExit) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModuleLoadError(f"module {module.name()}: it can't be made: {why}") from error
