"""Where everybody writes down what happens."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.cluster.checker.history import History, Trouble


def now_ms() -> int:
    """The machine's time."""
    return time.time_ns() // 1_000_000


async def at_most(seconds: float, over: asyncio.Event) -> None:
    """Lets so much time pass, or less when it is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await over.wait()


class Books:
    """The history of a run that goes on, and what clients know of the cluster.

    Args:
        history: What is written.
        ports: Each node's.
    """

    def __init__(self, history: History, ports: Sequence[int]) -> None:
        self.history = history
        self.ports = ports
        self.counts: Counter[str] = Counter()

    @staticmethod
    def token(user: str) -> str:
        """What the user shows."""
        return f"t-{user}"

    def any_node(self, dice: random.Random) -> int:
        """Which node a client goes to: any, whether it lives or not."""
        return dice.randrange(len(self.ports))

    def odd(self, what: str) -> None:
        """Something that no client is ever to meet."""
        if len(self.history.left) < 200:
            self.history.left.append(what)

    @contextmanager
    def trouble(self, kind: str, node: int | None, about: str = "") -> Iterator[Trouble]:
        """A trouble for the length of a block."""
        trouble = Trouble(kind, node, now_ms(), now_ms() + 3_600_000, about)
        self.history.troubles.append(trouble)
        self.counts[kind if node is not None else f"engine {kind}"] += 1
        try:
            yield trouble
        finally:
            trouble.end_ms = now_ms()
