"""How the server is: for load balancers, supervisors and Prometheus."""

from __future__ import annotations

from typing import Any

from aiohttp import hdrs, web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

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
            "usersOnline": await self._count_online(),
            "connections": len(core.subscriptions),
            "failingHooks": core.hooks.failing,
            "parkedHooks": core.hooks.parked,
        }
        return json_response(fields, status=503 if core.draining else 200)

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
            self._metrics = generate_latest(self._core.metrics.registry)
            self._metrics_good_until_s = now_s + _METRICS_GOOD_S
        return web.Response(body=self._metrics, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST})

    async def _count_online(self) -> int | None:
        """How many users are online, or None while the engine is away."""
        try:
            async with self._core.clock.timeout(_ENGINE_TIMEOUT_S):
                return await self._core.engine.count_online()
        except (UnavailableError, TimeoutError):
            return None
