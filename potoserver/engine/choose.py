"""Which engine a server runs on: as the setting says."""

from __future__ import annotations

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from potoserver.clock import Clock
from potoserver.engine.base import Engine
from potoserver.engine.memory import MemoryEngine
from potoserver.metrics import Metrics
from potoserver.settings.engine_url import EMBEDDED_ENGINE
from potoserver.settings.model import Settings


class EngineSetupError(Exception):
    """The engine that is configured can't be made; the message says why in one line."""


def engine_of(settings: Settings, clock: Clock, logger: FilteringBoundLogger) -> Callable[[Metrics], Engine]:
    """What makes the engine of the setting `engine`.

    Args:
        settings: The core's settings.
        clock: Of the embedded engine; a shared one goes by its own.
        logger: Where a shared engine tells of nodes, and of the way to them.

    Raises:
        EngineSetupError: A package is missing.
    """
    grace_ms, backlog = settings.presence.grace_ms, settings.backlog
    if settings.engine == EMBEDDED_ENGINE:
        return lambda metrics: MemoryEngine(grace_ms, backlog, clock, metrics)
    try:
        from potoserver.engine.valkey import ValkeyEngine  # noqa: PLC0415 - an extra: one node needs none
    except ImportError as error:
        if not (error.name or "").startswith(("redis", "hiredis")):
            raise
        raise EngineSetupError(
            "the engine is a Valkey or Redis, which needs a package that is not installed: "
            "pip install 'potoserver[cluster]'"
        ) from None
    return lambda metrics: ValkeyEngine(
        settings.engine, grace_ms, backlog, metrics, logger, departures_s=settings.hooks.retry_for_s
    )
