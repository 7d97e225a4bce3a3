"""What the tests of search share: archives, made or laid out by hand, and a search without short cuts."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from hypothesis import strategies as st

from modules.chat_server.journal import Conversation, Message, Reason
from modules.chat_server.journal.dialog_yaml import emit_footer, emit_head, emit_message, parse_dialog
from modules.chat_server.journal.layout import second_name
from potoserver import iso_utc
from tests.journal.support import dialogs_of

START_MS = 1_705_313_523_120
PIECES = [
    *(
        "go",
        "GO on",
        "straße",
        "STRASSE",
        "İstanbul",
        "istanbul",
        "ﬁn",
        "FIN",
        "é",
        "e\u0301",
        "E\u0301",
        "ς",
        "Σ",
    ),
    *("\u0345", "ᾳ", "ΐ", "ǰ", "ŉ", "한", "\u1112\u1161\u11ab", "か\u3099", "が", "\u2126", "\u212b", "Å"),
    *("😀", "\U00010400", "\U00010428", "\U0002f800", "丽", "日本語", "สวัสดี", "नमस्ते"),
    *(
        " ",
        "\n",
        "\t",
        "\r\n",
        "\x07",
        "\x85",
        "\u2028",
        "\ufeff",
        "\xa0",
        '"',
        "\\",
        "\\u0041",
        "\\n",
        "'",
        ": ",
        "# ",
    ),
    *("- ", "  id: ", "    ", "\u0301", "\u0338", "<", "{", "[", "&a", "*a", "|-", ">", "role", "…"),
]
texts = (
    st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12)
    .map("".join)
    .filter(lambda text: not any("\ud800" <= each <= "\udfff" for each in text))
)


def naive_fold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def naive_has(text: str, words: Iterable[str]) -> bool:
    return all(naive_fold(word) in naive_fold(text) for word in words)


def dialog_bytes(
    contents: Sequence[str],
    *,
    number: int = 0,
    started_ms: int = START_MS,
    reason: Reason = Reason.REQUEST,
    user: str = "a1",
) -> bytes:
    """A dialog as the server writes it: question and answer in turn, a second apart."""
    conversation = Conversation(f"sse-{started_ms}-{number:09}", started_ms)
    messages = [
        Message("assistant" if at % 2 else "user", content, f"m-{number}-{at}", started_ms + at * 1000)
        for at, content in enumerate(contents)
    ]
    ended_ms = started_ms + len(contents) * 1000
    return b"".join(
        (
            emit_head(conversation, user),
            *map(emit_message, messages),
            emit_footer(ended_ms, reason, len(messages)),
        )
    )


def laid_out(data: bytes, seed: int) -> bytes:
    """The same dialog as a person or another program may write it: any style that YAML has."""
    chance = random.Random(seed)
    return yaml.safe_dump(
        yaml.safe_load(data),
        allow_unicode=chance.random() < 0.5,
        width=chance.choice([10, 40, 1000]),
        default_style=chance.choice([None, '"', "'", "|", ">"]),
        default_flow_style=chance.choice([None, False, True]),
        indent=chance.choice([2, 4, 7]),
        sort_keys=False,
        line_break=chance.choice([None, "\r\n"]),
    ).encode(chance.choice(["utf-8", "utf-8", "utf-16"]))


def put_archive(data_dir: Path, data: bytes, ended_ms: int, *, suffix: str = "", user: str = "a1") -> str:
    """Puts a file among the archives; its id."""
    folder = dialogs_of(data_dir, user) / "archived"
    folder.mkdir(parents=True, exist_ok=True)
    archive_id = second_name(ended_ms) + suffix
    (folder / f"{archive_id}.yaml").write_bytes(data)
    return archive_id


def times_of(data: bytes) -> list[str]:
    return [iso_utc(message.timestamp_ms) for message in parse_dialog(data).messages]
