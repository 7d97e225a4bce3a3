"""The methods that the running modules offer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from potoserver.module.base import ServerModule
from potoserver.module.docstrings import read_docstring
from potoserver.module.rpc import RpcMethod, rpc_methods


class Methods:
    """Finds a method by its URL. A module's signatures are read once.

    Args:
        modules: The modules by name; more may come until the start.
    """

    def __init__(self, modules: Mapping[str, ServerModule]) -> None:
        self._modules = modules
        self._read: dict[str, dict[str, RpcMethod]] = {}

    def find(self, module_name: str, wire_name: str) -> RpcMethod | None:
        """The method, or None: what isn't marked as one can't be reached."""
        return self._of(module_name).get(wire_name)

    def __iter__(self) -> Iterator[tuple[str, RpcMethod]]:
        """Every method with its module's name."""
        for module_name in self._modules:
            for method in self._of(module_name).values():
                yield module_name, method

    def summaries(self) -> dict[str, str]:
        """What each module says of itself in a line."""
        return {name: read_docstring(type(module)).summary for name, module in self._modules.items()}

    def _of(self, module_name: str) -> dict[str, RpcMethod]:
        module = self._modules.get(module_name)
        if module is None:
            return {}
        if module_name not in self._read:
            self._read[module_name] = rpc_methods(module)
        return self._read[module_name]
