"""What answers a question, whatever model is behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from typing import ClassVar, NamedTuple

from potoserver import ProblemError

from ..journal.records import Message


class Chunk(NamedTuple):
    """A piece of a reply, as it comes.

    Attributes:
        text: The next piece of the reply.
        reasoning: The next piece of the reasoning.
        finish_reason: Why the reply ends, on the last chunk; None before.
        model: The name of the model that answers, once it is known.
    """

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    model: str | None = None


class ResponderError(ProblemError):
    """The model failed (502), or was late (504).

    Args:
        detail: For the caller: no internals, no keys.
        late: Whether it was a matter of time.
        retry_after_s: When to ask again, where the model has said so.
    """

    def __init__(self, detail: str, *, late: bool = False, retry_after_s: int | None = None) -> None:
        super().__init__(504 if late else 502, detail, retry_after_s=retry_after_s)


class ResponderSetupError(Exception):
    """The responder can't be used on this machine; the message says in one line what is missing."""


class Responder(ABC):
    """Answers questions.

    Attributes:
        uses_history: Whether it looks at more than the question; the dialog is read only then.
        gives_titles: Whether it can say what a dialog is about; it is asked only then.
    """

    uses_history: ClassVar[bool] = True
    gives_titles: ClassVar[bool] = False

    @abstractmethod
    def reply(
        self,
        history: Sequence[Message],
        *,
        system_prompt: str | None,
        json_output: bool,
        reasoning_enabled: bool,
    ) -> AsyncGenerator[Chunk, None]:
        """Answers the last message of `history`, piece by piece. Closing the generator ends the work.

        Args:
            history: The dialog, oldest first; the question is the last.
            system_prompt: Instructions for this reply, or None.
            json_output: The reply should be JSON; the caller checks it.
            reasoning_enabled: Whether reasoning is wanted; without it none is given.

        Raises:
            ResponderError: There is no (whole) reply.
        """

    async def title(self, messages: Sequence[Message]) -> str:
        """What it would call a dialog, in its own words; for those that give titles.

        Cancelling it ends the work.

        Args:
            messages: The dialog, oldest first.

        Raises:
            ResponderError: It has no answer.
        """
        raise NotImplementedError

    async def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Lets go of connections."""
