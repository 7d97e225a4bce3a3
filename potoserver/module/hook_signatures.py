"""Whether a module's hooks can be called as the server calls them."""

from __future__ import annotations

import difflib
import inspect

from potoserver.module.base import ServerModule

_NOT_HOOKS = {"name", "startup_checks", "commands"}


def check_hooks(module: type[ServerModule]) -> None:
    """Checks the hooks that a class overrides, so that a slip is told at the start, not by a user's going.

    Raises:
        TypeError: A hook is async or not as the server's is not, takes other parameters, or has nearly a
            hook's name.
    """
    hooks = {
        name
        for name, value in vars(ServerModule).items()
        if inspect.isfunction(value) and not name.startswith("_") and name not in _NOT_HOOKS
    }
    for name, value in inspect.getmembers(module, inspect.isfunction):
        if name not in hooks:
            if name.startswith("on_") and (near := difflib.get_close_matches(name, hooks, 1, 0.8)):
                raise TypeError(f"{module.__name__}.{name}: there is no such hook, did you mean {near[0]}?")
            continue
        hook = getattr(ServerModule, name)
        if inspect.iscoroutinefunction(hook) != inspect.iscoroutinefunction(value):
            must = "must" if inspect.iscoroutinefunction(hook) else "must not"
            raise TypeError(f"{module.__name__}.{name}: a hook of that name {must} be async")
        expected = list(inspect.signature(hook).parameters)
        try:
            inspect.signature(value).bind(*expected)
        except TypeError:
            wanted = ", ".join(expected)
            raise TypeError(f"{module.__name__}.{name}: a hook of that name is given ({wanted})") from None
