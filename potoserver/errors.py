"""The errors that a caller sees, as the core knows them: framework-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad field of a request.

    Attributes:
        field: The field's path on the wire, dotted (`message`, `items.0.name`); empty for the whole body.
        message: What was expected, in words for the caller.
    """

    field: str
    message: str


class ProblemError(Exception):
    """What a caller is told as a problem document (RFC 9457).

    Any module may raise it from a method; the web layer turns it into the answer.

    Args:
        status: The HTTP status, 400 to 599.
        detail: What went wrong and what to do, in one or two sentences. Never a secret, never internals.
        errors: One entry per bad field, for status 422.
        retry_after_s: Whole seconds for `Retry-After`, for what passes by itself.
        headers: Further response headers.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})


class UnavailableError(ProblemError):
    """Passes by itself: the server is draining or the engine is away (503 with `Retry-After`)."""

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(503, detail, retry_after_s=retry_after_s)
