"""The signals that ask a process to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def watch_signals(on_signal: Callable[[signal.Signals], None]) -> None:
    """Has this called on the running loop for each signal that asks to stop.

    The terminal's going is none where the process was started by nohup, to outlive it.
    """
    for number in _STOP:
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)


def ignore_signals() -> None:
    """All is done: a signal that comes while the process ends takes nothing back from its exit status."""
    for number in _STOP:
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
