"""A worker's tie to the supervisor that has started it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress

WORKER_VARIABLE = "_POTOSERVER_WORKER"
"""The number of a worker, in the environment in which the supervisor starts it."""
_STANDARD_INPUT = 0


class Lifeline:
    """One end of a pair of sockets, of which the supervisor holds the other.

    A byte on it tells the supervisor that the worker serves. Its end tells the worker to stop, in order: the
    supervisor has closed its own, or was killed. A signal could not tell that, and where it is sent to a
    whole group of processes it would reach a worker twice.

    Args:
        number: The worker's, from 1.
        sock: The worker's end.
    """

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self._sock = sock

    @classmethod
    def inherited(cls, environ: MutableMapping[str, str]) -> Lifeline | None:
        """The one that this process was started with, on its standard input; None where it is no worker.

        Args:
            environ: This process's; what says so is taken out, for its own children are no workers.
        """
        number = environ.pop(WORKER_VARIABLE, "")
        if not number:
            return None
        return cls(int(number), socket.socket(fileno=os.dup(_STANDARD_INPUT)))

    def watch(self, on_end: Callable[[], None]) -> None:
        """Calls `on_end` once, on the running loop, when the supervisor has let go."""
        loop = asyncio.get_running_loop()

        def readable() -> None:
            # Nothing is ever sent to a worker: it is the end.
            loop.remove_reader(self._sock)
            on_end()

        loop.add_reader(self._sock, readable)

    def tell_serving(self) -> None:
        """Tells the supervisor that this worker serves."""
        with suppress(OSError):  # the supervisor has gone, which `watch` tells
            self._sock.send(b"\n")
