"""Puts the deltas of a repeated call behind those that its caller has already."""

from __future__ import annotations

from typing import Any


class Splice:
    """A reply that is sent again begins anew; its caller is to see each part of it once.

    It knows deltas that are objects of texts, such as the chat's `{text, reasoning}`: the texts of each name
    joined are the reply.

    Attributes:
        replaced: Whether the reply that came again is another one than what the caller has seen of it.
    """

    def __init__(self) -> None:
        self._given: dict[str, list[str]] = {}
        self._to_skip: dict[str, str] = {}
        self.replaced = False

    def begin_again(self) -> None:
        """The next delta is the first one of a repeat."""
        self._to_skip = {name: "".join(pieces) for name, pieces in self._given.items()}

    def rest_of(self, delta: Any) -> Any | None:
        """What of a delta is new to the caller; None for nothing."""
        if self.replaced:
            return None
        if not self._to_skip:
            self._keep(delta)
            return delta
        if not isinstance(delta, dict):
            self.replaced = True
            return None
        rest = {name: self._skip(name, piece) for name, piece in delta.items()}
        if self.replaced or not any(rest.values()):
            return None
        self._keep(rest)
        return rest

    def end(self) -> None:
        """There is no further delta."""
        self.replaced = self.replaced or bool(self._to_skip)

    def _skip(self, name: str, piece: Any) -> Any:
        known = self._to_skip.get(name, "")
        if not known or not isinstance(piece, str):
            return piece
        length = min(len(known), len(piece))
        if known[:length] != piece[:length]:
            self.replaced = True
        if len(known) == length:
            del self._to_skip[name]
        else:
            self._to_skip[name] = known[length:]
        return piece[length:]

    def _keep(self, delta: Any) -> None:
        pieces = delta if isinstance(delta, dict) else {"": str(delta)}
        for name, piece in pieces.items():
            if isinstance(piece, str) and piece:
                self._given.setdefault(name, []).append(piece)
