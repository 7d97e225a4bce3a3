"""What `python -m potoserver check` says of the chat."""

from __future__ import annotations

import importlib.util
import stat
from collections.abc import Iterator
from pathlib import Path

from potoserver import Check

from .journal.layout import Layout
from .settings import ChatSettings


def startup_checks(settings: ChatSettings, data_dir: Path) -> Iterator[Check]:
    """Whether the responder can be made, and what a start would find in the folder of data."""
    yield _responder(settings)
    yield _dialogs(Layout(data_dir))


def _responder(settings: ChatSettings) -> Check:
    if settings.responder != "openai":
        return Check("chat.responder", settings.responder)
    if importlib.util.find_spec("openai") is None:
        says = "openai needs a package that is not installed: pip install 'potoserver[llm]'"
        return Check("chat.responder", says, "wrong")
    return Check(
        "chat.responder", f"openai, {settings.openai.model} at {settings.openai.base_url} (not asked now)"
    )


def _dialogs(layout: Layout) -> Check:
    subject = "dialogs"
    for folder in (layout.open, layout.users):
        try:
            mode = folder.lstat().st_mode
        except OSError:
            continue  # the start makes it; one that can't be looked at is told as `data_dir`
        if not stat.S_ISDIR(mode):
            return Check(subject, f"{folder} is no folder, and links are not followed", "wrong")
    try:
        left_open = sum(1 for _ in layout.open.iterdir())
    except FileNotFoundError:
        left_open = 0
    except OSError as error:
        return Check(subject, f"{layout.open} can't be read: {error.strerror}", "wrong")
    if not left_open:
        return Check(subject, "none is open")
    says = "are open; a start adopts them, and archives those whose users don't come back"
    return Check(subject, f"{left_open} {says}")
