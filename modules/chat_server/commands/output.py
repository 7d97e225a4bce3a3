"""What the commands print: tables that grow, JSON a line, and the way of long work."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from potoserver import visible

_ROWS_AT_ONCE: Final = 200
_LONGEST_S: Final = 0.5
"""How long a row waits for others to be printed with."""
_WIDTH_WITHOUT_TERMINAL: Final = 160
_LEAST_WIDTH: Final = 8
_WIDEST_ID: Final = 20
_UNSEEN: Final = re.compile("[\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069\ufff9-\ufffb]")
"""What JSON lets stand in a text and a terminal or a reader of lines would obey."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its heading.
        width: In cells; 0 for what the others leave.
        right: Whether it is set to the right.
        wraps: Whether what does not fit goes on in the next line; else, without a width, it is cut.
    """

    name: str
    width: int = 0
    right: bool = False
    wraps: bool = False


class Rows:
    """A table of any length: rows come out a few at a time, in columns of a fixed width.

    Args:
        columns: From left to right.
        progress: Stopped while rows are printed, so that it does not stand between them.
    """

    def __init__(self, columns: Sequence[Column], progress: Work | None = None) -> None:
        self._console = plain_console()
        given = sum(column.width + 2 for column in columns)
        self._rest = max(_LEAST_WIDTH, self._console.width - given)
        self._columns = columns
        self._progress = progress
        self._kept: list[tuple[str | Text, ...]] = []
        self._printed = False
        self._printed_s = time.monotonic()

    def add(self, *cells: str | Text) -> None:
        """Adds a row; a `str` may hold anything."""
        self._kept.append(cells)
        if len(self._kept) == _ROWS_AT_ONCE or time.monotonic() - self._printed_s > _LONGEST_S:
            self.print()

    def print(self) -> None:
        """Prints what has not been printed; the heading with the first rows."""
        if not self._kept:
            return
        table = Table(box=None, pad_edge=False, show_header=not self._printed, header_style="bold")
        for column in self._columns:
            table.add_column(
                column.name,
                width=column.width or self._rest,
                overflow="fold" if column.width or column.wraps else "ellipsis",
                no_wrap=not (column.width or column.wraps),
                justify="right" if column.right else "left",
            )
        for cells in self._kept:
            table.add_row(*map(_on_one_line, cells))
        self._kept.clear()
        self._printed = True
        self._printed_s = time.monotonic()
        with self._progress.hidden() if self._progress else nullcontext():
            if self._console.is_terminal:
                self._console.print(table)
                return
            with self._console.capture() as printed:
                self._console.print(table)
            typer.echo("\n".join(line.rstrip() for line in printed.get().splitlines()))


def user_column(users: Sequence[str]) -> Column:
    """The column of users' ids, no wider than they need."""
    return Column("user", max(4, *(min(len(each), _WIDEST_ID) for each in users), 0))


class Work:
    """The way of long work, on the terminal of the error output; nowhere when there is none.

    Args:
        what: What is done, for people.
        total: How many steps it has.
    """

    def __init__(self, what: str, total: int) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=total)

    @contextmanager
    def shown(self) -> Iterator[Work]:
        """Shows it for the length of a block."""
        try:  # around the start, too: the cursor comes back wherever Ctrl+C is pressed
            self._bar.start()
            yield self
        finally:
            self._bar.stop()

    def step(self, steps: int = 1) -> None:
        """So much more is done."""
        self._bar.advance(self._task, steps)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Takes the bar off the terminal while something else is printed."""
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()


def _on_one_line(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(" ".join(visible(cell).split()))


def plain_console() -> Console:
    """A console of the output; wide where it is no terminal, so that programs get whole lines."""
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(width=_WIDTH_WITHOUT_TERMINAL, highlight=False)


def counted(number: int, one: str) -> str:
    """How many there are: `1 archive`, `2 archives`."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"


def print_json(value: Any) -> None:
    """One JSON value on one line, safe for a terminal too."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    typer.echo(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def warn(text: str) -> None:
    """A line on the error output."""
    print(f"potoserver: {visible(' '.join(text.split()))}", file=sys.stderr)  # noqa: T201 - for people


def fail(text: str) -> typer.Exit:
    """Says what went wrong; raise what this gives."""
    warn(text)
    return typer.Exit(1)
