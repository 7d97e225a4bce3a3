"""What servers leave in a folder of the test's: their logs and their dialogs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import yaml


class ServerFolder:
    """The data and logs of one server, or of several nodes that share the data.

    Args:
        folder: Where they are started; the data is in `data` there.
        log_files: The log of each.
    """

    def __init__(self, folder: Path, *log_files: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.log_files = log_files

    def log_lines(self) -> list[dict[str, Any]]:
        """The lines of the logs, oldest first."""
        lines = [line for file in self.log_files for line in _lines_of(file)]
        return sorted(lines, key=lambda line: line["timestamp"]) if len(self.log_files) > 1 else lines

    def logged(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The lines of that event, with these fields, that the log holds now."""
        return [line for line in self.log_lines() if {"event": event, **fields}.items() <= line.items()]

    async def until_logged(
        self, event: str, count: int = 1, limit_s: float = 30, **fields: Any
    ) -> list[dict[str, Any]]:
        """Waits until the log holds so many lines of that event, with these fields; returns them."""
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    found = self.logged(event, **fields)
                    if len(found) >= count:
                        return found
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{event!r} {fields} was logged {len(found)} times, not {count}") from None

    def archives(self, user: str = "a1") -> list[Path]:
        """The archive files of a user's folder, by name."""
        return sorted((self.data_dir / "users" / user / "dialogs" / "archived").glob("*.yaml"))

    def dialogs(self, user: str = "a1") -> list[dict[str, Any]]:
        """The archived dialogs of a user, oldest file first."""
        return [yaml.safe_load(file.read_bytes()) for file in self.archives(user)]

    def current(self, user: str = "a1") -> Path:
        """The file of the user's open dialog."""
        return self.data_dir / "users" / user / "dialogs" / "current.yaml"

    def open_marks(self) -> list[str]:
        """Which dialogs are marked as open."""
        return sorted(path.name for path in (self.data_dir / "open").glob("*"))


def _lines_of(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    # The last line may be half written yet, and a kill may have cut one.
    whole, _, _ = file.read_bytes().rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines() if line.endswith(b"}")]
