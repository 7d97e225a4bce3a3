"""A slip in a hook or a role is told at the start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from potoserver import Departure, ServerModule, rpc
from potoserver.module.hook_signatures import check_hooks


class Sync(ServerModule):
    def on_sse_connect(self, user_id: str) -> None:  # type: ignore[override]
        pass


class Short(ServerModule):
    async def on_sse_disconnect(self, user_id: str) -> None:  # type: ignore[override]
        pass


class Mistyped(ServerModule):
    async def on_sse_conect(self, user_id: str) -> None:
        pass


class Fine(ServerModule):
    async def on_sse_disconnect(self, who: str, why: Departure, also: int = 1) -> None:
        pass

    async def connected_fields(self, *args: str) -> Mapping[str, Any]:
        return {}

    async def on_message(self) -> None:
        """No hook, and nowhere near one."""


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Sync, "Sync.on_sse_connect: a hook of that name must be async"),
        (Short, r"Short.on_sse_disconnect: a hook of that name is given \(self, user_id, departure\)"),
        (Mistyped, "Mistyped.on_sse_conect: there is no such hook, did you mean on_sse_connect?"),
    ],
)
def test_a_hook_that_could_not_be_called_is_refused(module: type[ServerModule], words: str) -> None:
    """Otherwise it would fail at every departure, for a day."""
    with pytest.raises(TypeError, match=words):
        check_hooks(module)


def test_hooks_may_name_their_parameters_as_they_like() -> None:
    """The server passes them by position."""
    check_hooks(Fine)
    check_hooks(ServerModule)


@pytest.mark.parametrize("roles", [set(), (), "admin"])
def test_roles_that_could_let_anybody_in_are_refused(roles: Any) -> None:
    """An empty set is not everybody, and a text is not the set of its letters."""
    with pytest.raises(TypeError, match="at least one name"):
        rpc(roles=roles)
