"""One user: comes with one tab or two, talks, drops and returns, leaves in some way, comes again."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from tests.cluster.checker.books import Books, at_most, now_ms
from tests.cluster.checker.history import Asked, Said, Try
from tests.cluster.checker.tab import Tab
from tests.support.lean_http import Answer, Caller

_CHAT = "/ChatServerModule/chatWithHistory"
_END = "/ChatServerModule/endSession"
_CALL_S = 4.0
"""After that a client takes a call for lost, and repeats it."""
_REPEATS_S = 60.0
"""As PotoClient does."""
_MOST_WAIT_S = 5.0
_WORDS = ("how", "are", "you", "the", "answer", "is", "never", "quite", "привет", "你好", "🦀", "a: b", "# c")


class Visitor:
    """A user's life.

    Args:
        books: Where all of it is written down.
        name: Who.
        dice: Every choice.
        away_s: For how long the user stays away at most.
    """

    def __init__(self, books: Books, name: str, dice: random.Random, away_s: float) -> None:
        self.name = name
        self._away_s = away_s
        self._books = books
        self._dice = dice
        self._tabs = [Tab(books, name, number, dice) for number in range(2)]
        self._said = 0

    async def live(self, over: asyncio.Event) -> None:
        """Visits again and again until it is over; then goes."""
        grace_s = self._books.history.rules.grace_ms / 1000
        await asyncio.sleep(self._dice.uniform(0, 2))
        while not over.is_set():
            await self._visit(over)
            fate = self._dice.random()
            if fate < 0.1:  # in the grace, or without a connection: then the fallback ends the session
                await asyncio.sleep(self._dice.uniform(0, 1.5) * grace_s)
                await self.say()
            if fate < 0.15:
                await at_most(self._away_s, over)
            elif fate < 0.25:
                await asyncio.sleep(self._dice.uniform(0.5, 1.2) * grace_s)  # a return that may be too late
            else:
                await at_most(grace_s + self._dice.uniform(0.2, 2), over)

    async def _visit(self, over: asyncio.Event) -> None:
        dice = self._dice
        tabs = self._tabs if dice.random() < 0.35 else self._tabs[:1]
        leased = dice.random() < 0.15
        for tab in tabs:
            tab.come(resume=dice.random() < 0.8, leased=leased)
        await tabs[0].until_open(10)
        for _ in range(dice.randint(0, 4)):
            if over.is_set():
                break
            await asyncio.sleep(dice.uniform(0, 0.6))
            fate = dice.random()
            if fate < 0.62:
                await self.say()
            elif fate < 0.67:
                await self._end_session()
            elif fate < 0.9:
                dice.choice(tabs).drop(reset=dice.random() < 0.5)
            else:
                await asyncio.sleep(dice.uniform(0, 2))
        silent = leased and not over.is_set() and dice.random() < 0.15
        for tab in tabs:
            if silent:
                await tab.fall_silent(90)
            else:
                await tab.leave(reset=dice.random() < 0.5)

    async def say_farewell(self) -> None:
        """All is well again: returns for what was missed, says something, and goes."""
        for tab in self._tabs:
            tab.come(resume=True)
        for tab in self._tabs:
            if not await tab.until_open(20):
                self._books.odd(f"{self.name} could not connect, though all was well")
        said = await self.say()
        if said.answered_ms is None:
            self._books.odd(f"{self.name} was not answered, though all was well: {said.tries[-1]}")
        await asyncio.sleep(0.5)
        for tab in self._tabs:
            await tab.leave(reset=False)

    async def say(self) -> Said:
        """Says something, with a key, until it is answered: by any node, as PotoClient repeats."""
        self._said += 1
        words = " ".join(self._dice.choices(_WORDS, k=self._dice.randint(1, 12)))
        text = f"{self.name} {self._said}: {words}"
        said = Said(self.name, f"k-{self.name}-{self._said}", text)
        self._books.history.said.append(said)
        until_ms = now_ms() + _REPEATS_S * 1000
        streamed = self._dice.random() < 0.35
        while True:
            wait_s = await self._try(said, streamed=streamed)
            if wait_s is None or now_ms() + wait_s * 1000 > until_ms:
                return said
            await asyncio.sleep(wait_s)

    async def _try(self, said: Said, *, streamed: bool) -> float | None:
        """One try; returns after how many seconds the next one is due, None for no more."""
        arguments = {"message": said.text}
        node, begun_ms, answer = await self._post(_CHAT, arguments, key=said.key, streamed=streamed)
        status, result = _outcome(answer, streamed=streamed)
        tried = Try(node, begun_ms, now_ms(), status)
        said.tries.append(tried)
        if status == 200:
            said.answered_ms = tried.ended_ms
            said.conversation, said.message_id = result["conversationId"], result["messageId"]
            said.reply, said.whole = result["reply"], result["finishReason"] == "stop"
            self._books.counts["messages"] += 1
            return None
        self._books.counts[f"calls answered {status or 'never'}"] += 1
        tried.body = str(result)[:300]
        if status == 503:
            retry_after = result.get("retryAfter") if streamed and answer and answer.status == 200 else None
            header = answer.headers.get("retry-after") if answer is not None else None
            given = header or retry_after
            tried.retry_after = given is not None or (answer is not None and answer.status == 200)
            return min(_MOST_WAIT_S, float(given or 0)) + self._dice.uniform(0, 0.5)
        if status in (0, 409):
            return self._dice.uniform(0.05, 0.5)
        return None

    async def _end_session(self) -> None:
        node, begun_ms, answer = await self._post(_END, {})
        status, result = _outcome(answer, streamed=False)
        asked = Asked(self.name, node, begun_ms, now_ms(), status)
        self._books.history.asked.append(asked)
        if status == 200:
            asked.conversation = result["conversationId"]
        elif status not in (0, 503):
            self._books.odd(f"{self.name}: {status} for endSession: {result}")

    async def _post(
        self, path: str, arguments: dict[str, Any], *, key: str | None = None, streamed: bool = False
    ) -> tuple[int, int, Answer | None]:
        """A call to any node: which, since when, and the answer if there was one."""
        node, begun_ms = self._books.any_node(self._dice), now_ms()
        caller = Caller(self._books.ports[node], self._books.token(self.name))
        try:
            async with asyncio.timeout(_CALL_S):
                return node, begun_ms, await caller.post(path, arguments, key=key, streamed=streamed)
        except (OSError, EOFError, TimeoutError, ValueError):
            return node, begun_ms, None
        finally:
            caller.close()


def _outcome(answer: Answer | None, *, streamed: bool) -> tuple[int, dict[str, Any]]:
    """The status that an answer comes to, and its document; 0 for none."""
    if answer is None:
        return 0, {}
    if not streamed or answer.status != 200:
        return answer.status, answer.json()
    events = answer.events()
    if not events or events[-1].type not in ("done", "error"):
        return 0, {}
    last = events[-1]
    if last.type == "error":
        return int(last.data["status"]), last.data
    pieces = "".join(event.data["text"] for event in events if event.type == "delta")
    if pieces != last.data["reply"]:
        return 599, {"pieces": pieces, "reply": last.data["reply"]}
    return 200, last.data
