"""How the model is asked, with each message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Asking:
    """What goes with each message.

    Attributes:
        system: What the model is told before the dialog; None for nothing.
        reasoning: It is to think first.
    """

    system: str | None = None
    reasoning: bool = False

    def arguments(self, message: str) -> dict[str, Any]:
        """Those of `chatWithHistory`."""
        asked: dict[str, Any] = {"message": message}
        if self.system is not None:
            asked["systemPrompt"] = self.system
        if self.reasoning:
            asked["reasoningEnabled"] = True
        return asked


class Thoughts:
    """The lines of what a model thinks, as they get whole."""

    def __init__(self) -> None:
        self._rest = ""

    def lines_of(self, delta: Mapping[str, Any]) -> list[str]:
        """More has come; the lines that are whole now. Where the reply goes on, the last one is."""
        *lines, self._rest = (self._rest + str(delta["reasoning"])).split("\n")
        return lines + (self.rest() if delta["text"] else [])

    def rest(self) -> list[str]:
        """There is no more; the last line, if there is one."""
        rest, self._rest = self._rest, ""
        return [rest] if rest else []
