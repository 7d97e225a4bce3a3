"""A module asks all nodes at once: who answers, who is left out, what travels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from potoserver import Gathered, ProblemError, ServerModule, UnavailableError, WireModel, per_node
from potoserver.module.nodes import per_node_methods
from potoserver.nodes.exchange import Part
from tests.nodes.support import two_servers
from tests.support.server import RunServer


class Wanted(NamedTuple):
    """What is asked for."""

    text: str
    times: int = 1


class Found(WireModel):
    """What was found."""

    node_name: str
    texts: tuple[str, ...]


class Counter(ServerModule):
    """One on each node, with a name of its own."""

    def __init__(self, name: str) -> None:
        self.called = name
        self.fails: Exception | None = None
        self.holds = asyncio.Event()
        self.holds.set()

    @per_node
    async def find(self, wanted: Wanted, suffix: str = "") -> list[Found]:
        """What is wanted, by this node."""
        await self.holds.wait()
        if self.fails is not None:
            raise self.fails
        return [Found(node_name=self.called, texts=(wanted.text + suffix,) * wanted.times)]

    async def private(self) -> int:
        """Nothing that another node may run."""
        return 1


Pair = tuple[Counter, Counter]


@pytest.fixture
async def pair(tmp_path: Path, valkey_url: str, running_server: RunServer) -> AsyncIterator[Pair]:
    """A module on two servers on one Valkey."""
    one, two = Counter("one"), Counter("two")
    async with two_servers(running_server, tmp_path, valkey_url, ([one], [two]), 1000) as servers:
        for server in servers:
            await server.core.engine.has_successor()  # each knows of the other
        yield one, two


def by_name(gathered: Gathered[list[Found]]) -> dict[str, tuple[str, ...]]:
    return {found.node_name: found.texts for answer in gathered.answers.values() for found in answer}


async def test_every_node_answers_for_itself(pair: Pair) -> None:
    """Whoever asks; by the node's id, arguments and results as they are."""
    for module, other in (pair, pair[::-1]):
        gathered = await module.context.nodes.ask_all(module.find, Wanted("ä", 2), suffix="!")
        assert by_name(gathered) == {"one": ("ä!", "ä!"), "two": ("ä!", "ä!")}
        assert list(gathered.answers) == [module.context.nodes.id, other.context.nodes.id]
        assert {each.id for each in module.context.nodes.living()} == set(gathered.answers)
        assert gathered.silent == ()
        assert gathered.complete() == gathered.answers


async def test_a_node_that_has_just_joined_is_asked(
    tmp_path: Path, valkey_url: str, running_server: RunServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by one that has not renewed since: a list of all nodes is never without one."""
    monkeypatch.setattr("potoserver.engine.valkey.life.RENEWAL_S", 60)
    one, two = Counter("one"), Counter("two")
    async with two_servers(running_server, tmp_path, valkey_url, ([one], [two]), 1000) as (asking, _):
        await asking.core.engine._life.renew()  # and no more from here on
        registry = asking.core.engine._registry
        # As if it had renewed before the other one joined.
        registry._nodes = [node for node in registry.nodes if node.id == registry.node_id]
        assert len(one.context.nodes.living()) == 1
        gathered = await one.context.nodes.ask_all(one.find, Wanted("x"))
        assert by_name(gathered) == {"one": ("x",), "two": ("x",)}


@pytest.mark.parametrize("chars", [262_143, 262_144, 262_145, 2_000_000])
async def test_answers_of_any_size_arrive_whole(pair: Pair, chars: int) -> None:
    """Also where they are larger than a message."""
    gathered = await pair[0].context.nodes.ask_all(pair[0].find, Wanted("x" * chars))
    assert {name: len(texts[0]) for name, texts in by_name(gathered).items()} == {"one": chars, "two": chars}


async def test_a_node_that_does_not_answer_is_left_out_and_named(pair: Pair) -> None:
    """After a few seconds; the others' answers are there all the same."""
    one, two = pair
    two.holds.clear()
    gathered = await one.context.nodes.ask_all(one.find, Wanted("x"))
    assert by_name(gathered) == {"one": ("x",)}
    assert gathered.silent == (two.context.nodes.id,)
    with pytest.raises(UnavailableError):
        gathered.complete()
    two.holds.set()
    assert (await one.context.nodes.ask_all(one.find, Wanted("x"))).silent == ()


async def test_a_node_that_starts_answers_once_its_modules_have_started(pair: Pair) -> None:
    """It is among the others before that; one that never gets so far is silent."""
    one, two = pair
    core = two.context._core
    core.started = False
    core.start_over.clear()
    asking = asyncio.create_task(one.context.nodes.ask_all(one.find, Wanted("x")))
    while not core.node_calls:
        await asyncio.sleep(0.01)
    core.started = True
    core.start_over.set()
    assert by_name(await asking) == {"one": ("x",), "two": ("x",)}
    core.started = False
    assert (await one.context.nodes.ask_all(one.find, Wanted("x"))).silent == (two.context.nodes.id,)
    core.started = True


async def test_a_node_that_leaves_while_it_is_asked_is_not_missed(
    tmp_path: Path, valkey_url: str, running_server: RunServer
) -> None:
    """It has nothing any more; so a list is whole without it, and nobody waits."""
    one, two = Counter("one"), Counter("two")
    async with two_servers(running_server, tmp_path, valkey_url, ([one], [two]), 1000) as servers:
        await servers[0].core.engine.has_successor()
        two.holds.clear()
        asking = asyncio.create_task(one.context.nodes.ask_all(one.find, Wanted("x")))
        while not servers[1].core.node_calls:
            await asyncio.sleep(0.01)
        await servers[1].core.engine.stop()
        assert by_name(await asking) == {"one": ("x",)}
        assert (await asking).complete() == (await asking).answers
        two.holds.set()


@pytest.mark.parametrize("error", [RuntimeError("the inside"), ProblemError(409, "No.")])
async def test_a_node_that_fails_is_left_out_and_one_s_own_failure_is_raised(
    pair: Pair, error: Exception
) -> None:
    """As it would be without another node."""
    one, two = pair
    two.fails = error
    assert (await one.context.nodes.ask_all(one.find, Wanted("x"))).silent == (two.context.nodes.id,)
    with pytest.raises(type(error)):
        await two.context.nodes.ask_all(two.find, Wanted("x"))


async def test_what_is_not_marked_is_run_for_no_other_node(pair: Pair) -> None:
    """A message from another node can name nothing else of a module."""
    one, two = pair
    with pytest.raises(KeyError):
        await one.context.nodes.ask_all(one.private)
    node_calls = one.context._core.node_calls
    for name in ("private", "on_stop", "__init__"):
        asked = node_calls.call(two.context.nodes.id, "ask Counter", Part({"method": name}, b"[]"))
        with pytest.raises(ProblemError, match="no such method"):
            await anext(asked)


async def test_while_the_engine_is_away_the_others_are_silent(pair: Pair) -> None:
    """What this node knows of itself it still tells."""
    one, two = pair
    engine = one.context._core.engine
    async with engine._life._renewing:  # a renewal would find that it is there
        engine._link.trouble = "cut off"
        gathered = await one.context.nodes.ask_all(one.find, Wanted("x"))
    assert (by_name(gathered), gathered.silent) == ({"one": ("x",)}, (two.context.nodes.id,))


async def test_a_node_alone_is_asked_by_a_plain_call(tmp_path: Path, running_server: RunServer) -> None:
    """Nothing is put into words that could not be said to another node."""

    class Alone(ServerModule):
        @per_node
        async def same(self, thing: object) -> object:
            """The very same thing."""
            return thing

    module, thing = Alone(), object()
    async with running_server(tmp_path, [module]):
        gathered = await module.context.nodes.ask_all(module.same, thing)
        assert gathered.answers[module.context.nodes.id] is thing
        assert len(module.context.nodes.living()) == 1


def test_a_method_that_can_t_travel_is_refused_at_the_start() -> None:
    """By name."""

    class Sync(ServerModule):
        @per_node
        def look(self) -> int:
            return 1

    class Untyped(ServerModule):
        @per_node
        async def look(self, what):
            return what

    for module in (Sync(), Untyped()):
        with pytest.raises(TypeError, match=f"{type(module).__name__}.look"):
            per_node_methods(module)
