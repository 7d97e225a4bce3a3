"""The blocks of README and docs/ that a reader would run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import CHECKOUT

RUN = ("sh", "python", "js", "yaml")
"""Languages of what is run, or read by a program."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        page: The page's file, from the checkout on.
        section: The heading that it stands below.
        language: As its fence says.
        text: What stands in it.
    """

    page: str
    section: str
    language: str
    text: str

    @property
    def first_line(self) -> str:
        """Tells it from the others of its page."""
        return self.text.partition("\n")[0].strip()


def blocks_of(page: str) -> list[Block]:
    """All blocks of a page, from the top down."""
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        headings = re.findall(r"^#+ (.+)$", re.sub(_FENCE, "", text[: match.start()]), re.MULTILINE)
        found.append(Block(page, headings[-1], match[1], match[2]))
    return found


def pages() -> list[str]:
    """Every page."""
    found = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md")]
    return sorted(str(path.relative_to(CHECKOUT)) for path in found)


def put_on_path(folder: Path, *programs: tuple[str, str]) -> str:
    """Makes programs of one line each; gives the PATH that has them first."""
    folder.mkdir(exist_ok=True)
    for name, line in programs:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"
