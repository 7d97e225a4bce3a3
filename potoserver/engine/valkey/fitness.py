"""Whether a Valkey or Redis is fit for nodes: what `check` tells before the start, and a start once more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from potoserver.module.base import Check

_OLDEST: Final = {"Valkey": (7, 2), "Redis": (6, 2)}


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
