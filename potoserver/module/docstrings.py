"""What a docstring in Google's style says, taken apart."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field

_SECTIONS = {"Args:", "Attributes:", "Raises:", "Returns:", "Yields:"}


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring's parts, each as one line a paragraph.

    Attributes:
        summary: Its first line.
        details: What stands between that and the first section.
        arguments: What `Args:` says of each parameter.
    """

    summary: str = ""
    details: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)


def read_docstring(documented: object) -> Docstring:
    """The docstring of a function or a class; what does not follow the style is left out."""
    summary, *lines = (inspect.getdoc(documented) or "").splitlines() or [""]
    starts = [number for number, line in enumerate(lines) if line in _SECTIONS]
    details = lines[: starts[0]] if starts else lines
    arguments: list[str] = []
    if "Args:" in lines:
        begin = lines.index("Args:") + 1
        arguments = lines[begin : next((each for each in starts if each >= begin), len(lines))]
    return Docstring(summary.strip(), _folded(details), _arguments(arguments))


def _folded(lines: list[str]) -> str:
    paragraphs = "\n".join(line.strip() for line in lines).split("\n\n")
    return "\n".join(filter(None, (" ".join(each.split()) for each in paragraphs)))


def _arguments(lines: list[str]) -> dict[str, str]:
    """By name; a line that is indented further goes on with the one before."""
    found: dict[str, str] = {}
    name = ""
    for line in filter(str.strip, lines):
        deeper = len(line) - len(line.lstrip()) > 4
        before, colon, text = line.strip().partition(":")
        if not deeper and colon and before.isidentifier():
            name = before
            found[name] = text.strip()
        elif name:
            found[name] = f"{found[name]} {line.strip()}"
    return found
