"""The command line as a process: `python -m potoserver …`, its output and exit status."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.process import server_environment

LIMIT_S = 60


def potoserver(
    *arguments: str, cwd: Path, text: str = "", environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a folder, without any setting of this process's own environment."""
    return subprocess.run(
        [sys.executable, "-m", "potoserver", *arguments],
        cwd=cwd,
        env=server_environment(environ),
        input=text,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
