"""No text takes a regular expression longer than its length warrants."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from typing import Any

import modules.chat_server
import potoserver

LENGTH = 30_000
QUICK_S = 1.5
"""Generous: what takes the square of this length takes several seconds, what does not takes milliseconds."""
SEARCHED = {
    "potoserver.web.body._STRINGS",
    "potoserver.web.body._SURROGATE_ESCAPE",
    "potoserver.web.body._SURROGATE",
    "modules.chat_server.journal.dialog_yaml._ASTRAL",
    "modules.chat_server.journal.dialog_yaml._FIELD",
    "modules.chat_server.journal.dialog_yaml._NOT_LITERAL",
    "modules.chat_server.journal.first_words._QUESTION",
    "modules.chat_server.journal.marks._MARKS",
    "modules.chat_server.journal.marks._MESSAGES",
    "modules.chat_server.journal.references._LINE",
    "modules.chat_server.journal.scan._CUT_COUNT",
    "modules.chat_server.search.prefilter._ESCAPED",
    "modules.chat_server.journal.scan._LAST_LINE",
}
"""The expressions that are looked for within a text."""
MATCHED = {
    "modules.chat_server.journal.archives._CONVERSATION",
    "modules.chat_server.journal.first_words._LITERAL",
    "modules.chat_server.journal.first_words._QUOTED",
    "modules.chat_server.journal.scan._HEAD",
    "modules.chat_server.responders.echo._WORD",
    "modules.chat_server.responders.echo._WORDS",
    "potoserver.web.admission._FIRST_LINE",
}
"""Those that a text begins with; the others are all of a text."""
PIECES = (
    *("a", "A", "0", "-", ".", ":", " ", "\t", "\n", "_", "/", "\\", '"', '\\"', "[", "\ud83d", "é", "\x85"),
    *(
        "a.",
        "a-",
        "0-",
        "a: ",
        " a",
        "\n ",
        "\n    ",
        '  timestamp: "',
        "  timestamp: ",
        "\nmessage_count: 0",
    ),
    *("- a:", 'a: "\n', "a: |-\n", "    a\n", "conversation: \n", "sha256:", "\\ud", "q=0", "[::", "a://"),
    *('  reply_to: "', '  reply_to: "\n', "2024-01-15-", "http://a"),
)


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Every compiled expression at a module's top, by its name."""
    for package in (potoserver, modules.chat_server):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__"):
                continue
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                if isinstance(value, re.Pattern):
                    yield f"{module.__name__}.{name}", value


def test_no_text_takes_the_square_of_its_length() -> None:
    """Each expression, in the way that it is used, against what repeats each of its parts and then fails."""
    found = dict(patterns())
    assert len(found) >= 20
    assert set(found) >= SEARCHED | MATCHED
    for name, pattern in found.items():
        for piece in PIECES:
            text: Any = piece * (LENGTH // len(piece)) + "\x00!"
            if isinstance(pattern.pattern, bytes):
                text = text.encode("utf-8", "surrogatepass")
            begun_s = time.thread_time()
            if name in SEARCHED:
                pattern.sub(pattern.pattern[:0], text)
            elif name in MATCHED:
                pattern.match(text)
            else:
                pattern.fullmatch(text)
            assert time.thread_time() - begun_s < QUICK_S, (name, piece)
