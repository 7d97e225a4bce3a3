"""Calls of a module's methods: one result, a stream of deltas, or a download."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiohttp import hdrs

from potoserver.client.download import Download
from potoserver.client.errors import ClientError
from potoserver.client.http import EVENT_STREAM, REQUEST_ID, Http, json_of, new_request_id
from potoserver.client.repeat import RepeatPolicy, Tries
from potoserver.client.reply import Reply

_KEY = "Idempotency-Key"
_KEYED = frozenset({"chatWithHistory"})
"""Methods that heed the key: a repeat gets the first answer, and adds nothing."""


class Module:
    """A module of the server: its methods are attributes, in camelCase or snake_case.

    Args:
        http: The server.
        name: The module's name on the wire.
        repeat: How long calls that may be repeated are.
    """

    def __init__(self, http: Http, name: str, repeat: RepeatPolicy) -> None:
        self._http = http
        self._name = name
        self._repeat = repeat

    def __getattr__(self, name: str) -> Method:
        if name.startswith("_"):
            raise AttributeError(name)
        return Method(self._http, self._name, _wire_name(name), self._repeat)


@dataclass(frozen=True, slots=True)
class Method:
    """One method: call it, `stream` it, or `download` what it sends.

    Arguments are given by name, in camelCase or snake_case; results are the wire's JSON as it is.

    A call that brings an `Idempotency-Key` (each of the chat does, and whatever was asked for by `keyed`) is
    repeated with it when the connection fails or the server says 503, for a limited time. Any other is not:
    only its caller knows whether it may be done twice.
    """

    _http: Http
    _module: str
    _name: str
    _repeat: RepeatPolicy
    _key: str | None = None

    def keyed(self, key: str) -> Method:
        """The method with an `Idempotency-Key` of the caller's own, good across restarts of its program.

        Args:
            key: 1 to 128 visible ASCII characters, the same for each repeat of one call.
        """
        return replace(self, _key=key)

    async def __call__(self, **arguments: Any) -> Any:
        """Calls the method; returns its result.

        Raises:
            AnswerError: The server said no; the class says how.
            UnreachableError: No answer came, or not all of it.
        """
        if self._name in _KEYED:
            # As a stream: its heartbeats tell a model that thinks for long from a server that has gone.
            reply = self.stream(**arguments)
            async with aclosing(reply):
                async for _ in reply:
                    pass
            return reply.result
        headers = self._headers("application/json")
        tries = Tries(self._repeat, keyed=_KEY in headers)
        while True:
            try:
                async with self._http.request(
                    "POST", self._path, body=_on_the_wire(arguments), headers=headers
                ) as response:
                    return await json_of(response)
            except ClientError as error:
                await tries.after(error)

    def stream(self, **arguments: Any) -> Reply:
        """Calls the method when the first delta is asked for; after the last one there is its `result`."""
        headers = self._headers(EVENT_STREAM)
        return Reply(
            self._http, self._path, _on_the_wire(arguments), headers, self._repeat, keyed=_KEY in headers
        )

    @asynccontextmanager
    async def open(self, **arguments: Any) -> AsyncIterator[Download]:
        """Calls a method that answers with a file, whose bytes can be read within the block.

        Raises:
            AnswerError: The server said no.
            UnreachableError: The connection failed, also within the block: half a file never looks whole.
        """
        async with self._http.request(
            "POST", self._path, body=_on_the_wire(arguments), headers=self._headers("*/*")
        ) as response:
            yield Download(response)

    async def download(self, path: Path, /, **arguments: Any) -> int:
        """Calls a method that answers with a file, and keeps that at `path` once it is whole.

        Returns:
            Its length in bytes.

        Raises:
            AnswerError: The server said no.
            UnreachableError: The connection failed; nothing is kept.
            OSError: It can't be written.
        """
        async with self.open(**arguments) as download:
            return await download.save(path)

    @property
    def _path(self) -> str:
        return f"/{self._module}/{self._name}"

    def _headers(self, accept: str) -> dict[str, str]:
        headers = {hdrs.ACCEPT: accept, REQUEST_ID: new_request_id()}
        key = self._key or (secrets.token_urlsafe(18) if self._name in _KEYED else None)
        return headers if key is None else headers | {_KEY: key}


def _on_the_wire(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {_wire_name(name): value for name, value in arguments.items()}


def _wire_name(name: str) -> str:
    """The camelCase name of a snake_case one; one without an underscore is what it is."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)
