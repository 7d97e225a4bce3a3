"""What the kernel knows of the other end of a connection, and when that end is given up."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import TypeGuard

from potoserver.clock import Clock, TimerHandle

_LOOKS_PER_TIMEOUT = 4
"""How often a reader that keeps its bytes waiting is looked at, so by how much of the time it is cut late."""
_UNSENT_BYTES = 65_536
_INT = bytes(4)
_TCP_INFO_LAST_ACK_MS = 56
"""Where Linux's `struct tcp_info` has the time since the last acknowledgement, in ms."""
_UNREACHABLE = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}


def give_up_soon(transport: asyncio.BaseTransport, timeout_s: float) -> None:
    """Asks the kernel not to keep for longer what it still has to send on a connection that is ended (Linux).

    Not for a connection that lives: a reader that takes all it is sent, but more slowly than it is sent,
    closes its window again and again, and Linux adds these times up until the timeout ends the connection.
    """
    option, sock = getattr(socket, "TCP_USER_TIMEOUT", None), _socket_of(transport)
    if option is not None and _is_tcp(sock):
        with suppress(OSError):  # it is gone already
            sock.setsockopt(socket.IPPROTO_TCP, option, max(1, int(timeout_s * 1000)))


def hold_back_unsent(transport: asyncio.BaseTransport) -> None:
    """Asks the kernel to take little more than it can send (Linux, macOS).

    It would take megabytes for each reader that stalls, which no setting of ours bounds, and tell of the
    stall only when they are full.
    """
    option, sock = getattr(socket, "TCP_NOTSENT_LOWAT", None), _socket_of(transport)
    if option is not None and sock is not None:
        with suppress(OSError):  # it may be gone by now, or be no TCP
            sock.setsockopt(socket.IPPROTO_TCP, option, _UNSENT_BYTES)


def send_together(transport: asyncio.BaseTransport, *, on: bool) -> None:
    """Asks the kernel to keep what it is given, and to send it with what follows (Linux).

    It keeps it until this is off again or the socket is closed, and never for more than 200 ms (tcp(7)).
    """
    option, sock = getattr(socket, "TCP_CORK", None), _socket_of(transport)
    if option is not None and sock is not None:
        with suppress(OSError):  # it may be gone by now, or be no TCP
            sock.setsockopt(socket.IPPROTO_TCP, option, on)


def reset_when_closed(transport: asyncio.BaseTransport, *, on: bool) -> None:
    """Has the kernel tell the other end, however the socket comes to be closed, that this was not the end.

    What the other end has not taken by then is thrown away.
    """
    sock = _socket_of(transport)
    if _is_tcp(sock):
        with suppress(OSError):  # it may be gone by now
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, 0))


def error_of(transport: asyncio.BaseTransport) -> OSError | None:
    """The error that its socket has met and nobody was told of; it is forgotten with that."""
    sock = _socket_of(transport)
    number = 0 if sock is None else sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(number, os.strerror(number)) if number else None


def plain_descriptor(transport: asyncio.Transport) -> int | None:
    """The descriptor of a socket that takes bytes as they are; None under TLS."""
    return None if _is_tls(transport) else descriptor_of(transport)


def descriptor_of(transport: asyncio.Transport) -> int:
    """The descriptor of its socket; -1 when it is closed."""
    sock = _socket_of(transport)
    return -1 if sock is None else sock.fileno()


def _socket_of(transport: asyncio.BaseTransport) -> socket.socket | None:
    """Its socket; None under TLS once it is lost, a turn of the loop before the protocol is told."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    return sock


def _is_tcp(sock: socket.socket | None) -> TypeGuard[socket.socket]:
    return sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6)


def pause_as_soon_as_anything_waits(transport: asyncio.Transport) -> None:
    """Has the transport's protocol told when a byte can't be passed on, and when none waits any more."""
    # asyncio's plain transport pauses above its limit, the one of TLS at it: so at 0 it would pause for ever.
    transport.set_write_buffer_limits(high=1 if _is_tls(transport) else 0)


def _is_tls(transport: asyncio.Transport) -> bool:
    return transport.get_extra_info("sslcontext") is not None


def untaken_bytes(transport: asyncio.Transport) -> int:
    """What was written and the other end's kernel has not acknowledged; ours, where that is not told."""
    return transport.get_write_buffer_size() + unacknowledged_bytes(descriptor_of(transport))


def unacknowledged_bytes(descriptor: int) -> int:
    """What our kernel has, and the other end's kernel has not acknowledged; 0, where that is not told."""
    try:
        queued: int = struct.unpack("i", ioctl(descriptor, TIOCOUTQ, _INT))[0]
    except (OSError, ValueError):
        return 0
    return queued


def is_silent(error: BaseException) -> bool:
    """Whether a connection was lost because nothing came from the other end any more."""
    return isinstance(error, TimeoutError) or getattr(error, "errno", None) in _UNREACHABLE


def silent_for_s(transport: asyncio.Transport) -> float | None:
    """Since when the other end's kernel was not heard (Linux; None elsewhere).

    It tells a reader that takes nothing from one that the network has lost: the kernel gives both up with the
    same error.
    """
    option, sock = getattr(socket, "TCP_INFO", None), _socket_of(transport)
    if option is None or sock is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, option, 128)
        last_ack_ms: int = struct.unpack_from("=I", info, _TCP_INFO_LAST_ACK_MS)[0]
    except (OSError, struct.error):
        return None
    return last_ack_ms / 1000


class StallWatch:
    """Tells of a reader that takes nothing. One that takes little, all the time, is slow but well.

    It looks only while bytes wait, so the connections that keep up cost nothing; or, where nobody tells when
    they begin to wait, all the time.

    Args:
        clock: The time.
        timeout_s: How long nothing may be taken; it is told up to a quarter of that later.
        on_stalled: Told once, unless `end` comes before.
    """

    __slots__ = (
        "_clock",
        "_last",
        "_lasting",
        "_on_stalled",
        "_progress",
        "_since_s",
        "_timeout_s",
        "_timer",
    )

    def __init__(self, clock: Clock, timeout_s: float, on_stalled: Callable[[], None]) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._on_stalled = on_stalled
        self._progress: Callable[[], int | None] | None = None
        self._timer: TimerHandle | None = None
        self._last: int | None = None
        self._lasting = False
        self._since_s = 0.0

    def begin(self, progress: Callable[[], int | None], *, lasting: bool = False) -> None:
        """Bytes wait from now on.

        Args:
            progress: A number that grows with each byte that is taken; None when none waits.
            lasting: Bytes may come to wait at any time: that none does is no end.
        """
        self.end()
        self._progress = progress
        self._lasting = lasting
        self._last = progress()
        self._since_s = self._clock.monotonic_s()
        self._timer = self._clock.call_later(self._timeout_s / _LOOKS_PER_TIMEOUT, self._look)

    def end(self) -> None:
        """No bytes wait any more, or the connection is gone. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._progress = None

    @property
    def looks(self) -> bool:
        """Whether it has begun and not ended."""
        return self._timer is not None

    def _look(self) -> None:
        assert self._progress is not None
        progress = self._progress()
        now_s = self._clock.monotonic_s()
        if progress is None and not self._lasting:
            self.end()
            return
        if progress is None or self._last is None or progress > self._last:
            self._since_s = now_s
        elif now_s - self._since_s >= self._timeout_s:
            self.end()
            self._on_stalled()
            return
        self._last = progress
        self._timer = self._clock.call_later(self._timeout_s / _LOOKS_PER_TIMEOUT, self._look)
