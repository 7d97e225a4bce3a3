"""A client as a process of its own, so that it can be suspended: its kernel then still acknowledges.

`python -m tests.faults.suspension URL LEASE_S TOKEN` is the client. It answers each `ping`, returns with
its last event id when its stream ends, and prints every event as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import suppress
from typing import Any

import aiohttp

from tests.support.process import CHECKOUT
from tests.support.sse import LIMIT_S, EventReader, open_stream

_RETRY_S = 0.2


class SuspendableClient:
    """A subscriber with a lease, in a process that can be stopped and continued.

    Args:
        url: The server's, no slash at the end.
        lease_s: The lease that it asks for.
        token: Whose stream.
        program: The client, a module that is run with these three.
    """

    def __init__(
        self, url: str, lease_s: int, token: str = "test-token", program: str = "tests.faults.suspension"
    ) -> None:
        self._command = [sys.executable, "-m", program, url, str(lease_s), token]
        self._process: asyncio.subprocess.Process | None = None
        self.seen: list[dict[str, Any]] = []

    async def __aenter__(self) -> SuspendableClient:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=CHECKOUT, stdout=asyncio.subprocess.PIPE
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.communicate()

    def suspend(self) -> None:
        """It does nothing any more; its connection stays as it is."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def next(self, event_type: str) -> dict[str, Any]:
        """The next event of that type: `type`, `data` and `id`."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            async for line in self._process.stdout:
                event: dict[str, Any] = json.loads(line)
                self.seen.append(event)
                if event["type"] == event_type:
                    return event
        raise EOFError(f"the client has ended: {self.seen}")


async def answer_pings(
    session: aiohttp.ClientSession, url: str, reader: EventReader, token: str = "test-token"
) -> None:
    """Does what a client with a lease promises, for as long as its stream goes on."""
    connection = None
    while True:
        try:
            event = await reader.next()
        except TimeoutError:
            continue
        except EOFError:
            return
        if event.type == "connected":
            connection = event.data["connection"]
        elif event.type == "ping":
            with suppress(aiohttp.ClientError):  # it is answered again, three times in a lease
                await session.post(
                    f"{url}/subscribe/ack",
                    json={"connection": connection, "lastEventId": reader.last_id},
                    headers={"Authorization": f"Bearer {token}"},
                )


async def _run(url: str, lease_s: str, token: str) -> None:
    last_id = None
    async with aiohttp.ClientSession() as session:
        while True:
            reader = await open_stream(
                session, f"{url}/subscribe", token, last_event_id=last_id, lease=lease_s
            )
            answering = asyncio.create_task(answer_pings(session, url, reader, token))
            printed = 0
            while not reader.ended.is_set() or printed < len(reader.seen):
                for event in reader.seen[printed:]:
                    print(json.dumps({"type": event.type, "data": event.data, "id": event.id}), flush=True)
                    printed += 1
                await asyncio.sleep(0.05)
            await asyncio.wait([answering])
            last_id = reader.last_id or last_id
            await asyncio.sleep(_RETRY_S)


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:]))
