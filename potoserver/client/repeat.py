"""Which calls are repeated, and for how long."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from potoserver.client.backoff import Backoff
from potoserver.client.errors import ClientError, UnavailableError, UnreachableError


@dataclass(frozen=True, slots=True)
class RepeatPolicy:
    """How long a call that may be repeated is repeated.

    Attributes:
        for_s: No repeat begins later than so many seconds after the first try; 0 repeats nothing.
        backoff: The waits between tries.
    """

    for_s: float = 60.0
    backoff: Backoff = field(default=Backoff(most_s=8.0))


class Tries:
    """The tries of one call.

    Args:
        policy: How long it is repeated.
        keyed: Whether the server knows a repeat from a second call, by its `Idempotency-Key`.
    """

    def __init__(self, policy: RepeatPolicy, *, keyed: bool) -> None:
        self._policy = policy
        self._keyed = keyed
        self._made = 0
        self._until_s = asyncio.get_running_loop().time() + policy.for_s

    async def after(self, error: ClientError) -> None:
        """Waits for the next try.

        Raises:
            ClientError: The error itself, where there is none: it says no for good, the call has no key, or
                the time is over.
        """
        if not self._keyed or not isinstance(error, UnreachableError | UnavailableError):
            raise error
        self._made += 1
        at_least_s = error.retry_after_s if isinstance(error, UnavailableError) else None
        wait_s = self._policy.backoff.wait_s(self._made, at_least_s=at_least_s or 0.0)
        if asyncio.get_running_loop().time() + wait_s > self._until_s:
            raise error
        await asyncio.sleep(wait_s)
