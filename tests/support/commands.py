"""The command line as a process: `python -m potoserver …`, its output and exit status."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.process import server_environment

LIMIT_S = 60


def held_to_permissions() -> list[str]:
    """The beginning of a command line under which root, too, may do with files only what they permit."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root may do everything, and setpriv is not installed")
    return [setpriv, "--bounding-set", "-dac_override,-dac_read_search"]


def potoserver(
    *arguments: str,
    cwd: Path,
    text: str = "",
    environ: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a folder, without any setting of this process's own environment.

    Args:
        arguments: After the program's name.
        cwd: The folder.
        text: Its input.
        environ: Environment variables.
        prefix: The beginning of the command line, where another program is to start it.
    """
    return subprocess.run(
        [*prefix, sys.executable, "-m", "potoserver", *arguments],
        cwd=cwd,
        env=server_environment(environ),
        input=text,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
