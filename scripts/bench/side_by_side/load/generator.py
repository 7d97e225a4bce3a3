"""The load generator: raw sockets, one epoll, and as little work for each byte as Python allows.

A process of its own, on a processor of its own. It takes a line of JSON, does that, and answers with a line.
Every answer holds `busy`, the share of the time in which this process used its processor: near 1 it would
have measured itself.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.bench.side_by_side.load.calls import Calls
from scripts.bench.side_by_side.load.streams import Streams


def main(users_file: str) -> None:
    users = [line.split() for line in Path(users_file).read_text().splitlines()]
    gc.freeze()
    gc.disable()  # nothing here makes cycles; a collection would be a pause of the load's own
    streams, calls = Streams(users), Calls(users)
    known: dict[str, Callable[..., dict[str, Any]]] = {
        "open": streams.open,
        "count": streams.count,
        "stamps": streams.stamps,
        "hold": streams.hold,
        "close": streams.close,
        "drop": streams.drop,
        "call": calls.call,
    }
    for line in sys.stdin:
        told = json.loads(line)
        try:
            answer = known[told["what"]](**told["arguments"])
        except Exception as error:  # noqa: BLE001 - the run is told, and decides
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
