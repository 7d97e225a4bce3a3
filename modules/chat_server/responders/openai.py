"""The responder that asks an OpenAI-compatible endpoint, through the official client."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from potoserver import Clock

from ..journal.records import Message
from ..settings import OpenAISettings
from .base import Chunk, Responder, ResponderError, ResponderSetupError
from .prompt import newest_messages, prompt_of, title_question
from .think import ThinkSplitter, WholeCharacters

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncStream

_BACKOFF_FIRST_S = 0.5
_BACKOFF_LAST_S = 8.0
_RETRY_AFTER_MOST_S = 60.0
"""Who is told to come back later than this is told that the model is busy."""
_RETRY_AFTER_BELIEVED_S = 86_400.0
_CONNECT_LIMIT_S = 10.0
"""A host that swallows packets would else take all the time that the reply has."""
_KIND_MOST_CHARS = 64
_TITLE_MOST_CHARS = 200
_TITLE_THOUGHT_MOST_CHARS = 8000


class OpenAIResponder(Responder):
    """Streams replies of a chat-completions endpoint.

    Only a request that failed before the first word is repeated: what a caller has seen is never taken back.
    One that is too long for the model is repeated without the older half of its messages, until it fits.

    Args:
        settings: Where the endpoint is, and what to ask it for.
        reply_timeout_s: All that the caller gives a reply; a pause that would outlast it is not begun.
        clock: Measures the pauses between tries.
        logger: Where failures are explained; never with text or keys.

    Raises:
        ResponderSetupError: The `openai` package is not installed.
    """

    def __init__(
        self, settings: OpenAISettings, reply_timeout_s: float, clock: Clock, logger: FilteringBoundLogger
    ) -> None:
        try:
            import openai  # noqa: PLC0415 - an extra: only who asks for this responder needs it
        except ImportError:
            raise ResponderSetupError(
                "chat.responder is openai, which needs a package that is not installed: "
                "pip install 'potoserver[llm]'"
            ) from None
        self._openai = openai
        self._settings = settings
        self._reply_timeout_s = reply_timeout_s
        self._clock = clock
        self._logger = logger
        key = settings.api_key
        # Without a key of its own the client would send whatever OPENAI_API_KEY holds to any endpoint.
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url,
            api_key=key.get_secret_value() if key is not None else "none",
            max_retries=0,
            # What comes after the connect is limited by the caller's clock.
            timeout=openai.Timeout(None, connect=_CONNECT_LIMIT_S),
        )

    gives_titles = True

    @override
    async def close(self) -> None:
        await self._client.close()

    @override
    async def reply(
        self,
        history: Sequence[Message],
        *,
        system_prompt: str | None,
        json_output: bool,
        reasoning_enabled: bool,
    ) -> AsyncGenerator[Chunk, None]:
        options: dict[str, Any] = {"response_format": {"type": "json_object"}} if json_output else {}
        until_s = self._clock.monotonic_s() + self._reply_timeout_s
        tries_left = self._settings.retries
        backoff_s = _BACKOFF_FIRST_S
        shown = newest_messages(history, self._settings.history_chars)
        begun = False
        while True:
            prompt = prompt_of(shown, system_prompt, json_output=json_output)
            request = {"model": self._settings.model, "messages": prompt, **options}
            try:
                async with aclosing(self._chunks(request)) as chunks:
                    async for chunk in chunks:
                        begun = True
                        if reasoning_enabled or not chunk.reasoning:
                            yield chunk
                        elif chunk.text:
                            yield Chunk(text=chunk.text)
            except Exception as error:  # noqa: BLE001 - whatever the client raises, the model has failed
                if not begun and len(shown) > 1 and self._is_too_long(error):
                    shown = shown[-(len(shown) // 2) :]
                    self._logger.info("older half of the dialog not shown to the model", shown=len(shown))
                    continue
                pause_s = None if begun or not tries_left else self._pause_before_retry(error, backoff_s)
                if pause_s is not None and self._clock.monotonic_s() + pause_s >= until_s:
                    pause_s = None
                self._explain(error, pause_s)
                if pause_s is None:
                    raise self._failure(error) from None
            else:
                return
            tries_left -= 1
            backoff_s = min(backoff_s * 2, _BACKOFF_LAST_S)
            await self._clock.sleep(pause_s)

    async def _chunks(self, request: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        """One try. The model's name comes with the finish reason."""
        thinking = ThinkSplitter()
        text_whole, reasoning_whole = WholeCharacters(), WholeCharacters()
        finish_reason = model = None
        # As `chat.completions.create`, but for the model that it makes of each part, unchecked: that takes
        # several times as long as all else that is done with the part.
        stream = await self._client.post(
            "/chat/completions",
            cast_to=object,
            body=request | {"stream": True},
            stream=True,
            stream_cls=self._openai.AsyncStream[object],
        )
        async with stream:
            async for part in cast("AsyncStream[dict[str, Any]]", stream):
                model = part.get("model") or model
                if not part.get("choices"):
                    continue
                choice = part["choices"][0]
                finish_reason = choice.get("finish_reason") or finish_reason
                delta = choice.get("delta")
                if delta is None:  # some endpoints end with a choice that has none
                    continue
                apart = delta.get("reasoning_content") or delta.get("reasoning") or ""
                text, thought = thinking.feed(delta.get("content") or delta.get("refusal") or "", apart)
                text, thought = text_whole.feed(text), reasoning_whole.feed(thought)
                if text or thought:
                    yield Chunk(text=text, reasoning=thought)
        if finish_reason is None:
            raise _CutError
        text, thought = thinking.flush()
        text = text_whole.feed(text) + text_whole.flush()
        thought = reasoning_whole.feed(thought) + reasoning_whole.flush()
        if text or thought:
            yield Chunk(text=text, reasoning=thought)
        yield Chunk(finish_reason=finish_reason, model=model)

    @override
    async def title(self, messages: Sequence[Message]) -> str:
        # Endpoints have no common name for a limit of tokens, and some refuse the others'. Hanging up is one.
        said, thought_chars = "", 0
        async with aclosing(
            self.reply(
                [title_question(messages)], system_prompt=None, json_output=False, reasoning_enabled=True
            )
        ) as chunks:
            async for chunk in chunks:
                said = (said + chunk.text).lstrip()
                thought_chars += len(chunk.reasoning)
                if "\n" in said or len(said) > _TITLE_MOST_CHARS:
                    break
                if thought_chars > _TITLE_THOUGHT_MOST_CHARS:
                    break
        return said

    # Failures

    def _pause_before_retry(self, error: Exception, backoff_s: float) -> float | None:
        """Seconds until the next try, or None when another try would be of no use."""
        if isinstance(error, self._openai.APIStatusError):
            if error.status_code not in (408, 409, 429) and error.status_code < 500:
                return None
            asked_s = _retry_after_s(error)
            if asked_s is not None:
                return asked_s if asked_s <= _RETRY_AFTER_MOST_S else None
            return backoff_s
        return backoff_s if isinstance(error, (self._openai.APIConnectionError, _CutError)) else None

    def _is_too_long(self, error: Exception) -> bool:
        """Whether the request has more than the model's context holds, as several endpoints say it."""
        if not isinstance(error, self._openai.APIStatusError) or error.status_code not in (400, 413, 422):
            return False
        return "context" in f"{error.code} {error.type} {error.message}".casefold()

    def _failure(self, error: Exception) -> ResponderError:
        if isinstance(error, self._openai.APITimeoutError):
            return ResponderError("The model did not answer in time; try again.", late=True)
        if isinstance(error, self._openai.APIStatusError):
            if error.status_code == 429:
                asked_s = _retry_after_s(error)
                if asked_s is None:
                    return ResponderError("The model is busy; try again later.")
                wait_s = math.ceil(asked_s)
                return ResponderError(f"The model is busy; try again in {wait_s} s.", retry_after_s=wait_s)
            if self._is_too_long(error):
                return ResponderError("Your message is too long for the model; send a shorter one.")
            return ResponderError(f"The model refused the request (status {error.status_code}).")
        if isinstance(error, _CutError):
            return ResponderError("The model's reply broke off; try again.")
        return ResponderError("The model can't be reached or its reply broke off; try again.")

    def _explain(self, error: Exception, pause_s: float | None) -> None:
        self._logger.warning(
            "model request failed",
            error=type(error).__name__,
            status=getattr(error, "status_code", None),
            kind=_kind(error),
            retry_in_s=pause_s,
        )


class _CutError(Exception):
    """The stream ended without a finish reason."""


def _kind(error: Exception) -> str | None:
    """What the endpoint calls the error (`model_not_found`); only a plain word, which holds no text."""
    for kind in (getattr(error, "code", None), getattr(error, "type", None)):
        if isinstance(kind, str) and kind.isidentifier() and len(kind) <= _KIND_MOST_CHARS:
            return kind
    return None


def _retry_after_s(error: APIStatusError) -> float | None:
    text: str = error.response.headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        return None  # a date: our own pause is as good a guess as two clocks
    return seconds if 0 <= seconds <= _RETRY_AFTER_BELIEVED_S else None
