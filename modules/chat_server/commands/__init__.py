"""What the chat adds to the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import typer

from .chat import chat
from .dialogs import dialogs_app
from .sessions import sessions


def commands() -> Mapping[str, Callable[..., None] | typer.Typer]:
    """Sub-commands of `python -m potoserver`, by name."""
    return {"chat": chat, "dialogs": dialogs_app(), "sessions": sessions}
