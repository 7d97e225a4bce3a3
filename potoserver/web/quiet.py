"""Connections of whose clients nothing is expected: who says something after all is heard in turn."""

from __future__ import annotations

import asyncio
import select
import sys
from typing import Protocol

from potoserver.web.peer import descriptor_of, plain_descriptor

_AT_ONCE = 4
"""So many are heard in one turn of the loop."""
_REST_S = 0.0005
"""After as many the loop rests from them, so long at least: more follows on each end than the hearing of it,
and while the loop has no rest, threads wait for the interpreter: the journal's, which need it several times
for each call.
"""
_REST_MOST_S = 0.005
"""So long at most; in between, twice as long as the loop is late. Where others have much to do, ends can
wait; where nobody has, thousands are heard before the first grace is over, and their dialogs are archived.
"""
_ROUNDING_S = 0.001
"""By as much a timer is late on a loop that has nothing else to do: epoll_wait(2) counts in milliseconds."""

_ENDED = 0 if sys.platform != "linux" else select.EPOLLERR | select.EPOLLHUP | select.EPOLLRDHUP


class Quiet(Protocol):
    """Whose connection it is."""

    def speaks(self) -> None:
        """Something has come: the connection is to be read from as any other."""

    def ended(self, failed: bool) -> None:
        """The other end sends nothing any more; what it sent before was not read.

        Args:
            failed: Its socket holds the error with which the connection was lost.
        """


class QuietConnections:
    """Hears of what comes on connections on which hardly anything does but their end; some at a turn.

    The loop hears of all that comes at once. Where thousands go together, each of its turns would be as long
    as it takes to see to all who have gone by then, and the steps of a call, which wait for turns, as many
    times that. So these connections are in a set of their own that the loop looks at as if it were one
    connection (epoll(7), on Linux). What the loop keeps for each connection that it reads from is saved, too,
    and that it is asked three times of each end: to read, what there is, and to read no more. While threads
    wait for the interpreter, each of these costs more than all the rest that an end does.

    Under TLS, and where there is no such set or no room in it, the loop reads as ever.
    """

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        """There while there is a connection."""
        self._owners: dict[int, Quiet] = {}
        self._resting = False
        """The loop looks by a timer for now. To take the set in again costs as much as it has connections."""

    def __len__(self) -> int:
        return len(self._owners)

    def add(self, owner: Quiet, transport: asyncio.Transport) -> None:
        """Has an owner told once there is something. `remove` the connection when it is lost."""
        descriptor = plain_descriptor(transport)
        if descriptor is None or sys.platform != "linux" or not self._watch(descriptor):
            if not transport.is_reading():
                transport.resume_reading()
            return
        if transport.is_reading():
            transport.pause_reading()
        self._owners[descriptor] = owner

    def remove(self, transport: asyncio.Transport) -> None:
        """A connection is lost; its socket is about to be closed. Idempotent."""
        self._owners.pop(descriptor_of(transport), None)
        self._end_if_none()

    def _watch(self, descriptor: int) -> bool:
        """Takes it into the set; False where the kernel lets us have no more of them."""
        try:
            if self._epoll is None:
                self._epoll = select.epoll()
                asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._hear)
            # Once: whoever was heard is read from as any other. The kernel takes out what is closed.
            self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT)
        except OSError:
            self._end_if_none()
            return False
        return True

    def _hear(self, late_s: float = 0.0) -> None:
        if self._epoll is None:
            return
        loop = asyncio.get_running_loop()
        heard = self._epoll.poll(0, _AT_ONCE)
        for descriptor, events in heard:
            owner = self._owners.pop(descriptor, None)
            if owner is not None:
                # Each in a callback of its own: one that raised would keep it from the others, for good.
                if events & _ENDED:
                    loop.call_soon(owner.ended, bool(events & select.EPOLLERR))
                else:
                    loop.call_soon(owner.speaks)
        self._rest(self._epoll, late_s, rests=len(heard) == _AT_ONCE)
        self._end_if_none()

    def _rest(self, epoll: select.epoll, late_s: float, *, rests: bool) -> None:
        loop = asyncio.get_running_loop()
        if self._resting and not rests:
            rests = not self._take_in(epoll)
        elif rests and not self._resting:
            loop.remove_reader(epoll.fileno())
        self._resting = rests
        if rests:
            rest_s = min(max(_REST_S, 2 * (late_s - _ROUNDING_S)), _REST_MOST_S)
            loop.call_later(rest_s, self._look, epoll, loop.time() + rest_s)

    def _take_in(self, epoll: select.epoll) -> bool:
        """Has the loop itself look at the set; False where the kernel has no memory for that now."""
        try:
            asyncio.get_running_loop().add_reader(epoll.fileno(), self._hear)
        except OSError:
            return False
        return True

    def _look(self, epoll: select.epoll, due_s: float) -> None:
        if epoll is self._epoll:  # else nobody was left to listen to
            self._hear(late_s=asyncio.get_running_loop().time() - due_s)

    def _end_if_none(self) -> None:
        if not self._owners and self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
            self._resting = False
