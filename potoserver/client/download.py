"""An answer that is a file."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

import aiohttp

from potoserver.client.http import ANSWER_TIMEOUT_S, chunks_of


class Download:
    """A file on its way: `async for chunk in download`, or `save`.

    Args:
        response: The answer, its body not read yet.

    Attributes:
        content_type: What it is: `application/zip`.
        filename: What the server calls it, without any folder; None where it says nothing.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.content_type = response.content_type
        disposition = response.content_disposition
        given = (disposition.filename if disposition is not None else None) or ""
        self.filename = PurePosixPath(given.replace("\\", "/")).name or None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in chunks_of(self._response, ANSWER_TIMEOUT_S):
            yield chunk

    async def save(self, path: Path) -> int:
        """Keeps it at `path`, readable for its owner alone, once it is whole; until then it is not there.

        Returns:
            Its length in bytes.

        Raises:
            UnreachableError: It was cut. What stood at `path` before stays.
            OSError: It can't be written.
        """
        size_bytes = 0
        handle, part = await asyncio.to_thread(tempfile.mkstemp, dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                async for chunk in self:
                    size_bytes += await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(os.replace, part, path)
        except BaseException:
            await asyncio.to_thread(Path(part).unlink, missing_ok=True)
            raise
        return size_bytes
