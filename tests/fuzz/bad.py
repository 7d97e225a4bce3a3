"""A row of the table of bad requests, and what rows are written with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BODY_BYTES = 20_000
CALLS_PER_MINUTE = 150
BODY_TIMEOUT_S = 3
HEAD_TIMEOUT_S = 3

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    507: "Insufficient Storage",
}

JSON = "Content-Type: application/json"
AS_ANN = "Authorization: Bearer ann"
NO_HTTP = "This is no HTTP request that the server understands."
TOO_LONG = "A line of the request's head is too long, or it has too many."
NOTHING = "There is nothing at this address."
NO_METHOD = "There is no such method."
WRONG_METHOD = "This address does not answer to this method."
WHO = "Say who you are: send Authorization: Bearer and your token."
NOT_VALID = "The token is not valid, or not any more."
NO_JSON_TYPE = "The body must be JSON, with Content-Type: application/json."
NOT_PACKED = "The body must not be compressed."
EXPECTATION = "The expectation can't be met."
LONE = "holds a lone surrogate, which is no Unicode text"
ARGUMENTS = "The arguments are not valid."
LOOPBACK_ALONE = (
    "With the development tokens this server answers to localhost alone. Configure auth.tokens, "
    "auth.jwt_secret or auth.jwt_public_key_file to serve others."
)
LOCALHOST = b"Host: localhost\r\n"
FOREIGN = "A page of another origin can't log in or out here."

BARE = {"www-authenticate": 'Bearer realm="potoserver"'}
INVALID = {"www-authenticate": 'Bearer realm="potoserver", error="invalid_token"'}


@dataclass(frozen=True)
class Bad:
    """One row.

    Attributes:
        name: What is wrong.
        request: The bytes.
        status: Of the answer.
        detail: Of the problem document.
        errors: Of the problem document: field and message.
        headers: That the answer must have.
        before: Sent first, on the same connection; its answers don't count.
    """

    name: str
    request: bytes
    status: int
    detail: str
    errors: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    before: bytes = b""


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode("latin-1")


def post(path: str, body: str | bytes = b"", *headers: str) -> bytes:
    """A request with a body, which is called JSON unless the headers call it something else."""
    raw = body.encode() if isinstance(body, str) else body
    kind = () if any(each.lower().startswith("content-type") for each in headers) else (JSON,)
    return get(path, *kind, f"Content-Length: {len(raw)}", *headers, method="POST") + raw


def call(body: str | bytes, *headers: str, path: str = "/Taker/take") -> bytes:
    """A call by somebody who may."""
    return post(path, body, AS_ANN, *headers)


def chunked(*chunks: bytes) -> bytes:
    """A call whose body comes in these chunks."""
    return get("/Taker/take", AS_ANN, JSON, "Transfer-Encoding: chunked", method="POST") + b"".join(chunks)


def raw(text: str) -> bytes:
    """A head as it stands."""
    return text.encode("latin-1")


def not_json(what: str) -> str:
    """The detail of what is not JSON."""
    return f"The body is not JSON: {what}."
