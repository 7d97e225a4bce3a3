"""The Lua scripts: every change that must be atomic is one of them.

A script's head says in a comment which keys and arguments it takes, in order; here they become locals of the
same names, so that neither side counts. `common.lua` goes before those that use it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from potoserver.engine.valkey.keys import Keys

_HEAD: Final = re.compile(r"^-- KEYS:(?P<keys>[a-z_ ]*)\n-- ARGV:(?P<arguments>[a-z_0-9 ]*)\n", re.MULTILINE)

_FUNCTION: Final = re.compile(r"^local function (\w+)", re.MULTILINE)
_SHORT: Final = 512


@dataclass(frozen=True, slots=True)
class Script:
    """One script.

    Attributes:
        name: Its file's name without `.lua`.
        keys: The names of its keys, as `Keys` knows them.
        arguments: The names of its arguments.
        source: What Valkey runs.
        sha1: By which Valkey knows it.
    """

    name: str
    keys: tuple[str, ...]
    arguments: tuple[str, ...]
    source: str
    sha1: str

    @property
    def command(self) -> tuple[str, str]:
        """The command that runs it. A short one is sent whole: Valkey can't have forgotten it then."""
        return ("EVAL", self.source) if len(self.source) < _SHORT else ("EVALSHA", self.sha1)

    def of_user(self, keys: Keys, user_id: str, node_id: str, **values: object) -> Call:
        """A run for a user; `user` and `node` are given to it where it takes them."""
        values.update(user=user_id, node=node_id)
        names = [keys.of_user(user_id, name, node_id) for name in self.keys]
        return self._call(names, values)

    def of_users(self, keys: Keys, user_ids: Sequence[str]) -> Call:
        """A run for several users of one partition, that takes the keys of each and no arguments."""
        return self._call([keys.of_user(user, name, "") for user in user_ids for name in self.keys], {})

    def of_partition(self, keys: Keys, partition: int, node_id: str, **values: object) -> Call:
        """A run for a partition, on the sets that it has, and those that it has for the node."""
        values.update(node=node_id)
        per_node = ("index", "dead")
        names = [keys.of_partition(partition, n, node_id if n in per_node else "") for n in self.keys]
        return self._call(names, values)

    def of_registry(self, keys: Keys, node_id: str, **values: object) -> Call:
        """A run for the registry of the nodes."""
        values.update(node=node_id)
        return self._call([keys.of_registry(name) for name in self.keys], values)

    def of_route(self, route: str, **values: object) -> Call:
        """A run that touches no key."""
        return self._call([route], values)

    def _call(self, keys: list[str], values: dict[str, object]) -> Call:
        arguments = (values[name] for name in self.arguments)
        return Call(
            self,
            tuple(map(encode, keys)),
            tuple(each if callable(each) else encode(each) for each in arguments),
        )


@dataclass(frozen=True, slots=True)
class Call:
    """A run of a script. An argument that is a function is asked for when the call goes out."""

    script: Script
    keys: tuple[bytes, ...]
    arguments: tuple[bytes | Callable[[], object], ...]

    @property
    def size(self) -> int:
        """About how many bytes go out."""
        return sum(len(each) for each in (*self.keys, *self.arguments) if isinstance(each, bytes))

    def wire(self) -> tuple[bytes, ...]:
        """What follows the script: the number of keys, the keys, the arguments."""
        arguments = (encode(each()) if callable(each) else each for each in self.arguments)
        return (encode(len(self.keys)), *self.keys, *arguments)


def encode(value: object) -> bytes:
    """A name or an argument as bytes."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"1" if value else b"0"
    return str(value).encode("utf-8", "surrogatepass")


def decode(value: bytes) -> str:
    """The text again."""
    return value.decode("utf-8", "surrogatepass")


@cache
def script(name: str) -> Script:
    """The script of that name, read once."""
    folder = files(__package__) / "lua"
    common = (folder / "common.lua").read_text("utf-8")
    body = (folder / f"{name}.lua").read_text("utf-8")
    head = _HEAD.search(body)
    if head is None:
        raise ValueError(f"{name}.lua does not say which keys and arguments it takes")
    keys, arguments = tuple(head["keys"].split()), tuple(head["arguments"].split())
    locals_ = [f"local {key} = KEYS[{number}]" for number, key in enumerate(keys, 1)]
    locals_ += [f"local {argument} = ARGV[{number}]" for number, argument in enumerate(arguments, 1)]
    used = any(re.search(rf"\b{function}\(", body) for function in _FUNCTION.findall(common))
    source = "\n".join([*locals_, *([common] if used else []), body])
    sha1 = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, keys, arguments, source, sha1)
