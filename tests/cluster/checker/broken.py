"""Copies of the code with a promise broken on purpose: what the checker must find."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.checker.violation import Violation
from tests.support.process import CHECKOUT

_TABLE = Path(__file__).with_name("broken.toml")


@dataclass(frozen=True)
class Fault:
    """A change of the code.

    Attributes:
        why: What is broken, in words.
        troubles: By which it comes out soonest.
        breaks: The promises, as the checker calls them; it must tell of one.
        file: Where.
        code: What stands there, once.
        instead: What is put in its place.
        along_with: Another fault that is made too.
    """

    why: str
    troubles: tuple[str, ...]
    breaks: tuple[str, ...]
    file: str
    code: str
    instead: str
    along_with: str = ""

    def is_found_by(self, violations: Iterable[Violation]) -> bool:
        """Whether one of them is told."""
        return any(each.promise in self.breaks for each in violations)


def _faults() -> Mapping[str, Fault]:
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return {name: _fault(**each) for name, each in table.items()}


def _fault(*, troubles: list[str], breaks: list[str], **texts: str) -> Fault:
    return Fault(troubles=tuple(troubles), breaks=tuple(breaks), **texts)


FAULTS = _faults()


def broken_copy(name: str, folder: Path) -> Path:
    """Makes a copy of the code with that fault; returns its folder.

    Raises:
        ValueError: The code is another one by now.
    """
    for part in ("potoserver", "modules"):
        shutil.copytree(CHECKOUT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    _break(name, folder)
    if FAULTS[name].along_with:
        _break(FAULTS[name].along_with, folder)
    return folder


def _break(name: str, folder: Path) -> None:
    fault = FAULTS[name]
    path = folder / fault.file
    text = path.read_text(encoding="utf-8")
    if text.count(fault.code) != 1:
        raise ValueError(f"{name}: {fault.file} holds the code {text.count(fault.code)} times, not once")
    path.write_text(text.replace(fault.code, fault.instead), encoding="utf-8")
