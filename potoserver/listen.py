"""Listening on the address that the settings name."""

from __future__ import annotations

import errno
import socket

from aiohttp import web

_NO_SUCH_ADDRESS = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


async def listen(runner: web.AppRunner, host: str, port: int) -> list[str]:
    """Listens on a host and port; `localhost` is both loopback addresses, on one port.

    Args:
        runner: The application's runner, set up.
        host: A name or an address.
        port: A port; 0 takes a free one.

    Returns:
        The URLs that are served.

    Raises:
        OSError: The address can't be had.
    """
    urls = []
    hosts = ("127.0.0.1", "::1") if host == "localhost" else (host,)
    for number, each in enumerate(hosts):
        try:
            sock = _bind(each, port)
        except OSError as error:
            if number > 0 and error.errno in _NO_SUCH_ADDRESS:
                continue  # a machine without IPv6
            raise
        port = sock.getsockname()[1]
        await web.SockSite(runner, sock, backlog=1024).start()
        urls.append(f"http://[{each}]:{port}" if ":" in each else f"http://{each}:{port}")
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
    except BaseException:
        sock.close()
        raise
    return sock
