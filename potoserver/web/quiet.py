"""Connections of whose clients nothing is expected: who says something after all is heard in turn."""

from __future__ import annotations

import asyncio
import select
import sys

from potoserver.web.peer import descriptor_of, plain_descriptor

_AT_ONCE = 8
"""So many are heard in one turn of the loop."""
_REST_S = 0.003
"""After as many the loop rests from them: more follows on each end than the hearing of it, and while the loop
has no rest, threads wait for the interpreter: the journal's, which need it several times for each call.
"""


class QuietConnections:
    """Hears of what comes on connections on which hardly anything does but their end; some at a turn.

    The loop hears of all that comes at once. Where thousands go together, each of its turns would be as long
    as it takes to see to all who have gone by then, and the steps of a call, which wait for turns, as many
    times that. So these connections are in a set of their own that the loop looks at as if it were one
    connection (epoll(7), on Linux). What the loop keeps for each connection that it reads from is saved, too.

    Under TLS, and where there is no such set or no room in it, the loop reads as ever.
    """

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        """There while there is a connection."""
        self._transports: dict[int, asyncio.Transport] = {}

    def __len__(self) -> int:
        return len(self._transports)

    def add(self, transport: asyncio.Transport) -> None:
        """Has a connection read once there is something to be read. `remove` it when it is lost."""
        descriptor = plain_descriptor(transport)
        if descriptor is None or sys.platform != "linux" or not self._watch(descriptor):
            if not transport.is_reading():
                transport.resume_reading()
            return
        if transport.is_reading():
            transport.pause_reading()
        self._transports[descriptor] = transport

    def remove(self, transport: asyncio.Transport) -> None:
        """A connection is lost; its socket is about to be closed. Idempotent."""
        self._transports.pop(descriptor_of(transport), None)
        self._end_if_none()

    def _watch(self, descriptor: int) -> bool:
        """Takes it into the set; False where the kernel lets us have no more of them."""
        try:
            if self._epoll is None:
                self._epoll = select.epoll()
                asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._hear)
            # Once: whoever was heard is read from as any other. The kernel takes out what is closed.
            self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLONESHOT)
        except OSError:
            self._end_if_none()
            return False
        return True

    def _hear(self) -> None:
        if self._epoll is None:
            return
        heard = self._epoll.poll(0, _AT_ONCE)
        for descriptor, _ in heard:
            transport = self._transports.pop(descriptor, None)
            if transport is not None:
                transport.resume_reading()
        if len(heard) == _AT_ONCE:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._epoll.fileno())
            loop.call_later(_REST_S, self._listen, self._epoll)
        self._end_if_none()

    def _listen(self, epoll: select.epoll) -> None:
        if epoll is self._epoll:  # else nobody was left to listen to
            asyncio.get_running_loop().add_reader(epoll.fileno(), self._hear)

    def _end_if_none(self) -> None:
        if not self._transports and self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
