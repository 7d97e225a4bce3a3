"""Two servers on one Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog

from potoserver import Event, ServerModule, UnavailableError
from potoserver.engine.valkey import ValkeyEngine
from potoserver.settings.model import BacklogSettings
from tests.support.server import RunningServer, RunServer


async def kill(server: RunningServer) -> None:
    """Has a node say nothing more to the engine, as if its process were killed."""
    engine = server.core.engine
    for task in engine._life._tasks:
        task.cancel()
    await engine._channel.stop()
    await engine._link.close()


def tell_no_reply(monkeypatch: pytest.MonkeyPatch, server: RunningServer) -> None:
    """Has a node's engine be away for all but what users say: replies are kept and not told."""
    publish = server.core.engine.publish

    async def away(*_: Any) -> bool:
        raise UnavailableError("away")

    async def publish_questions(user_id: str, event: Event) -> Any:
        return await (publish if event.data.get("role") == "user" else away)(user_id, event)

    monkeypatch.setattr(server.core.engine, "publish", publish_questions)
    monkeypatch.setattr(server.core.engine, "ensure_logged", away)


@asynccontextmanager
async def two_servers(
    running_server: RunServer,
    folder: Path,
    valkey_url: str,
    modules: tuple[Iterable[ServerModule], Iterable[ServerModule]],
    grace_ms: int,
    **settings: Any,
) -> AsyncIterator[tuple[RunningServer, RunningServer]]:
    """Starts them for the length of a block, each with modules of its own, below a prefix of their own."""
    engine = partial(
        ValkeyEngine,
        valkey_url,
        grace_ms,
        BacklogSettings(),
        logger=structlog.get_logger(),
        prefix=uuid4().hex,
    )
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(running_server(folder / name, of_node, engine=engine, **settings))
            for name, of_node in zip("ab", modules, strict=True)
        ]
        yield first, second
