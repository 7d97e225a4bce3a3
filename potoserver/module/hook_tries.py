"""One try of a module's hook: within its time, its failure its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from prometheus_client import Histogram
from structlog.typing import FilteringBoundLogger

from potoserver.clock import Clock
from potoserver.metrics import Metrics
from potoserver.module.base import ServerModule
from potoserver.settings.model import HookSettings
from potoserver.tasks import contained, within

_ERROR_CHARS = 300
"""How much of an error is told."""


class HookTries:
    """Runs hooks, each once.

    Args:
        settings: Time limits.
        clock: Measures them.
        metrics: Time and failures.
        logger: Gives a logger by name.
    """

    def __init__(
        self,
        settings: HookSettings,
        clock: Clock,
        metrics: Metrics,
        logger: Callable[[str], FilteringBoundLogger],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._logger = logger
        self._seconds: dict[tuple[str, str], Histogram] = {}

    async def run(
        self,
        module: ServerModule,
        hook: str,
        call: Callable[[], Awaitable[object]],
        timeout_s: float | None = None,
    ) -> str:
        """Calls a hook once within its time. Its failure is logged and counted, never raised.

        Returns:
            What it failed with, in a few words; empty when it did not.
        """
        limit_s = timeout_s or module.hook_timeout_s or self._settings.timeout_s
        started = time.perf_counter()
        problem: BaseException | None = None
        try:
            await within(self._clock, limit_s, contained(call()))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            problem = error  # the module's own, not ours
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is its own failure
            problem = error
        seconds = self._seconds.get((module.name(), hook))
        if seconds is None:  # looked up once: each connection has some tries
            seconds = self._metrics.hook_seconds.labels(module.name(), hook)
            self._seconds[module.name(), hook] = seconds
        seconds.observe(time.perf_counter() - started)
        if problem is None:
            self._logger(f"module:{module.name()}").debug("hook done", hook=hook)
            return ""
        self._metrics.hook_failures.labels(module.name(), hook).inc()
        late = isinstance(problem, TimeoutError)
        said = f"not done within {limit_s:g} s" if late else repr(problem)
        self._logger(f"module:{module.name()}").error(
            "hook failed", hook=hook, error=said, exc_info=None if late else problem
        )
        return said[:_ERROR_CHARS]
