"""Markdown in the terminal: rendered while it grows, and never able to command it."""

from __future__ import annotations

import re
import time
from types import TracebackType
from typing import Final, Self

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.text import Text

from potoserver import visible

_REFRESH_S: Final = 0.08
_ITEM: Final = re.compile(r"([-*+]|\d{1,9}[.)]?)(\s|$)")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")


class SafeMarkdown(Markdown):
    """Markdown whose HTML is text like any other, and whose links show where they lead."""

    def __init__(self, text: str) -> None:
        super().__init__("", hyperlinks=False)
        self.markup = visible(text)
        parser = MarkdownIt("commonmark", {"html": False}).enable("strikethrough").enable("table")
        self.parsed = parser.parse(self.markup)


class GrowingMarkdown:
    """Shows a text as it grows: what is finished is printed for good, the last block is drawn anew.

    So a reply of any length scrolls by as it comes, and only a few lines are ever drawn again. A block that
    is higher than the terminal shows its end.

    Args:
        console: Where.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._text = ""
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn_s = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        self._live.update(Text("…", style="dim"), refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.update("")
        self._live.stop()
        if self._text.strip():
            self._console.print(SafeMarkdown(self._text))
            self._console.print()

    def add(self, text: str) -> None:
        """The text has grown."""
        self._text += text
        finished = finished_part(self._text)
        now_s = time.monotonic()
        if not finished and now_s - self._drawn_s < _REFRESH_S:
            return
        self._drawn_s = now_s
        if finished:
            self._console.print(SafeMarkdown(self._text[:finished]))
            self._console.print()
            self._text = self._text[finished:]
        self._live.update(_Tail(self._text), refresh=True)

    def replace(self, text: str) -> None:
        """What has been printed is void; this is the text."""
        self._text = text


class _Tail:
    """The end of a text, as high as the terminal has room for."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(SafeMarkdown(self._text), options, pad=False)
        for line in lines[-max(1, options.size.height - 2) :]:
            yield from line
            yield "\n"


def finished_part(text: str) -> int:
    """Up to where a Markdown text can't change any more by what comes: after a block's blank line.

    A line that begins with a blank may still belong to the list above it, and a fence stays open until it is
    closed.
    """
    finished = position = 0
    fence = ""
    blank_before = False
    for line in text.splitlines(keepends=True):
        whole = line.endswith("\n")
        opened = _FENCE.match(line)
        if fence:
            if opened and opened[1].startswith(fence) and not line.strip(" \n" + fence[0]):
                fence = ""
        else:
            if blank_before and line.strip() and not line[0].isspace() and not _continues(line):
                finished = position
            if opened:
                fence = opened[1]
        blank_before = not fence and whole and not line.strip()
        position += len(line)
    return finished


def _continues(line: str) -> bool:
    """Whether a line is, or may become, the next item of a loose list above it."""
    return bool(_ITEM.match(line))
