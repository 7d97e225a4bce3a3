"""The command line in the test's own process, which is much quicker than a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from potoserver.cli import run

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs `dialogs …` in the test's folder; gives its status, its output and its error output."""
    monkeypatch.chdir(tmp_path)

    def dialogs(*arguments: str) -> tuple[int, str, str]:
        status = run(["dialogs", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return dialogs
