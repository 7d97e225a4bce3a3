"""Listening on the address that the settings name."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from aiohttp import web

_NO_SUCH_ADDRESS = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_BACKLOG = 1024


def bind(host: str, port: int) -> list[socket.socket]:
    """Takes a host's port; `localhost` is both loopback addresses, on one port. Nobody is answered yet.

    Args:
        host: A name or an address.
        port: A port; 0 takes a free one.

    Raises:
        OSError: The address can't be had.
    """
    bound: list[socket.socket] = []
    try:
        for each in ("127.0.0.1", "::1") if host == "localhost" else (host,):
            try:
                bound.append(_bind(each, port))
            except OSError as error:
                if not bound or error.errno not in _NO_SUCH_ADDRESS:
                    raise  # else a machine without IPv6
            port = bound[0].getsockname()[1]
    except OSError:
        for sock in bound:
            sock.close()
        raise
    return bound


async def listen(runner: web.AppRunner, sockets: Sequence[socket.socket]) -> list[str]:
    """Answers on bound sockets from now on.

    Args:
        runner: The application's runner, set up.
        sockets: From `bind`.

    Returns:
        The URLs that are served.
    """
    urls = []
    for sock in sockets:
        await web.SockSite(runner, sock, backlog=_BACKLOG).start()
        host, port = sock.getsockname()[:2]
        urls.append(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    return urls


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        # A port that another one listens on is told here, not after the modules have started. The kernel
        # takes connections from now on; they are answered once the server is ready.
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
