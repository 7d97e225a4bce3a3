"""Packages from npm, installed once, outside the checkout."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path


def npm_is_there() -> bool:
    """Whether npm and node are installed."""
    return bool(shutil.which("npm") and shutil.which("node"))


def npm_packages(*packages: str) -> Path:
    """Installs npm packages (`name@version`) into a cache; returns their `node_modules`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "potoserver-tests" / "npm"
    cache.mkdir(parents=True, exist_ok=True)
    modules = cache / "node_modules"
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not all((modules / package.rpartition("@")[0]).is_dir() for package in packages):
            subprocess.run(
                ["npm", "install", "--no-audit", "--no-fund", "--prefix", cache, *packages],
                check=True,
                capture_output=True,
                timeout=100,
            )
    return modules
