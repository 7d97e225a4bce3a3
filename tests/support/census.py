"""What a running server holds, counted from inside: a server module that tests load by its import string."""

from __future__ import annotations

import asyncio
import gc
import re
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sized
from typing import Any

from typing_extensions import override

from potoserver import ServerModule, rpc

_OWN = ("potoserver", "modules.")
_COUNTED = (*_OWN, "aiohttp", "asyncio.", "_asyncio.")
"""Of which packages objects are counted."""
_NUMBER = re.compile(r"\S*\d\S*")
_OF_POOL = re.compile(r"_\d+$")


class Census(ServerModule):
    """Counts tasks, threads, objects, and the items in each container that an object of the server has."""

    def __init__(self) -> None:
        self._began_s = 0.0
        self._longest_ms = 0.0
        gc.callbacks.append(self._on_collection)

    def _on_collection(self, phase: str, _: dict[str, int]) -> None:
        now_s = time.perf_counter()
        if phase == "start":
            self._began_s = now_s
        else:
            self._longest_ms = max(self._longest_ms, (now_s - self._began_s) * 1000)

    @override
    async def health_fields(self) -> Mapping[str, Any]:
        """Cheap: what a sampler wants to know each second."""
        collection_ms, self._longest_ms = self._longest_ms, 0.0
        return {
            "tasks": len(asyncio.all_tasks()),
            "allocatedBlocks": sys.getallocatedblocks(),
            "collectionMs": round(collection_ms, 1),
        }

    @rpc(roles={"admin"})
    async def census(self) -> dict[str, Any]:
        """All of it. Garbage is collected first, so what is counted is held by somebody."""
        frozen = gc.get_freeze_count()
        gc.unfreeze()  # else what the server made at its start would be left out
        gc.collect()
        everything = gc.get_objects()
        objects = Counter(name for name in map(_type_name, everything) if name.startswith(_COUNTED))
        containers: Counter[str] = Counter()
        for each in everything:
            name = _type_name(each)
            if name.startswith(_OWN):
                for attribute, value in _attributes(each):
                    if isinstance(value, Sized) and not isinstance(value, (str, bytes, type)):
                        containers[f"{name}.{attribute}"] += len(value)
                        containers[f"{name}.{attribute}[]"] += _inside(value)
        gc.freeze()
        return {
            "frozen": frozen,
            "looks_after": gc.get_threshold()[0],
            "tasks": Counter(_NUMBER.sub("#", task.get_name()) for task in asyncio.all_tasks()),
            "threads": Counter(_OF_POOL.sub("", thread.name) for thread in threading.enumerate()),
            "objects": objects,
            "containers": containers,
            "allocated_blocks": sys.getallocatedblocks(),
        }


def _type_name(value: object) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _inside(value: Sized) -> int:
    """How many items the containers in a container have."""
    inner: list[object] = []  # copied: other threads go on with the container
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, (list, set, deque)):
        inner = list(value)
    return sum(len(each) for each in inner if isinstance(each, (dict, list, set, frozenset, deque)))


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    yield from list(getattr(value, "__dict__", {}).items())
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__") and hasattr(value, name):
                yield name, getattr(value, name)
