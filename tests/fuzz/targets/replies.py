"""What a model says, in pieces: reasoning told from reply, characters kept whole."""

from __future__ import annotations

from modules.chat_server.responders.think import ThinkSplitter, WholeCharacters
from tests.fuzz.target import Target


def check_think(data: bytes) -> None:
    """However a reply is cut into pieces, the same comes out."""
    size = data[0] % 9 + 1 if data else 1
    text = data[1:].decode("utf-8", "replace")
    assert _split([text]) == _split([text[at : at + size] for at in range(0, len(text), size)])
    reply, reasoning = _split([text])
    assert len(reply) + len(reasoning) <= len(text)


def _split(pieces: list[str]) -> tuple[str, str]:
    splitter = ThinkSplitter()
    parts = [*(splitter.feed(piece) for piece in pieces), splitter.flush()]
    return "".join(reply for reply, _ in parts), "".join(reasoning for _, reasoning in parts)


def check_characters(data: bytes) -> None:
    """What comes out can be written, and nothing but lone surrogates is changed, however it is cut."""
    size = data[0] % 5 + 1 if data else 1
    text = data[1:].decode("utf-16-le", "surrogatepass") if len(data) % 2 else ""
    units = [text[at : at + size] for at in range(0, len(text), size)]
    joined = WholeCharacters()
    whole = "".join([*map(joined.feed, units), joined.flush()])
    whole.encode()
    if not any("\ud800" <= each <= "\udfff" for each in text):
        assert whole == text


TARGETS = (
    Target(
        "think",
        check_think,
        (
            b"\x01<think>a</think>b",
            b"\x02 \n<think>\na < b </thin</think>\n\nreply <think>",
            b"\x03<thin",
            b"\x00<think>never closed </think",
            b"\x05</think>",
        ),
    ),
    Target(
        "characters",
        check_characters,
        (b"\x00" + "a\U0001f600b".encode("utf-16-le"), b"\x00\x3d\xd8", b"\x01\x00\xde\x3d\xd8a\x00"),
    ),
)
