"""A start on the data of many users, some of whose dialogs were left open."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from modules.chat_server.journal.dialog_yaml import emit_head, emit_message
from modules.chat_server.journal.records import Conversation, Message
from scripts.bench.side_by_side.figures import Bound, Figure
from scripts.bench.side_by_side.rows.base import Ground, Row, Size

_BEGAN_MS = 1_704_110_400_000
_LIMIT_S = 600.0
_LOOK_S = 0.1
_ANSWERED = (Bound(2, "", at_most=True),)


def make_users(folder: Path, size: Size) -> None:
    """Makes the folders of so many users, the first of them with a dialog that was left open."""
    data = folder / "data"
    (data / "open").mkdir(parents=True)
    for number in range(size.on_disk):
        user = f"d{number:07}"
        dialogs = data / "users" / user / "dialogs"
        (dialogs / "archived").mkdir(parents=True)
        if number < size.left_open:
            conversation = Conversation(f"sse-{_BEGAN_MS}-{number:09}", _BEGAN_MS)
            message = Message("user", "Are you still there?", f"m-{number}", _BEGAN_MS)
            (dialogs / "current.yaml").write_bytes(emit_head(conversation, user) + emit_message(message))
            (data / "open" / user).touch()


class Start(Row):
    """The first answer, and the end of the recovery that goes on behind it."""

    async def measure(self, ground: Ground) -> dict[Figure, float]:
        size, launched_s = ground.size, ground.peer.launched_s
        reader, writer = await asyncio.open_connection("127.0.0.1", ground.peer.port)
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        answered_s = time.monotonic() - launched_s
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
        markers = ground.peer.folder / "data" / "open"
        while await asyncio.to_thread(lambda: any(markers.iterdir())):
            if time.monotonic() - launched_s > _LIMIT_S:
                raise TimeoutError(f"dialogs are still open after {_LIMIT_S:.0f} s")
            await asyncio.sleep(_LOOK_S)
        name = f"start with {size.on_disk:,} users, {size.left_open:,} dialogs open"
        return {
            Figure(f"{name}: first answer", "s", _ANSWERED): answered_s,
            Figure(f"{name}: all recovered", "s"): time.monotonic() - launched_s,
        }
