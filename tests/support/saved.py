"""What a server has left on disk, read without its help."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_WHOLE_PART = re.compile(rb"(?m)^(?:  timestamp|message_count): .*\n")


@dataclass(frozen=True)
class Saved:
    """One dialog's file.

    Attributes:
        path: Where it lies.
        fields: The whole mapping.
    """

    path: Path
    fields: dict[str, Any]

    @property
    def conversation(self) -> str:
        """The conversation's id."""
        return str(self.fields["conversation"])

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Role and content of each message, in order."""
        return [(message["role"], message["content"]) for message in self.fields["messages"] or ()]


def load(path: Path) -> Saved:
    """Reads a file that must be a whole dialog."""
    fields = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    assert isinstance(fields, dict), f"{path} is no mapping"
    return Saved(path, fields)


def load_open(path: Path) -> Saved | None:
    """Reads a `current.yaml` whose last part may be torn; None where not even the first one is whole."""
    data = path.read_bytes()
    ends = [match.end() for match in _WHOLE_PART.finditer(data)]
    if not ends:
        return None
    return Saved(path, yaml.load(data[: ends[-1]], Loader=yaml.CSafeLoader))


def archives(data_dir: Path) -> Iterator[Saved]:
    """Every archive of every user."""
    for path in sorted(data_dir.glob("users/*/dialogs/archived/*")):
        if path.name.startswith(".anew"):
            continue  # what a crash has left of a change
        assert path.suffix == ".yaml", f"{path} is among the archives"
        yield load(path)


def current_files(data_dir: Path) -> list[Path]:
    """Every `current.yaml`."""
    return sorted(data_dir.glob("users/*/dialogs/current.yaml"))


def open_dialogs(data_dir: Path) -> Iterator[Saved]:
    """Every dialog that is not archived yet, as far as it is whole."""
    for path in current_files(data_dir):
        found = load_open(path)
        if found is not None:
            yield found


def set_aside(data_dir: Path) -> list[Path]:
    """Files beside the `current.yaml`s that are neither dialogs nor folders, nor locks of several nodes."""
    beside = data_dir.glob("users/*/dialogs/*")
    return sorted(path for path in beside if path.is_file() and path.name not in ("current.yaml", ".lock"))


async def until_nothing_is_open(data_dir: Path, limit_s: float = 60) -> None:
    """Waits until a server has archived every dialog."""
    async with asyncio.timeout(limit_s):
        while any((data_dir / "open").iterdir()):
            await asyncio.sleep(0.02)


async def until_archived(
    folder: Path, count: int = 1, limit_s: float = 20, look_each_s: float = 0.02
) -> None:
    """Waits until a user's folder holds so many archives."""
    async with asyncio.timeout(limit_s):
        while len(list((folder / "dialogs" / "archived").glob("*.yaml"))) < count:
            await asyncio.sleep(look_each_s)


def doubled(names: Iterable[str]) -> list[str]:
    """What is there more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder with its bytes; None for a folder."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        found[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() else None
    return found
