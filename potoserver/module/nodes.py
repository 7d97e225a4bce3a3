"""What a module may ask of all nodes at once."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, TypeVar, get_type_hints

from pydantic import PydanticUserError, TypeAdapter

from potoserver.engine.base import NodeInfo
from potoserver.errors import UnavailableError

_MARK = "__potoserver_per_node__"
_F = TypeVar("_F", bound=Callable[..., Any])
_P = ParamSpec("_P")
_T = TypeVar("_T")


def per_node(method: _F) -> _F:
    """Marks a module's method that `context.nodes.ask_all` may run on every node.

    It is a coroutine function, and its arguments and its result travel as JSON: plain values, dataclasses,
    `NamedTuple`s, `WireModel`s. No client can call it.
    """
    setattr(method, _MARK, True)
    return method


@dataclass(frozen=True, slots=True)
class Gathered(Generic[_T]):
    """What the nodes answered.

    Attributes:
        answers: Each node's, by its id.
        silent: The nodes that live and did not answer in time, or could not.
        blind: The engine is away, so there may be nodes that this one knows nothing of.
    """

    answers: Mapping[str, _T]
    silent: tuple[str, ...] = ()
    blind: bool = False

    def complete(self) -> Mapping[str, _T]:
        """The answers, for what would be wrong without one of them.

        Raises:
            UnavailableError: One is missing. It passes: a node that is gone is taken out within seconds.
        """
        if self.silent or self.blind:
            raise UnavailableError("A node of the server does not answer; try again in a moment.")
        return self.answers


class Nodes(ABC):
    """The nodes of the deployment, as a module sees them. The embedded engine has this one alone."""

    @property
    @abstractmethod
    def id(self) -> str:
        """This node's name; another one when it had been cut off for long, and has joined anew."""

    @abstractmethod
    def living(self) -> Sequence[NodeInfo]:
        """All nodes that live, this one too, as of a second ago; sorted by id."""

    @abstractmethod
    async def ask_all(
        self, method: Callable[_P, Awaitable[_T]], *arguments: _P.args, **named: _P.kwargs
    ) -> Gathered[_T]:
        """Runs a method of the module's own on every node, this one too, at the same time.

        Where there is no other node that is a plain call of it.

        Args:
            method: One that is marked `per_node`, bound: `self.count_here`.
            arguments: What it is called with.
            named: Likewise.

        Returns:
            The answers; a node that has not answered within three seconds, or could not, is left out.

        Raises:
            Exception: What it raised here.
        """


@dataclass(frozen=True, slots=True)
class PerNodeMethod:
    """A marked method, its signature read once.

    Attributes:
        function: The bound method.
        arguments: Of all its parameters, in order.
        result: Of what it returns.
    """

    function: Callable[..., Awaitable[Any]]
    arguments: TypeAdapter[tuple[Any, ...]]
    result: TypeAdapter[Any]
    _signature: inspect.Signature = field(repr=False)

    def dump_arguments(self, *arguments: Any, **named: Any) -> bytes:
        """The arguments of a call as JSON."""
        bound = self._signature.bind(*arguments, **named)
        bound.apply_defaults()
        return self.arguments.dump_json(tuple(bound.arguments.values()))


def per_node_methods(module: object) -> dict[str, PerNodeMethod]:
    """A module's methods that are marked `per_node`, by name.

    Raises:
        TypeError: One of them can't be run from another node.
    """
    return {
        name: _read(f"{type(module).__name__}.{name}", getattr(module, name))
        for name, function in inspect.getmembers(type(module), inspect.isfunction)
        if hasattr(function, _MARK)
    }


def _read(where: str, function: Callable[..., Any]) -> PerNodeMethod:
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{where}: a method for all nodes must be a coroutine function")
    signature = inspect.signature(function)
    try:
        hints = get_type_hints(function, include_extras=True)
        types = tuple(hints[name] for name in signature.parameters)
        arguments = TypeAdapter(tuple[types] if types else tuple[()])  # type: ignore[valid-type]  # a value
        result: TypeAdapter[Any] = TypeAdapter(hints["return"])
    except (KeyError, NameError, PydanticUserError) as error:
        raise TypeError(f"{where}: its arguments and result can't travel between nodes: {error}") from error
    return PerNodeMethod(function, arguments, result, signature)
