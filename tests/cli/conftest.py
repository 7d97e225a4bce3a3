"""The command line in the test's own process, which is much quicker than a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from potoserver.cli import run
from tests.support.process import server_environment

Said = Callable[..., tuple[int, str, str]]
Command = Callable[..., subprocess.CompletedProcess[str]]
"""As `tests.support.commands.potoserver`, but for the process."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs any command line in a folder, without any setting of this process's own environment."""

    def run_command(
        *arguments: str, cwd: Path, text: str = "", environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = server_environment(environ)
        with monkeypatch.context() as patch:
            patch.chdir(cwd)
            patch.setattr("sys.stdin", io.StringIO(text))
            for name in set(os.environ) - set(environment):
                patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            try:
                status = run(arguments)
            except SystemExit as ended:  # so ends what a shell is told for completion
                status = ended.code
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, status, printed.out, printed.err)

    return run_command


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs `dialogs …` in the test's folder; gives its status, its output and its error output."""
    monkeypatch.chdir(tmp_path)

    def dialogs(*arguments: str) -> tuple[int, str, str]:
        status = run(["dialogs", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return dialogs
