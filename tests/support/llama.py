"""A real OpenAI-compatible server: llama.cpp's own, as a process, with a language model of one page."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from .pypi import python_packages

KEY = "sk-one-page-1f6f4a"
_PACKAGES = ("xllamacpp==2026.10.11549", "gguf==0.19.0")
_PROGRAM = Path(__file__).with_name("llama_model.py")


class LlamaServer:
    """The server, for the length of a block; it starts in half a second.

    Args:
        context: How many tokens a request may have, question and reply.
        most_tokens: Where each reply is cut; -1 for nowhere.
        tells_reasoning: Whether reasoning has a field of its own, or stands in the reply, in `<think>` tags.

    Attributes:
        port: Where it serves; a restart keeps it.

    Raises:
        OSError: It can't be had here; the message says why.
    """

    def __init__(self, *, context: int = 65_536, most_tokens: int = -1, tells_reasoning: bool = True) -> None:
        self._path = python_packages(*_PACKAGES)
        self._options = {
            "key": KEY,
            "context": context,
            "most_tokens": most_tokens,
            "tells_reasoning": tells_reasoning,
        }
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> Self:
        """Starts it and waits until it serves."""
        self._process = subprocess.Popen(
            [sys.executable, _PROGRAM, json.dumps(self._options | {"port": self.port})],
            env=os.environ | {"PYTHONPATH": str(self._path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,  # what it logs goes to stderr, which is shown when a test fails
            text=True,
        )
        assert self._process.stdout is not None
        address = self._process.stdout.readline()
        if not address:
            self.kill()
            raise AssertionError("llama.cpp's server did not start")
        self.port = int(address.rpartition(":")[2])
        return self

    def kill(self) -> None:
        """Ends it at once, whatever it is saying."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    async def slots(self) -> list[dict[str, Any]]:
        """What each of its places does, as it tells itself."""
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
            session.get(f"http://127.0.0.1:{self.port}/slots") as answer,
        ):
            return list(await answer.json())

    async def until_idle(self) -> None:
        """Waits until it makes no reply any more."""
        async with asyncio.timeout(20):
            while any(slot["is_processing"] for slot in await self.slots()):
                await asyncio.sleep(0.02)
