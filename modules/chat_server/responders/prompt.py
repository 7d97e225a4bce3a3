"""What a model is shown of a dialog."""

from __future__ import annotations

from collections.abc import Sequence

from ..journal.records import Message

Prompt = list[dict[str, str]]
"""Messages as the chat-completions API takes them."""

_TITLE_FROM_CHARS = 4000
_TITLE_FROM_CHARS_EACH = 1000
"""Of a dialog, and of each message, that a title is made from: what it is about is said early."""
_TITLE_WANTED = (
    "Give the dialog above a title of at most six words, in the language of the dialog. "
    "Answer with the title alone."
)
_ANSWER_IN_JSON = "Answer with one JSON object."


def newest_messages(history: Sequence[Message], room_chars: int) -> Sequence[Message]:
    """The end of a dialog within so many characters; the question, its last message, is always there."""
    count = 0
    for message in reversed(history):
        room_chars -= len(message.content)
        if room_chars < 0 and count:
            break
        count += 1
    return history[len(history) - count :]


def prompt_of(messages: Sequence[Message], system_prompt: str | None, *, json_output: bool) -> Prompt:
    """The messages as the API takes them, behind the caller's instructions and ours.

    Many models take a dialog only if a question begins it and the roles alternate. So replies before the
    first question are left out, and empty ones, that were stopped before their first word; and what then
    follows one of its own role, as behind a reply that failed, is joined to it.
    """
    prompt: Prompt = []
    for message in messages:
        last_role = prompt[-1]["role"] if prompt else "assistant"
        if not message.content or (not prompt and message.role == last_role):
            continue
        if message.role == last_role:
            prompt[-1]["content"] += f"\n\n{message.content}"
        else:
            prompt.append({"role": message.role, "content": message.content})
    instructions = [system_prompt] if system_prompt is not None else []
    # OpenAI's own endpoint refuses to answer in JSON unless a message speaks of it; others want to be told.
    texts = [*instructions, *(each["content"] for each in prompt)]
    if json_output and not any("json" in text.casefold() for text in texts):
        instructions.append(_ANSWER_IN_JSON)
    if instructions:
        prompt.insert(0, {"role": "system", "content": "\n\n".join(instructions)})
    return prompt


def title_question(messages: Sequence[Message]) -> Message:
    """The question that has a dialog's title as its answer."""
    said: list[str] = []
    room_chars = _TITLE_FROM_CHARS
    for message in messages:
        text = message.content[: min(room_chars, _TITLE_FROM_CHARS_EACH)]
        if text:
            said.append(f"{message.role}: {text}")
        room_chars -= len(text)
    return Message(role="user", content="\n\n".join([*said, _TITLE_WANTED]), id="", timestamp_ms=0)
