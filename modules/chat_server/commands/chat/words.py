"""What happened to a dialog, in words, and times as a person reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from potoserver import visible

_REASONS: Final = {
    "disconnect": "you left",
    "timeout": "nothing was said for a while",
    "shutdown": "the server stopped",
    "request": "it was ended",
    "recovered": "you were not there when the server came back",
    "superseded": "another conversation began",
}
_ARCHIVE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d")


def why_archived(reason: object) -> str:
    """Why a dialog ended."""
    return _REASONS.get(str(reason), visible(str(reason)))


def archived_notice(archived: Mapping[str, Any]) -> str:
    """What `connected` and `archived` tell of a dialog that has ended."""
    archive_id = str(archived.get("id"))
    at = clock_of_archive(archive_id)
    when = f" at {at}" if at else ""
    return (
        f"Archived because {why_archived(archived.get('reason'))}{when}; "
        f"/restore {visible(archive_id)} goes on with it."
    )


def clock_of_archive(archive_id: str) -> str:
    """When an archive ended, by its id, which is a time in UTC; empty for another id."""
    found = _ARCHIVE_TIME.match(archive_id)
    if found is None:
        return ""
    try:
        return _clock(datetime.strptime(found[0], "%Y-%m-%d-%H-%M-%S").replace(tzinfo=UTC))
    except ValueError:
        return ""


def clock_of(stamp: object) -> str:
    """A time of the wire (ISO 8601, UTC) as this machine's clock shows it."""
    try:
        return _clock(datetime.fromisoformat(str(stamp)))
    except ValueError:
        return visible(str(stamp))


def _clock(time: datetime) -> str:
    """The hour today, the date too on other days."""
    try:
        here = time.astimezone()
    except (OverflowError, OSError):
        return time.isoformat()
    form = "%H:%M" if here.date() == datetime.now(here.tzinfo).date() else "%Y-%m-%d %H:%M"
    return here.strftime(form)
