"""How the server is: for load balancers, supervisors and Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric

from potoserver.clock import iso_utc
from potoserver.core import Core
from potoserver.errors import UnavailableError
from potoserver.version import package_version
from potoserver.web.login import json_response

_ENGINE_TIMEOUT_S = 1.0
_METRICS_GOOD_S = 0.25


class HealthHandler:
    """Answers without a token; nothing here names a user.

    Args:
        core: The parts of the server.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._metrics = b""
        self._metrics_good_until_s = 0.0
        self._version = package_version()

    async def health(self, _request: web.Request) -> web.Response:
        """The whole of it; 503 once the server is on its way out.

        What is degraded still serves, so that is 200: a load balancer that took it out would make it worse.
        """
        core = self._core
        fields: dict[str, Any] = {"activeSessions": 0}
        fields |= await core.hooks.health_fields()
        alarms = core.alarms.on()
        # The engine is asked itself, too: its alarm comes on a moment later.
        degraded = core.alarms.degraded or not core.engine.available
        fields |= {
            "status": "draining" if core.draining else "degraded" if degraded else "healthy",
            "alarms": [
                {"alarm": each.name, "since": iso_utc(each.since_ms), "times": each.times} for each in alarms
            ],
            "uptime": round(core.clock.monotonic_s() - core.started_s, 3),
            "version": self._version,
            "node": core.engine.node_id,
            "usersOnline": await self._count_online(),
            "connections": len(core.subscriptions),
            "failingHooks": core.hooks.failing,
            "parkedHooks": core.hooks.parked,
        }
        if core.worker is not None:
            fields["worker"] = core.worker
        return self._by_any_worker(json_response(fields, status=503 if core.draining else 200))

    async def live(self, _request: web.Request) -> web.Response:
        """The process answers."""
        return json_response({"status": "live"})

    async def ready(self, _request: web.Request) -> web.Response:
        """Whether to send it work: 503 while it starts, once it stops, and while its engine is away."""
        core = self._core
        if core.draining:
            status = "draining"
        elif not core.ready:
            status = "starting"
        else:
            away = core.engine.trouble is not None or await self._count_online() is None
            status = "engine-away" if away else "ready"
        return json_response({"status": status}, status=200 if status == "ready" else 503)

    async def metrics(self, _request: web.Request) -> web.Response:
        """Prometheus' text format. Made four times a second at most: it costs much, and anybody may ask."""
        now_s = self._core.clock.monotonic_s()
        if now_s >= self._metrics_good_until_s:
            registry, worker = self._core.metrics.registry, self._core.worker
            self._metrics = generate_latest(registry if worker is None else _OfWorker(registry, worker))
            self._metrics_good_until_s = now_s + _METRICS_GOOD_S
        headers = {hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST}
        return self._by_any_worker(web.Response(body=self._metrics, headers=headers))

    def _by_any_worker(self, response: web.Response) -> web.Response:
        """Has the next question come on another connection, which may be another worker's."""
        if self._core.worker is not None:
            response.force_close()
        return response

    async def _count_online(self) -> int | None:
        """How many users are online, or None while the engine is away."""
        try:
            async with self._core.clock.timeout(_ENGINE_TIMEOUT_S):
                return await self._core.engine.count_online()
        except (UnavailableError, TimeoutError):
            return None


class _OfWorker:
    """A registry whose samples say which worker's they are: whoever asks for them gets any worker's.

    Args:
        registry: The worker's own.
        worker: Its number.
    """

    def __init__(self, registry: CollectorRegistry, worker: int) -> None:
        self._registry = registry
        self._labels = {"worker": str(worker)}

    def collect(self) -> Iterator[Metric]:
        """Its metrics, each sample with the label."""
        for metric in self._registry.collect():
            metric.samples = [each._replace(labels=each.labels | self._labels) for each in metric.samples]
            yield metric
