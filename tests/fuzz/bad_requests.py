"""Bad requests, and the exact problem that each is answered with. test_bad_requests.py sends them."""

from __future__ import annotations

from tests.fuzz.bad import (
    AS_ANN,
    BARE,
    CALLS_PER_MINUTE,
    EXPECTATION,
    FOREIGN,
    HEAD_TIMEOUT_S,
    INVALID,
    LOCALHOST,
    LOOPBACK_ALONE,
    NO_HTTP,
    NO_METHOD,
    NOT_VALID,
    NOTHING,
    TOO_LONG,
    WHO,
    WRONG_METHOD,
    Bad,
    call,
    get,
    post,
    raw,
)
from tests.fuzz.bad_bodies import BODIES, FIELDS, NOT_YOURS

ROUTES = (
    Bad("no route", get("/nothing"), 404, NOTHING),
    Bad("no page yet", get("/nothing/at/all"), 404, NOTHING),
    Bad("dots", get("/../../etc/passwd"), 404, NOTHING),
    Bad("encoded slash", get("/health%2flive"), 404, NOTHING),
    Bad("encoded dots", get("/%2e%2e/%2e%2e/etc/passwd"), 404, NOTHING),
    Bad("broken percent", get("/%/%zz"), 404, NOTHING),
    Bad("encoded bytes that are no UTF-8", post("/%ff/%ed%a0%80", b"", AS_ANN), 404, NO_METHOD),
    Bad("encoded NUL", post("/Taker/take%00", b"", AS_ANN), 404, NO_METHOD),
    Bad("empty segment", get("//health"), 404, NOTHING),
    Bad("another case", get("/Health"), 404, NOTHING),
    Bad("no module", post("/Nobody/take", b"", AS_ANN), 404, NO_METHOD),
    Bad("no method", post("/Taker/taker", b"", AS_ANN), 404, NO_METHOD),
    Bad("a hook is no method", post("/ChatServerModule/onStart", b"", AS_ANN), 404, NO_METHOD),
    Bad("a Python name", post("/ChatServerModule/chat_with_history", b"", AS_ANN), 404, NO_METHOD),
    Bad("CONNECT", raw("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n"), 404, NOTHING),
    Bad("OPTIONS *", get("*", method="OPTIONS"), 404, NOTHING),
    Bad("GET of a method", get("/Taker/take", AS_ANN), 405, WRONG_METHOD, headers={"allow": "POST"}),
    *(
        Bad(f"{method} {path}", get(path, method=method), 405, WRONG_METHOD, headers={"allow": allow})
        for method, path, allow in (
            ("POST", "/subscribe", "GET"),
            ("GET", "/subscribe/ack", "POST"),
            ("GET", "/subscribe/ticket", "POST"),
            ("GET", "/login", "POST"),
            ("DELETE", "/logout", "POST"),
            ("POST", "/health", "GET,HEAD"),
            ("PUT", "/health/live", "GET,HEAD"),
            ("TRACE", "/health/ready", "GET,HEAD"),
            ("POST", "/metrics", "GET,HEAD"),
            ("OPTIONS", "/openapi.json", "GET,HEAD"),
        )
    ),
)

WHO_ASKS = (
    Bad("nobody calls", post("/Taker/take"), 401, WHO, headers=BARE),
    Bad("nobody subscribes", get("/subscribe"), 401, WHO, headers=BARE),
    Bad("nobody acknowledges", post("/subscribe/ack", "{}"), 401, WHO, headers=BARE),
    Bad("nobody wants a ticket", post("/subscribe/ticket"), 401, WHO, headers=BARE),
    Bad("another scheme", post("/Taker/take", b"", "Authorization: Basic YTpi"), 401, WHO, headers=BARE),
    Bad(
        "a token that nobody has",
        post("/Taker/take", b"", "Authorization: Bearer x"),
        401,
        NOT_VALID,
        headers=INVALID,
    ),
    Bad(
        "a token that is no UTF-8",
        post("/Taker/take", b"", "Authorization: Bearer \xff"),
        401,
        NOT_VALID,
        headers=INVALID,
    ),
    Bad(
        "an empty token", post("/Taker/take", b"", "Authorization: Bearer "), 401, NOT_VALID, headers=INVALID
    ),
    Bad(
        "a cookie of nobody",
        post("/Taker/take", b"", "Cookie: potoserver=a.b.c"),
        401,
        NOT_VALID,
        headers=INVALID,
    ),
    Bad(
        "a cookie that is no UTF-8",
        post("/Taker/take", b"", "Cookie: potoserver=\xff"),
        401,
        NOT_VALID,
        headers=INVALID,
    ),
    Bad("a ticket of nobody", get("/subscribe?ticket=a.b.c"), 401, NOT_VALID, headers=INVALID),
    Bad("a ticket of bytes", get("/subscribe?ticket=%ff%00"), 401, NOT_VALID, headers=INVALID),
    Bad("a ticket for a call", post("/Taker/take?ticket=a.b.c"), 401, WHO, headers=BARE),
    Bad("a login with a wrong token", post("/login", '{"token": "x"}'), 401, NOT_VALID, headers=INVALID),
    Bad(
        "no admin",
        post("/ChatServerModule/listSessions", b"", AS_ANN),
        403,
        "This needs the role admin.",
    ),
    Bad(
        "a foreign page logs in", post("/login", '{"token": "ann"}', "Origin: http://a.example"), 403, FOREIGN
    ),
    Bad("a sandboxed page logs out", post("/logout", b"", "Origin: null"), 403, FOREIGN),
    Bad("an origin that is none", post("/logout", b"", "Origin: http://[\xff"), 403, FOREIGN),
    Bad("a port that is none", post("/logout", b"", "Origin: http://localhost:999999"), 403, FOREIGN),
)

HEADS = (
    Bad("no HTTP", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"x" * 150, 400, NO_HTTP),
    Bad("HTTP/0.9", b"GET /health\r\n\r\n", 400, NO_HTTP),
    Bad("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, NO_HTTP),
    Bad("half of HTTP/2's beginning", b"PRI * HTTP/2.0\r\n\r\nSM\r\n", 400, NO_HTTP),
    Bad("the method of HTTP/2's beginning", get("/health", method="PRI"), 400, NO_HTTP),
    Bad("a way to nowhere", b"CONNECT  \r\nHost: localhost\r\n\r\n", 400, NO_HTTP),
    Bad("HTTP/1.2", b"GET /health HTTP/1.2\r\nHost: localhost\r\n\r\n", 400, NO_HTTP),
    Bad("no Host", b"GET /health HTTP/1.1\r\n\r\n", 400, NO_HTTP),
    Bad("two Hosts", get("/health", "Host: a"), 400, NO_HTTP),
    Bad("bare line feeds", b"GET /health HTTP/1.1\nHost: localhost\n\n", 400, NO_HTTP),
    Bad("a NUL in a header", get("/health", "X: a\0b"), 400, NO_HTTP),
    Bad("a control byte in a header", get("/health", "X: a\x01b"), 400, NO_HTTP),
    Bad("a folded header", get("/health", "X: a\r\n b"), 400, NO_HTTP),
    Bad("a blank before the colon", get("/health", "X : a"), 400, NO_HTTP),
    Bad("a header without a name", get("/health", ": a"), 400, NO_HTTP),
    Bad("a method in small letters", get("/health", method="get"), 400, NO_HTTP),
    Bad("a method that nobody knows", get("/health", method="FETCH"), 400, NO_HTTP),
    Bad("an address that is no ASCII", get("/\xff"), 400, NO_HTTP),
    Bad("an address with a bad port", get("http://localhost:99999/health"), 400, NO_HTTP),
    Bad(
        "two lengths",
        get("/login", "Content-Length: 2", "Content-Length: 3", method="POST") + b"{}",
        400,
        NO_HTTP,
    ),
    Bad(
        "a length twice",
        get("/login", "Content-Length: 2", "Content-Length: 2", method="POST") + b"{}",
        400,
        NO_HTTP,
    ),
    Bad("a length with a sign", get("/login", "Content-Length: +2", method="POST") + b"{}", 400, NO_HTTP),
    Bad("a length beyond numbers", get("/login", f"Content-Length: {'9' * 30}", method="POST"), 400, NO_HTTP),
    Bad(
        "length and chunks",
        get("/login", "Content-Length: 5", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n",
        400,
        NO_HTTP,
    ),
    Bad(
        "chunks under another name",
        get("/login", "Transfer-Encoding: xchunked", method="POST") + b"0\r\n\r\n",
        400,
        NO_HTTP,
    ),
    Bad(
        "chunks twice",
        get("/login", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", method="POST")
        + b"0\r\n\r\n",
        400,
        NO_HTTP,
    ),
    Bad(
        "chunks, then more",
        get("/login", "Transfer-Encoding: chunked, gzip", method="POST") + b"0\r\n\r\n",
        400,
        NO_HTTP,
    ),
    Bad("a long address", get("/" + "a" * 9000), 431, TOO_LONG),
    Bad(
        "a long first line without an end",
        b"GET /" + b"a" * 9000,
        414,
        "A request's first line may have at most 8190 bytes.",
    ),
    Bad("a long header", get("/health", "X: " + "a" * 9000), 431, TOO_LONG),
    Bad("many headers", get("/health", *(f"X{number}: a" for number in range(200))), 431, TOO_LONG),
    Bad("a head without an end", b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 12_000, 431, TOO_LONG),
    Bad(
        "half a head",
        b"GET /health HTTP/1.1\r\nHost: local",
        408,
        f"The request's head did not come within {HEAD_TIMEOUT_S} s.",
    ),
    Bad(
        "half a head behind empty lines",
        b"\r\n\r\nGET /health HTTP/1.1\r\nHost: local",
        408,
        f"The request's head did not come within {HEAD_TIMEOUT_S} s.",
    ),
    Bad("an expectation", get("/health", "Expect: 999"), 417, EXPECTATION),
    *(
        Bad(
            f"an expectation of the server, {text!r}",
            get("*", f"Expect: {text}", method="OPTIONS"),
            417,
            EXPECTATION,
        )
        for text in ("999", "\xff")
    ),
    Bad("an expectation of CONNECT", get("localhost:80", "Expect: x", method="CONNECT"), 417, EXPECTATION),
    Bad("an expectation of a call", call("{}", "Expect: the moon"), 417, EXPECTATION),
    Bad("an expectation where nothing is", get("/nothing", "Expect: a"), 417, EXPECTATION),
)

TOO_OFTEN = (
    Bad(
        "too many calls",
        post("/ChatServerModule/getSessionInfo", b"", "Authorization: Bearer hasty"),
        429,
        "Too many requests; wait a little.",
        headers={"retry-after": "1"},
        before=post("/ChatServerModule/getSessionInfo", b"", "Authorization: Bearer hasty")
        * CALLS_PER_MINUTE,
    ),
    Bad(
        "too many tickets",
        post("/subscribe/ticket", b"", "Authorization: Bearer hasty"),
        429,
        "Too many requests; wait a little.",
        headers={"retry-after": "1"},
    ),
    Bad(
        "too many wrong tokens",
        post("/login", '{"token": "x"}'),
        429,
        "Too many wrong tokens came from your address; wait a little.",
        before=post("/login", '{"token": "x"}') * 30,
    ),
)

ROWS = (*ROUTES, *WHO_ASKS, *BODIES, *FIELDS, *NOT_YOURS, *HEADS, *TOO_OFTEN)

FOREIGNERS = tuple(
    Bad(name, get("/health", *headers).replace(without, b"", 1), 403, LOOPBACK_ALONE)
    for name, headers, without in (
        ("another Host", ("Host: a.example",), LOCALHOST),
        ("a Host that only ends so", ("Host: localhost.a.example",), LOCALHOST),
        ("a user in the Host", ("Host: localhost@a.example",), LOCALHOST),
        ("an empty Host", ("Host: ",), LOCALHOST),
        ("a client elsewhere", ("X-Forwarded-For: 127.0.0.1, 10.0.0.1",), b""),
        ("a client elsewhere, in the standard's way", ('Forwarded: for="[2001:db8::1]"',), b""),
        ("a client who hides", ("Forwarded: for=_hidden",), b""),
    )
)
"""While the development tokens are active."""
