"""The machine under a run: what it is, what else it did, and on which processor each process is."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "aiohttp",
    "aiohttp-sse",
    "sse-starlette",
    "starlette",
    "uvicorn",
    "httptools",
    "pydantic",
    "PyJWT",
)
_BUSY = (0, 1, 2, 5, 6, 7)
"""Of the times in /proc/stat: user, nice, system, irq, softirq, steal (proc(5))."""


def processors() -> tuple[set[int], set[int]]:
    """Which ones the servers get, one alone, and which the load; the same where there is only one."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


def pss_bytes(pids: list[int]) -> int:
    """The memory that the processes hold, what they share counted in parts."""
    return sum(_pss_bytes(Path(f"/proc/{pid}/smaps_rollup")) for pid in pids)


def _pss_bytes(file: Path) -> int:
    return int(file.read_text().partition("Pss:")[2].split()[0]) * 1024


def about() -> dict[str, object]:
    """Versions, and what the processor is."""
    cpu = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2].partition("\n")[0]
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 - whichever git there is
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "commit": commit or "unknown",
        "machine": f"{os.cpu_count()} × {cpu or platform.machine()}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "open files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class Bystanders:
    """How much of the machine others used since this was made: the more, the less the seconds mean."""

    def __init__(self) -> None:
        self._begun_s = time.monotonic()
        self._others_s = self._others()

    def cores(self) -> float:
        """How many processors they kept busy, in the mean. Children count once they have ended."""
        return max(0.0, self._others() - self._others_s) / max(time.monotonic() - self._begun_s, 1e-9)

    def _others(self) -> float:
        times = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        busy_s = sum(int(times[at]) for at in _BUSY) / os.sysconf("SC_CLK_TCK")
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return busy_s - sum(usage.ru_utime + usage.ru_stime for usage in own)
