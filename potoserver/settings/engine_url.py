"""The setting `engine`: where what several nodes share is kept, as a URL."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

EMBEDDED_ENGINE = "memory://"
"""The engine of one node, in its own memory."""
SCHEMES: Final = {
    "valkey": "redis",
    "valkeys": "rediss",
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
}
"""Of a shared engine: what people write, and what the client calls it."""

_OPTIONS: Final = {
    "redis": frozenset[str](),
    "rediss": frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}),
    "unix": frozenset({"db"}),
}
_EXPECTED = (
    f"expected {EMBEDDED_ENGINE}, or where a Valkey or Redis is: valkey://host:6379/0, redis://, rediss:// "
    "or valkeys:// (TLS), unix:///path; in a user name or password any of /?#@[]% is written as %XX"
)


def check_engine_url(url: str) -> str:
    """Returns the URL if it says where an engine is, as far as can be told without asking there.

    Raises:
        ValueError: It doesn't. The message holds nothing of it, since a password may be anywhere in what is
            miswritten.
    """
    if url == EMBEDDED_ENGINE:
        return url
    scheme, colon, rest = url.partition("://")
    kind = SCHEMES.get(scheme)
    if not colon or kind is None or not all("!" <= char <= "~" for char in url):
        raise ValueError(_EXPECTED)
    try:
        parts = urlsplit(f"{kind}://{rest}")
        usable = "#" not in rest and "@" not in parts.path and _is_place(kind, parts, parts.port)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(_EXPECTED)
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _OPTIONS[kind]:
            known = " or ".join(sorted(_OPTIONS[kind])) or "nothing"
            raise ValueError(f"expected {known} behind the ? of a {scheme}:// URL")
        if name == "db" and not _is_database(value):
            raise ValueError("expected a database's number in ?db=")
    return url


def _is_place(kind: str, parts: SplitResult, port: int | None) -> bool:
    below_root = parts.path.removeprefix("/")
    if kind == "unix":
        return not parts.netloc and bool(below_root)
    return bool(parts.hostname) and port != 0 and (not below_root or _is_database(below_root))


def _is_database(text: str) -> bool:
    return text.isdecimal()


def shown_engine(url: str) -> str:
    """The URL without who logs in there and without options, for logs and people.

    Args:
        url: One that `check_engine_url` has let through.
    """
    where = url.partition("?")[0]
    scheme, _, rest = where.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
