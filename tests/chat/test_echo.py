"""The responder that answers what it is told."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.chat_server.journal import Message
from modules.chat_server.responders.echo import REASONING, EchoResponder
from potoserver import SystemClock

from ..support.clock import ManualClock, settle


async def reply(text: str, **options: bool) -> tuple[list[str], str, str | None]:
    flags = {"json_output": False, "reasoning_enabled": False} | options
    pieces, reasoning, finish = [], "", None
    stream = EchoResponder(SystemClock()).reply(
        [Message("user", text, "m-1", 0)], system_prompt=None, **flags
    )
    async for chunk in stream:
        if chunk.text:
            pieces.append(chunk.text)
        reasoning += chunk.reasoning
        finish = chunk.finish_reason or finish
    return pieces, reasoning, finish


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_the_message_comes_back_verbatim(text: str) -> None:
    """Every blank and control of it; as JSON too."""
    pieces, reasoning, finish = asyncio.run(reply(text))
    assert ("".join(pieces), reasoning, finish) == (text, "", "stop")
    pieces, _, _ = asyncio.run(reply(text, json_output=True))
    assert json.loads("".join(pieces)) == {"echo": text}


@pytest.mark.parametrize(
    ("text", "pieces"),
    [("one two", ["one", " two"]), ("  a\n\nb ", ["  a", "\n\nb", " "]), (" ", [" "])],
)
async def test_it_comes_word_by_word(text: str, pieces: list[str]) -> None:
    """A word with the blanks before it."""
    assert (await reply(text))[0] == pieces


async def test_a_long_message_comes_in_larger_pieces() -> None:
    """The first 64 words one by one, the rest by 64; not with a pause, which is for each word."""
    text = "a " * 1000
    pieces, _, _ = await reply(text)
    assert "".join(pieces) == text
    assert pieces[:64] == ["a", *[" a"] * 63]
    assert len(pieces) == 64 + -(-(1000 - 64) // 64) + 1


async def test_reasoning_is_a_fixed_text_beside_the_reply() -> None:
    """Only where it is asked for."""
    assert (await reply("x", reasoning_enabled=True))[1:] == (REASONING, "stop")


async def test_the_delay_is_before_each_word() -> None:
    """By the clock."""
    clock = ManualClock()
    pieces: list[str] = []

    async def follow() -> None:
        stream = EchoResponder(clock, 100).reply(
            [Message("user", "a b", "m-1", 0)],
            system_prompt=None,
            json_output=False,
            reasoning_enabled=False,
        )
        async for chunk in stream:
            pieces.append(chunk.text)

    following = asyncio.create_task(follow())
    await settle()
    assert pieces == []
    await clock.advance(0.1)
    assert pieces == ["a"]
    await clock.advance(0.1)
    await following
    assert pieces == ["a", " b", ""]
