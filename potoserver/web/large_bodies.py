"""Bodies of the few methods that take larger ones than all others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from aiohttp import web
from pydantic import BaseModel

from potoserver.core import Core
from potoserver.errors import ProblemError
from potoserver.web.body import Body, parse_json, read_raw, validate_body

MOST_AT_ONCE: Final = 4
"""What a large body takes in memory is several times its size."""
MAX_VALUES: Final = 400_000
"""That one may hold."""

_Model = TypeVar("_Model", bound=BaseModel)


class LargeBodies:
    """Holds calls that bring them to one of a user, and few in all, until they are answered.

    Args:
        core: The parts of the server.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._users: set[str] = set()

    def take(self, user_id: str, release: Callable[[], None]) -> Callable[[], None]:
        """Counts a call in.

        Args:
            user_id: Who calls.
            release: What counts it out elsewhere.

        Returns:
            What counts it out here and there.

        Raises:
            ProblemError: 429 while another such call of the user runs, 503 while as many of others do as the
                server takes. It is counted out then.
        """
        if user_id in self._users:
            release()
            raise ProblemError(429, "Another large call of yours runs; wait for its answer.", retry_after_s=1)
        if len(self._users) >= MOST_AT_ONCE:
            release()
            self._core.metrics.calls_refused.labels("all").inc()
            raise ProblemError(
                503, "The server is taking as many large calls as it can; try again.", retry_after_s=5
            )
        self._users.add(user_id)

        def out() -> None:
            self._users.discard(user_id)
            release()

        return out

    async def read(self, request: web.Request, model: type[_Model], most_bytes: int) -> _Model:
        """An instance of the model, parsed off the loop. Raises what `read_body` and `validate_body` do.

        Args:
            request: Brings the body.
            model: What the body must be.
            most_bytes: Its limit; `limits.body_bytes`, where that is more.
        """
        raw = await read_raw(request, max(most_bytes, self._core.settings.limits.body_bytes))
        return await asyncio.to_thread(lambda: validate_body(model, Body(raw, parse_json(raw, MAX_VALUES))))
