"""The example among the modules."""

from __future__ import annotations

from pathlib import Path

from modules.who_is_online import WhoIsOnline
from tests.support.fake_context import FakeContext


async def test_who_arrives_as_the_engine_goes_away_is_told_of_when_it_is_back(tmp_path: Path) -> None:
    """And nothing is a failure meanwhile: nobody can do anything about it."""
    context, module = FakeContext(tmp_path), WhoIsOnline()
    await context.start(module)
    await context.engine.attach("a1", "c1")
    await module.on_sse_connect("a1")
    context.away = True
    for _ in range(3):
        await context.manual_clock.advance(module.TELL_AFTER_S)
    assert context.broadcasts == []
    context.away = False
    await context.manual_clock.advance(module.TELL_AFTER_S)
    assert [event.data for event in context.broadcasts] == [{"users": ["a1"], "count": 1}]
    await context.manual_clock.advance(module.TELL_AFTER_S)
    assert len(context.broadcasts) == 1
    assert "task failed" not in [line["event"] for line in context.lines]
