"""What goes wrong between a client and its server, typed: an error for each answer, one for no answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class BadField:
    """One bad argument of a call.

    Attributes:
        field: Its path on the wire, dotted; empty for the whole body.
        message: What was expected.
    """

    field: str
    message: str


class ClientError(Exception):
    """The base of all that a client raises by itself."""


class UnreachableError(ClientError):
    """No answer came, or not all of it.

    Args:
        detail: What happened.
        sent: Whether the server may have got the request, and so may have done what was asked.
    """

    def __init__(self, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.sent = sent


class ProtocolError(ClientError):
    """What answers there does not speak as a potoserver does."""


class AnswerError(ClientError):
    """The server answered with an error: a problem document (RFC 9457), or what a proxy says in its place.

    Attributes:
        status: The HTTP status.
        title: The status in words.
        detail: What went wrong, for people.
        request_id: Names the request in the server's log; None where a proxy answered.
        errors: The bad arguments, for status 422.
        retry_after_s: After how many seconds to try again, where the server says so.
    """

    def __init__(
        self,
        status: int,
        *,
        title: str = "",
        detail: str = "",
        request_id: str | None = None,
        errors: Sequence[BadField] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(status, title, detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.request_id = request_id
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        fields = "; ".join(f"{each.field or 'the body'} {each.message}" for each in self.errors)
        return " ".join(part for part in (f"{self.status} {self.title}:", self.detail, fields) if part)


class NotSignedInError(AnswerError):
    """401: no token, or one that is not valid, or not any more."""


class ForbiddenError(AnswerError):
    """403: a role is missing, or the server is not served under this name."""


class NotFoundError(AnswerError):
    """404: there is no such thing, or it is another user's."""


class ConflictError(AnswerError):
    """409: the conversation was archived meanwhile, or the reply was stopped."""


class InvalidError(AnswerError):
    """422: arguments are wrong; `errors` names each."""


class TooManyError(AnswerError):
    """429: too many calls in a minute, or at once; `retry_after_s` says when there is room."""


class ServerFaultError(AnswerError):
    """500: a fault of the server; its log has it under `request_id`."""


class ModelFailedError(AnswerError):
    """502, 504: the model failed or took too long. The message is kept."""


class UnavailableError(AnswerError):
    """503: not now; it passes by itself."""


class FullError(AnswerError):
    """507: the disk, the dialog or the user's room is full."""


_BY_STATUS: Mapping[int, type[AnswerError]] = {
    401: NotSignedInError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    422: InvalidError,
    429: TooManyError,
    500: ServerFaultError,
    502: ModelFailedError,
    503: UnavailableError,
    504: ModelFailedError,
    507: FullError,
}


def answer_error(
    status: int,
    document: object,
    *,
    reason: str = "",
    request_id: str | None = None,
    retry_after_s: float | None = None,
) -> AnswerError:
    """The error that an answer stands for.

    Args:
        status: The HTTP status.
        document: The body as JSON; anything but a problem document is passed over.
        reason: The status in words, where the document has none.
        request_id: From the header, where the document has none.
        retry_after_s: From the header.
    """
    members = document if isinstance(document, dict) else {}
    errors = members.get("errors")
    return _BY_STATUS.get(status, AnswerError)(
        status,
        title=_text(members.get("title")) or reason,
        detail=_text(members.get("detail")),
        request_id=_text(members.get("requestId")) or request_id,
        errors=[_bad_field(each) for each in errors if isinstance(each, dict)]
        if isinstance(errors, list)
        else (),
        retry_after_s=retry_after_s,
    )


def _bad_field(entry: dict[str, Any]) -> BadField:
    return BadField(_text(entry.get("field")), _text(entry.get("message")))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
