"""What `modules new` writes: a plugin to start from, its test, and a page about it."""

from __future__ import annotations

from string import Template
from typing import Final

PLUGIN: Final = Template('''\
"""$class_name: say here in a line what it is for."""

from __future__ import annotations

from typing_extensions import override

from potoserver import Event, ServerModule, User, rpc


class $class_name(ServerModule):
    """Greets who comes online, and sends what its users say to all of their tabs."""

    @override
    async def on_sse_connect(self, user_id: str) -> None:
        await self.context.publish(user_id, Event("$name", {"text": f"Hello, {user_id}!"}))

    @rpc
    async def say(self, user: User, text: str) -> str:
        """Sends a text to all of the caller's connections, as an event `$name`; returns it."""
        await self.context.publish(user.id, Event("$name", {"text": text}))
        return text
''')

TEST: Final = Template('''\
"""The module $class_name, in a whole server."""

from __future__ import annotations

import asyncio
from pathlib import Path

from potoserver.client import PotoClient, Subscription
from potoserver.testing import serving

MODULES_DIR = $modules_dir
LIMIT_S = 30


async def next_text(events: Subscription) -> str:
    """The text of the module's next event."""
    async for event in events:
        if event.type == "$name":
            return str(event.data["text"])
    raise AssertionError("the stream has ended")


def test_events_of_$name(tmp_path: Path) -> None:
    """Who comes online is greeted; what is said arrives on the event stream, and is the answer."""

    async def talk() -> None:
        async with (
            asyncio.timeout(LIMIT_S),
            serving("$name", folder=tmp_path, modules_dir=MODULES_DIR) as url,
            PotoClient(url, token="test-token") as client,
            client.subscribe() as events,
        ):
            assert await next_text(events) == "Hello, a1!"
            assert await client.module("$class_name").say(text="Good day") == "Good day"
            assert await next_text(events) == "Good day"

    asyncio.run(talk())
''')

PAGE: Final = Template("""\
# $class_name

What it is for, in a sentence or two.

## Events

| event | data | when |
| --- | --- | --- |
| `$name` | `{text}` | its user came online, or called `say` |

## Methods

| method | arguments | result |
| --- | --- | --- |
| `say` | `text` | the text, which all of the caller's connections get |

```sh
curl -X POST http://localhost:3799/$class_name/say \\
     -H "Authorization: Bearer test-token" -H "Content-Type: application/json" -d '{"text": "Good day"}'
```
""")
