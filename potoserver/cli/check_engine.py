"""What `check` says of the engine: whether it is reached, and how what is reached is set up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import structlog

from potoserver.clock import SystemClock
from potoserver.engine.choose import EngineSetupError, engine_of
from potoserver.module.base import Check
from potoserver.settings import Settings
from potoserver.settings.engine_url import EMBEDDED_ENGINE

_ANSWER_S = 5.0
_OLDEST = {"Valkey": (7, 2), "Redis": (6, 2)}


def check_engine(settings: Settings) -> Iterator[Check]:
    """Looks at the engine that is configured, and changes nothing there."""
    shown = settings.shown_engine
    if settings.engine == EMBEDDED_ENGINE:
        yield Check("engine", shown)
        return
    try:
        engine_of(settings, SystemClock(), structlog.get_logger())
    except EngineSetupError as error:
        yield Check("engine", str(error), "wrong")
        return
    try:
        about = _ask(settings.engine)
    except OSError as error:
        yield Check("engine", f"{shown} can't be reached: {error}", "wrong")
        return
    yield from judge(shown, about)


def _ask(url: str) -> Mapping[str, Any]:
    # With the extra `cluster` alone.
    from redis import Redis, RedisError  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    from potoserver.engine.valkey.link import client_url  # noqa: PLC0415

    client = Redis.from_url(
        client_url(url),
        socket_timeout=_ANSWER_S,
        socket_connect_timeout=_ANSWER_S,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        with client:
            found: Mapping[str, Any] = client.info()
    except RedisError as error:
        raise OSError(str(error)) from error
    return found


def judge(shown: str, about: Mapping[str, Any]) -> Iterator[Check]:
    """What to say of an engine that has answered.

    Args:
        shown: Its URL, without a password.
        about: Its `INFO`. `CONFIG` would say it as well, but whoever hosts a Valkey for others forbids that.
    """
    name = "Valkey" if "valkey_version" in about else "Redis"
    version = str(about.get("valkey_version", about.get("redis_version", "")))
    oldest = _OLDEST[name]
    says = f"{shown} is {name} {version}"
    if _numbers(version) < oldest:
        yield Check("engine", f"{says}, which is too old: expected {oldest[0]}.{oldest[1]} or later", "wrong")
    elif about.get("role") == "slave":
        yield Check("engine", f"{says}, and a replica, which takes no writes: name its primary", "wrong")
    else:
        yield Check("engine", says)
    policy = about.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        says = f"when it is full it throws out what nodes need (maxmemory-policy {policy}): set noeviction"
        yield Check("engine", says, "note")
    if not about.get("aof_enabled"):
        says = "its restart loses who is online and what clients missed, no message: set appendonly yes"
        yield Check("engine", says, "note")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
