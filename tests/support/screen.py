"""A terminal with a screen: what a program draws is looked at as a person sees it."""

from __future__ import annotations

import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pyte

from tests.support.terminal import COLUMNS, ROWS, terminal

LIMIT_S = 30.0
ENTER, UP, TAB = "\r", "\x1b[A", "\t"


class Screen:
    """What a program in a terminal has drawn.

    Args:
        child: The program.

    Attributes:
        raw: All that it has written, as it came.
    """

    def __init__(self, child: pexpect.spawn) -> None:
        self.child = child
        self.raw = ""
        self._screen = pyte.HistoryScreen(COLUMNS, ROWS, history=2000)
        # A program that asks where the cursor is gets its answer.
        self._screen.write_process_input = child.send
        self._stream = pyte.Stream(self._screen)

    @property
    def text(self) -> str:
        """What there is to see, with what has scrolled away."""
        above = [
            "".join(line[column].data for column in range(self._screen.columns))
            for line in self._screen.history.top
        ]
        return "\n".join(line.rstrip() for line in [*above, *self._screen.display])

    def until(self, *parts: str, since: int = 0) -> str:
        """Waits until all of these are to be seen, one behind the other; returns the text.

        Args:
            parts: What is to be seen.
            since: From where on in the text.
        """
        ends_s = time.monotonic() + LIMIT_S
        while True:
            text = self.text
            position = since
            for part in parts:
                position = text.find(part, position)
                if position < 0:
                    break
                position += len(part)
            else:
                return text
            assert time.monotonic() < ends_s, f"no {parts} behind {since} in:\n{text}"
            if not self._read():
                raise AssertionError(f"it ended without {parts}:\n{self.text}")

    def send(self, text: str) -> None:
        """Types."""
        self.child.send(text)

    def say(self, line: str, *answers: str) -> str:
        """Types a line and waits for what must come of it below; returns the text."""
        lines = self.text.split("\n")
        above = len(lines) - self._screen.lines + self._screen.cursor.y
        self.send(line + ENTER)
        return self.until(*answers, since=len("\n".join(lines[:above])))

    def interrupt(self) -> None:
        """Presses Ctrl+C, once that interrupts: while a prompt is still there it is a key like any other."""
        ends_s = time.monotonic() + LIMIT_S
        while not termios.tcgetattr(self.child.child_fd)[3] & termios.ISIG:
            assert time.monotonic() < ends_s, f"a prompt goes on in:\n{self.text}"
            self._read()
        self.child.sendintr()

    def resize(self, rows: int, columns: int) -> None:
        """The window has another size."""
        self._screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def end(self) -> int:
        """Waits for the program's end; returns the exit status."""
        while self._read():
            pass
        self.child.wait()
        assert self.child.exitstatus is not None, f"ended by signal {self.child.signalstatus}"
        return int(self.child.exitstatus)

    def _read(self) -> bool:
        """Takes in what has been written; False at the end."""
        try:
            written = self.child.read_nonblocking(65_536, timeout=0.2)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += written
        self._stream.feed(written)
        return True


@contextmanager
def screen_of(*arguments: str, cwd: Path, **environ: str) -> Iterator[Screen]:
    """Runs `python -m potoserver …` in a terminal that has a screen."""
    # Where these are set they are believed more than the terminal, whose size may change.
    with terminal(*arguments, cwd=cwd, COLUMNS="", LINES="", **environ) as child:
        yield Screen(child)
