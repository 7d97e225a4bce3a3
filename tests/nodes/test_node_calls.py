"""Calls between nodes: whole answers, nobody ahead of the other, an end to every wait whatever is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress

import pytest
import structlog

from potoserver.engine.base import NodeInfo
from potoserver.errors import FieldError, ProblemError, UnavailableError
from potoserver.nodes.exchange import WINDOW_PARTS, CutOffError, Part
from potoserver.nodes.message import PART_BYTES, Kind, Message
from potoserver.nodes.node_calls import NodeCalls
from potoserver.tasks import OwnedTasks
from tests.support.clock import ManualClock, settle

Serve = Callable[[str, Part, AsyncIterator[bytes]], AsyncGenerator[Part, None]]
GIVEN_UP_AFTER_S = 6
"""Two questions without an answer."""


class Wire:
    """Carries messages between the nodes of one test, but for those that `loses` picks."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeCalls] = {}
        self.carried: list[tuple[str, str, Message]] = []
        self.loses: Callable[[str, Message], bool] = lambda _, __: False
        self.away: set[str] = set()
        self.dead: set[str] = set()
        self.unseen: set[str] = set()
        """They live, but the others have not looked since they joined."""

    def carry(self, sender: str, node_id: str, payload: bytes) -> None:
        message = Message.decode(payload)
        self.carried.append((sender, node_id, message))
        if not self.loses(sender, message):
            asyncio.get_running_loop().call_soon(self.nodes[node_id].on_message, sender, payload)


class Post:
    def __init__(self, wire: Wire, node_id: str) -> None:
        self._wire = wire
        self.node_id = node_id

    def nodes(self) -> list[NodeInfo]:
        return [
            NodeInfo(each, draining=False, connections=0)
            for each in self._wire.nodes.keys() - self._wire.dead - self._wire.unseen
        ]

    async def find_nodes(self) -> list[NodeInfo]:
        if self.node_id in self._wire.away:
            raise UnavailableError("The engine is away.")
        self._wire.unseen = set()
        return self.nodes()

    async def send(self, node_id: str, payload: bytes) -> None:
        if self.node_id in self._wire.away:
            raise UnavailableError("The engine is away.")
        self._wire.carry(self.node_id, node_id, payload)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def wire(clock: ManualClock) -> AsyncIterator[Wire]:
    wire = Wire()
    logger = structlog.get_logger()
    tasks = OwnedTasks(logger, clock)
    for node_id in ("a", "b"):
        wire.nodes[node_id] = NodeCalls(Post(wire, node_id), clock, tasks, logger)
    yield wire
    await tasks.drain(0)


def serve(wire: Wire, answer: Serve) -> NodeCalls:
    """Has node b answer so; returns node a."""
    wire.nodes["b"].offer("it", answer)
    return wire.nodes["a"]


async def _gather(calls: NodeCalls, request: Part) -> list[Part]:
    return [part async for part in calls.call("b", "it", request)]


async def test_an_answer_comes_in_its_parts_and_in_order(wire: Wire) -> None:
    """Fields and bytes, as many parts as there are."""

    async def count(node: str, request: Part, _: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
        assert (node, request.data) == ("a", b"please")
        for number in range(request.fields["upto"]):
            yield Part({"number": number}, b"%d" % number)

    parts = await _gather(serve(wire, count), Part({"upto": 50}, b"please"))
    assert [part.fields["number"] for part in parts] == list(range(50))
    assert [part.data for part in parts] == [b"%d" % number for number in range(50)]


async def test_a_question_and_an_answer_of_one_part_each_are_two_messages(wire: Wire) -> None:
    """Neither side waits for what the other would say beyond that."""

    async def answer(_: str, __: Part, rest: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
        assert [each async for each in rest] == []
        yield Part({"it": 1}, last=True)

    (part,) = await _gather(serve(wire, answer), Part())
    await settle()
    assert part.fields == {"it": 1}
    assert [message.kind for _, __, message in wire.carried] == [Kind.WHOLE, Kind.LAST]
    assert [len(each) for each in wire.nodes.values()] == [0, 0]


async def test_a_request_larger_than_a_message_arrives_whole(wire: Wire) -> None:
    """In parts of the size that a message may have, the rest as it is asked for."""
    body = bytes(range(256)) * (PART_BYTES // 256 * 7 // 2)

    async def length(_: str, request: Part, rest: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
        yield Part(data=request.data + b"".join([each async for each in rest]))

    (part,) = await _gather(serve(wire, length), Part(data=body))
    assert part.data == body
    assert max(len(message.data) for _, __, message in wire.carried[:-3]) == PART_BYTES


async def test_who_takes_nothing_stops_the_making_after_a_few_parts(wire: Wire) -> None:
    """So a slow reader's answer gathers on neither node."""
    made: list[int] = []

    async def endless(_: str, __: Part, ___: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
        while True:
            made.append(len(made))
            yield Part()

    async with aclosing(serve(wire, endless).call("b", "it", Part())) as parts:
        await anext(parts)
        await settle(200)
        assert len(made) == WINDOW_PARTS + 2
        await anext(parts)
        await settle(200)
        assert len(made) == WINDOW_PARTS + 3


async def test_a_problem_comes_as_it_was_raised_behind_the_parts_before_it(wire: Wire) -> None:
    """Status, words, fields, time to wait and headers."""

    async def fail(_: str, __: Part, ___: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
        yield Part({"n": 1})
        raise ProblemError(
            429, "Too many.", errors=[FieldError("a.b", "less")], retry_after_s=7, headers={"X-Why": "many"}
        )

    parts = serve(wire, fail).call("b", "it", Part())
    assert (await anext(parts)).fields == {"n": 1}
    with pytest.raises(ProblemError) as caught:
        await anext(parts)
    problem = caught.value
    assert (problem.status, problem.detail, problem.retry_after_s) == (429, "Too many.", 7)
    assert (problem.errors, problem.headers) == ((FieldError("a.b", "less"),), {"X-Why": "many"})


async def test_what_fails_unforeseen_tells_the_caller_nothing_of_the_inside(wire: Wire) -> None:
    """500, as for a call that fails on the node itself."""

    async def fail(_: str, __: Part, ___: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
        raise RuntimeError("the secret")
        yield Part()

    with pytest.raises(ProblemError) as caught:
        await _gather(serve(wire, fail), Part())
    assert (caught.value.status, "secret" in caught.value.detail) == (500, False)


async def test_a_caller_that_goes_has_the_other_side_stop(wire: Wire) -> None:
    """The answer's generator is closed, wherever it was."""
    closed = asyncio.Event()

    async def endless(_: str, __: Part, ___: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
        try:
            yield Part()
            await asyncio.Event().wait()
        finally:
            closed.set()

    parts = serve(wire, endless).call("b", "it", Part())
    await anext(parts)
    await parts.aclose()
    await closed.wait()
    await settle()
    assert (len(wire.nodes["a"]), len(wire.nodes["b"])) == (0, 0)


@pytest.mark.parametrize("kind", [Kind.CALL, Kind.PART, Kind.END, Kind.TAKEN])
@pytest.mark.parametrize("nth", [0, 3])
async def test_whatever_message_is_lost_nobody_waits_for_ever(
    wire: Wire, clock: ManualClock, kind: Kind, nth: int
) -> None:
    """The answer comes whole, or the call is cut off; both nodes have forgotten it then."""
    left = nth

    def loses(_: str, message: Message) -> bool:
        nonlocal left
        if message.kind is kind:
            left -= 1
        return message.kind is kind and left == -1

    async def echo(_: str, request: Part, rest: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
        data = request.data + b"".join([each async for each in rest])
        for begin in range(0, len(data), PART_BYTES):
            yield Part(data=data[begin : begin + PART_BYTES])

    wire.loses = loses
    body = bytes(7 * PART_BYTES)
    call = asyncio.create_task(_gather(serve(wire, echo), Part(data=body)))
    for _ in range(8):
        await settle(200)
        await clock.advance(1)
    assert call.done()
    if isinstance(error := call.exception(), Exception):
        assert isinstance(error, CutOffError)
        assert error.retry_after_s
        assert left < 0
    else:
        assert b"".join(part.data for part in call.result()) == body
    assert (len(wire.nodes["a"]), len(wire.nodes["b"])) == (0, 0)


async def test_a_node_that_answers_nothing_is_given_up_after_two_questions(
    wire: Wire, clock: ManualClock
) -> None:
    """It was stopped, or everything to it is lost."""
    wire.loses = lambda sender, _: sender == "a"
    call = asyncio.create_task(_gather(wire.nodes["a"], Part()))
    await clock.advance(GIVEN_UP_AFTER_S - 0.1)
    assert not call.done()
    await clock.advance(0.2)
    with pytest.raises(CutOffError):
        await call


async def test_a_long_silence_is_no_end_while_the_other_side_is_there(wire: Wire, clock: ManualClock) -> None:
    """A model may think for minutes."""
    thought = asyncio.Event()

    async def think(_: str, __: Part, ___: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
        await thought.wait()
        yield Part({"thought": True})

    call = asyncio.create_task(_gather(serve(wire, think), Part()))
    for _ in range(60):
        await clock.advance(2)
    assert not call.done()
    thought.set()
    assert [part.fields for part in await call] == [{"thought": True}]


async def test_the_death_of_a_node_cuts_its_calls_on_both_sides(wire: Wire, clock: ManualClock) -> None:
    """Who waits for it is told; what it asked for is stopped."""
    closed = asyncio.Event()

    async def endless(_: str, __: Part, ___: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
        try:
            await asyncio.Event().wait()
            yield Part()
        finally:
            closed.set()

    call = asyncio.create_task(_gather(serve(wire, endless), Part()))
    await settle()
    wire.loses = lambda _, __: True
    wire.dead = {"a"}
    await clock.advance(1)
    await closed.wait()
    assert not call.done()
    wire.dead = {"b"}
    await clock.advance(1)
    with pytest.raises(CutOffError):
        await call


@pytest.mark.parametrize("engine_is_away", [False, True])
async def test_a_call_from_or_to_a_node_that_has_just_joined_is_not_cut(
    wire: Wire, clock: ManualClock, engine_is_away: bool
) -> None:
    """It is not known to the other node before that looks again."""
    thought = asyncio.Event()

    async def think(_: str, __: Part, ___: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
        await thought.wait()
        yield Part({"thought": True})

    call = asyncio.create_task(_gather(serve(wire, think), Part()))
    await settle()
    wire.unseen = {"a", "b"}
    wire.away = {"a", "b"} if engine_is_away else set()
    await clock.advance(1)
    await settle()
    wire.away = set()
    thought.set()
    assert [part.fields for part in await call] == [{"thought": True}]


async def test_a_call_while_the_engine_is_away_fails_at_once(wire: Wire) -> None:
    """503, and nothing stays behind."""
    wire.away = {"a"}
    with pytest.raises(UnavailableError):
        await _gather(wire.nodes["a"], Part())
    assert len(wire.nodes["a"]) == 0


async def test_a_node_that_loses_the_engine_before_the_end_leaves_nobody_waiting(
    wire: Wire, clock: ManualClock
) -> None:
    """The caller asks, and learns that nobody is there any more."""

    async def lose_engine(_: str, __: Part, ___: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
        yield Part()
        wire.away = {"b"}

    call = asyncio.create_task(_gather(serve(wire, lose_engine), Part()))
    await settle(200)
    wire.away = set()
    assert len(wire.nodes["b"]) == 0
    await clock.advance(GIVEN_UP_AFTER_S)
    with pytest.raises(CutOffError):
        await call


async def test_strange_bytes_and_messages_of_no_exchange_change_nothing(wire: Wire) -> None:
    """Another version of the server may share the engine during a rolling restart."""
    node = wire.nodes["b"]
    for raw in (
        b"",
        b"{}",
        b"[1,2]\n",
        b'["x",0,"dance",{}]\n',
        b'["x","0","part",{}]\n',
        b"\xff\n",
        b'["x",0,"call",[]]\n',
    ):
        node.on_message("a", raw)
    await settle()
    assert wire.carried == []
    node.on_message("a", Message("x", 0, Kind.ASK).encode())
    node.on_message("a", Message("x", 0, Kind.GONE).encode())
    await settle()
    assert [message.kind for _, __, message in wire.carried] == [Kind.GONE]
    assert len(node) == 0


async def test_messages_of_another_node_than_the_one_called_are_not_the_answer(wire: Wire) -> None:
    """An exchange belongs to two nodes."""

    async def wait(_: str, __: Part, ___: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
        await asyncio.Event().wait()
        yield Part()

    call = asyncio.create_task(_gather(serve(wire, wait), Part()))
    await settle()
    exchange = wire.carried[0][2].exchange
    wire.nodes["a"].on_message("c", Message(exchange, 0, Kind.END).encode())
    await settle()
    assert not call.done()
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call


async def test_what_a_node_does_not_offer_is_answered_so(wire: Wire) -> None:
    """An older version may run beside this one during a rolling restart."""
    with pytest.raises(ProblemError) as caught:
        await _gather(wire.nodes["a"], Part())
    assert caught.value.status == 501
