"""Requests to one server: who asks, and what failed, as typed errors."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from aiohttp import hdrs

from potoserver.client.errors import ClientError, ProtocolError, UnreachableError, answer_error
from potoserver.client.tokens import Tokens

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 300.0
"""How long an answer may be in coming: longer than a reply may take by default."""
SILENCE_S = 45.0
"""A stream is silent for less: heartbeats come each 15 s by default, and a `ping` three times in a lease."""
EVENT_STREAM = "text/event-stream"
REQUEST_ID = "X-Request-ID"
_MAX_ERROR_BYTES = 1024 * 1024


class Http:
    """Sends requests to one server.

    Args:
        url: Where it is: `https://chat.example.org`, or a path below a proxy's.
        tokens: Who asks.
    """

    def __init__(self, url: str, tokens: Tokens) -> None:
        self._url = url.rstrip("/")
        self._tokens = tokens
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Makes ready to send."""
        if self._session is not None:
            raise RuntimeError("the client is open already")
        self._session = aiohttp.ClientSession(
            # Calls in flight wait for their replies, and each holds a connection.
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            headers={hdrs.USER_AGENT: "potoserver-client"},
        )

    async def close(self) -> None:
        """Ends what is in flight."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        signed: bool = True,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that is no error, its body not read yet. A token that has expired is renewed.

        Args:
            method: `GET` or `POST`.
            path: From `/` on.
            body: Sent as JSON.
            headers: Beside the token's.
            params: Of the query.
            signed: Whether the token is shown.
            timeout_s: Until the answer's head is there.

        Raises:
            AnswerError: The server said no; the class says how.
            UnreachableError: No answer came; or, raised within the block, not all of it.
        """
        response = await self._answer(method, path, body, dict(headers or {}), params, signed, timeout_s)
        try:
            yield response
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(f"the connection was cut: {_said(error)}", sent=True) from error
        finally:
            # Not released: what is left of a stream would have to be read before the next request.
            response.close()

    async def _answer(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        headers: dict[str, str],
        params: Mapping[str, str] | None,
        signed: bool,
        timeout_s: float,
    ) -> aiohttp.ClientResponse:
        if body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json"
        headers.setdefault(REQUEST_ID, new_request_id())
        renewed = False
        while True:
            token = await self._tokens.current() if signed else None
            if token is not None:
                headers[hdrs.AUTHORIZATION] = f"Bearer {token}"
            response = await self._send(method, path, body, headers, params, timeout_s)
            if response.status < 300:
                return response
            try:
                error = await _error_of(response)
            finally:
                response.close()
            if renewed or not signed or response.status != 401 or not await self._tokens.renew(token):
                raise error
            renewed = True

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None,
        timeout_s: float,
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the client is not open: use it in `async with`")
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._session.request(
                    method,
                    self._url + path,
                    data=data,
                    headers=headers,
                    params=params,
                    # Where it leads to, a token must not go.
                    allow_redirects=False,
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UnreachableError(f"{self._url} can't be reached: {_said(error)}", sent=False) from error
        except TimeoutError as error:
            raise UnreachableError(f"no answer within {timeout_s:g} s", sent=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(f"the connection was cut: {_said(error)}", sent=True) from error


def new_request_id() -> str:
    """Names a request in the server's log, and in the events that it leads to."""
    return secrets.token_hex(8)


async def chunks_of(response: aiohttp.ClientResponse, silence_s: float = SILENCE_S) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises:
        UnreachableError: Nothing came for so long: what is behind the connection is gone.
        aiohttp.ClientError: The body was cut; `Http.request` makes an `UnreachableError` of it.
    """
    while True:
        try:
            async with asyncio.timeout(silence_s):
                chunk = await response.content.readany()
        except TimeoutError:
            raise UnreachableError(f"nothing came for {silence_s:g} s", sent=True) from None
        if not chunk:
            return
        yield chunk


async def json_of(response: aiohttp.ClientResponse) -> Any:
    """The body, as JSON.

    Raises:
        ProtocolError: It is none.
        UnreachableError: It was cut.
    """
    body = b"".join([chunk async for chunk in chunks_of(response)])
    return json_value(body) if body else None


def json_value(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ProtocolError: It is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("what came is not JSON") from error


def retry_after_of(value: str | None) -> float | None:
    """What `Retry-After` says, in seconds (RFC 9110 section 10.2.3: a number, or a date)."""
    if value is None:
        return None
    if value.isascii() and value.isdigit() and len(value) <= 9:
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


async def _error_of(response: aiohttp.ClientResponse) -> ClientError:
    if response.status < 400:
        return ProtocolError(f"a redirect ({response.status}) to {response.headers.get(hdrs.LOCATION)}")
    document = None
    body = b""
    try:
        async for chunk in chunks_of(response, CONNECT_TIMEOUT_S):
            body += chunk
            if len(body) > _MAX_ERROR_BYTES:
                break
        document = json.loads(body)
    except (aiohttp.ClientError, OSError, ValueError, UnreachableError):
        pass  # the status says the most of it
    return answer_error(
        response.status,
        document,
        reason=response.reason or "",
        request_id=response.headers.get(REQUEST_ID),
        retry_after_s=retry_after_of(response.headers.get(hdrs.RETRY_AFTER)),
    )


def _said(error: BaseException) -> str:
    """In words for people; aiohttp's own are of headers, bytes and what it tried."""
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer is not whole"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"there is no host {error.host}"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        return os.strerror(error.os_error.errno)
    return str(error) or type(error).__name__
