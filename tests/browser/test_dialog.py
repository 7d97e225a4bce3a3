"""The page's model of a dialog: whatever order things are heard of in, each message is there once."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from playwright.async_api import Page

_PLAY = """async (steps) => {
    const { Dialog } = await import("/static/dialog.js");
    const dialog = new Dialog(() => {});
    const unsettled = [];
    for (const [name, ...args] of steps) {
        dialog[name](...args);
        unsettled.push(!dialog.isSettled);
    }
    const entries = dialog.entries.map(({ role, content, state, id, isPartial }) =>
        `${role} ${state} ${id} ${isPartial ? "… " : ""}${content}`);
    return { entries, unsettled, conversation: dialog.conversationId, growing: dialog.isGrowing };
}"""
RESULT = {"conversationId": "c", "messageId": "a", "reply": "Hello", "finishReason": "stop"}
CALL: list[list[Any]] = [
    ["grow", "web-1", {"text": "Hel"}],
    ["grow", "web-1", {"text": "lo"}],
    [
        "answered",
        "web-1",
        {"conversationId": "c", "messageId": "a", "reply": "Hello", "finishReason": "stop"},
    ],
]
"""What this tab's own call tells."""


def message(
    role: str, content: str, message_id: str, request: str = "web-1", conversation: str = "c"
) -> list[Any]:
    data = {"conversationId": conversation, "messageId": message_id, "role": role, "content": content}
    return ["onMessage", data | {"requestId": request, "timestamp": "2026-01-01T10:00:00.000Z"}]


def delta(text: str, request: str = "web-1") -> list[Any]:
    return ["onDelta", {"conversationId": "c", "messageId": "a", "text": text, "requestId": request}]


EVENTS = [message("user", "Hi", "q"), delta("Hel"), delta("lo"), message("assistant", "Hello", "a")]
"""What every tab is told meanwhile."""
BOTH = ["user done q Hi", "assistant done a Hello"]
KEPT: list[dict[str, Any]] = [
    {"id": "q", "role": "user", "content": "Hi", "timestamp": "2026-01-01T10:00:00.000Z"},
    {"id": "a", "role": "assistant", "content": "Hello", "timestamp": "2026-01-01T10:00:01.000Z"},
]
"""What `getConversation` has of it."""


async def play(modules: Page, *steps: list[Any]) -> dict[str, Any]:
    return dict(await modules.evaluate(_PLAY, list(steps)))


async def test_a_call_and_its_events_may_come_in_any_order(modules: Page) -> None:
    """All of the thirty-five ways in which the call's own answer and the events can mix."""
    total = len(CALL) + len(EVENTS)
    for places in itertools.combinations(range(total), len(CALL)):
        own, told = iter(CALL), iter(EVENTS)
        mixed = [next(own) if at in places else next(told) for at in range(total)]
        played = await play(modules, ["ask", "web-1", "Hi"], *mixed)
        assert played["entries"] == BOTH, mixed
        assert played["growing"] is False


async def test_events_alone_are_enough(modules: Page) -> None:
    """In a tab that did not ask. Until the reply is whole the dialog is not settled."""
    played = await play(modules, *EVENTS)
    assert played["entries"] == BOTH
    assert played["unsettled"] == [True, True, True, False]


async def test_a_reply_whose_beginning_was_missed_says_so_until_it_is_whole(modules: Page) -> None:
    """On another device, in the middle of it."""
    loaded = ["loaded", {"conversationId": "c", "messages": KEPT[:1]}]
    played = await play(modules, ["loading"], loaded, delta("lo"))
    assert played["entries"] == ["user done q Hi", "assistant growing a … lo"]
    played = await play(modules, ["loading"], loaded, delta("lo"), EVENTS[-1])
    assert played["entries"] == BOTH


@pytest.mark.parametrize("arrives", range(len(EVENTS) + 1))
async def test_what_arrives_while_the_dialog_is_loaded_is_kept(modules: Page, arrives: int) -> None:
    """The answer may be older than the events that came before it, or as new."""
    for known in range(3):
        load = ["loaded", {"conversationId": "c", "messages": KEPT[:known]}]
        begin = ["loaded", {"conversationId": "c", "messages": []}]
        steps = [["loading"], begin, ["loading"], *EVENTS[:arrives], load, *EVENTS[arrives:]]
        assert (await play(modules, *steps))["entries"] == BOTH, (known, arrives)


@pytest.mark.parametrize("told", [EVENTS, []], ids=["its events come", "its events were missed"])
async def test_a_load_that_knows_more_than_the_call_and_the_events_adds_nothing(
    modules: Page, told: list[list[Any]]
) -> None:
    """The network was away: question and reply are on disk before this tab has heard of either."""
    own = [KEPT[0] | {"idempotencyKey": "web-1"}, KEPT[1]]
    load = [["loading"], ["loaded", {"conversationId": "c", "messages": own}]]
    total = len(CALL) + len(told)
    for places in itertools.combinations(range(total), len(CALL)):
        calls, events = iter(CALL), iter(told)
        mixed = [next(calls) if at in places else next(events) for at in range(total)]
        for at in range(total + 1):
            steps = [["ask", "web-1", "Hi"], *mixed[:at], *load, *mixed[at:]]
            played = await play(modules, *steps)
            assert played["entries"] == BOTH, steps
            assert played["growing"] is False


async def test_a_repeat_begins_the_reply_anew(modules: Page) -> None:
    """After a cut the whole reply comes again."""
    again = [["grow", "web-1", {"restart": True}], *CALL]
    played = await play(modules, ["ask", "web-1", "Hi"], *CALL[:2], *again)
    assert played["entries"] == ["user done null Hi", BOTH[1]]


async def test_a_call_that_failed_leaves_its_question_and_a_repeat_answers_it(modules: Page) -> None:
    """And no piece of a reply."""
    ask = ["ask", "web-1", "Hi"]
    failed = ["failed", "web-1", {"status": 502}]
    played = await play(modules, ask, EVENTS[0], CALL[0], failed)
    assert played["entries"] == ["user done q Hi"]
    played = await play(modules, ask, EVENTS[0], CALL[0], failed, ask, *CALL)
    assert played["entries"] == BOTH


async def test_a_dialog_that_ends_takes_its_messages_along_but_not_what_is_on_its_way(modules: Page) -> None:
    """That belongs to the next one."""
    steps = [*EVENTS, ["ask", "web-2", "More"], ["onArchived", "c"]]
    played = await play(modules, *steps)
    assert (played["entries"], played["conversation"]) == (["user sending null More"], None)
    played = await play(modules, *steps, message("user", "More", "q2", "web-2", "d"))
    assert (played["entries"], played["conversation"]) == (["user done q2 More"], "d")
    other = await play(modules, *EVENTS, ["onArchived", "another"])
    assert other["entries"] == BOTH
