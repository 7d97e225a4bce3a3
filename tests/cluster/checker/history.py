"""What happened in a run: what clients did and saw, what was done to the cluster, what was left on disk.

All times are the machine's, in ms since 1970, whatever a node's own clock shows: those of the clients, the
stamps of the nodes' log lines, the times of files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Rules:
    """The settings that the run went by.

    Attributes:
        grace_ms: Of presence.
        timeout_ms: The chat's inactivity, from which the fallback ends a session.
        check_ms: How often the fallback looks.
        lease_ms: Which lease clients ask for that fall silent.
    """

    grace_ms: int
    timeout_ms: int
    check_ms: int
    lease_ms: int


@dataclass
class Trouble:
    """Something that was done to the cluster, or befell it.

    Attributes:
        kind: `kill`, `term`, `pause`, `cut`, `reset`, `starved` of a node; `kill`, `pause` of the engine.
        node: Which node, by number; None for the engine.
        begin_ms: When it began.
        end_ms: When all of it was over: the node serves again, the way is open again.
        about: Further words.
    """

    kind: str
    node: int | None
    begin_ms: int
    end_ms: int
    about: str = ""


@dataclass
class Got:
    """An event that a stream brought."""

    at_ms: int
    id: str
    type: str
    message_id: str | None = None


@dataclass
class Stream:
    """One request for an event stream, and what came of it.

    Attributes:
        tab: Which of the user's tabs: one that returns goes on where it was.
        node: Which node was asked.
        asked_ms: When.
        after: The `Last-Event-ID` that was sent.
        opened_ms: When `connected` came; None where it did not.
        id: The id that `connected` carried.
        connection: Its name, by `connected`.
        conversation: Likewise.
        resumed: Likewise.
        gap: Likewise.
        silent_ms: From when on the client answered nothing any more, though it did not go.
        closed_ms: When the stream was over for the client.
        why: `left` by the client, `ended` by the other side, or `never` opened.
        got: The events that have an id.
    """

    user: str
    tab: int
    node: int
    asked_ms: int
    after: str | None = None
    opened_ms: int | None = None
    id: str = ""
    connection: str = ""
    conversation: str | None = None
    resumed: bool = False
    gap: bool = False
    silent_ms: int | None = None
    closed_ms: int = 0
    why: str = ""
    got: list[Got] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.got = [Got(**each) if isinstance(each, dict) else each for each in self.got]


@dataclass
class Try:
    """One request of a call: to which node, from when to when, and the status; 0 where no answer came."""

    node: int
    begun_ms: int
    ended_ms: int
    status: int
    retry_after: bool = False
    body: str = ""


@dataclass
class Said:
    """One message that a user sent, repeated with its key until it was answered or given up.

    Attributes:
        answered_ms: When the answer was there; None without one.
        conversation: Where the answer says that it is kept.
        message_id: The reply's.
        reply: Its text.
        whole: The reply is all that there is to be said, not cut by a stop.
    """

    user: str
    key: str
    text: str
    tries: list[Try] = field(default_factory=list)
    answered_ms: int | None = None
    conversation: str = ""
    message_id: str = ""
    reply: str = ""
    whole: bool = True

    def __post_init__(self) -> None:
        self.tries = [Try(**each) if isinstance(each, dict) else each for each in self.tries]

    @property
    def begun_ms(self) -> int:
        """When it was sent first."""
        return self.tries[0].begun_ms

    @property
    def over_ms(self) -> int:
        """When it was answered or given up."""
        return self.tries[-1].ended_ms


@dataclass
class Asked:
    """A call of `endSession`."""

    user: str
    node: int
    begun_ms: int
    ended_ms: int
    status: int
    conversation: str | None = None


@dataclass
class Line:
    """A line of a node's log that tells of a session, or of a fault of the server."""

    node: int
    at_ms: int
    event: str
    user: str = ""
    conversation: str = ""
    reason: str = ""
    about: str = ""
    fault: bool = False


@dataclass
class Archive:
    """An archive on disk.

    Attributes:
        id: Its name.
        footed_ms: When its footer was written.
        moved_ms: When it became an archive.
        messages: Role, content and id of each.
        count: What the footer says that there are.
    """

    user: str
    id: str
    conversation: str
    reason: str
    footed_ms: int
    moved_ms: int
    messages: list[tuple[str, str, str]]
    count: int

    def __post_init__(self) -> None:
        self.messages = [(role, content, id_) for role, content, id_ in self.messages]


@dataclass
class History:
    """All of one run.

    Attributes:
        seed: Its chance.
        quiet_ms: When the last trouble was over.
        stop_ms: When all nodes were told to stop.
        left: What was there at the end that should not be, in words.
    """

    seed: int
    rules: Rules
    nodes: int = 3
    begin_ms: int = 0
    quiet_ms: int = 0
    stop_ms: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    archives: list[Archive] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def conversations(self) -> set[str]:
        """Every conversation that anybody was told of."""
        told = {each.conversation for each in self.streams if each.conversation}
        logged = {each.conversation for each in self.lines if each.conversation}
        return told | logged | {each.conversation for each in self.said if each.conversation}

    def write(self, file: Path) -> None:
        """Keeps it, a record a line."""
        with file.open("w", encoding="utf-8") as out:
            for name in _LISTS:
                for record in getattr(self, name):
                    out.write(json.dumps({name: asdict(record)}, ensure_ascii=False) + "\n")
            rest = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _LISTS}
            out.write(json.dumps(rest | {"rules": asdict(self.rules)}, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, file: Path) -> Self:
        """The history that was kept there."""
        found: dict[str, Any] = {name: [] for name in _LISTS}
        for line in file.read_text(encoding="utf-8").splitlines():
            record: Mapping[str, Any] = json.loads(line)
            if "seed" in record:
                found |= {**record, "rules": Rules(**record["rules"])}
                continue
            [(name, values)] = record.items()
            found[name].append(_LISTS[name](**values))
        return cls(**found)


_LISTS: Mapping[str, type] = {
    "troubles": Trouble,
    "streams": Stream,
    "said": Said,
    "asked": Asked,
    "lines": Line,
    "archives": Archive,
}
