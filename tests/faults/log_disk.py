"""A log file whose disk fails, and what is in it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from typing_extensions import override

from potoserver.logs.file import RotatingFile
from tests.faults.disk import Fault, Faults


class FaultyLogFile(RotatingFile):
    """A log file's system calls under a plan.

    Args:
        path: The file.
        max_bytes: As `RotatingFile` has it.
        backups: Likewise.
        faults: The first plan.

    Attributes:
        faults: The plan.
    """

    def __init__(self, path: Path, max_bytes: int, backups: int, *faults: Fault) -> None:
        super().__init__(path, max_bytes, backups)
        self.faults = Faults(*faults)

    @override
    def _call(self, name: str, function: Callable[..., Any], *arguments: object) -> Any:
        return self.faults.call(name, function, *arguments)


def lines_in(path: Path) -> list[bytes]:
    """The lines of a log file and of all its backups, oldest first; a last one may lack its line end."""
    backups = path.parent.glob(f"{path.name}.*")
    numbered = sorted(backups, key=lambda each: int(each.name.rpartition(".")[2]), reverse=True)
    files = [*numbered, *([path] if path.exists() else [])]
    return [line for file in files for line in file.read_bytes().splitlines(keepends=True)]
