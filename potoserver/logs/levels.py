"""Which loggers are at debug level: the patterns of `log.debug`."""

from __future__ import annotations

import re


class DebugPatterns:
    """Logger patterns, by commas or blanks: `session:*,journal:*,-session:activity`.

    `*` stands for any text; `session:*` matches `session` too. A pattern that begins with `-` takes
    loggers out again, wherever it stands.

    Args:
        patterns: The patterns; empty matches no logger.
    """

    def __init__(self, patterns: str) -> None:
        words = re.split(r"[\s,]+", patterns)
        self._included = [_compile(word) for word in words if word and not word.startswith("-")]
        self._excluded = [_compile(word[1:]) for word in words if word.startswith("-") and word != "-"]

    def match(self, logger: str) -> bool:
        """Whether the logger of that name is at debug level."""
        return any(each.fullmatch(logger) for each in self._included) and not any(
            each.fullmatch(logger) for each in self._excluded
        )


def _compile(pattern: str) -> re.Pattern[str]:
    stem = pattern.removesuffix(":*")
    first, *parts = map(re.escape, stem.split("*"))
    # Each part but the last is taken where it comes first, and that is final: many `*` cost no more than one.
    middle = "".join(f"(?>.*?{part})" for part in parts[:-1])
    text = first + middle + "".join(f".*{part}" for part in parts[-1:])
    return re.compile(text if stem == pattern else f"{text}(?::.*)?", re.DOTALL)
