"""What can be imported, as it is on the wire."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from potoserver import WireModel

from ..journal.dialog_yaml import MAX_MESSAGES
from ..journal.titles import MAX_TITLE_CHARS

# A megabyte can hold a hundred thousand faults. To gather them takes seconds, in which nobody else is served,
# and hundreds of megabytes; so what is in a list is looked at up to the first item that has any.

_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,3})?Z$"

Title = Annotated[
    str,
    Field(
        max_length=MAX_TITLE_CHARS,
        json_schema_extra={"not": {"pattern": "[\u0000-\u001f\u007f-\u009f\u2028\u2029]"}},
        description="One line. Blank, the archive is called by its first words.",
    ),
]
Time = Annotated[str, Field(pattern=_TIME, description="Such as 2024-01-15T10:30:00.000Z.")]
Name = Annotated[str, Field(pattern="^[A-Za-z0-9._-]{1,128}$")]
Short = Annotated[str, Field(max_length=256)]


class _OneOfMany(WireModel):
    """What a body may hold tens of thousands of."""

    @model_validator(mode="after")
    def _let_others_run(self) -> Self:
        """Does nothing, but in Python: only here the interpreter's lock can go to another thread.

        Without it pydantic has the lock for as long as it takes to check all of a body, and whatever else
        the server does waits for that.
        """
        return self


class ImportedMessage(_OneOfMany):
    """One message of an archive, as an export has it."""

    id: Name
    role: Literal["user", "assistant"]
    content: str
    timestamp: Time
    model: Short | None = None
    reasoning: str | None = None
    finish_reason: Short | None = None
    interrupted: bool = False
    reply_to: Name | None = None


class ImportedArchive(_OneOfMany):
    """One archive, as an export has it."""

    id: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="Kept where it is free and names the second of the end."
    )
    conversation_id: Name
    title: Title | None = None
    pinned: bool = False
    started_at: Time
    ended_at: Time
    reason: Literal["disconnect", "timeout", "shutdown", "request", "recovered", "superseded"] = "request"
    messages: Annotated[list[ImportedMessage], Field(fail_fast=True, min_length=1, max_length=MAX_MESSAGES)]


class TextPart(_OneOfMany):
    """A piece of a message's content."""

    type: Literal["text"]
    text: str


class ListedMessage(_OneOfMany):
    """One message of a list as OpenAI's API has them. Those of other roles are left out."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, alias_generator=to_camel)

    role: Literal["user", "assistant", "system", "developer", "tool", "function"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True)] | None = None

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class NewArchive(WireModel):
    """An archive that was added."""

    id: str
    title: str


class ImportedArchives(WireModel):
    """What an import came to."""

    imported: tuple[NewArchive, ...]
    skipped: int = Field(description="Archives that were there already.")
