"""Packages from PyPI that only one check needs, installed once, outside the checkout."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path


def python_packages(*pins: str) -> Path:
    """Installs packages (`name==version`) into a cache, wheels alone; returns the folder for `PYTHONPATH`.

    Raises:
        OSError: They can't be had here; the message says why.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "potoserver-tests" / "pypi"
    cache.mkdir(parents=True, exist_ok=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache / "-".join([*pins, f"py{version}"])
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not folder.is_dir():
            half = cache / ".half"
            shutil.rmtree(half, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            command = [*pip, "--only-binary", ":all:", "--target", half, *pins]
            try:
                subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
            except subprocess.CalledProcessError as error:
                raise OSError(error.stderr.strip() or str(error)) from None
            except subprocess.TimeoutExpired as error:
                raise OSError(str(error)) from None
            half.rename(folder)
    return folder
