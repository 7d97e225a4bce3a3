"""The settings of the chat: section `chat`."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _http_url(text: str) -> str:
    try:
        url = urlsplit(text)
        valid = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        valid = False
    if not valid or not text.isprintable() or " " in text:
        raise ValueError("expected an http or https URL, such as https://api.openai.com/v1")
    return text


class Section(BaseModel):
    """A group of settings: frozen, nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JournalSettings(Section):
    """How dialogs are kept."""

    fsync: Literal["always", "never"] = Field(
        "always",
        description="`always` flushes each message to the disk before the answer; with `never` an answered "
        "message is safe only up to the operating system's own crash.",
    )


class ArchivesSettings(Section):
    """What users may do with their archives, and what these are called."""

    delete: bool = Field(True, description="Whether users may delete their own archives.")
    title_by_responder: bool = Field(
        False,
        description="Whether the responder is asked for a title of each archived dialog, in one more "
        "request; `echo` has none to give. Without one an archive is called by its first words.",
    )


class RetentionSettings(Section):
    """Which archives go by themselves, after the start and then daily. Pinned ones stay."""

    max_age_days: NonNegativeInt = Field(
        0, le=36_500, description="Archives that ended so many days ago go; 0 is off."
    )
    max_count: NonNegativeInt = Field(
        0, description="Of a user's archives that are not pinned the newest so many stay; 0 is off."
    )
    dry_run: bool = Field(
        True, description="Only log which archives would go (`retention would delete archive`)."
    )


class EchoSettings(Section):
    """The responder that answers what it is told."""

    delay_ms: NonNegativeInt = Field(0, description="Pause before each word of the reply, in ms.")


class OpenAISettings(Section):
    """The responder that asks an OpenAI-compatible endpoint. Needs the extra `llm`."""

    base_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "https://api.openai.com/v1", description="Where the endpoint is, up to and with the version."
    )
    model: str | None = Field(None, description="Name of the model; needed with `chat.responder: openai`.")
    api_key: SecretStr | None = Field(None, description="The endpoint's key; local endpoints need none.")
    retries: NonNegativeInt = Field(
        2, description="How often a request that failed before the first word of the reply is repeated."
    )
    history_chars: PositiveInt = Field(
        200_000,
        description="What the model is shown of the dialog: its newest messages, up to so many characters.",
    )


class ChatSettings(Section):
    """When a session ends, how dialogs are kept, and who answers."""

    session_timeout_ms: PositiveInt = Field(
        300_000,
        description="Inactivity until the fallback ends a session, in ms.",
        json_schema_extra={"env": "SESSION_TIMEOUT"},
    )
    session_check_interval_ms: PositiveInt = Field(
        30_000,
        description="How often the fallback looks, in ms.",
        json_schema_extra={"env": "SESSION_CHECK_INTERVAL"},
    )
    session_timeout_scope: Literal["absent", "idle"] = Field(
        "absent",
        description="Whose sessions the fallback ends: `absent` only users without a live connection, "
        "`idle` also connected ones.",
    )
    max_sessions: NonNegativeInt = Field(
        100_000,
        description="Sessions at once, and users whose dialogs wait for their archive; past that a call is "
        "answered 503 and a connection has no conversation. 0 is off.",
    )
    responder: Literal["echo", "openai"] = Field("echo", description="Who answers.")
    reply_timeout_s: PositiveSeconds = Field(120, description="All that a reply may take, in seconds.")
    reply_max_chars: PositiveInt = Field(
        4_194_304, description="Length of a reply; a longer one is cut, with the finish reason `length`."
    )
    pending_calls_per_user: PositiveInt = Field(
        100, description="Chat calls of one user that may wait or run; past that they are answered 429."
    )
    journal: JournalSettings = JournalSettings()
    archives: ArchivesSettings = ArchivesSettings()
    retention: RetentionSettings = RetentionSettings()
    echo: EchoSettings = EchoSettings()
    openai: OpenAISettings = OpenAISettings()

    @model_validator(mode="after")
    def _model_is_named(self) -> Self:
        if self.responder == "openai" and not self.openai.model:
            raise ValueError("responder openai needs openai.model, the name of a model")
        return self
