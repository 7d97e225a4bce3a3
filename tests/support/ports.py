"""Ports that nobody who asks for any port is given while tests run beside each other."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import weakref
from collections.abc import Callable
from contextlib import ExitStack

_FIRST, _COUNT = 12_000, 10_000
"""Below what systems give to those who ask for any port: 32,768 on Linux, 49,152 on macOS and Windows."""
_BUS = 10_000
"""A Valkey of a cluster listens at its port plus this, too."""


def free_port() -> int:
    """A port at which nobody listens at the moment, nor at its cluster bus port."""
    while True:
        port = _FIRST + secrets.randbelow(_COUNT)
        with ExitStack() as stack:
            try:
                for each in (port, port + _BUS):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", each))
            except OSError:
                continue
        return port


def hold_port(owner: object, port: int) -> Callable[[], object] | None:
    """Has nobody who asks for any port of 127.0.0.1 be given this one while its owner lives.

    Who asks for this very one with SO_REUSEADDR, as the server does, gets it. Linux alone allows that, so
    nothing is held elsewhere, nor where the port is taken.

    Returns:
        What lets it go before; None where it is not held.
    """
    if sys.platform != "linux":
        return None
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        return None
    return weakref.finalize(owner, os.close, sock.detach())
