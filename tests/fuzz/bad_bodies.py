"""Requests whose body or arguments are bad, and the exact problem that each is answered with."""

from __future__ import annotations

from tests.fuzz.bad import (
    ARGUMENTS,
    AS_ANN,
    BODY_BYTES,
    BODY_TIMEOUT_S,
    JSON,
    LONE,
    NO_HTTP,
    NO_JSON_TYPE,
    NOT_PACKED,
    Bad,
    call,
    chunked,
    get,
    not_json,
    post,
)

_AT = '"2024-01-15T10:12:03.120Z"'
IMPORTED = (
    f'{{"conversationId": "NAME", "startedAt": {_AT}, "endedAt": {_AT}, "messages": '
    f'[{{"id": "m", "role": "user", "content": "x", "timestamp": {_AT}}}]}}'
)

BODIES = (
    Bad(
        "not JSON",
        call("{"),
        400,
        not_json("Expecting property name enclosed in double quotes (line 1, column 2)"),
    ),
    Bad("only a blank", call(" "), 400, not_json("Expecting value (line 1, column 2)")),
    Bad("something behind", call("{}x"), 400, not_json("Extra data (line 1, column 3)")),
    Bad("not UTF-8", call(b'{"text": "\xff"}'), 400, not_json("it is not UTF-8")),
    Bad(
        "a byte order mark",
        call(b"\xef\xbb\xbf{}"),
        400,
        not_json("it begins with a byte order mark (line 1, column 1)"),
    ),
    Bad("NaN", call('{"value": NaN}'), 400, not_json("NaN and Infinity are no JSON numbers")),
    Bad("out of range", call('{"value": 1e999}'), 400, not_json("a number is out of range")),
    Bad(
        "too many digits",
        call('{"value": ' + "9" * 5000 + "}"),
        400,
        not_json("a number has too many digits"),
    ),
    Bad("a name twice", call('{"text": "a", "text": "b"}'), 400, not_json("an object has a name twice")),
    Bad("too deep", call('{"anything": ' + "[" * 70 + "]" * 70 + "}"), 400, not_json("it nests too deeply")),
    Bad("brackets", call("[" * 15_000), 400, not_json("it nests too deeply")),
    Bad(
        "a line break in a text",
        call('{"text": "a\nb"}'),
        400,
        not_json("Invalid control character at (line 1, column 12)"),
    ),
    Bad("too large", call(b" " * (BODY_BYTES + 1)), 413, f"A body may have at most {BODY_BYTES} bytes."),
    Bad(
        "an ack too large",
        post("/subscribe/ack", " " * 5000, AS_ANN),
        413,
        "A body may have at most 4096 bytes here.",
    ),
    Bad(
        "too large, in chunks",
        chunked(b"%x\r\n" % BODY_BYTES, b" " * BODY_BYTES, b"\r\n1\r\n \r\n0\r\n\r\n"),
        413,
        f"A body may have at most {BODY_BYTES} bytes.",
    ),
    *(
        Bad(
            f"called {kind}",
            call("{}", f"Content-Type: {kind}"),
            415,
            NO_JSON_TYPE,
            headers={"accept": "application/json"},
        )
        for kind in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin-1",
            "\xff",
        )
    ),
    *(
        Bad(
            f"packed as {kind}",
            call("{}", f"Content-Encoding: {kind}"),
            415,
            NOT_PACKED,
            headers={"accept-encoding": "identity"},
        )
        for kind in ("gzip", "deflate", "br", "zstd", "x", "identity, gzip")
    ),
    Bad(
        "a head of chunks in the body that break",
        chunked(b"zz\r\n{}\r\n0\r\n\r\n"),
        400,
        NO_HTTP,
    ),
    Bad("a negative chunk", chunked(b"-2\r\n{}\r\n0\r\n\r\n"), 400, NO_HTTP),
    Bad("a chunk longer than it says", chunked(b"1\r\n{}\r\n0\r\n\r\n"), 400, NO_HTTP),
    Bad(
        "a body that does not come",
        get("/Taker/take", AS_ANN, JSON, "Content-Length: 9", method="POST") + b"{",
        408,
        f"The body did not come within {BODY_TIMEOUT_S} s.",
    ),
    Bad(
        "a body whose last chunk does not come",
        chunked(b"2\r\n{}\r\n"),
        408,
        f"The body did not come within {BODY_TIMEOUT_S} s.",
    ),
)

FIELDS = (
    Bad("no object", call("[]"), 422, ARGUMENTS, {"": "must be a JSON object"}),
    Bad("null", call("null"), 422, ARGUMENTS, {"": "must be a JSON object"}),
    Bad("missing", call("{}", path="/Taker/stream"), 422, ARGUMENTS, {"items": "is required"}),
    Bad(
        "missing, without a body",
        post("/Taker/stream", b"", AS_ANN),
        422,
        ARGUMENTS,
        {"items": "is required"},
    ),
    Bad("unknown", call('{"other": 1}'), 422, ARGUMENTS, {"other": "is not known here"}),
    Bad(
        "in Python's spelling",
        call('{"some_text": "a"}'),
        422,
        ARGUMENTS,
        {"some_text": "is not known here"},
    ),
    Bad("who asks, in the body", call('{"user": "admin"}'), 422, ARGUMENTS, {"user": "is not known here"}),
    Bad("no text", call('{"text": 1}'), 422, ARGUMENTS, {"text": "must be a text"}),
    Bad("an empty text", call('{"text": ""}'), 422, ARGUMENTS, {"text": "must not be empty"}),
    Bad("too long", call('{"text": "abcdef"}'), 422, ARGUMENTS, {"text": "must have at most 5 characters"}),
    Bad("another form", call('{"text": "A"}'), 422, ARGUMENTS, {"text": "must match ^[a-z]*$"}),
    Bad("no whole number", call('{"count": 1.5}'), 422, ARGUMENTS, {"count": "must be a whole number"}),
    Bad("a number as text", call('{"count": "1"}'), 422, ARGUMENTS, {"count": "must be a whole number"}),
    Bad("true is no number", call('{"count": true}'), 422, ARGUMENTS, {"count": "must be a whole number"}),
    Bad("too small", call('{"count": 0}'), 422, ARGUMENTS, {"count": "must be 1 or more"}),
    Bad("too big", call('{"count": 10}'), 422, ARGUMENTS, {"count": "must be 9 or less"}),
    Bad("none of those", call('{"kind": "c"}'), 422, ARGUMENTS, {"kind": "must be 'a' or 'b'"}),
    Bad("no list", call('{"tags": "a"}'), 422, ARGUMENTS, {"tags": "must be a list"}),
    Bad(
        "in a list",
        call('{"tags": ["a", 1, null]}'),
        422,
        ARGUMENTS,
        {"tags.1": "must be a text", "tags.2": "must be a text"},
    ),
    Bad(
        "too many",
        call(
            '{"items": [{"streetName": "a"}, {"streetName": "a"}, {"streetName": "a"}, {"streetName": "a"}]}',
            path="/Taker/stream",
        ),
        422,
        ARGUMENTS,
        {"items": "must have at most 3 items"},
    ),
    Bad(
        "in a table",
        call('{"table": {"a": ["x"], "b": 1}}'),
        422,
        ARGUMENTS,
        {"table.a.0": "must be a whole number", "table.b": "must be a list"},
    ),
    Bad(
        "within",
        call('{"part": {"parts": [{"street_name": 1}]}}'),
        422,
        ARGUMENTS,
        {
            "part.streetName": "is required",
            "part.parts.0.streetName": "is required",
            "part.parts.0.street_name": "is not known here",
        },
    ),
    Bad("no null", call('{"text": null}'), 422, ARGUMENTS, {"text": "must be a text"}),
    Bad(
        "a lone surrogate",
        call('{"someText": "\\ud800"}'),
        422,
        ARGUMENTS,
        {"someText": LONE},
    ),
    Bad("a lone surrogate as a name", call('{"\\ud800": 1}'), 422, ARGUMENTS, {"\ufffd": LONE}),
    Bad(
        "an empty message",
        call('{"message": ""}', path="/ChatServerModule/chatWithHistory"),
        422,
        ARGUMENTS,
        {"message": "must not be empty"},
    ),
    Bad(
        "a cursor that is none",
        call('{"cursor": "../x"}', path="/ChatServerModule/listArchives"),
        422,
        "The cursor is not valid.",
        {"cursor": "must be the cursor of an earlier page"},
    ),
    Bad(
        "a search for nothing",
        call('{"query": " \\"\\" "}', path="/ChatServerModule/searchArchives"),
        422,
        "This can't be searched for.",
        {"query": "must hold a word to look for, where nothing else narrows the search"},
    ),
    Bad(
        "a search without a query",
        call("{}", path="/ChatServerModule/searchArchives"),
        422,
        "This can't be searched for.",
        {"query": "must hold a word to look for, where nothing else narrows the search"},
    ),
    Bad(
        "a search from no time",
        call('{"query": "a", "before": "2024-02-30"}', path="/ChatServerModule/searchArchives"),
        422,
        "This can't be searched for.",
        {"before": "must be a date or a time such as 2024-03-01 or 2024-03-01T10:30:00Z"},
    ),
    Bad(
        "a search from a cursor that is none",
        call('{"query": "a", "cursor": "2024-01-15-10-30-00:x"}', path="/ChatServerModule/searchArchives"),
        422,
        "The cursor is not valid.",
        {"cursor": "must be the cursor of an earlier page"},
    ),
    Bad(
        "an export in no form",
        call('{"format": "pdf"}', path="/ChatServerModule/exportArchives"),
        422,
        ARGUMENTS,
        {"format": "must be 'json', 'markdown' or 'zip'"},
    ),
    Bad(
        "an export of no archives",
        call('{"ids": []}', path="/ChatServerModule/exportArchives"),
        422,
        ARGUMENTS,
        {"ids": "must not be empty"},
    ),
    *(
        Bad(
            f"{method} of what is no archive",
            call(f'{{"id": "../current"{more}}}', path=f"/ChatServerModule/{method}"),
            404,
            "You have no such archive.",
        )
        for method, more in (
            ("getArchive", ""),
            ("restoreArchive", ""),
            ("deleteArchive", ""),
            ("renameArchive", ', "title": "x"'),
            ("pinArchive", ', "pinned": true'),
        )
    ),
    Bad(
        "a title of two lines",
        call('{"id": "x", "title": "a\\nb"}', path="/ChatServerModule/renameArchive"),
        422,
        "The title is not valid.",
        {"title": "must not contain line breaks or other control characters"},
    ),
    Bad(
        "a title too long",
        call(f'{{"id": "x", "title": "{"x" * 201}"}}', path="/ChatServerModule/renameArchive"),
        422,
        ARGUMENTS,
        {"title": "must have at most 200 characters"},
    ),
    Bad(
        "a pin that is none",
        call('{"id": "x", "pinned": 1}', path="/ChatServerModule/pinArchive"),
        422,
        ARGUMENTS,
        {"pinned": "must be true or false"},
    ),
    Bad(
        "an import of nothing",
        call("{}", path="/ChatServerModule/importArchives"),
        422,
        ARGUMENTS,
        {"archives": "give either archives or messages"},
    ),
    Bad(
        "an import of what is no archive",
        call('{"archives": [{}]}', path="/ChatServerModule/importArchives"),
        422,
        ARGUMENTS,
        {
            f"archives.0.{field}": "is required"
            for field in ("conversationId", "startedAt", "endedAt", "messages")
        },
    ),
    Bad(
        "an import of a conversation with a path for a name",
        call(
            f'{{"archives": [{IMPORTED.replace("NAME", "../x")}]}}', path="/ChatServerModule/importArchives"
        ),
        422,
        ARGUMENTS,
        {"archives.0.conversationId": "must match ^[A-Za-z0-9._-]{1,128}$"},
    ),
    Bad(
        "an import of a day that never was",
        call(
            f'{{"archives": [{IMPORTED.replace("NAME", "x").replace("01-15", "02-31")}]}}',
            path="/ChatServerModule/importArchives",
        ),
        422,
        "These archives can't be imported; nothing was added.",
        {
            f"archives.0.{field}": "must be a time that there is, not before 1970"
            for field in ("startedAt", "messages.0.timestamp", "endedAt")
        },
    ),
    Bad("a login without a token", post("/login", "{}"), 422, ARGUMENTS, {"token": "is required"}),
    Bad(
        "an ack without a connection",
        post("/subscribe/ack", "{}", AS_ANN),
        422,
        ARGUMENTS,
        {"connection": "is required"},
    ),
    *(
        Bad(
            f"a lease of {lease!r}",
            get(f"/subscribe?lease={lease}", AS_ANN),
            422,
            "The lease can't be granted.",
            {"lease": "a whole number of seconds, 10 to 300"},
        )
        for lease in ("9", "301", "", "1e2", "%D9%A1%D9%A0", "-10", "99999999999999999999")
    ),
    *(
        Bad(
            f"a key of {key!r:.20}",
            call("{}", f"Idempotency-Key: {key}"),
            422,
            "The Idempotency-Key is not valid.",
            {"Idempotency-Key": "must be one value of 1 to 128 visible ASCII characters"},
        )
        for key in ("", "a b", "x" * 129, "\xff")
    ),
    Bad(
        "two keys",
        call("{}", "Idempotency-Key: a", "Idempotency-Key: b"),
        422,
        "The Idempotency-Key is not valid.",
        {"Idempotency-Key": "must be one value of 1 to 128 visible ASCII characters"},
    ),
)

NOT_YOURS = (
    Bad(
        "another's archive",
        call('{"id": "2024-01-15-10-30-00"}', path="/ChatServerModule/getArchive"),
        404,
        "You have no such archive.",
    ),
    Bad(
        "another's archive in an export",
        call('{"ids": ["2024-01-15-10-30-00"]}', path="/ChatServerModule/exportArchives"),
        404,
        "You have no such archive: ids.0.",
    ),
    Bad(
        "a path as an archive",
        call('{"id": "../../bob/dialogs/current"}', path="/ChatServerModule/getArchive"),
        404,
        "You have no such archive.",
    ),
    Bad(
        "another's connection",
        post("/subscribe/ack", '{"connection": "c-x"}', AS_ANN),
        404,
        "You have no such connection open; subscribe again.",
    ),
    *(
        Bad(
            f"a method tells {status}",
            call(f'{{"status": {status}}}', path="/Taker/refuse"),
            status,
            "Not this.",
            headers={"retry-after": "7"} if status == 503 else {},
        )
        for status in (404, 409, 502, 503, 504, 507)
    ),
)
