"""Listening on the address that the settings name."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from potoserver.core import HTTP_CLOSE_S, Core
from potoserver.web.admission import Admission
from potoserver.web.http_server import HttpServer

_NO_SUCH_ADDRESS = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_BACKLOG = 1024
"""So many connections the kernel keeps waiting."""
_ACCEPTED_AT_ONCE = 16
"""So many are accepted in one turn of the loop. It takes three turns to decide on one, or to close it for
want of room: what is accepted meanwhile has a descriptor, beyond the limits, of those that the journal needs.
"""
_LINGERING_S = 1.0
"""How long the rest of a body is taken in, and thrown away, that an answer did not wait for."""
_KEEPALIVE_S = 75
"""How long a connection may be idle, or be in bringing the head of a further request, before it is closed."""


def bind(host: str, port: int, *, shared: bool = False) -> list[socket.socket]:
    """Takes a host's port; `localhost` is both loopback addresses, on one port. Nobody is answered yet.

    Args:
        host: A name or an address.
        port: A port; 0 takes a free one.
        shared: Other processes of this user take it too; the kernel shares connections out among those that
            listen. Connections are kept waiting only where it is not shared: else another one has them.

    Raises:
        OSError: The address can't be had.
    """
    bound: list[socket.socket] = []
    try:
        for each in ("127.0.0.1", "::1") if host == "localhost" else (host,):
            try:
                bound.append(_bind(each, port, shared))
            except OSError as error:
                if not bound or error.errno not in _NO_SUCH_ADDRESS:
                    raise  # else a machine without IPv6
            port = bound[0].getsockname()[1]
    except OSError:
        for sock in bound:
            sock.close()
        raise
    return bound


def reserve(host: str, port: int) -> list[socket.socket]:
    """Takes a host's port for the processes that will `bind` it as shared, and answers nobody.

    Args:
        host: A name or an address.
        port: A port; 0 takes a free one.

    Raises:
        OSError: The address can't be had; also where another server shares it among processes of its own.
    """
    alone = bind(host, port)
    port = alone[0].getsockname()[1]
    for sock in alone:
        sock.close()
    return bind(host, port, shared=True)


@asynccontextmanager
async def listening(
    core: Core, runner: web.AppRunner, sockets: Sequence[socket.socket]
) -> AsyncIterator[list[str]]:
    """Answers on bound sockets for the length of a block; gives the URLs that are served.

    At its end streams and calls have ended, so there is nothing left that is worth waiting for.

    Args:
        core: The parts of the server.
        runner: The application's runner, set up.
        sockets: From `bind`.
    """
    loop = asyncio.get_running_loop()
    http = HttpServer(core, runner, keepalive_timeout_s=_KEEPALIVE_S, lingering_s=_LINGERING_S)
    admission = Admission(core, http)
    core.metrics.sockets.set_function(lambda: len(admission))
    servers = []
    for sock in sockets:
        servers.append(await loop.create_server(admission, sock=sock, backlog=_ACCEPTED_AT_ONCE))
        sock.listen(_BACKLOG)  # asyncio takes one number for both
    try:
        yield [_url(sock) for sock in sockets]
    finally:
        for server in servers:
            server.close()
        admission.close()
        http.pre_shutdown()
        await http.shutdown(HTTP_CLOSE_S)


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bind(host: str, port: int, shared: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        if shared:
            return sock
        # A port that another one listens on is told here, not after the modules have started. The kernel
        # takes connections from now on; they are answered once the server is ready.
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
