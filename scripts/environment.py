"""Makes `.venv` with potoserver installed in place, or brings it up to date. Only the standard library.

Usage: python scripts/environment.py EXTRAS [FOLDER]

EXTRAS are extras of setup.cfg, separated by commas; FOLDER is the environment's in the checkout, if not
`.venv`. Nothing is installed again until setup.cfg or pyproject.toml change, the checkout moves, or another
extra is asked for. Two at once wait for each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
ENVIRONMENT = CHECKOUT / "".join(sys.argv[2:3] or [".venv"])
PYTHON = ENVIRONMENT / "bin" / "python"
OLDEST_PYTHON = (3, 11)
STAMP = ENVIRONMENT / "installed.json"


def main(extras: set[str]) -> int:
    """Brings the environment up to date; returns the exit status."""
    if _is_usable() and _is_current(extras):
        return 0
    # The lock is on the checkout's folder: the environment's own may be made anew.
    folder = os.open(CHECKOUT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        # Another one may have done it while this one waited.
        usable = _is_usable()
        return 0 if usable and _is_current(extras) else _install(extras, usable)
    finally:
        os.close(folder)


def _install(extras: set[str], usable: bool) -> int:
    print(f"Setting up {ENVIRONMENT.name}; this takes a minute or two, once.", file=sys.stderr, flush=True)
    if not usable:
        venv.EnvBuilder(clear=True, with_pip=True, symlinks=True).create(ENVIRONMENT)
    extras = extras | set(_stamp().get("extras", []))
    target = f"{CHECKOUT}[{','.join(sorted(extras))}]" if extras else str(CHECKOUT)
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    status = subprocess.run([*pip, "--editable", target], cwd=CHECKOUT, check=False).returncode
    if status == 0:
        STAMP.write_text(json.dumps({"inputs": _inputs(), "extras": sorted(extras)}))
    return status


def _is_usable() -> bool:
    """Whether it holds a Python that is new enough and can install."""
    if Path(sys.prefix).resolve() == ENVIRONMENT:
        return True
    code = f"import pip, sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-c", code], capture_output=True, check=False).returncode == 0


def _is_current(extras: set[str]) -> bool:
    stamp = _stamp()
    return stamp.get("inputs") == _inputs() and extras <= set(stamp.get("extras", []))


def _stamp() -> dict[str, Any]:
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError):
        return {}


def _inputs() -> str:
    """What the installation was made from: an in-place one also breaks when the checkout moves."""
    digest = hashlib.sha256(str(CHECKOUT).encode())
    for name in ("setup.cfg", "pyproject.toml"):
        digest.update(b"\0" + (CHECKOUT / name).read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main({extra for extra in "".join(sys.argv[1:2]).split(",") if extra}))
