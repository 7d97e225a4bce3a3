"""What a running server shows from outside: in /proc, /health, /metrics, its folders and its log."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.process import ServerProcess

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
Row = dict[str, Any]


class ArchiveTimes:
    """How long each dialog took from its session's end to its archive, read off the log as it grows.

    Args:
        path: The log; that it is rotated loses nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self._rest = b""
        self._ended_s: dict[str, float] = {}
        self.errors: deque[dict[str, Any]] = deque(maxlen=50)
        """The newest lines of level error."""
        self.bytes = 0

    def close(self) -> None:
        """Reads no more."""
        self._file.close()

    def read(self) -> list[float]:
        """The times of the dialogs that were archived since the last call, in milliseconds."""
        data = self._file.read()
        if self._path.stat().st_ino != os.fstat(self._file.fileno()).st_ino:
            data += self._file.read()
            self._file.close()
            self._file = self._path.open("rb")
            data += self._file.read()
        self.bytes += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        times = []
        for raw in lines:
            if b'"session ended"' in raw:
                line = json.loads(raw)
                self._ended_s[line["conversation"]] = _seconds(line["timestamp"])
            elif b'"dialog archived"' in raw:
                line = json.loads(raw)
                ended_s = self._ended_s.pop(line["conversation"], None)
                if ended_s is not None:
                    times.append((_seconds(line["timestamp"]) - ended_s) * 1000)
            elif b'"level":"error"' in raw or b'"level": "error"' in raw:
                self.errors.append(json.loads(raw))
        while len(self._ended_s) > 10_000:  # sessions without a message are never archived
            del self._ended_s[next(iter(self._ended_s))]
        return times


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


class Sampler:
    """Looks at one server.

    Args:
        server: Which.
        session: Asks it.
    """

    def __init__(self, server: ServerProcess, session: aiohttp.ClientSession) -> None:
        self._server = server
        self._session = session
        self._archive_times = ArchiveTimes(server.log_file)
        self._cpu_s, self._loop_s = self._used_s(), self._loop_used_s()
        self._at_s = self._began_s = time.monotonic()
        self.rows: list[Row] = []

    def close(self) -> None:
        """Looks no more."""
        self._archive_times.close()

    @property
    def logged_errors(self) -> list[dict[str, Any]]:
        """The newest error lines of the log."""
        return list(self._archive_times.errors)

    @property
    def logged_bytes(self) -> int:
        """How much the log has grown since the start."""
        return self._archive_times.bytes

    def _used_s(self) -> float:
        """The processor time that the server has used."""
        fields = Path(f"/proc/{self._server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def _loop_used_s(self) -> tuple[float, float]:
        """The processor time that the event loop's thread has used, and how long it has waited for some."""
        stat = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/schedstat").read_text().split()
        return int(stat[0]) / 1e9, int(stat[1]) / 1e9

    async def sample(self, load: Row) -> Row:
        """Takes one row.

        Args:
            load: What the load has told of itself; becomes part of it.
        """
        proc = Path(f"/proc/{self._server.pid}")
        begun_s = time.monotonic()
        answer = await self._session.get(f"{self._server.url}/health")
        health = await answer.json()
        health_ms = (time.monotonic() - begun_s) * 1000
        series, values = await self.metrics()
        cpu_s, loop_s, now_s = self._used_s(), self._loop_used_s(), time.monotonic()
        passed_s = max(1e-6, now_s - self._at_s)
        times = sorted(self._archive_times.read())
        row = load | {
            "t": round(now_s - self._began_s, 1),
            "status": health["status"],
            "connections": health["connections"],
            "users_online": health["usersOnline"],
            "sessions": health["activeSessions"],
            "pending_archives": health["pendingArchives"],
            "tasks": health["tasks"],
            "allocated_blocks": health["allocatedBlocks"],
            "collection_ms": health["collectionMs"],
            "health_ms": round(health_ms, 1),
            "rss_mb": round(int((proc / "statm").read_text().split()[1]) * _PAGE_BYTES / 2**20, 2),
            "descriptors": len(os.listdir(proc / "fd")),
            "threads": len(os.listdir(proc / "task")),
            "server_cpu": round((cpu_s - self._cpu_s) / passed_s, 3),
            "loop_cpu": round((loop_s[0] - self._loop_s[0]) / passed_s, 3),
            "loop_starved": round((loop_s[1] - self._loop_s[1]) / passed_s, 3),
            "series": len(series),
            "archives": int(_sum(values, "potoserver_archives_total")),
            "archive_ms_p50": round(times[len(times) // 2], 1) if times else None,
            "archive_ms_max": round(times[-1], 1) if times else None,
            "hook_failures": int(_sum(values, "potoserver_hook_failures_total")),
            "log_lines_dropped": int(_sum(values, "potoserver_log_lines_dropped_total")),
            "log_mb": round(self.logged_bytes / 2**20, 1),
            "user_folders": len(os.listdir(self._server.data_dir / "users")),
            "open_marks": len(os.listdir(self._server.data_dir / "open")),
        }
        self._cpu_s, self._loop_s, self._at_s = cpu_s, loop_s, now_s
        self.rows.append(row)
        return row

    async def metrics(self) -> tuple[set[str], dict[str, float]]:
        """The names with labels of all series, and the value of each."""
        answer = await self._session.get(f"{self._server.url}/metrics")
        lines = [line for line in (await answer.text()).splitlines() if line and not line.startswith("#")]
        values = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
        return {name for name in values if "_created" not in name}, values

    async def look_at_everything(self) -> None:
        """Has the server make what it makes once, when it is first needed."""
        answer = await self._session.get(f"{self._server.url}/openapi.json")
        await answer.read()
        await self.census()

    async def census(self) -> dict[str, Any]:
        """What the server holds, from inside; see `Census`."""
        answer = await self._session.post(
            f"{self._server.url}/Census/census", json={}, headers={"Authorization": "Bearer t-admin"}
        )
        assert answer.status == 200, await answer.text()
        return dict(await answer.json())


def _sum(values: dict[str, float], metric: str) -> float:
    return sum(value for name, value in values.items() if name.partition("{")[0] == metric)
