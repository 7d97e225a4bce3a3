"""What a process used since a moment: time of the processor, and memory at its peak (Linux)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_RESET_PEAK = "5"


class Gauge:
    """Looks at one process.

    Args:
        pid: Which one.
    """

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")
        self._cpu_s = 0.0
        self._held_bytes = 0
        self.begin()

    def begin(self) -> None:
        """Looks from now on."""
        (self._proc / "clear_refs").write_text(_RESET_PEAK)
        self._held_bytes = self._status("VmRSS")
        self._cpu_s = self._used_s()

    def cpu_s(self) -> float:
        """The time of the processor used since then, of all threads, in seconds."""
        return self._used_s() - self._cpu_s

    def grown_bytes(self) -> int:
        """How much more memory it has held than then, at the most."""
        return max(0, self._status("VmHWM") - self._held_bytes)

    def _status(self, name: str) -> int:
        text = (self._proc / "status").read_text()
        return int(text.partition(f"{name}:")[2].split()[0]) * 1024

    def _used_s(self) -> float:
        """Of all threads that there are; `stat` would count in hundredths of a second."""
        used_ns = 0
        for task in (self._proc / "task").iterdir():
            with suppress(OSError):  # it may end at any moment
                used_ns += int((task / "schedstat").read_text().split()[0])
        return used_ns / 1e9
