"""One user of a load: comes, talks, leaves and returns, and checks what the server promised all along."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.support.lean_http import Answer, Caller
from tests.support.load_plan import Plan, Tally
from tests.support.load_tab import Tab

_T = TypeVar("_T")
_CHAT = "/ChatServerModule/chatWithHistory"
_FULL = b"calls in flight"
_WORDS = ("how", "are", "you", "the", "answer", "is", "never", "quite", "привет", "你好", "🦀", "a:", "#")


class User:
    """One person with one token.

    Args:
        number: Which one; it decides what kind of client it has.
        plan: The load's.
        tally: Where it counts.
        dice: Its own chance.
    """

    def __init__(self, number: int, plan: Plan, tally: Tally, dice: random.Random) -> None:
        self.name = f"user-{number}"
        self._token = f"t-{self.name}"
        self._plan = plan
        self._tally = tally
        self._dice = dice
        self.kind = kind_of(number)
        count = {"two tabs": 2, "caller": 0}.get(self.kind, 1)
        self._tabs = [Tab(self.name, plan, tally, self._admission, self._on_ping) for _ in range(count)]
        self._caller = Caller(plan.port, self._token)
        self._other = Caller(plan.port, self._token)
        """For stopping a reply, and for what is asked twice at once."""
        self._proof = Caller(plan.port, self._token)
        """For acks, which must not wait behind a long reply."""
        self._proof_free = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._said = 0
        self._acking = True
        self.acknowledged: list[tuple[str, str, str]] = []
        """Conversation, question and reply of each call whose answer came whole."""
        self.perhaps: set[str] = set()
        """Questions whose answer never came: they may be kept, once."""
        self._answered: set[str] = set()
        self._late: set[str] = set()
        """Questions that were answered only when repeated: they stand before what was said since."""
        self._unanswered: dict[str, str] = {}
        """By idempotency key: calls that were hung up on, to be repeated."""
        self._conversation: str | None = None
        self._ended: set[str] = set()
        self._notices: set[str] = set()

    # Life

    async def live(self, arrive_within_s: float, *, resume: bool) -> None:
        """Visits again and again until it is cancelled."""
        try:
            await asyncio.sleep(self._dice.uniform(0, arrive_within_s))
            while True:
                await (self._visit(resume=resume) if self._tabs else self._visit_unconnected())
                resume = await self._stay_away()
        except Exception as error:
            self._tally.violate(f"{self.name}: {error!r}")

    async def fall_silent(self, arrive_within_s: float) -> None:
        """One visit that ends without a word: the server finds out by the lease."""
        try:
            await asyncio.sleep(self._dice.uniform(0, arrive_within_s))
            self._acking = True
            tab = self._tabs[0]
            self._check_arrival(await tab.open(resume=False), None)
            await self._chat()
            self._acking = False
            await tab.end(self._plan.lease_s + 15)
            self._tally.counts["cut by lease"] += 1
            self._drop_callers(reset=False)
        except Exception as error:
            self._tally.violate(f"{self.name}, silent: {error!r}")

    async def _visit(self, *, resume: bool) -> None:
        await self._arrive(resume=resume)
        for _ in range(self._dice.randint(1, 5)):
            await self._think()
            await self._act()
        for tab in self._tabs:
            await tab.until_told()
        self._leave(reset=self._dice.random() < 0.5)

    async def _visit_unconnected(self) -> None:
        for _ in range(self._dice.randint(1, 4)):
            await self._think()
            await self._act()
        if self._dice.random() < 0.5:
            await self._end_session()
        self._drop_callers(reset=False)

    async def _stay_away(self) -> bool:
        """Waits; tells whether the return goes on from where the user was."""
        plan, dice = self._plan, self._dice
        fate = dice.random()
        if fate < 0.4:
            await asyncio.sleep(dice.uniform(0, 0.5 * plan.grace_s))
            return dice.random() < 0.8
        if fate < 0.55 and self._tabs:
            # A call in between: what it led to is replayed.
            await asyncio.sleep(dice.uniform(0, 0.2 * plan.grace_s))
            await self._chat()
            return True
        if fate < 0.95:
            await asyncio.sleep(plan.grace_s + dice.uniform(0.1, 0.5) * plan.think_s)
        else:
            await asyncio.sleep(plan.grace_s + plan.idle_s)
        return dice.random() < 0.5

    async def _arrive(self, *, resume: bool) -> None:
        first = self._tabs[0]
        away_s = time.monotonic() - first.left_at_s if first.left_at_s is not None else None
        last_id = first.last_id
        for position, tab in enumerate(self._tabs):
            opening = await tab.open(resume=resume and last_id is not None)
            self._check_arrival(opening, away_s if position == 0 else 0.0)

    def _check_arrival(self, opening: dict[str, Any], away_s: float | None) -> None:
        """Args: the data of `connected`; how long the user was away when it asked, None for always."""
        if opening["conversation"] is None:
            self._tally.violate(f"{self.name}: connected without a conversation")
        if opening["user"] != self.name:
            self._tally.violate(f"{self.name} is taken for {opening['user']}")
        if away_s is not None and away_s > self._plan.grace_s + 10 and opening["resumed"]:
            self._tally.violate(f"{self.name} was away for {away_s:.1f} s, and is said to have been here")
        first = self._tabs[0].closed_at_s
        if first is not None and time.monotonic() - first < 0.8 * self._plan.grace_s:
            self._tally.counts["returns in the grace"] += 1
            if not opening["resumed"]:
                self._tally.violate(f"{self.name} came back in the grace, and is taken for new")
        notice = opening["archived"]
        if notice is not None:
            if notice["conversation"] in self._notices:
                self._tally.violate(f"{self.name} is told twice that {notice['conversation']} ended")
            self._notices.add(notice["conversation"])
            self._tally.counts["notices"] += 1

    def _leave(self, *, reset: bool) -> None:
        for tab in self._tabs:
            tab.close(reset=reset)
        self._drop_callers(reset=reset)

    def _drop_callers(self, *, reset: bool) -> None:
        for caller in (self._caller, self._other, self._proof):
            caller.close(reset=reset)

    def depart(self, *, reset: bool) -> None:
        """Goes at once, whatever was under way."""
        for task in list(self._tasks):
            task.cancel()
        self._leave(reset=reset)

    async def _think(self) -> None:
        await asyncio.sleep(self._plan.think_s * self._dice.uniform(0.2, 1.8))

    async def _admission(self) -> tuple[str | None, str]:
        if self.kind == "ticket":
            answer = await self._call("/subscribe/ticket", {})
            return None, f"?ticket={answer.json()['ticket']}"
        return self._token, f"?lease={self._plan.lease_s}" if self.kind in ("leased", "silent") else ""

    def _on_ping(self, tab: Tab) -> None:
        """Answers, unless it has fallen silent."""
        if self._acking and self.kind in ("leased", "silent"):
            self._spawn(self._acknowledge(tab.connection))

    async def _acknowledge(self, connection: str) -> None:
        try:
            async with self._proof_free:
                answer = await self._proof.post("/subscribe/ack", {"connection": connection})
        except (OSError, EOFError, TimeoutError):
            return  # it left in between
        self._tally.counts["acks"] += 1
        if answer.status not in (204, 404) and _FULL not in answer.body:
            self._tally.violate(f"{self.name}: {answer.status} for an ack")

    def _spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Starts what ends with the user's going."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # What it does

    async def _act(self) -> None:
        fate = self._dice.random()
        if self._unanswered:
            key, text = self._unanswered.popitem()
            self._late.add(text)
            await self._say(text, key=key)
        elif fate < 0.60:
            await self._chat()
        elif fate < 0.70:
            await self._chat_twice()
        elif fate < 0.75:
            await self._hang_up()
        elif fate < 0.80:
            await self._stop_generation()
        elif fate < 0.84:
            await self._end_session()
        elif fate < 0.92:
            await self._look_at_conversation()
        else:
            await self._look_at_archives()

    def _text(self, words: int | None = None) -> str:
        self._said += 1
        count = words or (300 if self._dice.random() < 0.02 else self._dice.randint(2, 20))
        blank = "\n" if self._dice.random() < 0.1 else " "
        return blank.join([f"{self.name} {self._said}:", *self._dice.choices(_WORDS, k=count)])

    async def _chat(self) -> None:
        await self._say(self._text(), streamed=self._dice.random() < 0.35)

    async def _chat_twice(self) -> None:
        """The same call again, with its key: at once or later it is one question and one answer."""
        text, key = self._text(), f"k-{self.name}-{self._said}"
        if self._dice.random() < 0.5:
            first = self._spawn(self._say(text, key=key))
            again = await self._say(text, key=key, caller=self._other)
            message_id = await first
        else:
            message_id = await self._say(text, key=key)
            again = await self._say(text, key=key)
        self._tally.counts["repeats"] += 1
        if message_id != again:
            self._tally.violate(f"{self.name}: {key} was answered with {message_id} and {again}")

    async def _hang_up(self) -> None:
        """Goes in the middle of a call; what was begun is finished, and a repeat gets it."""
        text, key = self._text(), f"k-{self.name}-{self._said}"
        self.perhaps.add(text)
        self._unanswered[key] = text
        saying = self._spawn(
            self._caller.post(_CHAT, {"message": text}, key=key, streamed=self._dice.random() < 0.5)
        )
        await asyncio.wait([saying], timeout=self._dice.uniform(0, 0.03))
        saying.cancel()
        await asyncio.wait([saying])
        self._caller.close(reset=self._dice.random() < 0.5)
        self._tally.counts["hang-ups"] += 1

    async def _stop_generation(self) -> None:
        saying = self._spawn(self._say(self._text(100), may_be_stopped=True))
        await asyncio.wait([saying], timeout=self._dice.uniform(0.02, 0.2))
        await self._call("/ChatServerModule/stopGeneration", {}, caller=self._other)
        await saying

    async def _say(
        self,
        text: str,
        *,
        key: str | None = None,
        streamed: bool = False,
        caller: Caller | None = None,
        may_be_stopped: bool = False,
    ) -> str:
        """Says something; the answer is right and from then on owed. Returns the reply's id."""
        if text not in self._answered:
            self.perhaps.add(text)
        answer = await self._call(_CHAT, {"message": text}, key=key, streamed=streamed, caller=caller)
        if answer.status != 200:
            return ""
        if streamed:
            events = answer.events()
            reply = events[-1].data
            pieces = "".join(event.data["text"] for event in events if event.type == "delta")
            if events[-1].type != "done" or pieces != reply["reply"]:
                self._tally.violate(f"{self.name}: {text!r} was streamed as {pieces!r} and {reply}")
                return ""
        else:
            reply = answer.json()
        conversation, said = reply["conversationId"], reply["reply"]
        stopped = may_be_stopped and reply["finishReason"] == "stopped" and text.startswith(said)
        self._tally.counts["stopped replies"] += stopped
        if said != text and not stopped:
            self._tally.violate(f"{self.name}: {text!r} was answered with {reply}")
        if text in self.perhaps:  # else the same call at once has been counted
            self.perhaps.discard(text)
            self._answered.add(text)
            self.acknowledged.append((conversation, text, said))
            self._tally.counts["messages"] += 1
            if key is None:  # with a key, the reply may be older than the tab
                for tab in self._tabs:
                    tab.owed.add(reply["messageId"])
        if conversation in self._ended and key is None:
            self._tally.violate(f"{self.name}: {text!r} was added to {conversation}, which had ended")
        self._conversation = conversation
        return str(reply["messageId"])

    async def _end_session(self) -> None:
        before = self._conversation
        answer = await self._call("/ChatServerModule/endSession", {})
        if answer.status == 200:
            ended = answer.json()
            self._tally.counts["ended sessions"] += ended["conversationId"] is not None
            if ended["conversationId"] is not None:
                self._ended.add(ended["conversationId"])
                if ended["conversationId"] == before and ended["archiveId"] is None:
                    self._tally.violate(f"{self.name}: {before} was ended, and has no archive")
        self._conversation = None

    async def _look_at_conversation(self) -> None:
        answer = await self._call("/ChatServerModule/getConversation", {})
        if answer.status != 200:
            return
        view = answer.json()
        there = [(message["role"], message["content"]) for message in view["messages"]]
        expected = [
            line
            for conversation, question, reply in self.acknowledged
            if conversation == view["conversationId"] and question not in self._late
            for line in (("user", question), ("assistant", reply))
        ]
        rest = iter(there)
        if not all(line in rest for line in expected):
            self._tally.violate(f"{self.name}: the conversation holds {there}, not {expected}")

    async def _look_at_archives(self) -> None:
        answer = await self._call("/ChatServerModule/listArchives", {"limit": 5})
        if answer.status != 200:
            return
        archives = answer.json()["archives"]
        conversations = [each["conversationId"] for each in archives]
        if len(set(conversations)) != len(conversations):
            self._tally.violate(f"{self.name}: doubled in the list: {conversations}")
        if archives and self._dice.random() < 0.3:
            one = await self._call("/ChatServerModule/getArchive", {"id": archives[-1]["id"]})
            if one.json().get("conversationId") != conversations[-1]:
                self._tally.violate(f"{self.name}: {archives[-1]['id']} is {one.json()}")

    async def _call(
        self,
        path: str,
        arguments: dict[str, Any],
        *,
        key: str | None = None,
        streamed: bool = False,
        caller: Caller | None = None,
    ) -> Answer:
        """A call that is refused since the server is full is repeated; any other status breaks a promise."""
        begun_s = time.monotonic()
        while True:
            answer = await (caller or self._caller).post(path, arguments, key=key, streamed=streamed)
            if answer.status != 503 or _FULL not in answer.body:
                break
            self._tally.counts["refused since full"] += 1
            await asyncio.sleep(self._dice.uniform(1, 3))
        self._tally.call_ms.append((time.monotonic() - begun_s) * 1000)
        self._tally.counts["calls"] += 1
        if answer.status != 200:
            self._tally.violate(f"{self.name}: {answer.status} for {path}: {answer.body[:300]!r}")
        return answer


def kind_of(number: int) -> str:
    """What kind of client a user has: of twenty one falls silent, two only call, and so on."""
    part = number % 20
    if part == 0:
        return "silent"
    if part <= 2:
        return "caller"
    if part <= 6:
        return "leased"
    if part <= 9:
        return "two tabs"
    return "ticket" if part == 10 else "plain"
