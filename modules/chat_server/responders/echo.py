"""The responder that answers what it is told: for trying out, and for tests."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import islice

from typing_extensions import override

from potoserver import Clock

from ..journal.records import Message
from .base import Chunk, Responder

REASONING = "The message is repeated as it came."
_WORD = re.compile(r"\s*+\S++|\s++")
SINGLE_WORDS = 64
"""So many words a reply without pauses begins with, one by one; then it gives as many at once."""
_WORDS = re.compile(rf"(?:\s*+\S++){{1,{SINGLE_WORDS}}}+|\s++")
"""What a long reply goes on with: a piece for each word would be more work than the reply is worth.

Possessive: to remember where one might go back to would take a third of the time, and one never does.
"""

_AT_A_TIME = 64
"""So many pieces before the others have their turn."""


class EchoResponder(Responder):
    """Repeats the question, verbatim, word by word; without a pause, the first 64 so and the rest by 64.

    Args:
        clock: Measures the pauses.
        delay_ms: Pause before each word.
    """

    uses_history = False

    def __init__(self, clock: Clock, delay_ms: int = 0) -> None:
        self._clock = clock
        self._delay_s = delay_ms / 1000

    @override
    async def reply(
        self,
        history: Sequence[Message],
        *,
        system_prompt: str | None,
        json_output: bool,
        reasoning_enabled: bool,
    ) -> AsyncGenerator[Chunk, None]:
        message = history[-1].content
        text = json.dumps({"echo": message}, ensure_ascii=False) if json_output else message
        if reasoning_enabled:
            yield Chunk(reasoning=REASONING)
        for number, words in enumerate(self._pieces_of(text)):
            if self._delay_s:
                await self._clock.sleep(self._delay_s)
            elif number and number % _AT_A_TIME == 0:
                await asyncio.sleep(0)  # a long message must not hold up everybody else
            yield Chunk(words)
        yield Chunk(finish_reason="stop", model="echo")

    def _pieces_of(self, text: str) -> Iterator[str]:
        at = 0
        for match in islice(_WORD.finditer(text), None if self._delay_s else SINGLE_WORDS):
            at = match.end()
            yield match[0]
        for match in _WORDS.finditer(text, at):
            yield match[0]
