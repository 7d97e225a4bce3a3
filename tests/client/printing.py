"""`python -m tests.client.printing URL LEASE_S TOKEN`: prints every event as a line of JSON, as it comes."""

from __future__ import annotations

import asyncio
import json
import sys

from potoserver.client import Backoff, PotoClient


async def run(url: str, lease_s: str, token: str) -> None:
    async with PotoClient(url, token) as client:
        async for event in client.subscribe(lease_s=int(lease_s), backoff=Backoff(base_s=0.05, most_s=0.2)):
            print(json.dumps({"type": event.type, "data": event.data, "id": event.id}), flush=True)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
