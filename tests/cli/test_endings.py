"""How commands end when their output can't be written, or somebody has had enough."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.support.commands import potoserver
from tests.support.process import server_environment

NOISY = '''
import typer
from potoserver import ServerModule

class Noisy(ServerModule):
    """Prints without an end."""

    def commands(self):
        def noise() -> None:
            """Prints."""
            typer.echo("begun", err=True)
            while True:
                typer.echo("x" * 1000)

        def bug() -> None:
            """Fails."""
            raise ValueError("\\x1b[2J")

        return {"noise": noise, "bug": bug}
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to run in, with a plugin that prints without an end."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "noisy.py").write_text(NOISY)
    (tmp_path / "potoserver.yaml").write_text("modules_dir: plugins\n")
    return tmp_path


def begin(folder: Path, *arguments: str, stdout: int) -> subprocess.Popen[str]:
    # With Ctrl+C as a terminal has it, whatever this test was started from.
    return subprocess.Popen(
        [sys.executable, "-m", "potoserver", *arguments],
        cwd=folder,
        env=server_environment(),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads
    )


def test_a_reader_that_has_had_enough_ends_a_command_quietly(folder: Path) -> None:
    """As `… | head` does; the status says that not all was printed."""
    with begin(folder, "noise", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == "begun\n"


def test_ctrl_c_ends_a_command_that_waits_on_a_full_pipe(folder: Path) -> None:
    """Nobody reads, so it stands in a write; the end waits for nobody either."""
    read, write = os.pipe()
    try:
        with begin(folder, "noise", stdout=write) as process:
            assert process.stderr is not None
            assert process.stderr.readline() == "begun\n"
            until_full(write)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
            assert process.stderr.read() == ""
    finally:
        os.close(read)
        os.close(write)


def until_full(descriptor: int) -> None:
    """Waits until a pipe takes no more."""
    import select

    while select.select([], [descriptor], [], 0)[1]:
        os.sched_yield()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["token"], ["modules"], ["--version"], ["--help"]])
def test_a_full_disk_under_the_output_is_one_line(folder: Path, arguments: list[str]) -> None:
    """And a status that is not 0."""
    with Path("/dev/full").open("w") as full, begin(folder, *arguments, stdout=full.fileno()) as process:
        assert process.stderr is not None
        assert process.wait(60) == 1
        assert process.stderr.read() == "potoserver: [Errno 28] No space left on device\n"


def test_a_fault_of_a_command_is_one_line_without_a_traceback(folder: Path) -> None:
    """Which nothing in it can use to command the terminal; `DEBUG=cli` shows where."""
    done = potoserver("bug", cwd=folder)
    assert done.returncode == 1
    assert done.stderr == "potoserver: the command failed: ValueError: \\x1b[2J\n"
    assert "Traceback" in potoserver("bug", cwd=folder, environ={"DEBUG": "cli"}).stderr


def test_every_command_has_examples_and_says_what_its_status_means(tmp_path: Path, command: Command) -> None:
    """In its `--help`, those that the modules of the checkout bring too."""
    from collections import deque

    asked: deque[tuple[str, ...]] = deque([()])
    seen = set()
    while asked:
        words = asked.popleft()
        done = command(*words, "--help", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), words
        assert "Examples:\n" in done.stdout, words
        assert "Exit status:" in done.stdout, words
        seen.add(words)
        _, _, commands = done.stdout.partition("\nCommands:\n")
        for line in commands.partition("\n\n")[0].splitlines():
            if line.startswith("  ") and not line.startswith("   "):
                asked.append((*words, line.split()[0]))
    assert {("serve",), ("check",), ("token",), ("modules", "list"), ("dialogs", "show")} <= seen
