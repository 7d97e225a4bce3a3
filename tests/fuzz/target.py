"""What is fuzzed: a parser of outside data, the promise that it must keep, and inputs to begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        name: What it is called on the command line.
        check: Gives the parser some bytes and raises where a promise is broken. Any exception that the parser
            does not declare is a broken promise, too.
        seeds: Inputs to mutate; each passes.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def header_text(data: bytes) -> str:
    """Bytes of a header as aiohttp hands them on."""
    return data.decode("utf-8", "surrogateescape")


def fields(data: bytes, count: int) -> tuple[bytes, ...]:
    """So many fields out of one input, told apart by NUL; the missing ones are empty."""
    parts = data.split(b"\0", count - 1)
    return (*parts, *([b""] * (count - len(parts))))
