"""The command line in a real terminal, driven by pexpect."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect

from tests.support.process import server_environment

LIMIT_S = 60
ROWS, COLUMNS = 30, 120


@contextmanager
def terminal(
    *arguments: str, cwd: Path, program: str = sys.executable, **environ: str
) -> Iterator[pexpect.spawn]:
    """Runs `python -m potoserver …`, or another program, in a terminal; what is left of it is ended."""
    child = pexpect.spawn(
        program,
        ["-m", "potoserver", *arguments] if program == sys.executable else list(arguments),
        cwd=str(cwd),
        env=server_environment({"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environ}),
        dimensions=(ROWS, COLUMNS),
        encoding="utf-8",
        timeout=LIMIT_S,
        # As a shell in a terminal gives it, also where the tests were started with it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield child
    finally:
        child.close(force=True)


def ended(child: pexpect.spawn) -> tuple[int, str]:
    """Reads to the end; gives the exit status and what was printed, since the last match."""
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus is not None, f"ended by signal {child.signalstatus}"
    return child.exitstatus, child.before
