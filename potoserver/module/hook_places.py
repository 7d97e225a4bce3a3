"""Runs a module's hook where it belongs: here, or at the home of the user whom it is about."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import aclosing
from typing import Any, Final

from pydantic import TypeAdapter

from potoserver.engine.presence import Cause, Departure
from potoserver.errors import ProblemError
from potoserver.module.base import Connection, ServerModule
from potoserver.nodes.exchange import Part
from potoserver.nodes.homes import Homes
from potoserver.nodes.node_calls import NodeCalls

_NAME: Final = "hook"
_ARGUMENTS: Final[Mapping[str, TypeAdapter[Any]]] = {
    "on_sse_connect": TypeAdapter(tuple[str]),
    "on_sse_disconnect": TypeAdapter(tuple[str, Departure]),
    "on_connection_opened": TypeAdapter(tuple[Connection]),
    "on_connection_closed": TypeAdapter(tuple[Connection, Cause]),
    "connected_fields": TypeAdapter(tuple[str]),
}
"""The hooks about a user, and what each is called with."""


class HookPlaces:
    """Runs the hooks about a user, those of `homed` modules at the user's home.

    Args:
        homes: Which node is a user's home.
        node_calls: The way there.
        modules: The modules by name; more may come until the start.
    """

    def __init__(self, homes: Homes, node_calls: NodeCalls, modules: Mapping[str, ServerModule]) -> None:
        self._homes = homes
        self._node_calls = node_calls
        self._modules = modules
        node_calls.offer(_NAME, self._serve)

    def run(self, module: ServerModule, hook: str, user_id: str, *arguments: Any) -> Awaitable[Any]:
        """Runs a hook once; gives what it returns.

        Args:
            module: Whose hook.
            hook: Its name.
            user_id: Whom it is about.
            arguments: What it is called with.

        Raises:
            ProblemError: It failed at the user's home, which has logged why.
            UnavailableError: The engine is away, or the home has just died or moved.
            Exception: What it raised here.
        """
        if not (module.homed and self._homes.shared):
            here: Awaitable[Any] = getattr(module, hook)(*arguments)
            return here

        async def there(node_id: str) -> Any:
            head = {"module": module.name(), "hook": hook, "user": user_id}
            request = Part(head, _ARGUMENTS[hook].dump_json(arguments))
            async with aclosing(self._node_calls.call(node_id, _NAME, request)) as answer:
                return (await anext(answer)).fields["result"]

        return self._homes.run(user_id, lambda: getattr(module, hook)(*arguments), there)

    async def _serve(
        self, _node: str, request: Part, _rest: AsyncIterator[bytes]
    ) -> AsyncGenerator[Part, None]:
        module = self._modules.get(request.fields["module"])
        hook = request.fields["hook"]
        if module is None or hook not in _ARGUMENTS:
            raise ProblemError(501, "The node that was asked has no such module or hook.")
        await self._homes.check_here(request.fields["user"])
        result = await getattr(module, hook)(*_ARGUMENTS[hook].validate_json(request.data))
        yield Part({"result": dict(result) if isinstance(result, Mapping) else result}, last=True)
