"""The nodes of a running server, for one of its modules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from functools import cached_property
from typing import Any, Final, ParamSpec, TypeVar

from pydantic import ValidationError
from typing_extensions import override

from potoserver.core import Core
from potoserver.engine.base import NodeInfo
from potoserver.errors import ProblemError, UnavailableError
from potoserver.module.nodes import Gathered, Nodes, PerNodeMethod, per_node_methods
from potoserver.nodes.exchange import Part
from potoserver.nodes.message import PART_BYTES

_ANSWER_S: Final = 3.0

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ServerNodes(Nodes):
    """Asks all nodes for a module, and answers those that ask.

    Args:
        core: The server's parts.
        module_name: Whose methods are run.
    """

    def __init__(self, core: Core, module_name: str) -> None:
        self._core = core
        self._module_name = module_name
        self._name = f"ask {module_name}"
        self._logger = core.logs.get("engine")
        core.node_calls.offer(self._name, self._serve)

    @cached_property
    def _methods(self) -> dict[str, PerNodeMethod]:
        return per_node_methods(self._core.modules[self._module_name])

    @property
    @override
    def id(self) -> str:
        return self._core.engine.node_id

    @override
    def living(self) -> Sequence[NodeInfo]:
        return self._core.engine.nodes()

    @override
    async def ask_all(
        self, method: Callable[_P, Awaitable[_T]], *arguments: _P.args, **named: _P.kwargs
    ) -> Gathered[_T]:
        nodes, blind = await self._nodes()
        here = self.id
        others = [node.id for node in nodes if node.id != here]
        if not others:
            return Gathered({here: await method(*arguments, **named)}, blind=blind)
        name = getattr(method, "__name__", repr(method))
        asked = self._methods[name]
        body = asked.dump_arguments(*arguments, **named)
        asking = (self._ask(node_id, name, asked, body) for node_id in others)
        own, found = await asyncio.gather(method(*arguments, **named), asyncio.gather(*asking))
        heard = {node_id: answer for node_id, answer in zip(others, found, strict=True) if answer}
        answers: dict[str, _T] = {here: own} | {node_id: answer[0] for node_id, answer in heard.items()}
        still = {node.id for node in self.living()}  # who has left meanwhile is missed by nobody
        silent = tuple(each for each in others if each in still and each not in heard)
        return Gathered(answers, silent, blind)

    async def _nodes(self) -> tuple[Sequence[NodeInfo], bool]:
        """The nodes as they are now, or were last seen: then there may be others, too."""
        engine = self._core.engine
        try:
            if engine.trouble is None:
                return await engine.find_nodes(), False
        except UnavailableError:
            pass
        return engine.nodes(), True

    async def _ask(self, node_id: str, name: str, method: PerNodeMethod, body: bytes) -> tuple[Any] | None:
        """A node's answer, or None without one."""
        core = self._core
        try:
            async with core.clock.timeout(_ANSWER_S):
                parts = core.node_calls.call(node_id, self._name, Part({"method": name}, body))
                answer = b"".join([part.data async for part in parts])
            return (method.result.validate_json(answer),)
        except (ProblemError, TimeoutError, ValidationError) as error:
            self._logger.debug(
                "node not heard", node=node_id, module=self._module_name, method=name, error=repr(error)
            )
            return None

    async def _serve(
        self, _node: str, request: Part, rest: AsyncIterator[bytes]
    ) -> AsyncGenerator[Part, None]:
        await self._core.start_over.wait()  # a node is among the others before its modules have started
        if not self._core.started:
            raise UnavailableError("The node that was asked does not start.")
        method = self._methods.get(request.fields["method"])
        if method is None:
            raise ProblemError(501, "The node that was asked has no such method.")
        try:
            body = request.data + b"".join([each async for each in rest])
            arguments = method.arguments.validate_json(body)
        except ValidationError as error:
            raise ProblemError(501, "The node that was asked takes other arguments.") from error
        answer = method.result.dump_json(await method.function(*arguments))
        begins = range(0, len(answer), PART_BYTES)
        for begin in begins:
            yield Part(data=answer[begin : begin + PART_BYTES], last=begin == begins[-1])
