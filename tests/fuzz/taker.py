"""A module that takes arguments of every kind, so that their checks have something to check."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from pydantic import Field

from potoserver import Done, Download, ProblemError, ServerModule, WireModel, rpc


class Part(WireModel):
    """Something made of its own kind."""

    street_name: str
    parts: tuple[Part, ...] = ()


class Taker(ServerModule):
    """Takes anything, and tells what came."""

    @rpc
    async def take(
        self,
        text: Annotated[str, Field(min_length=1, max_length=5, pattern="^[a-z]*$")] = "a",
        some_text: str | None = None,
        value: int | float | str | None = None,
        count: Annotated[int, Field(ge=1, le=9)] = 1,
        kind: Literal["a", "b"] = "a",
        tags: list[str] = [],  # noqa: B006 - never written
        table: dict[str, list[int]] = {},  # noqa: B006 - never written
        part: Part | None = None,
        anything: Any = None,
    ) -> dict[str, Any]:
        """What was taken."""
        return {"text": text, "someText": some_text, "value": value, "tags": tags, "part": part}

    @rpc
    async def stream(
        self, items: Annotated[list[Part], Field(max_length=3)]
    ) -> AsyncIterator[Part | Done[int]]:
        """One by one."""
        for item in items:
            yield item
        yield Done(len(items))

    @rpc
    async def file(self, empty: bool = False) -> Download:
        """A file, which may be empty."""

        async def chunks() -> AsyncIterator[bytes]:
            for piece in () if empty else (b"one", b"two"):
                yield piece

        return Download("application/octet-stream", "pieces.bin", chunks())

    @rpc
    async def refuse(self, status: Literal[404, 409, 502, 503, 504, 507]) -> None:
        """Tells of a problem."""
        raise ProblemError(status, "Not this.", retry_after_s=7 if status == 503 else None)
