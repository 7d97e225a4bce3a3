"""What the chat adds to the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import typer

from .dialogs import dialogs_app


def commands() -> Mapping[str, Callable[..., None] | typer.Typer]:
    """Sub-commands of `python -m potoserver`, by name."""
    return {"dialogs": dialogs_app()}
