"""PotoServer: the composition of a server and its life."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from potoserver.alarms import Alarms
from potoserver.clock import Clock, SystemClock
from potoserver.clock_watch import ClockWatch
from potoserver.core import AFTER_DRAIN_S, Core
from potoserver.endless import EndlessCalls
from potoserver.engine.base import Engine
from potoserver.engine.choose import EngineSetupError, engine_of
from potoserver.engine.presence import Cause
from potoserver.engine_listener import CoreListener
from potoserver.engine_watch import EngineWatch
from potoserver.errors import ProblemError, UnavailableError
from potoserver.expiries import Expiries
from potoserver.heartbeat import Heartbeat
from potoserver.lifeline import Lifeline
from potoserver.listen import bind, listening
from potoserver.logs import Logs
from potoserver.metrics import Metrics
from potoserver.module.base import ServerModule
from potoserver.module.context import ServerContext
from potoserver.module.hook_places import HookPlaces
from potoserver.module.hook_signatures import check_hooks
from potoserver.module.hooks import Hooks
from potoserver.module.nodes import per_node_methods
from potoserver.module.rpc import rpc_methods
from potoserver.nodes.homes import Homes
from potoserver.nodes.node_calls import NodeCalls
from potoserver.settings.model import Settings
from potoserver.signals import watch_signals
from potoserver.subscriptions import Subscriptions
from potoserver.tasks import CANCELLED_S, OwnedTasks, contained
from potoserver.web.app import create_app
from potoserver.web.unavailable import shutdown

_SPARE_DESCRIPTORS = 256
"""Left for files, the listening sockets and the responder's when connections are held below the limit."""
_SPARE_DESCRIPTORS_SHARED = 256
"""Left besides where other nodes have the folder, too: for users' locks, and the way to the engine."""
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class StartError(Exception):
    """The server can't start; the message says why in one line."""


class PotoServer:
    """A server: its parts put together, started and stopped.

    Args:
        settings: The core's settings.
        sections: Each module section's settings, by the section's name.
        modules: The module classes to run; more can be registered until the start.
        logs: Where log lines go; the caller starts and stops it.
        clock: The time; the machine's unless a test moves it.
        engine: Makes the engine; without it, the settings say which.

    Raises:
        StartError: A module's constructor failed, a key can't be read or made, or a package is missing.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sections: Mapping[str, BaseModel] | None = None,
        modules: Iterable[type[ServerModule]] = (),
        logs: Logs,
        clock: Clock | None = None,
        engine: Callable[[Metrics], Engine] | None = None,
    ) -> None:
        clock = clock or SystemClock()
        metrics = Metrics()
        logs.on_dropped = metrics.log_lines_dropped.inc
        try:
            made_engine = (engine or engine_of(settings, clock, logs.get("engine")))(metrics)
        except EngineSetupError as error:
            raise StartError(str(error)) from error
        tasks = OwnedTasks(logs.get("engine"), clock)
        event_logger = logs.get("sse") if settings.log.debug_sse else None
        modules_by_name: dict[str, ServerModule] = {}
        node_calls = NodeCalls(made_engine, clock, tasks, logs.get("engine"))
        homes = Homes(made_engine, modules_by_name, clock, tasks, logs.get("engine"), node_calls.reaches)
        places = HookPlaces(homes, node_calls, modules_by_name)
        self.core = Core(
            settings=settings,
            clock=clock,
            logs=logs,
            metrics=metrics,
            alarms=Alarms(clock, metrics, logs.get("alarm")),
            engine=made_engine,
            tasks=tasks,
            subscriptions=Subscriptions(metrics, event_logger),
            heartbeat=Heartbeat(
                clock,
                settings.heartbeat_s,
                settings.send_timeout_s,
                event_logger,
                acks_come=lambda: made_engine.available,
            ),
            expiries=Expiries(clock),
            hooks=Hooks(settings.hooks, clock, metrics, tasks, logs.get, made_engine.acknowledge, places.run),
            endless=EndlessCalls(settings.limits.connections_per_user, metrics),
            homes=homes,
            node_calls=node_calls,
            modules=modules_by_name,
        )
        self._hold_below_open_files()
        self._watches = (
            ClockWatch(clock, self.core.alarms),
            EngineWatch(made_engine, clock, self.core.alarms),
        )
        self._sections = dict(sections or {})
        self._started: list[ServerModule] = []
        self._failed = False
        for module in modules:
            try:
                made = module()
            except (Exception, SystemExit) as error:
                logs.get(f"module:{module.name()}").debug("not made", exc_info=error)
                raise StartError(f"{module.name()} could not be made: {error!r}") from error
            self.register_module(made)
        try:
            web_app = create_app(self.core)
        except (ValueError, OSError) as error:
            raise StartError(str(error)) from error
        self.app = web_app.app
        """The aiohttp application; its start-up starts the server, its clean-up stops it."""
        self.handle_subscribe = web_app.subscribe_handler.subscribe
        """Answers `GET /subscribe`."""
        self.notify_sse_connect = self.core.hooks.arrived
        """Tells the modules that a user came online; returns at once."""
        self.app.cleanup_ctx.append(self._life)

    def _hold_below_open_files(self) -> None:
        """Holds connections below what the limit of open files allows, so that the journal's are left."""
        limits, core = self.core.settings.limits, self.core
        wanted = limits.connections + limits.sockets
        spare = _SPARE_DESCRIPTORS + (_SPARE_DESCRIPTORS_SHARED if core.engine.shared else 0)
        allowed = max(4, _raise_open_files(wanted + spare) - spare)
        core.socket_limit = min(limits.sockets, max(1, allowed // 4))
        most = allowed - core.socket_limit
        core.connection_limit = min(limits.connections or most, most)
        if wanted > allowed:
            core.logs.get("http").debug(
                "held below the limit of open files",
                connections=core.connection_limit,
                sockets=core.socket_limit,
            )

    @property
    def subscriptions(self) -> Subscriptions:
        """The event streams open on this server."""
        return self.core.subscriptions

    def register_module(self, module: ServerModule) -> None:
        """Takes a module in, before the start.

        Raises:
            ValueError: A module of that name is there already.
            TypeError: One of its methods can't be offered.
        """
        rpc_methods(module)
        per_node_methods(module)
        check_hooks(type(module))
        name = module.name()
        if name in self.core.modules:
            raise ValueError(f"two modules are named {name}")
        module.context = ServerContext(self.core, name, self._sections.get(module.section))
        self.core.modules[name] = module
        self.core.hooks.add(module)

    # Life

    async def start(self) -> None:
        """Starts engine and modules; the server is ready when this returns.

        Raises:
            StartError: A module could not start. What had started is stopped again.
        """
        core = self.core
        core.started_s = core.clock.monotonic_s()
        try:
            await core.engine.start(CoreListener(core))
        except UnavailableError as error:
            raise StartError(f"the engine is away: {error}") from error
        core.heartbeat.start()
        for watch in self._watches:
            watch.start()
        loop = asyncio.get_running_loop()
        core.logs.watch_file(lambda failing: self._tell_of_log(loop, failing))
        for module in core.modules.values():
            limit_s = module.hook_timeout_s or core.settings.hooks.timeout_s
            try:
                async with core.clock.timeout(limit_s):
                    await contained(module.on_start())
            except BaseException as error:
                core.logs.get(f"module:{module.name()}").debug("start failed", exc_info=error)
                await self.stop()
                if not isinstance(error, Exception):
                    raise
                late = isinstance(error, TimeoutError) and not str(error)
                why = f"on_start not done within {limit_s:g} s" if late else error
                raise StartError(f"{module.name()} could not start: {why}") from error
            self._started.append(module)
        core.started = True
        core.start_over.set()

    async def stop(self) -> bool:
        """Refuses new work, tells subscribers, stops the modules, ends all streams.

        Returns:
            Whether all was ended in order; False when something is left for the next start.
        """
        core = self.core
        if core.draining:
            return not self._failed
        core.draining = True
        core.start_over.set()
        logger = core.logs.get("engine")
        ends_at_s = core.clock.monotonic_s() + core.settings.shutdown_timeout_s
        core.subscriptions.tell_each("shutdown", partial(shutdown, core.settings.retry_ms))
        core.homes.drain()
        await self._stop_modules(core.stop_timeout_s)
        # In this order: a module that has stopped is told of no connection that ends with the server.
        core.hooks.stop()
        core.subscriptions.close_all(Cause.SHUTDOWN)
        core.endless.end_all(ProblemError(503, "The server stops; try again in a moment.", retry_after_s=1))
        cancelled = await core.tasks.drain(max(0.0, ends_at_s - core.clock.monotonic_s() - AFTER_DRAIN_S))
        undone = core.hooks.undone()
        if cancelled or undone:
            self._failed = True
            logger.error("left undone at shutdown", tasks=cancelled, departures=list(undone))
        await core.heartbeat.stop()
        for watch in self._watches:
            watch.stop()
        core.logs.watch_file(lambda _: None)
        core.alarms.stop()
        await core.homes.stop()
        await core.engine.stop()
        return not self._failed

    def _tell_of_log(self, loop: asyncio.AbstractEventLoop, failing: bool) -> None:
        """Raises or clears the alarm of the log's disk; called on any thread."""
        alarms = self.core.alarms
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(alarms.set if failing else alarms.clear, "log-disk")

    async def _stop_modules(self, limit_s: float) -> None:
        """Stops all modules at once: one that hangs takes no time from the others, and ends with its time."""
        core = self.core
        stopping = {
            asyncio.create_task(contained(each.on_stop()), name=f"stop {each.name()}"): each
            for each in self._started
        }
        if not stopping:
            return
        try:
            async with core.clock.timeout(limit_s):
                await asyncio.wait(stopping)
        except TimeoutError:
            pass
        late = [task for task in stopping if not task.done()]
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=CANCELLED_S)
        for task, module in stopping.items():
            error: BaseException | None = TimeoutError(f"not done within {limit_s:g} s")
            if task not in late:
                error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is not None:
                self._failed = True
                core.logs.get(f"module:{module.name()}").error(
                    "stop failed", error=repr(error), exc_info=error
                )

    async def _life(self, _app: web.Application) -> AsyncIterator[None]:
        await self.start()
        yield
        await self.stop()

    async def serve(self, lifeline: Lifeline | None = None) -> int:
        """Serves until SIGTERM, SIGINT or the terminal's going; a second signal exits at once.

        Args:
            lifeline: Of one of several workers, which share the address: it stops also when this ends.

        Returns:
            The exit status: 0 when all was ended in order, 1 when something is left for the next start.

        Raises:
            StartError: A module could not start, or the address can't be listened on.
        """
        core = self.core
        logger = core.logs.get("http")
        asked = asyncio.Event()
        signalled = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal(number: signal.Signals) -> None:
            # Not `asked`: a signal to a whole group reaches a worker before or after its supervisor's word.
            if signalled.is_set():
                core.logs.stop()
                os._exit(1)
            logger.info("signal received", signal=number.name)
            signalled.set()
            asked.set()

        watch_signals(on_signal)
        if lifeline is not None:
            core.worker = lifeline.number
            lifeline.watch(asked.set)
        try:
            sockets = bind(core.settings.host, core.settings.port, shared=lifeline is not None)
        except OSError as error:
            raise StartError(
                f"can't listen on {core.settings.host} port {core.settings.port}: {error.strerror or error}"
            ) from error
        runner = web.AppRunner(self.app, access_log=None)
        loop.set_exception_handler(self._loop_failed)
        try:
            if await self._set_up(runner, asked):
                async with listening(core, runner, sockets) as urls:
                    logger.info("serving", addresses=urls)
                    if lifeline is not None:
                        lifeline.tell_serving()
                    await asked.wait()
                    await self.stop()
        finally:
            await runner.cleanup()
            for sock in sockets:
                sock.close()
        logger.info("stopped", in_order=not self._failed)
        await self._exit_if_held()
        return 1 if self._failed else 0

    def _loop_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tells the operator when the loop can't accept a connection for want of descriptors."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _OUT_OF_DESCRIPTORS:
            self.core.alarms.set("descriptors", lapses=True, error=error.strerror)
        loop.default_exception_handler(context)

    @staticmethod
    async def _set_up(runner: web.AppRunner, asked: asyncio.Event) -> bool:
        """Starts everything; False when a signal came before that was done."""
        setup = asyncio.create_task(runner.setup(), name="start")
        signalled = asyncio.create_task(asked.wait(), name="signal")
        await asyncio.wait({setup, signalled}, return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        if not setup.done():
            setup.cancel()
            await asyncio.wait({setup})
            return False
        await setup
        return True

    async def _exit_if_held(self) -> None:
        """Exits at once where a task swallows its cancellation: the loop would wait for it for ever."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if not others:
            return
        _, held = await asyncio.wait(others, timeout=CANCELLED_S)
        if held:
            names = sorted(task.get_name() for task in held)
            self.core.logs.get("engine").error("tasks do not end", tasks=names)
            self.core.logs.stop()
            os._exit(1)


def _raise_open_files(wanted: int) -> int:
    """Raises the limit of open files as far as allowed; returns what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = max(soft, wanted) if hard == resource.RLIM_INFINITY else hard
    if soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    return target
