"""A TCP proxy that does to a connection what networks do: cut, reset, stall, delay, trickle, swallow."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, with no time: closing sends a reset."""
_CHUNK = 65_536
_CHUNKS_UNDER_WAY = 32
"""How many chunks of a direction may be on their way; then no more is read."""
_FEW_UNDER_WAY = 2
"""The same where the buffers are said to be small."""
_BROKEN = b"reset"
"""Stands in the queue for a reset of the source; told by identity."""


@dataclass
class Flow:
    """What happens to the bytes of one direction, on all of a proxy's connections. Set it while they run.

    Attributes:
        delay_s: Each chunk arrives so much later; those behind it are not held up by it.
        jitter_s: Up to so much more, by chance; the order stays.
        chunk_bytes: So many bytes are passed on at a time.
        interval_s: And then nothing for so long.
        cut_after: A connection is reset once it has passed on so many bytes in this direction.
        passed: Bytes passed on so far, over all connections.
        swallowed: Bytes read and thrown away so far.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    chunk_bytes: int = _CHUNK
    interval_s: float = 0.0
    cut_after: int | None = None
    passed: int = 0
    swallowed: int = 0
    _swallows: bool = False
    _reads: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._reads.set()

    @property
    def swallows(self) -> bool:
        """Whether everything is read, and acknowledged by that, and nothing passed on."""
        return self._swallows

    def stall(self) -> None:
        """Reads nothing any more, so that the kernels' buffers fill and the sender's window closes."""
        self._reads.clear()

    def swallow(self) -> None:
        """Reads all and passes nothing on, not even an end: to the sender the other side looks alive."""
        self._swallows = True
        self._reads.set()

    def flow(self) -> None:
        """Passes everything on again."""
        self._swallows = False
        self._reads.set()

    async def may_read(self) -> None:
        """Waits while the direction is stalled."""
        await self._reads.wait()

    def due_s(self, now_s: float) -> float:
        """When what is read now arrives."""
        return now_s + self.delay_s + random.random() * self.jitter_s


class Proxy:
    """Passes connections on to a port of this machine; each direction can be disturbed by itself.

    Args:
        target_port: Where to.
        buffer_bytes: The size of its own buffers and of the kernel's for it, where the machine's are too
            large: how much a direction takes that passes nothing on, or little.

    Attributes:
        to_server: The direction from clients to the server.
        to_client: The direction from the server to clients.
        accepts: Whether new connections are let through; else they are reset.
        port: Where clients connect.
    """

    def __init__(self, target_port: int, *, buffer_bytes: int | None = None) -> None:
        self._target_port = target_port
        self._buffer_bytes = buffer_bytes
        self._listener = self._socket()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.to_server = Flow()
        self.to_client = Flow()
        self.accepts = True
        self.port = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.port}"

    def __len__(self) -> int:
        return len(self._connections)

    async def __aenter__(self) -> Proxy:
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(1024)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept())
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._listener.close()

    def cut(self) -> None:
        """Ends every connection in order, on both sides."""
        for connection in list(self._connections):
            connection.end(reset=False)

    def reset(self) -> None:
        """Resets every connection, on both sides."""
        for connection in list(self._connections):
            connection.end(reset=True)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _socket(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        if self._buffer_bytes is not None:  # before it is connected, or the window is scaled already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer_bytes)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._buffer_bytes)
        return sock

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(self._listener)
            self._spawn(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        server = self._socket()
        connection = _Connection(client, server, self._buffer_bytes)
        try:
            if not self.accepts:
                return
            if self._buffer_bytes is not None:
                # Linux remembers how long an address took (ip-tcp_metrics(8)): the slower others were,
                # the more seldom it looks whether this one has room again.
                server.bind((f"127.9.{random.randint(1, 254)}.{random.randint(1, 254)}", 0))
            await asyncio.get_running_loop().sock_connect(server, ("127.0.0.1", self._target_port))
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.add(connection)
            if not connection.over:
                await connection.run(self.to_server, self.to_client)
        except OSError:
            pass  # the server does not answer, or a side was reset: so is the other one
        finally:
            self._connections.discard(connection)
            connection.close()


class _Connection:
    """A client's socket and the one to the server."""

    def __init__(self, client: socket.socket, server: socket.socket, buffer_bytes: int | None) -> None:
        self._client = client
        self._server = server
        self._chunk_bytes = buffer_bytes or _CHUNK
        self._chunks = _FEW_UNDER_WAY if buffer_bytes else _CHUNKS_UNDER_WAY
        self._task: asyncio.Task[None] | None = None
        self._resets = True
        self.over = False

    async def run(self, to_server: Flow, to_client: Flow) -> None:
        """Passes bytes on until both sides have ended, or `end`."""
        self._task = asyncio.create_task(self._run(to_server, to_client))
        try:
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()
                self._resets = False
        finally:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, to_server: Flow, to_client: Flow) -> None:
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._pass_on(self._client, self._server, to_server))
                directions.create_task(self._pass_on(self._server, self._client, to_client))
        except* OSError:
            raise ConnectionResetError from None

    def end(self, *, reset: bool) -> None:
        """Ends both sides."""
        self.over = True
        self._resets = reset
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """Closes both sockets, with a reset unless both sides ended in order."""
        for sock in (self._client, self._server):
            if self._resets:
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()

    async def _pass_on(self, source: socket.socket, target: socket.socket, flow: Flow) -> None:
        """One direction: what is read is due a little later, in order."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(self._chunks)
        reading = asyncio.ensure_future(self._read(source, due, flow))
        try:
            await self._write(target, due, flow)
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.exception()

    async def _read(self, source: socket.socket, due: asyncio.Queue[tuple[float, bytes]], flow: Flow) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await flow.may_read()
            try:
                data = await loop.sock_recv(source, self._chunk_bytes)
            except OSError:
                data = None  # reset
            while flow.swallows and not data:
                await asyncio.sleep(0.01)  # an end is kept back for as long as bytes would be
            if data is None:
                await due.put((flow.due_s(loop.time()), _BROKEN))
                return
            if flow.swallows:
                flow.swallowed += len(data)
                continue
            await due.put((flow.due_s(loop.time()), data))
            if not data:
                return

    async def _write(
        self, target: socket.socket, due: asyncio.Queue[tuple[float, bytes]], flow: Flow
    ) -> None:
        loop = asyncio.get_running_loop()
        passed = 0
        while True:
            at_s, data = await due.get()
            await asyncio.sleep(max(0.0, at_s - loop.time()))
            if data is _BROKEN:
                raise ConnectionResetError
            if not data:
                target.shutdown(socket.SHUT_WR)
                return
            while data:
                await flow.may_read()  # a stall also holds what was read before it
                size = flow.chunk_bytes
                if flow.cut_after is not None:
                    size = min(size, flow.cut_after - passed)
                    if size <= 0:
                        raise ConnectionResetError
                if flow.swallows:
                    flow.swallowed += len(data)
                    break
                await loop.sock_sendall(target, data[:size])
                flow.passed += len(data[:size])
                passed += len(data[:size])
                data = data[size:]
                if flow.interval_s:
                    await asyncio.sleep(flow.interval_s)
