"""What stands in a request's head: hosts, origins, forwarded clients, cookies, the query."""

from __future__ import annotations

import ipaddress
from unittest.mock import Mock

from aiohttp import web
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from potoserver.errors import ProblemError
from potoserver.web.calls import _idempotency_key_of, _wants_events
from potoserver.web.cookies import COOKIE_NAME
from potoserver.web.cors import Origins
from potoserver.web.middleware import _forwarded_for, is_loopback
from potoserver.web.subscribe import _lease_of
from potoserver.web.tickets import last_event_id_of
from tests.fuzz.target import Target, fields, header_text

_MANY = Mock()


def request(*headers: tuple[str, str], path: str = "/") -> web.Request:
    """A request with a head of these; nothing stands behind it."""
    own = CIMultiDictProxy(CIMultiDict(headers))
    raw = tuple((name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers)
    message = RawRequestMessage(
        "POST", path, HttpVersion11, own, raw, True, None, False, False, URL.build(path=path, encoded=True)
    )
    return web.Request(message, EMPTY_PAYLOAD, _MANY, _MANY, _MANY, _MANY, client_max_size=1)


def check_host(data: bytes) -> None:
    """No host is taken for this machine but its names and addresses; a proxy's clients neither."""
    host, forwarded = map(header_text, fields(data, 2))
    if is_loopback(host):
        bare = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host.removesuffix(":")
        candidates = {each.strip("[]").lower() for each in (host, bare)}
        assert "localhost" in candidates or any(map(_is_loopback_address, candidates))
    clients = list(_forwarded_for(request(("X-Forwarded-For", forwarded), ("Forwarded", forwarded))))
    if all(map(is_loopback, clients)):
        # None is hidden by how the list is written.
        assert not any(map(_is_foreign_address, forwarded.replace(" ", "").split(",")))


def _is_loopback_address(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


def _is_foreign_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


def check_origin(data: bytes) -> None:
    """A page is trusted when its host is this one; never where its origin has more to it than a host."""
    origin, host = map(header_text, fields(data, 2))
    if Origins(()).trusts(request(("Origin", origin), ("Host", host))):
        scheme, _, authority = origin.partition("://")
        assert scheme in ("http", "https")
        assert not set("/?#@\\ \t\r\n\0") & set(authority)
        assert authority.lower().rpartition("]")[0] == host.lower().rpartition("]")[0]
        assert authority.lower().partition(":")[0] == host.lower().partition(":")[0]
    assert not Origins(("https://a.example",)).trusts(request(("Origin", f"{origin}x"), ("Host", "")))


def check_accept(data: bytes) -> None:
    """Event streams are asked for by name alone."""
    accept = header_text(data)
    wanted = _wants_events(request(("Accept", accept)))
    assert not wanted or "text/event-stream" in accept.lower()
    assert _wants_events(request(("Accept", accept), ("Accept", "text/event-stream")))


def check_idempotency_key(data: bytes) -> None:
    """A key is 1 to 128 visible ASCII characters, and there is one."""
    key = header_text(data)
    good = 1 <= len(key) <= 128 and all("!" <= each <= "~" for each in key)
    try:
        assert _idempotency_key_of(request(("Idempotency-Key", key))) == key
    except ProblemError as error:
        assert error.status == 422
        assert not good
    else:
        assert good


def check_query(data: bytes) -> None:
    """Whatever stands in the address of `/subscribe`: a lease or a refusal, an id or none."""
    text = header_text(data).replace("\\0", "")
    try:
        made = request(path=f"/subscribe?{text}")
    except ValueError:
        return  # no URL: aiohttp's parser answers 400
    try:
        lease_s = _lease_of(made)
    except ProblemError as error:
        assert error.status == 422
    else:
        assert lease_s is None or 10 <= lease_s <= 300
    found = last_event_id_of(made)
    assert found is None or found
    made.query.get("ticket")


def check_cookies(data: bytes) -> None:
    """A header of cookies is read, whatever it is made of, and finds ours behind others."""
    text = header_text(data)
    request(("Cookie", text)).cookies.get(COOKIE_NAME)
    assert request(("Cookie", f"{COOKIE_NAME}=a.b-c_d; {text}")).cookies.get(COOKIE_NAME) is not None


TARGETS = (
    Target(
        "host",
        check_host,
        (
            b"localhost:3799\x00127.0.0.1, ::1",
            b'[::1]:80\0for=127.0.0.1;proto=http, for="[::1]:4711"',
            b"127.0.0.1\0for=_hidden, for=unknown",
            b"localhost@example.org\0, ,,",
            b'127.1\0for="127.0.0.1, 10.0.0.1"',
            b"[::ffff:127.0.0.1]\x00FOR = 10.0.0.1",
            b"\xff\0\xff",
            b"localhost:",
        ),
    ),
    Target(
        "origin",
        check_origin,
        (
            b"http://localhost:3799\0localhost:3799",
            b"https://a.example\0a.example:443",
            b"null\0null",
            b"http://user@a\0a",
            b"http://[::1]\0[::1]:80",
            b"http://[\0a",
            b"http://a:99999\0a:99999",
            b"http://\xe2\x84\x80\0a",
            b"HTTP://A\0a",
            b"http:\t//a\0a",
        ),
    ),
    Target(
        "accept",
        check_accept,
        (
            b"text/event-stream",
            b"*/*",
            b"application/json;q=0.9, text/event-stream;q=0.000",
            b"TEXT/EVENT-STREAM ; charset=utf-8;q=0.1",
            b",;,;",
        ),
    ),
    Target("idempotency-key", check_idempotency_key, (b"k", b"", b"a b", b"x" * 129, b"\xff", b"~" * 128)),
    Target(
        "query",
        check_query,
        (
            b"lease=90&lastEventId=e-1&ticket=a.b.c",
            b"lease=%31%30",
            b"lease=\xd9\xa1\xd9\xa2",
            b"lease=0010",
            b"lease=-1&lease=20",
            b"lastEventId=%ED%A0%80",
            b"%",
            b"&&=&=",
        ),
    ),
    Target(
        "cookies",
        check_cookies,
        (
            b"potoserver=a.b.c",
            b'a="b;c\\"d"; potoserver=x',
            b"$Version=1; potoserver=1; $Path=/",
            b'potoserver="\\377\\200',
            b";;;=;=a;",
            b"potoserver=\xff",
            b"a=" + b'"' * 50,
        ),
    ),
)
