"""Servers for clients: the real one with the chat, and one that says what a test wants it to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from modules.chat_server.module import ChatServerModule
from modules.chat_server.settings import ChatSettings
from tests.support.server import RunningServer, RunServer

Serving = Callable[..., AbstractAsyncContextManager[RunningServer]]


@pytest.fixture
def serving(running_server: RunServer, tmp_path: Path) -> Serving:
    """Starts a server with the chat, or the modules given; `chat` holds settings of its section."""

    def serve(*modules: Any, chat: dict[str, Any] | None = None, **settings: Any) -> Any:
        sections = {"chat": ChatSettings.model_validate({"journal": {"fsync": "never"}} | (chat or {}))}
        given = {"presence": {"grace_ms": 300}} | settings
        return running_server(tmp_path, modules or (ChatServerModule(),), sections=sections, **given)

    return serve
