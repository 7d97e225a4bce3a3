"""Copies of the code with a promise broken on purpose: what the checker must find."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.checker.run import Plan
from tests.cluster.checker.violation import Violation
from tests.support.process import CHECKOUT

_TABLE = Path(__file__).with_name("broken.toml")
_LASTS_S = 75


@dataclass(frozen=True)
class Change:
    """A change of the code.

    Attributes:
        file: Where.
        code: What stands there, once.
        instead: What is put in its place.
    """

    file: str
    code: str
    instead: str


@dataclass(frozen=True)
class Fault:
    """A promise that is broken.

    Attributes:
        why: What is broken, in words.
        breaks: The promises, as the checker calls them; it must tell of one.
        changes: What is done; more than one thing where each alone is made up for by the other.
        run: What of a `Plan` brings it out soonest: which troubles, for how long, and so on.
    """

    why: str
    breaks: tuple[str, ...]
    changes: tuple[Change, ...]
    run: Mapping[str, Any]

    def plan(self, folder: Path, seed: int, code: Path) -> Plan:
        """The run that is to find it in that code."""
        return Plan(folder, seed, code=code, **{"seconds": _LASTS_S, **self.run})

    def is_found_by(self, violations: Iterable[Violation]) -> bool:
        """Whether one of them is told."""
        return any(each.promise in self.breaks for each in violations)


def _faults() -> Mapping[str, Fault]:
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return {name: _fault(**each) for name, each in table.items()}


def _fault(
    *,
    why: str,
    breaks: list[str],
    run: dict[str, Any],
    also: Iterable[dict[str, str]] = (),
    **change: str,
) -> Fault:
    return Fault(why, tuple(breaks), tuple(Change(**each) for each in (change, *also)), run)


FAULTS = _faults()


def broken_copy(name: str, folder: Path) -> Path:
    """Makes a copy of the code with that fault; returns its folder.

    Raises:
        ValueError: The code is another one by now.
    """
    for part in ("potoserver", "modules"):
        shutil.copytree(CHECKOUT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for change in FAULTS[name].changes:
        path = folder / change.file
        text = path.read_text(encoding="utf-8")
        if text.count(change.code) != 1:
            raise ValueError(
                f"{name}: {change.file} holds the code {text.count(change.code)} times, not once"
            )
        path.write_text(text.replace(change.code, change.instead), encoding="utf-8")
    return folder
