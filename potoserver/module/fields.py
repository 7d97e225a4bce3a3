"""What modules add to an answer: all are asked at once, and none is waited for beyond the time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from potoserver.clock import Clock
from potoserver.delays import Delays
from potoserver.events import to_json
from potoserver.module.base import ServerModule
from potoserver.module.hook_tries import HookTries


class _Asking:
    """What has come of it for one answer."""

    __slots__ = ("fields", "left", "over")

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.left: dict[ServerModule, asyncio.Task[None]] = {}
        """The modules that have not answered."""
        self.over = asyncio.get_running_loop().create_future()
        """Done when none is left, or waited for."""


class Fields:
    """Collects what the modules' hook of one name gives.

    Args:
        hook: Its name.
        limit_s: How long is waited for the modules, all together.
        clock: Measures it.
        tries: Run the hook.
    """

    def __init__(self, hook: str, limit_s: float, clock: Clock, tries: HookTries) -> None:
        self._hook = hook
        self._limit_s = limit_s
        self._tries = tries
        self._waiting: Delays[_Asking] = Delays(limit_s, clock, self._give_up)

    async def collect(
        self, modules: Sequence[ServerModule], ask: Callable[[ServerModule], Awaitable[Mapping[str, Any]]]
    ) -> dict[str, Any]:
        """What they give; nothing of a module that fails or is late.

        Args:
            modules: Who is asked.
            ask: Calls a module's hook.
        """
        if not modules:
            return {}
        asking = _Asking()
        for module in modules:
            asking.left[module] = asyncio.create_task(self._ask(asking, module, ask))
        self._waiting.begin(asking)
        try:
            # A hook may swallow its cancellation: waited for here, not joined.
            await asking.over
        finally:
            self._waiting.call_off(asking)
            for task in asking.left.values():
                task.cancel()
        return asking.fields

    async def _ask(
        self,
        asking: _Asking,
        module: ServerModule,
        ask: Callable[[ServerModule], Awaitable[Mapping[str, Any]]],
    ) -> None:
        given: dict[str, Any] = {}

        async def call() -> None:
            given.update(await ask(module))
            to_json(given)  # what is no JSON is the module's failure, not the answer's

        try:
            failed = await self._tries.run_unlimited(module, self._hook, call)
            if not (failed or asking.over.done()):
                asking.fields.update(given)
        finally:
            asking.left.pop(module, None)
            if not (asking.left or asking.over.done()):
                asking.over.set_result(None)

    def _give_up(self, asking: _Asking) -> None:
        if not asking.over.done():
            asking.over.set_result(None)
            for module in asking.left:
                self._tries.late(module, self._hook, self._limit_s)
