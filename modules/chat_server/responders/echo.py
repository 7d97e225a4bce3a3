"""The responder that answers what it is told: for trying out, and for tests."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Sequence

from typing_extensions import override

from potoserver import Clock

from ..journal.base import Message
from .base import Chunk, Responder

REASONING = "The message is repeated as it came."
_WORD = re.compile(r"\s*\S+|\s+")


class EchoResponder(Responder):
    """Repeats the question, verbatim, word by word.

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
        for word in _WORD.finditer(text):
            if self._delay_s:
                await self._clock.sleep(self._delay_s)
            else:
                await asyncio.sleep(0)  # a long message must not hold up everybody else
            yield Chunk(text=word[0])
        yield Chunk(finish_reason="stop", model="echo")
