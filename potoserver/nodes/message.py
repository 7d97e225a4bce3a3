"""What nodes send each other: one line of JSON, then bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from potoserver.events import to_json

PART_BYTES = 256 * 1024
"""How much data a message carries at most."""


class Kind(StrEnum):
    """What a message is."""

    CALL = "call"
    """Begins an exchange: the first part of a request."""
    WHOLE = "whole"
    """Begins one, and no part comes after it."""
    PART = "part"
    """A further part of a request, or one of an answer."""
    LAST = "last"
    """One that no part comes after."""
    END = "end"
    """No part comes after it."""
    PROBLEM = "problem"
    """The same, since something went wrong."""
    TAKEN = "taken"
    """So many parts have been taken; as many more may be sent."""
    ASK = "ask"
    """Is somebody still there?"""
    HERE = "here"
    """Yes."""
    GONE = "gone"
    """Nobody is, or not any more: the exchange is over."""


class MessageError(ValueError):
    """Bytes that are no message: another version of the server, or no server at all."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an exchange.

    Attributes:
        exchange: Names the exchange; unique among those of the node that began it.
        number: Its place among the sender's messages of the exchange, from 0 on: a hole shows a loss.
        kind: What it is.
        fields: What it says; any JSON object.
        data: What it carries, at most `PART_BYTES` of it.
    """

    exchange: str
    number: int
    kind: Kind
    fields: Mapping[str, Any] = field(default_factory=dict)
    data: bytes = b""

    def encode(self) -> bytes:
        """Its bytes."""
        head = to_json([self.exchange, self.number, self.kind.value, dict(self.fields)])
        return b"%b\n%b" % (head.encode("utf-8", "surrogatepass"), self.data)

    @classmethod
    def decode(cls, raw: bytes) -> Message:
        """The message that the bytes are.

        Raises:
            MessageError: They are none.
        """
        head, _, data = raw.partition(b"\n")
        try:
            exchange, number, kind, fields = json.loads(head.decode("utf-8", "surrogatepass"))
            message = cls(exchange, number, Kind(kind), fields, data)
        except (ValueError, TypeError, RecursionError) as error:
            raise MessageError(f"no message of a node: {error}") from error
        if not (isinstance(exchange, str) and type(number) is int and isinstance(fields, dict)):
            raise MessageError("no message of a node: its head is of the wrong types")
        return message
