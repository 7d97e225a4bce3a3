"""What a description says of answers: every status that an operation has, with its headers."""

from __future__ import annotations

from typing import Any

from aiohttp import hdrs

from potoserver.web.problems import CONTENT_TYPE

Schema = dict[str, Any]
JSON = "application/json"
REF = "#/components/schemas/{model}"

EVERYWHERE = (400, 403, 408, 414, 417, 431, 500, 503)
"""Before a route is asked: the head is wrong, slow or too large, the Host is not served, there is no room."""
WITH_BODY = (413, 415, 422)
SIGNED_IN = (401, 429)
OF_A_METHOD = (404, 409, 422, 429, 502, 504, 507)
"""What a module's method may tell of, and what stands before it."""

_PROBLEMS = {
    400: "It is no request that can be read, or its body is not JSON.",
    401: "There is no proof of who asks, or it is not valid.",
    403: "A role is missing, or the Host, the Origin or the forwarded client is not served.",
    404: "There is no such thing, or it is not yours.",
    408: "The head or the body did not come in time.",
    409: "What it was about has changed meanwhile, or can't be had.",
    413: "The body is too large.",
    414: "The request's first line is too long.",
    415: "The body is not called JSON, or is compressed.",
    417: "The expectation can't be met.",
    422: "A field is not valid; `errors` says which.",
    429: "Too many requests, or too many at once.",
    431: "The request's head is too large.",
    500: "A fault of the server; its log has the details under the request id.",
    502: "What the server asked for this has failed.",
    503: "It passes by itself: the server starts, stops, is full, or something that it needs is away.",
    504: "It took too long.",
    507: "There is no room left to keep it.",
}
_HEADER_OF = {401: hdrs.WWW_AUTHENTICATE, 429: hdrs.RETRY_AFTER}
_TEXT: Schema = {"type": "string"}

PROBLEM: Schema = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "required": ["type", "title", "status", "detail", "requestId"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "requestId": _TEXT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": _TEXT, "message": _TEXT},
            },
        },
    },
}
"""As `problem_document` makes it."""

PROBLEM_CONTENT: Schema = {CONTENT_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}}
"""An answer that is one."""


def described(description: str, content: Schema | None = None) -> Schema:
    """One answer of an operation, with the header that each has."""
    answer: Schema = {"description": description, "headers": {"X-Request-ID": {"schema": _TEXT}}}
    return answer if content is None else answer | {"content": content}


def problems(*groups: tuple[int, ...]) -> Schema:
    """The problems of these statuses, by status."""
    answers = {}
    for status in sorted({status for group in groups for status in group}):
        answer = described(_PROBLEMS[status], PROBLEM_CONTENT)
        if status in _HEADER_OF:
            answer["headers"][_HEADER_OF[status]] = {"required": True, "schema": _TEXT}
        answers[str(status)] = answer
    return answers
