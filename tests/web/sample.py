"""A module that has a method of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from potoserver import Call, Done, ProblemError, ServerModule, User, WireModel, rpc


class Place(WireModel):
    street_name: str
    house_number: int = 1


@dataclass(frozen=True)
class Visit:
    visited_place: Place
    visitor_id: str


class Sample(ServerModule):
    """Methods for the tests of calls."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.started = asyncio.Event()
        self.finished: list[str] = []
        self.calls: list[Call] = []
        self.on_passed: Callable[[str], None] = lambda _: None

    @rpc
    async def echo(self, some_text: str, repeat_count: Annotated[int, Field(ge=1, le=9)] = 1) -> str:
        """Says it again."""
        return some_text * repeat_count

    @rpc
    async def mixed(
        self,
        value: int | str | None = None,
        tags: list[str] = [],  # noqa: B006 - a module may well write it
        kind: Literal["a", "b"] = "a",
    ) -> dict[str, Any]:
        return {"value": value, "tags": tags, "kind": kind}

    @rpc
    async def visit(self, user: User, place: Place) -> Visit:
        return Visit(place, user.id)

    @rpc
    async def greet(self, greeting: str, user: User | None = None) -> str:
        return f"{greeting}, {user.id if user is not None else 'whoever you are'}"

    @rpc
    async def remember(self, call: Call) -> str | None:
        self.calls.append(call)
        return call.idempotency_key

    @rpc(roles={"admin"})
    async def rule(self) -> bool:
        return True

    @rpc
    async def fail(self, how: str) -> None:
        if how == "timeout":
            raise TimeoutError
        if how == "full":
            raise OSError(28, "No space left on device")
        if how == "problem":
            raise ProblemError(409, "Not now.", retry_after_s=7)
        if how == "exit":
            raise SystemExit("the secret of the server")
        raise RuntimeError("the secret of the server")

    @rpc
    async def wait(self) -> str:
        await self.gate.wait()
        self.finished.append("wait")
        return "waited"

    @rpc
    async def count(self, upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number
        self.finished.append("count")

    @rpc
    async def spell(self, call: Call, word: str) -> AsyncIterator[str | Done[Visit]]:
        self.calls.append(call)
        for letter in word:
            yield letter
        yield Done(Visit(Place(street_name=word), "v"))
        self.finished.append("spell")

    @rpc
    async def pass_on(self, call: Call, words: int, chars: int = 0) -> AsyncIterator[str | Done[int]]:
        """Yields the first word, and passes the others on."""
        assert call.pass_on is not None, "only streams are asked for"
        yield "word 0"
        for number in range(1, words):
            await self.gate.wait()
            word = f"word {number}".ljust(chars)
            call.pass_on(word)
            self.on_passed(word)
        yield Done(words)

    @rpc
    async def break_after(self, items: int, how: str = "") -> AsyncIterator[int]:
        for number in range(items):
            yield number
        if how == "exit":
            raise SystemExit
        raise ProblemError(502, "The model failed.")

    @rpc
    async def held(self) -> AsyncIterator[str]:
        yield "first"
        await self.gate.wait()
        yield "second"
        self.finished.append("held")

    @rpc
    async def silent(self) -> AsyncIterator[str]:
        self.started.set()
        await self.gate.wait()
        yield "at last"

    @rpc
    async def flood(self, blocks: int, chars: int = 65_536) -> AsyncIterator[str]:
        for _ in range(blocks):
            yield "x" * chars
            await asyncio.sleep(0)
        self.finished.append("flood")

    async def hidden(self) -> str:
        return "never"

    async def health_fields(self) -> Mapping[str, Any]:
        return {"activeSessions": 3}
