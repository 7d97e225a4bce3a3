"""Every target by its name."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import (
    bodies,
    dialogs,
    headers,
    ids,
    imports,
    nodes,
    replies,
    searching,
    settings,
    streams,
    tokens,
)

__all__ = ["TARGETS"]

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (
        ids,
        bodies,
        headers,
        tokens,
        settings,
        dialogs,
        imports,
        nodes,
        replies,
        searching,
        streams,
    )
    for target in module.TARGETS
}
