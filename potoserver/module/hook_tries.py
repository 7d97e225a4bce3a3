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

    async def run(self, module: ServerModule, hook: str, call: Callable[[], Awaitable[object]]) -> str:
        """Calls a hook once within its time. Its failure is logged and counted, never raised.

        Returns:
            What it failed with, in a few words; empty when it did not.
        """
        limit_s = module.hook_timeout_s or self._settings.timeout_s
        return await self._run(module, hook, within(self._clock, limit_s, contained(call())), limit_s)

    async def run_unlimited(
        self, module: ServerModule, hook: str, call: Callable[[], Awaitable[object]]
    ) -> str:
        """The same without a limit: whoever calls this sees to one, and tells of it with `late`."""
        return await self._run(module, hook, contained(call()))

    async def _run(
        self, module: ServerModule, hook: str, work: Awaitable[object], limit_s: float | None = None
    ) -> str:
        started = time.perf_counter()
        problem: BaseException | None = None
        try:
            await work
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            problem = error  # the module's own, not ours
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is its own failure
            problem = error
        self._observe(module, hook, time.perf_counter() - started)
        if problem is None:
            self._logger(f"module:{module.name()}").debug("hook done", hook=hook)
            return ""
        if limit_s is not None and isinstance(problem, TimeoutError):
            return self._tell(module, hook, _late(limit_s))
        return self._tell(module, hook, repr(problem), problem)

    def late(self, module: ServerModule, hook: str, limit_s: float) -> None:
        """A hook was not done in time."""
        self._observe(module, hook, limit_s)
        self._tell(module, hook, _late(limit_s))

    def _observe(self, module: ServerModule, hook: str, seconds: float) -> None:
        observed = self._seconds.get((module.name(), hook))
        if observed is None:  # looked up once: each connection has some tries
            observed = self._metrics.hook_seconds.labels(module.name(), hook)
            self._seconds[module.name(), hook] = observed
        observed.observe(seconds)

    def _tell(self, module: ServerModule, hook: str, said: str, problem: BaseException | None = None) -> str:
        self._metrics.hook_failures.labels(module.name(), hook).inc()
        self._logger(f"module:{module.name()}").error("hook failed", hook=hook, error=said, exc_info=problem)
        return said[:_ERROR_CHARS]


def _late(limit_s: float) -> str:
    return f"not done within {limit_s:g} s"
