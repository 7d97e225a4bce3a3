"""Where a request came from, for limits by address."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from aiohttp import hdrs, web

_IPV6_PREFIX = 64
"""What one customer gets at least (RFC 6177): whoever has one address there has all of them."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ClientAddresses:
    """Tells clients apart by their address, also behind proxies that we know.

    `X-Forwarded-For` is read from its end, and only as far as those who wrote it are known: what stands
    before that, the client may have made up.

    Args:
        proxies: Networks of the proxies.
    """

    def __init__(self, proxies: Iterable[str]) -> None:
        self._proxies = [ipaddress.ip_network(each) for each in proxies]

    def of(self, request: web.Request) -> str:
        """The client's address, or its network where that is one client's; empty where there is none."""
        address = _parse(request.remote or "")
        if not self._proxies:
            return _client_of(address)
        given = [
            each for header in request.headers.getall(hdrs.X_FORWARDED_FOR, ()) for each in header.split(",")
        ]
        while given and address is not None and any(address in each for each in self._proxies):
            forwarded = _parse(given.pop())
            if forwarded is None:
                break
            address = forwarded
        return _client_of(address)


@lru_cache(maxsize=1024)
def _client_of(address: _Address | None) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address or "")


@lru_cache(maxsize=1024)  # one and the same for each call on a connection
def _parse(text: str) -> _Address | None:
    """An address, which some proxies write with the port."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
