"""What the chat shows on a terminal, or without one. Text from outside can't command it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from potoserver import visible

from ..output import plain_console
from .markdown import SafeMarkdown
from .words import clock_of, why_archived

_NOTE: Final = "dim"
_WRONG: Final = "red"
_LEAST_BECAUSE: Final = 16
"""Of the reasons, which share with the titles what there is; so that a list fits into eighty columns."""
_OTHERS: Final = 64
"""What the other columns of a list take."""


class View:
    """Prints to the output.

    Attributes:
        console: Where; its width follows the terminal's.
    """

    def __init__(self) -> None:
        self.console: Console = plain_console()

    def note(self, text: str) -> None:
        """What the program itself has to say."""
        self.console.print(Text(visible(text), style=_NOTE), soft_wrap=True)

    def notes(self, lines: Iterable[str]) -> None:
        """Several lines of that."""
        for line in lines:
            self.note(line)

    def wrong(self, text: str) -> None:
        """What went wrong."""
        self.console.print(Text(visible(text), style=_WRONG), soft_wrap=True)

    def message(self, message: Mapping[str, Any], *, elsewhere: bool = False) -> None:
        """One message, with who said it and when."""
        role, content = str(message.get("role")), str(message.get("content"))
        who = "you" if role == "user" else visible(role)
        head = Text(who, style="bold cyan" if role == "user" else "bold green")
        told = [clock_of(message.get("timestamp"))]
        if elsewhere:
            told.append("elsewhere")
        if message.get("interrupted"):
            told.append("interrupted")
        head.append("  " + ", ".join(told), style=_NOTE)
        self.console.print(head)
        self.console.print(Text(visible(content)) if role == "user" else SafeMarkdown(content))
        self.console.print()

    def messages(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Several messages, oldest first."""
        for each in messages:
            self.message(each)

    def archives(self, entries: Iterable[Mapping[str, Any]], first_number: int) -> None:
        """A list of archives, numbered."""
        because_width = max(_LEAST_BECAUSE, (self.console.width - _OTHERS) // 2)
        # The title is given what the others leave; else rich would take of every column, times and ids too.
        table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
        table.add_column("", justify="right", style=_NOTE, no_wrap=True)
        table.add_column("ended", no_wrap=True)
        table.add_column("title", ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column("messages", justify="right", no_wrap=True)
        table.add_column("archived because", no_wrap=True, overflow="ellipsis", max_width=because_width)
        table.add_column("id", no_wrap=True)
        for number, each in enumerate(entries, first_number):
            pin = "* " if each.get("pinned") else ""
            table.add_row(
                str(number),
                clock_of(each.get("endedAt")),
                Text(_line(pin + str(each.get("title") or ""))),
                str(each.get("messageCount")),
                why_archived(each.get("reason")),
                Text(_line(each.get("id"))),
            )
        self.console.print(table)

    def archive(self, dialog: Mapping[str, Any]) -> None:
        """One archive, whole."""
        if dialog.get("title"):
            self.console.print(Text(_line(dialog["title"]), style="bold"), soft_wrap=True)
        ended = dialog.get("endedAt")
        if ended:
            self.note(
                f"{dialog.get('id')}, archived {clock_of(ended)} because {why_archived(dialog.get('reason'))}"
            )
        self.messages(dialog.get("messages") or ())

    def matches(self, matches: Sequence[Mapping[str, Any]], first_number: int) -> None:
        """What a search has found, numbered by archive."""
        for number, each in enumerate(matches, first_number):
            line = Text(f"{number:>3} ", style=_NOTE)
            line.append(_line(each.get("title") or each.get("archiveId")), style="bold")
            line.append(f"  {clock_of(each.get('timestamp'))}, {_line(each.get('archiveId'))}", style=_NOTE)
            self.console.print(line, soft_wrap=True)
            snippet = Text("    ")
            for part in each.get("snippet") or ():
                text = " ".join(visible(str(part.get("text"))).split(" "))
                snippet.append(text.replace("\n", " "), style="bold yellow" if part.get("match") else "")
            self.console.print(snippet, soft_wrap=True)


def _line(value: object) -> str:
    """A text on one line."""
    return " ".join(visible(str(value)).split())
