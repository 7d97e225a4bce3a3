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
    from potoserver.engine.valkey.fitness import judge  # noqa: PLC0415 - beside what needs the extra

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
