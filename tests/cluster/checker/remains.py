"""What a run has left: archives, log lines, and what should not be there any more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.checker.history import Archive, Line
from tests.cluster.checker.sessions import ADOPTED, ENDED, STARTED
from tests.cluster.checker.untold import NOT_PUBLISHED
from tests.support import saved
from tests.support.valkey import ValkeyProcess

_TOLD = {
    STARTED,
    ENDED,
    ADOPTED,
    NOT_PUBLISHED,
    "session continued",
    "dialog archived",
    "dialog archive failed",
}
_FAULTS = {"error", "critical"}
_HARMLESS = {"dialog archive failed", "dialog not recovered", "left undone at shutdown"}
"""Errors that troubles explain: they are tried again; the rest of the history tells whether that was so."""


def archives_of(data_dir: Path) -> tuple[list[Archive], list[str]]:
    """Every archive, and what is wrong with those that can't be read as one."""
    found, wrong = [], []
    for path in sorted(data_dir.glob("users/*/dialogs/archived/*")):
        user = path.parts[-4]
        try:
            dialog = saved.load(path)
            if path.suffix != ".yaml" or dialog.fields["user"] != user:
                raise ValueError(f"is {dialog.fields['user']}'s, or no archive")
            found.append(_archive(path, user, dialog.fields))
        except (AssertionError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
            wrong.append(f"{user} has an archive that can't be read: {path.name}: {error!r}")
    return found, wrong


def _archive(path: Path, user: str, fields: dict[str, Any]) -> Archive:
    messages = [(each["role"], each["content"], each["id"]) for each in fields["messages"] or ()]
    stamps = [fields["started"], *(each["timestamp"] for each in fields["messages"] or ()), fields["ended"]]
    if stamps != sorted(stamps):
        raise ValueError(f"times go back: {stamps}")
    about = path.stat()
    return Archive(
        user=user,
        id=path.stem,
        conversation=fields["conversation"],
        reason=fields["reason"],
        footed_ms=about.st_mtime_ns // 1_000_000,
        moved_ms=about.st_ctime_ns // 1_000_000,
        messages=messages,
        count=fields["message_count"],
    )


def left_in(data_dir: Path) -> Iterator[str]:
    """What of dialogs is not archived."""
    for mark in (data_dir / "open").iterdir():
        yield f"{mark.name} has a dialog that is marked as open"
    for path in saved.current_files(data_dir):
        if path.stat().st_size:
            yield f"{path.parts[-3]} has a dialog that is not archived: {path.read_bytes()[:200]!r}"
    for path in saved.set_aside(data_dir):
        if path.name != ".lock":
            yield f"{path.parts[-3]} has a file set aside: {path.name}"


def left_in_engine(valkey: ValkeyProcess) -> Iterator[str]:
    """Keys that never lapse, and users who are said to be there."""
    with valkey.client() as client:
        for key in client.scan_iter(count=1000):
            name = key.decode()
            if client.ttl(key) == -1:
                yield f"engine: {name} never lapses"
            kind = name.split(":")[2]
            if kind in ("online", "leaving", "waiting", "orphans", "connections", "departures"):
                yield f"engine: {name} is left: {_shown(client, key)}"


def _shown(client: Any, key: bytes) -> str:
    kind = client.type(key).decode()
    read = {
        "set": lambda: client.smembers(key),
        "zset": lambda: client.zrange(key, 0, -1, withscores=True),
        "hash": lambda: client.hgetall(key),
        "list": lambda: client.lrange(key, 0, -1),
    }
    return str(read[kind]())[:300] if kind in read else kind


def lines_of(file: Path, node: int) -> Iterator[Line]:
    """What a node's log tells of sessions, and its faults; the files that it was rotated into, too."""
    for part in file.parent.glob(f"{file.name}*"):
        yield from _lines_of(part.read_bytes(), node)


def _lines_of(data: bytes, node: int) -> Iterator[Line]:
    for raw in data.split(b"\n"):
        if not (raw.startswith(b"{") and raw.endswith(b"}")):
            continue  # a kill has cut it
        line = json.loads(raw)
        fault = line["level"] in _FAULTS and line["event"] not in _HARMLESS
        if line["event"] not in _TOLD and not fault:
            continue
        yield Line(
            node,
            int(datetime.fromisoformat(line["timestamp"]).timestamp() * 1000),
            line["event"],
            str(line.get("user", "")),
            str(line.get("conversation", "")),
            str(line.get("reason", "")),
            _about(line) if fault else str(line.get("archive", line.get("error", ""))),
            fault,
        )


def _about(line: dict[str, Any]) -> str:
    exception = str(line.get("exception", "")).strip()
    rest = {name: value for name, value in line.items() if name not in ("exception", "timestamp", "event")}
    return f"{rest} {exception[-400:]!r}"
