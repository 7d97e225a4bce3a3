"""What a model is shown of a dialog."""

from __future__ import annotations

import pytest

from modules.chat_server.journal import Message
from modules.chat_server.responders.prompt import newest_messages, prompt_of


def dialog(*said: str) -> list[Message]:
    """Messages by role and content: `u hello`, `a hello`."""
    roles = {"u": "user", "a": "assistant"}
    return [Message(roles[each[0]], each[2:], f"m-{i}", i) for i, each in enumerate(said)]


def shown(*said: str, system_prompt: str | None = None, json_output: bool = False) -> list[str]:
    prompt = prompt_of(dialog(*said), system_prompt, json_output=json_output)
    return [f"{each['role'][0]} {each['content']}" for each in prompt]


@pytest.mark.parametrize(
    ("room_chars", "left"), [(100, "one two three"), (8, "two three"), (7, "three"), (1, "three")]
)
def test_the_newest_messages_that_have_room_are_shown(room_chars: int, left: str) -> None:
    """The question always."""
    messages = newest_messages(dialog("u one", "a two", "u three"), room_chars)
    assert [each.content for each in messages] == left.split()


def test_roles_alternate_from_a_question_on() -> None:
    """As many models insist, whatever replies failed, were stopped at once, or came late."""
    assert shown("a late", "a later", "u one", "u two", "a ", "u three", "a x", "a y", "u z") == [
        "u one\n\ntwo\n\nthree",
        "a x\n\ny",
        "u z",
    ]


def test_json_is_spoken_of_where_nobody_else_does() -> None:
    """Some endpoints refuse to answer in it else."""
    told = "Answer with one JSON object."
    assert shown("u hello", json_output=True) == [f"s {told}", "u hello"]
    assert shown("u hello", system_prompt="Be brief.", json_output=True) == [
        f"s Be brief.\n\n{told}",
        "u hello",
    ]
    assert shown("u in json, please", json_output=True) == ["u in json, please"]
    assert shown("u hello", system_prompt="Write JSON.", json_output=True) == ["s Write JSON.", "u hello"]
    assert shown("u hello", system_prompt="") == ["s ", "u hello"]
