"""TLS before a server that has none: certificates made for a test, and a way in that takes TLS off."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trustme

_CHUNK = 65_536


class Authority:
    """Signs certificates for names of this machine.

    Args:
        folder: Where its own certificate is written.
    """

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.file = folder / "authority.pem"
        """Its certificate, for who is to trust it."""
        self._authority.cert_pem.write_to_path(self.file)

    def context(self, *names: str) -> ssl.SSLContext:
        """What a server of these names needs to take TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*names).configure_cert(context)
        return context


@asynccontextmanager
async def tls_before(target_port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Takes TLS, and passes on what is in it.

    Args:
        target_port: Where a server listens that knows no TLS.
        context: Of the certificate to show.

    Yields:
        The port that takes TLS.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", target_port)
        await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()
    target.close()
