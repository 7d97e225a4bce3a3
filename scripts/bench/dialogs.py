"""Dialogs made up of words, as many as are wanted, in the files of one user."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from modules.chat_server.journal.dialog_yaml import emit_footer, emit_head, emit_message
from modules.chat_server.journal.layout import second_name
from modules.chat_server.journal.records import Conversation, Message, Reason

USER = "a1"
RARE = "xylophonist"
FREQUENT = "the"
ABSENT = "nowhereinhere"
_VOCABULARY = 20_000
_BEGAN_MS = 1_600_000_000_000
_BETWEEN_MS = 3_600_000


@dataclass(frozen=True)
class Made:
    """What was made.

    Attributes:
        folder: Where the files are.
        ids: Their ids, oldest first.
        bytes: Their size in all.
    """

    folder: Path
    ids: list[str]
    bytes: int


def make(data_dir: Path, archives: int, messages: int, seed: int = 1) -> Made:
    """Makes archives of one user, all of the same length.

    A fifth of the messages has two lines, every tenth archive is not in ASCII. The rare word is in three of
    them, the frequent one in most messages, the absent one in none.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    words = [_word(chance) for _ in range(_VOCABULARY)]
    weights = list(accumulate(1 / (rank + 2) for rank in range(_VOCABULARY)))
    words[0] = FREQUENT
    folder = data_dir / "users" / USER / "dialogs" / "archived"
    folder.mkdir(parents=True, mode=0o700)
    rare = set(chance.sample(range(archives), min(3, archives)))
    size, ids = 0, []
    for number in range(archives):
        count = (number + 1) * messages // archives - number * messages // archives
        texts = [_text(chance, words, weights, foreign=number % 10 == 0) for _ in range(count)]
        if number in rare and texts:
            texts[-1] += f" {RARE}"
        file = write_archive(folder, USER, number, texts)
        ids.append(file.stem)
        size += file.stat().st_size
    return Made(folder, ids, size)


def write_archive(folder: Path, user: str, number: int, texts: Sequence[str]) -> Path:
    """Writes one of a user's archives: of an hour of its own, question and reply in turn.

    Args:
        folder: The user's archives.
        user: The user's id.
        number: Which of them it is; later ones have greater numbers.
        texts: What was said, a second after the other.
    """
    began_ms = _BEGAN_MS + number * _BETWEEN_MS
    conversation = Conversation(f"sse-{began_ms}-{number:09}", began_ms)
    messages = [
        Message("assistant" if at % 2 else "user", text, f"m-{number}-{at}", began_ms + 1000 * at)
        for at, text in enumerate(texts)
    ]
    ended_ms = began_ms + 1000 * len(texts)
    footer = emit_footer(ended_ms, Reason.DISCONNECT, len(messages))
    file = folder / f"{second_name(ended_ms)}.yaml"
    file.write_bytes(b"".join((emit_head(conversation, user), *map(emit_message, messages), footer)))
    return file


def _word(chance: random.Random) -> str:
    return "".join(chance.choices(string.ascii_lowercase, k=chance.randint(3, 10)))


def _text(chance: random.Random, words: list[str], weights: list[float], *, foreign: bool) -> str:
    chosen = chance.choices(words, cum_weights=weights, k=chance.randint(5, 60))
    if foreign:
        chosen[0] += " größer 日本語 😀"
    blank = "\n" if chance.random() < 0.2 else " "
    return " ".join(chosen[:8]).capitalize() + blank + " ".join(chosen[8:] or ["so"]) + "."
