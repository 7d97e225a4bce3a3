"""Problem documents: how every error looks on the wire (RFC 9457)."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web

from potoserver.errors import ProblemError
from potoserver.events import to_json

CONTENT_TYPE = "application/problem+json"

# Of RFC 9110, section 15.5 and 15.6, RFC 6585 and RFC 4918: Python's own phrases differ by its version.
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    423: "Locked",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    507: "Insufficient Storage",
}
_DETAILS = {
    404: "There is nothing at this address.",
    405: "This address does not answer to this method.",
    417: "The expectation can't be met.",
}
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_OF_A_BODY = frozenset({hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH})


def problem_document(error: ProblemError, request_id: str) -> dict[str, Any]:
    """Its members: `type`, `title`, `status`, `detail`, `requestId`, and `errors` where there are any."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(error.status, "Error"),
        "status": error.status,
        "detail": error.detail,
        "requestId": request_id,
    }
    if error.errors:
        document["errors"] = [{"field": each.field, "message": each.message} for each in error.errors]
    return document


def problem_response(error: ProblemError, request_id: str) -> web.Response:
    """The answer that tells a caller of an error."""
    headers = dict(error.headers)
    if error.retry_after_s is not None:
        headers[hdrs.RETRY_AFTER] = str(error.retry_after_s)
    return web.Response(
        status=error.status,
        headers=headers,
        text=to_json(problem_document(error, request_id)),
        content_type=CONTENT_TYPE,
    )


def problem_of(error: BaseException, body_bytes: int) -> ProblemError | None:
    """The problem that an exception stands for.

    Args:
        error: What was raised.
        body_bytes: The limit of a body, to name it.

    Returns:
        The problem, or None for what nobody foresaw: that is a 500, and to be logged.
    """
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return ProblemError(413, f"A body may have at most {body_bytes} bytes.")
    if isinstance(error, web.HTTPException):
        detail = _DETAILS.get(error.status, f"{error.reason}.")
        return ProblemError(error.status, detail, headers=_kept(error.headers))
    if isinstance(error, web.RequestPayloadError):
        return ProblemError(400, "The body could not be read to its end.")
    if isinstance(error, TimeoutError):
        return ProblemError(504, "It took too long.")
    if isinstance(error, asyncio.CancelledError):
        return ProblemError(503, "The server stopped before it was done.", retry_after_s=1)
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return ProblemError(507, "The disk is full.")
    return None


def unforeseen() -> ProblemError:
    """What a caller is told of an error that nobody foresaw: no internals."""
    return ProblemError(500, "The server failed. The log has the details under this request id.")


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an aiohttp error (`Allow`) without those of its body, which is replaced."""
    return {name: value for name, value in headers.items() if name.title() not in _OF_A_BODY}
