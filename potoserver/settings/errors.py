"""What is wrong with the settings."""

from __future__ import annotations

_NAME_CHARS = 200
_PROBLEM_CHARS = 1000


class SettingsError(Exception):
    """A setting stops the start. The text is one line: the key, where it was read, what was expected.

    Args:
        key: The setting's key, dotted, or what else was read.
        source: Where it was read: `potoserver.yaml line 12`, `environment POTO_PORT`, `flag --port`;
            empty where nothing gave it.
        problem: What was expected. Never a secret.
    """

    def __init__(self, key: str, source: str, problem: str) -> None:
        key = key if key.strip() else repr(key)
        place = f" ({_shown(source)})" if source else ""
        super().__init__(f"{_shown(key)}{place}: {_shown(problem, _PROBLEM_CHARS)}")
        self.key = key
        self.source = source


def _shown(text: str, most: int = _NAME_CHARS) -> str:
    """On one line of bounded length. What was read may hold anything: nothing of it commands a terminal."""
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(text.split()))
    return line if len(line) <= most else f"{line[:most]}…"
