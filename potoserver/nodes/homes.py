"""Which node is a user's home, and the homes that are here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, TypeVar

from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from potoserver.clock import Clock, TimerHandle
from potoserver.engine.base import Engine, Home
from potoserver.errors import ProblemError, UnavailableError
from potoserver.module.base import ServerModule
from potoserver.module.user_homes import UserHomes
from potoserver.nodes.succession import Succession
from potoserver.tasks import OwnedTasks, contained

_T = TypeVar("_T")
_MISDIRECTED: Final = 421
"""How a node answers another one about a user whose home has moved on (RFC 9110, section 15.5.20)."""
_TRIES: Final = 4
"""How often a home that moves on is followed."""
_IDLE_S: Final = 30.0
"""A home for which nothing was asked for so long, and which no module needs, is given up."""
_LOOK_S: Final = 10.0
_TAKE_BACK_S: Final = 1.0
_LEFT_LOOK_S: Final = 0.1
"""How often the last node to stop looks whether the others are gone."""
_AT_ONCE: Final = 32


@dataclass(slots=True)
class _Held:
    """A home that is here.

    Attributes:
        home: As it was claimed.
        asked_s: When it was asked for last, on the clock's monotonic time.
        calls: How many calls about the user run.
    """

    home: Home
    asked_s: float
    calls: int = 0


@dataclass(slots=True)
class _Claim:
    """A home on its way here, or from here.

    Attributes:
        task: Gives the node that the home is, and None for this one.
        home: Once it is claimed.
        lost: It was lost before the modules had taken it over.
    """

    task: asyncio.Task[str | None] | None = None
    home: Home | None = None
    lost: bool = False


class Homes(UserHomes):
    """Finds each user's home: the node where everything about the user's dialogs happens.

    The first node that looks for a user's home becomes it, and stays it while it needs it, until it stops or
    is declared dead. On an engine of one node that is this one, always.

    Args:
        engine: Knows the homes.
        modules: The modules by name; the homed ones are told of homes. More may come until the start.
        clock: Times what is given up.
        tasks: Owns what is done in the background.
        logger: Where homes that come and go are told.
        reaches: Whether another node answers.
    """

    def __init__(
        self,
        engine: Engine,
        modules: Mapping[str, ServerModule],
        clock: Clock,
        tasks: OwnedTasks,
        logger: FilteringBoundLogger,
        reaches: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._engine = engine
        self._modules = modules
        self._clock = clock
        self._tasks = tasks
        self._logger = logger
        self._here: dict[str, _Held] = {}
        self._changing: dict[str, _Claim] = {}
        self._timer: TimerHandle | None = None
        self._stopping = False
        self._succession = Succession(engine, reaches, clock)

    @property
    @override
    def shared(self) -> bool:
        return self._engine.shared

    async def run(
        self, user_id: str, here: Callable[[], Awaitable[_T]], there: Callable[[str], Awaitable[_T]]
    ) -> _T:
        """Does something at a user's home, and returns what that returns.

        Args:
            user_id: Whose home.
            here: Does it on this node.
            there: Has the node of that name do it; raises what `check_here` raised there.

        Raises:
            UnavailableError: The engine is away, or the home moves on and on.
            Exception: What `here` or `there` raised.
        """
        if not self.shared:
            return await here()
        for _ in range(_TRIES):
            node_id = await self._find(user_id)
            if node_id is None:
                with self.held(user_id):
                    return await here()
            try:
                return await there(node_id)
            except ProblemError as problem:
                if problem.status != _MISDIRECTED:
                    raise
        raise _moving()

    async def check_here(self, user_id: str) -> None:
        """Sees whether this node is the user's home, for another node that took it for that.

        Raises:
            ProblemError: It is not; that node is to look again.
            UnavailableError: The engine is away.
        """
        if self._stopping and not self._succession.last and user_id not in self._here:
            raise ProblemError(_MISDIRECTED, "This node stops.")
        if await self._find(user_id) is not None:
            raise ProblemError(_MISDIRECTED, "The user's home is another node.")

    @contextmanager
    def held(self, user_id: str) -> Iterator[None]:
        """Keeps the user's home here for the length of a block, unless it is lost."""
        held = self._here.get(user_id)
        if held is None:
            yield
            return
        held.calls += 1
        try:
            yield
        finally:
            held.calls -= 1
            held.asked_s = self._clock.monotonic_s()

    @override
    async def are_here(self, user_id: str) -> bool:
        return await self._find(user_id) is None

    @override
    async def are_ours(self, user_id: str) -> bool:
        if not self.shared:
            return True
        await self._engine.ensure_lease()
        if user_id in self._here:
            return True
        if not self._falls_here(user_id) or await self._engine.home_of(user_id) is not None:
            return False
        return await self._find(user_id) is None

    def _falls_here(self, user_id: str) -> bool:
        """Whether, of all nodes, this one is to look after a user who is nowhere at home."""

        def rank(node_id: str) -> bytes:
            return blake2b(f"{user_id} {node_id}".encode(), digest_size=8).digest()

        nodes = [node.id for node in self._engine.nodes() if not node.draining]
        return max(nodes, key=rank, default=None) == self._engine.node_id

    # Homes that come

    async def _find(self, user_id: str) -> str | None:
        """Which node is the user's home; None for this one, which becomes it where none is."""
        if not self.shared:
            return None
        await self._engine.ensure_lease()
        if self._engine.trouble is not None:
            raise UnavailableError("The server can't reach its other parts; try again in a moment.")
        while True:
            held = self._here.get(user_id)
            if held is not None:
                held.asked_s = self._clock.monotonic_s()
                return None
            changing = self._changing.get(user_id)
            if changing is None:
                return await self._change(user_id, lambda claim: self._claimed(user_id, claim))
            assert changing.task is not None, "it is set before anything else can run"
            with suppress(UnavailableError):  # as another one is told
                node_id = await asyncio.shield(changing.task)
                if node_id is not None:
                    return node_id

    async def _change(self, user_id: str, work: Callable[[_Claim], Awaitable[str | None]]) -> str | None:
        """Has the user's home come or go: to the end, whoever waits for it, and nothing else meanwhile."""
        claim = self._changing[user_id] = _Claim()

        async def change() -> str | None:
            try:
                return await work(claim)
            finally:
                del self._changing[user_id]

        claim.task = asyncio.create_task(change(), name=f"home of {user_id}")
        claim.task.add_done_callback(_looked_at)
        return await asyncio.shield(claim.task)

    async def _claimed(self, user_id: str, claim: _Claim, above: int = 0) -> str | None:
        if self._stopping and not self._succession.last:
            home = await self._engine.home_of(user_id)
            if home is None or home.node_id == self._engine.node_id:
                raise _moving()
            return home.node_id
        home = await self._engine.claim_home(user_id, above)
        if home.node_id != self._engine.node_id:
            return home.node_id
        claim.home = home
        try:
            for module in self._homed():
                await contained(module.on_home_gained(user_id, home.token))
        except BaseException as error:
            self._tell_lost(user_id)
            self._logger.exception("home not taken over", user=user_id, token=home.token)
            with suppress(UnavailableError):
                await self._engine.release_home(home, orphan=True)
            if isinstance(error, Exception):
                raise _moving() from error
            raise
        if claim.lost:
            self._tell_lost(user_id)
            raise _moving()
        self._here[user_id] = _Held(home, self._clock.monotonic_s())
        self._logger.debug("home gained", user=user_id, token=home.token)
        if self._timer is None:
            self._timer = self._clock.call_later(_LOOK_S, self._look)
        return None

    def adopt(self, user_id: str) -> None:
        """A dialog was left open at a home that is gone: takes the user over, unless another node does."""
        if not self._stopping or self._succession.last:
            self._tasks.spawn(self._adopt(user_id), f"take over {user_id}")

    async def _adopt(self, user_id: str) -> None:
        with suppress(UnavailableError):  # the engine asks again
            await self._find(user_id)

    # Homes that go

    def lose(self, home: Home, above: int = 0) -> None:
        """That home is here no more. Harmless when it is not, or is here again with another token."""
        user_id = home.user_id
        changing, held = self._changing.get(user_id), self._here.get(user_id)
        if changing is not None and changing.home == home:
            changing.lost = True
        if held is None or held.home != home:
            return
        del self._here[user_id]
        self._logger.debug("home lost", user=user_id, token=home.token)
        needed = self._needed(user_id)
        self._tell_lost(user_id)
        if needed and not self._stopping:
            # Nobody may have it: the engine has forgotten, or nobody looks since.
            self._tasks.spawn(self._take_back(user_id, above), f"look after {user_id}")

    @override
    def fenced(self, user_id: str, token: int) -> None:
        held = self._here.get(user_id)
        if held is not None and held.home.token < token:
            self.lose(held.home, above=token)

    async def _take_back(self, user_id: str, above: int) -> None:
        """Sees to it that somebody has the home again."""
        while not self._stopping:
            await self._clock.sleep(_TAKE_BACK_S * random.uniform(0.5, 1.5))  # noqa: S311 - spread, no secret
            if user_id in self._here or user_id in self._changing:
                return
            with suppress(UnavailableError):
                await self._change(user_id, lambda claim: self._claimed(user_id, claim, above))
                return

    def _tell_lost(self, user_id: str) -> None:
        for module in self._homed():
            try:
                module.on_home_lost(user_id)
            except Exception:  # the others are to be told all the same
                self._logger.exception("hook failed", module=module.name(), hook="on_home_lost", user=user_id)

    def _homed(self) -> list[ServerModule]:
        return [module for module in self._modules.values() if module.homed]

    def _look(self) -> None:
        """Gives up the homes that nobody needs."""
        self._timer = None
        before_s = self._clock.monotonic_s() - _IDLE_S
        idle = [
            user_id
            for user_id, held in self._here.items()
            if not held.calls and held.asked_s < before_s and not self._needed(user_id)
        ]
        if idle:
            self._tasks.spawn(self._give_up(idle), "give up homes")
        if self._here and not self._stopping:
            self._timer = self._clock.call_later(_LOOK_S, self._look)

    def _needed(self, user_id: str) -> bool:
        return any(self._needed_by(module, user_id) for module in self._homed())

    def _needed_by(self, module: ServerModule, user_id: str) -> bool:
        try:
            return module.needs_home(user_id)
        except Exception:  # then it is safer here
            self._logger.exception("hook failed", module=module.name(), hook="needs_home", user=user_id)
            return True

    async def _give_up(self, user_ids: list[str]) -> None:
        for user_id in user_ids:
            held = self._here.get(user_id)
            if held is None or held.calls or self._needed(user_id):
                continue
            with suppress(UnavailableError):  # it is free all the same once this node is gone
                await self._release(user_id, orphan=False)

    async def _release(self, user_id: str, *, orphan: bool) -> None:
        held = self._here.pop(user_id, None)
        if held is None:
            return
        self._tell_lost(user_id)
        self._logger.debug("home given up", user=user_id, token=held.home.token, orphan=orphan)

        async def release(_claim: _Claim) -> None:
            await self._engine.release_home(held.home, orphan=orphan)

        await self._change(user_id, release)

    # The stop

    def drain(self) -> None:
        """This node is on its way out: it becomes nobody's home any more, unless it is the last one."""
        self._stopping = True
        if self.shared:
            self._succession.begin()

    @override
    async def has_successor(self) -> bool:
        return self.shared and await self._succession.lives()

    @override
    async def hand_over(self, user_id: str) -> None:
        await self._release(user_id, orphan=True)

    @override
    async def take_what_is_left(self) -> bool:
        while self._succession.last:
            alone = all(node.id == self._engine.node_id for node in self._engine.nodes())
            left = await self._engine.orphans()
            for start in range(0, len(left), _AT_ONCE):
                await asyncio.gather(*map(self._adopt, left[start : start + _AT_ONCE]))
            if alone:
                return True
            await self._clock.sleep(_LEFT_LOOK_S)
        return False

    async def stop(self) -> None:
        """Gives up every home; what is open there is for another node, or for the next start."""
        if self._timer is not None:
            self._timer.cancel()
        await self._succession.end()
        homes = [held.home for held in self._here.values()]
        self._here.clear()
        with suppress(UnavailableError):  # then they are free once the engine notices that this node is gone
            for start in range(0, len(homes), _AT_ONCE):
                await asyncio.gather(
                    *(
                        self._engine.release_home(home, orphan=self._needed(home.user_id))
                        for home in homes[start : start + _AT_ONCE]
                    )
                )


def _moving() -> UnavailableError:
    return UnavailableError("Your dialogs are moving to another node; try again in a moment.")


def _looked_at(task: asyncio.Task[str | None]) -> None:
    """Whoever waited for it may have gone."""
    if not task.cancelled():
        task.exception()
