"""Text that arrives in pieces: reasoning told from reply, characters kept whole."""

from __future__ import annotations

_OPEN, _CLOSE = "<think>", "</think>"
_MAX_BLANKS = 4096
"""How many blanks may come before the block: who sends more sends a reply of blanks, and that has a limit."""


class ThinkSplitter:
    """Tells a leading `<think>…</think>` block from the reply behind it.

    Only a block at the very beginning counts: further on, a reply may well speak of such tags. Where an
    endpoint has taken the block apart already, the blank lines behind it are still there.
    """

    def __init__(self) -> None:
        self._held = ""
        self._state = "start"

    def feed(self, text: str, apart: str = "") -> tuple[str, str]:
        """Takes the next piece; returns the reply and the reasoning that are certain by now.

        Args:
            text: Of the reply, with or without a block.
            apart: Of the reasoning, that came by itself.
        """
        if apart and self._state == "start":
            self._state = "after"
        reply, reasoning = self._split(text)
        return reply, apart + reasoning

    def _split(self, text: str) -> tuple[str, str]:
        if self._state == "reply":
            return text, ""
        self._held += text
        if self._state == "start":
            beginning = self._held.lstrip()
            if beginning.startswith(_OPEN):
                self._held = beginning[len(_OPEN) :]
                self._state = "thinking"
            elif _OPEN.startswith(beginning) and len(self._held) <= _MAX_BLANKS:
                return "", ""
            else:
                return self._release("reply"), ""
        if self._state == "thinking":
            reasoning, closed, rest = self._held.partition(_CLOSE)
            if not closed:
                kept = _length_of_possible_tag(self._held)
                reasoning, self._held = (
                    self._held[: len(self._held) - kept],
                    self._held[len(self._held) - kept :],
                )
                return "", reasoning
            self._held = rest
            self._state = "after"
        else:
            reasoning = ""
        # The blank lines behind the block belong to neither.
        self._held = self._held.lstrip()
        return (self._release("reply") if self._held else ""), reasoning

    def flush(self) -> tuple[str, str]:
        """What was held back at the end of the text: the reply, the reasoning."""
        thinking = self._state == "thinking"
        held = self._release("reply")
        return ("", held) if thinking else (held, "")

    def _release(self, state: str) -> str:
        held, self._held, self._state = self._held, "", state
        return held


def _length_of_possible_tag(text: str) -> int:
    """How much of the end of `text` may be the beginning of the closing tag."""
    return next((n for n in range(len(_CLOSE) - 1, 0, -1) if text.endswith(_CLOSE[:n])), 0)


class WholeCharacters:
    """Joins surrogate pairs split between two pieces; replaces lone ones, which no file can hold."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Takes the next piece; a high surrogate at its end waits for the next one."""
        text = self._held + text
        self._held = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        return _whole(text)

    def flush(self) -> str:
        """What was held back at the end of the text."""
        held, self._held = self._held, ""
        return _whole(held)


def _whole(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
