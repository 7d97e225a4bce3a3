"""What is wrong with the settings."""

from __future__ import annotations


class SettingsError(Exception):
    """A setting stops the start. The text is one line: the key, where it was read, what was expected.

    Args:
        key: The setting's key, dotted, or what else was read.
        source: Where it was read: `potoserver.yaml line 12`, `environment POTO_PORT`, `flag --port`;
            empty where nothing gave it.
        problem: What was expected. Never a secret.
    """

    def __init__(self, key: str, source: str, problem: str) -> None:
        super().__init__(" ".join(f"{key}{f' ({source})' if source else ''}: {problem}".split()))
        self.key = key
        self.source = source
