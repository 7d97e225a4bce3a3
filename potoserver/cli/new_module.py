"""The command `modules new`."""

from __future__ import annotations

import json
import keyword
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import typer

import potoserver
from potoserver.cli import plugin_text
from potoserver.settings import Loaded
from potoserver.text import visible

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_MOST_CHARS = 60


@dataclass(frozen=True, slots=True)
class _Names:
    """What a plugin is called: its file, its event and its test by `name`, its class by `class_name`."""

    name: str
    class_name: str


@dataclass(frozen=True, slots=True)
class _Places:
    """Where its files go, and how the test finds the folder of plugins."""

    plugin: Path
    test: Path
    page: Path
    modules_dir_from_test: str


def new_module(loaded: Loaded, given: str) -> None:
    """Writes a plugin, its test and a page about it, and says what comes next.

    Args:
        loaded: Tells the folder of plugins and what is there already.
        given: The name, `birthday_wishes` or `BirthdayWishes`.

    Raises:
        typer.TyperException: The name can't be used, or something of that name is there; nothing was written.
        OSError: A file can't be written; what was, is taken back.
    """
    names = _names(given)
    modules_dir = loaded.modules_dir or Path.cwd() / "modules"
    places = _places(modules_dir, names.name)
    _refuse_clash(loaded, names, modules_dir, places)
    values = {
        "name": names.name,
        "class_name": names.class_name,
        "modules_dir": places.modules_dir_from_test,
    }
    _write(
        {
            places.plugin: plugin_text.PLUGIN.substitute(values),
            places.test: plugin_text.TEST.substitute(values),
            places.page: plugin_text.PAGE.substitute(values),
        }
    )
    _say_what_comes_next(loaded, names, modules_dir, places)


def _names(given: str) -> _Names:
    words = [word for part in given.split("_") for word in _WORD_BEGINS.split(part) if word]
    name = "_".join(words).lower()
    class_name = "".join(word[0].upper() + word[1:] for word in words)
    problem = ""
    if not _NAME.fullmatch(given) or len(given) > _MOST_CHARS:
        problem = f"expected letters, digits and _, a letter first, at most {_MOST_CHARS}: `birthday_wishes`"
    elif keyword.iskeyword(name) or keyword.issoftkeyword(name):
        problem = "it is a word of Python's own"
    elif class_name in potoserver.__all__:
        problem = f"potoserver has a {class_name} of its own"
    if problem:
        raise typer.TyperException(f"{visible(given)!r} can't be a module's name: {problem}")
    return _Names(name, class_name)


def _places(modules_dir: Path, name: str) -> _Places:
    """In a checkout the test and the page go to the others; else to the plugins, whose folder is given."""
    beside = modules_dir.parent
    if (beside / "tests").is_dir() and (beside / "docs").is_dir():
        test, page = beside / "tests" / "modules", beside / "docs" / "modules"
        from_test = f"Path(__file__).parents[2] / {json.dumps(modules_dir.name)}"
    else:
        test, page = modules_dir / "tests", modules_dir / "docs"
        from_test = "Path(__file__).parents[1]"
    return _Places(modules_dir / f"{name}.py", test / f"test_{name}.py", page / f"{name}.md", from_test)


def _refuse_clash(loaded: Loaded, names: _Names, modules_dir: Path, places: _Places) -> None:
    for module in loaded.modules:
        if module.name() == names.class_name:
            raise typer.TyperException(f"there is a module {names.class_name} already")
    package = modules_dir / names.name / "__init__.py"
    for path in (package, places.plugin, places.test, places.page):
        if os.path.lexists(path):
            raise typer.TyperException(f"{path} is there already; nothing was written")


def _write(texts: dict[Path, str]) -> None:
    written: list[Path] = []
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
    except BaseException:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise


def _say_what_comes_next(loaded: Loaded, names: _Names, modules_dir: Path, places: _Places) -> None:
    for path in (places.plugin, places.test, places.page):
        typer.echo(f"wrote  {_shown(path)}")
    if loaded.settings.modules is not None:
        source = loaded.sources.get("modules", "")
        typer.echo(f"\nOnly what is listed is loaded: add {names.name!r} to `modules` ({source}).")
    here = modules_dir.parent == Path.cwd() and (modules_dir.parent / "scripts" / "test").is_file()
    steps = {
        f"{'./scripts/test' if here else 'python -m pytest'} {_shown(places.test)}": "run its test",
        "python -m potoserver modules": "see it listed",
        "python -m potoserver": "serve: it is loaded at the start",
    }
    width = max(map(len, steps))
    typer.echo("\nNext:")
    for command, text in steps.items():
        typer.echo(f"  {command:{width}}  {text}")
    typer.echo(
        f"\n{_shown(places.plugin)} is yours to change; docs/writing-modules.md says what a module can do."
    )


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
