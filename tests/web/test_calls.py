"""`POST /{Module}/{method}` through real sockets."""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import aiohttp
import pytest
from aiohttp import web
from openapi_spec_validator import validate
from pydantic import Field

from potoserver import ServerModule, rpc
from potoserver.web import reply_writer
from potoserver.web.problems import problem_of
from tests.support.clock import ManualClock, settle
from tests.support.server import RunningServer, RunServer, log_lines
from tests.support.sse import parse_events
from tests.support.waiting import until
from tests.web.sample import Place, Sample

AUTH = {"Authorization": "Bearer test-token"}
JSON = AUTH | {"Content-Type": "application/json"}
EVENTS = JSON | {"Accept": "text/event-stream"}


@pytest.fixture
def sample() -> Sample:
    return Sample()


@pytest.fixture
async def running(tmp_path: Path, sample: Sample, running_server: RunServer) -> AsyncIterator[RunningServer]:
    async with running_server(tmp_path, [sample], clock=ManualClock()) as running:
        yield running
        sample.gate.set()


async def post(
    running: RunningServer, path: str, body: bytes | str = b"", headers: dict[str, str] | None = None
) -> tuple[int, Any, aiohttp.ClientResponse]:
    data = body.encode() if isinstance(body, str) else body
    url = f"{running.url}/{path}"
    async with running.session.post(url, data=data, headers=JSON if headers is None else headers) as answer:
        return answer.status, json.loads(await answer.text()), answer


BAD_BODIES: list[tuple[str, bytes | str, int, list[str]]] = [
    ("Sample/echo", b"{", 400, []),
    ("Sample/echo", b" ", 400, []),
    ("Sample/echo", b"{}x", 400, []),
    ("Sample/echo", b"\xef\xbb\xbf{}", 400, []),
    ("Sample/echo", b'{"someText": "\xff"}', 400, []),
    ("Sample/echo", '{"someText": NaN}', 400, []),
    ("Sample/echo", '{"someText": -Infinity}', 400, []),
    ("Sample/echo", '{"someText": 1e999}', 400, []),
    ("Sample/echo", '{"someText": "a", "someText": "b"}', 400, []),
    ("Sample/echo", '{"someText": ' + "1" * 5000 + "}", 400, []),
    ("Sample/echo", '{"someText": ' + "[" * 100 + "]" * 100 + "}", 400, []),
    ("Sample/echo", "[" * 100_000, 400, []),
    ("Sample/echo", '{"someText": "a\nb"}', 400, []),
    ("Sample/echo", "{'someText': 1}", 400, []),
    ("Sample/echo", "[]", 422, [""]),
    ("Sample/echo", "null", 422, [""]),
    ("Sample/echo", '"someText"', 422, [""]),
    ("Sample/echo", "{}", 422, ["someText"]),
    ("Sample/echo", b"", 422, ["someText"]),
    ("Sample/echo", '{"some_text": "a"}', 422, ["someText", "some_text"]),
    ("Sample/echo", '{"p0": "a"}', 422, ["someText", "p0"]),
    ("Sample/echo", '{"someText": 1}', 422, ["someText"]),
    ("Sample/echo", '{"someText": null}', 422, ["someText"]),
    ("Sample/echo", '{"someText": "a", "repeatCount": "1"}', 422, ["repeatCount"]),
    ("Sample/echo", '{"someText": "a", "repeatCount": 1.5}', 422, ["repeatCount"]),
    ("Sample/echo", '{"someText": "a", "repeatCount": true}', 422, ["repeatCount"]),
    ("Sample/echo", '{"someText": "a", "repeatCount": 10}', 422, ["repeatCount"]),
    ("Sample/echo", '{"someText": "a", "other": 1, "more": 2}', 422, ["other", "more"]),
    ("Sample/echo", '{"someText": "\\ud800"}', 422, ["someText"]),
    ("Sample/echo", '{"someText": "\\udc00\\ud800", "repeatCount": "x"}', 422, ["someText", "repeatCount"]),
    ("Sample/echo", '{"someText": "a", "\\ud800": 1}', 422, ["�"]),
    ("Sample/mixed", '{"value": 1.5}', 422, ["value"]),
    ("Sample/mixed", '{"tags": ["a", 1, "b", null]}', 422, ["tags.1", "tags.3"]),
    ("Sample/mixed", '{"tags": ["a", "\\ud800"]}', 422, ["tags.1"]),
    ("Sample/mixed", '{"kind": "c"}', 422, ["kind"]),
    ("Sample/visit", '{"place": {"street_name": "x"}}', 422, ["place.streetName", "place.street_name"]),
    ("Sample/visit", '{"place": {"streetName": "x"}, "user": "admin"}', 422, ["user"]),
]


@pytest.mark.parametrize(("path", "body", "status", "fields"), BAD_BODIES)
async def test_a_bad_body_is_refused_with_its_fields(
    running: RunningServer, path: str, body: bytes | str, status: int, fields: list[str]
) -> None:
    """400 for what is not JSON, 422 with one entry per bad field by its wire name."""
    got, problem, answer = await post(running, path, body)
    assert (got, answer.content_type) == (status, "application/problem+json")
    assert [error["field"] for error in problem.get("errors", [])] == fields
    assert all(error["message"] for error in problem.get("errors", []))
    assert problem["type"] == "about:blank"
    assert problem["status"] == status
    assert problem["requestId"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/Sample/echo", {}, 401),
        ("POST", "/Nothing/echo", {}, 401),
        ("POST", "/Nothing/echo", AUTH, 404),
        ("POST", "/Sample/nothing", AUTH, 404),
        ("POST", "/Sample/hidden", AUTH, 404),
        ("POST", "/Sample/on_start", AUTH, 404),
        ("POST", "/Sample/onStart", AUTH, 404),
        ("POST", "/Sample/__init__", AUTH, 404),
        ("POST", "/sample/echo", AUTH, 404),
        ("GET", "/Sample/echo", AUTH, 405),
        ("PUT", "/Sample/echo", AUTH, 405),
        ("GET", "/Nothing/echo", AUTH, 404),
        ("GET", "/nothing", {}, 404),
        ("POST", "/health/live", AUTH, 405),
        ("POST", "/health", {}, 405),
        ("GET", "/login", {}, 405),
        ("HEAD", "/subscribe", AUTH, 405),
        ("OPTIONS", "/Sample/echo", AUTH, 405),
        ("POST", "/Sample/rule", AUTH, 403),
    ],
)
async def test_an_address_answers_to_its_method_alone(
    running: RunningServer, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """404 for what is not there (or not marked as a method), 405 with Allow, 403 for a missing role."""
    async with running.session.request(method, running.url + path, headers=headers) as answer:
        assert answer.status == status
        assert answer.content_type == "application/problem+json"
        assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("application/json; charset=latin-1", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
    ],
)
async def test_a_body_must_be_called_json(running: RunningServer, content_type: str, status: int) -> None:
    """415 for any other content type."""
    headers = AUTH | {"Content-Type": content_type}
    got, _, _ = await post(running, "Sample/echo", '{"someText": "a"}', headers)
    assert got == status


async def test_an_empty_body_is_an_empty_object(running: RunningServer) -> None:
    """With and without a content type."""
    assert (await post(running, "Sample/mixed", b"", AUTH))[:2] == (
        200,
        {"value": None, "tags": [], "kind": "a"},
    )
    assert (await post(running, "Sample/mixed", b"", JSON))[0] == 200


async def test_a_body_over_the_limit_is_413(tmp_path: Path, running_server: RunServer) -> None:
    """`limits.body_bytes` holds."""
    async with running_server(tmp_path, [Sample()], limits={"body_bytes": 1000}) as running:
        assert (await post(running, "Sample/echo", '{"someText": "%s"}' % ("x" * 900)))[0] == 200
        status, problem, _ = await post(running, "Sample/echo", '{"someText": "%s"}' % ("x" * 1000))
        assert status == 413
        assert "1000" in problem["detail"]


async def test_a_body_that_never_comes_is_408(tmp_path: Path, running_server: RunServer) -> None:
    """After `limits.body_timeout_s`, also where a part of it came; the connection is not used again."""
    clock = ManualClock()
    async with running_server(tmp_path, [Sample()], clock=clock, limits={"body_timeout_s": 5}) as running:
        port = int(running.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /Sample/echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer test-token\r\n"
            b'Content-Type: application/json\r\nContent-Length: 20\r\nExpect: 100-continue\r\n\r\n{"some'
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")
        await clock.advance(4.9)
        answer = asyncio.create_task(reader.readuntil(b'"requestId"'))
        await clock.advance(0.2)
        text = (await answer).decode()
        writer.close()
    assert "HTTP/1.1 408 Request Timeout" in text
    assert "Connection: close" in text
    assert "Content-Type: application/problem+json" in text
    assert "within 5 s" in text


def test_a_body_that_breaks_is_400() -> None:
    """As aiohttp's parser in Python tells it; the one in C says nothing, and the body's time runs out."""
    problem = problem_of(web.RequestPayloadError("no chunk"), 1)
    assert problem is not None
    assert (problem.status, problem.detail) == (400, "The body could not be read to its end.")


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "identity, gzip", "x"])
async def test_a_compressed_body_is_refused(running: RunningServer, encoding: str) -> None:
    """415, as RFC 9110 has it in section 12.5.3: a megabyte could stand for a thousand."""
    headers = JSON | {"Content-Encoding": encoding}
    async with running.session.post(f"{running.url}/Sample/mixed", data=b"{}", headers=headers) as answer:
        assert answer.status == 415
        assert answer.headers["Accept-Encoding"] == "identity"
        assert "compressed" in (await answer.json(content_type=None))["detail"]


class Bounded(ServerModule):
    """Takes arguments of every kind of bound."""

    @rpc
    async def take(
        self,
        text: Annotated[str, Field(min_length=1, max_length=3, pattern="^[a-z]*$")] = "a",
        name: Annotated[str, Field(min_length=2)] = "ab",
        tags: Annotated[list[str], Field(min_length=1, max_length=2)] = ["a"],  # noqa: B006 - never written
        count: Annotated[int, Field(ge=1, le=9)] = 1,
        share: Annotated[float, Field(gt=0, lt=1)] = 0.5,
        sure: bool = True,
        kind: Literal["a", "b"] = "a",
        place: Place | None = None,
    ) -> list[object]:
        """What it was given of numbers."""
        return [count, type(count).__name__, share]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text": ""}, "must not be empty"),
        ({"text": "abcd"}, "must have at most 3 characters"),
        ({"text": "A"}, "must match ^[a-z]*$"),
        ({"name": "a"}, "must have at least 2 characters"),
        ({"tags": []}, "must not be empty"),
        ({"tags": ["a", "b", "c"]}, "must have at most 2 items"),
        ({"tags": "a"}, "must be a list"),
        ({"count": 0}, "must be 1 or more"),
        ({"count": 10}, "must be 9 or less"),
        ({"count": "1"}, "must be a whole number"),
        ({"count": 1.5}, "must be a whole number"),
        ({"share": 0}, "must be above 0"),
        ({"share": 1}, "must be below 1"),
        ({"share": "a"}, "must be a number"),
        ({"sure": 1}, "must be true or false"),
        ({"text": None}, "must be a text"),
        ({"kind": "c"}, "must be 'a' or 'b'"),
        ({"place": 5}, "must be an object"),
        ({"other": 5}, "is not known here"),
    ],
)
async def test_a_bad_field_is_told_in_the_server_s_words(
    tmp_path: Path, body: dict[str, Any], message: str, running_server: RunServer
) -> None:
    """Not in those of the library that checks it."""
    async with running_server(tmp_path, [Bounded()], clock=ManualClock()) as running:
        status, problem = await running.call("Bounded/take", body)
    assert status == 422
    assert [error["message"] for error in problem["errors"]] == [message]


@pytest.mark.parametrize("number", ["3.0", "30e-1", "0.3e1"])
async def test_a_number_without_a_fraction_is_a_whole_number_however_it_is_written(
    tmp_path: Path, running_server: RunServer, number: str
) -> None:
    """As in JSON Schema, by which `/openapi.json` describes the arguments."""
    async with running_server(tmp_path, [Bounded()], clock=ManualClock()) as running:
        answer = await running.session.post(
            f"{running.url}/Bounded/take",
            data=f'{{"count": {number}, "share": 0.25}}',
            headers={"Authorization": "Bearer test-token", "Content-Type": "application/json"},
        )
        assert await answer.json() == [3, "int", 0.25]


async def test_names_are_camel_case_on_the_wire(running: RunningServer) -> None:
    """Models and dataclasses, in arguments and results."""
    status, result, _ = await post(running, "Sample/visit", '{"place": {"streetName": "Ä"}}')
    assert status == 200
    assert result == {"visitedPlace": {"streetName": "Ä", "houseNumber": 1}, "visitorId": "a1"}


async def test_who_asks_is_filled_in_also_where_python_code_may_leave_it_out(
    running: RunningServer, sample: Sample
) -> None:
    """And is nothing that a caller could say."""
    assert (await post(running, "Sample/greet", '{"greeting": "Hello"}'))[:2] == (200, "Hello, a1")
    status, problem, _ = await post(running, "Sample/greet", '{"greeting": "Hello", "user": null}')
    assert (status, problem["errors"]) == (422, [{"field": "user", "message": "is not known here"}])
    assert await sample.greet("Hello") == "Hello, whoever you are"


@pytest.mark.parametrize(
    ("key", "status"),
    [("k", 200), ("!~" * 64, 200), ("x" * 129, 422), ("a b", 422), ("ä", 422), ("", 422)],
)
async def test_an_idempotency_key_is_checked_and_handed_over(
    running: RunningServer, sample: Sample, key: str, status: int
) -> None:
    """1 to 128 visible ASCII characters."""
    got, result, answer = await post(running, "Sample/remember", b"", JSON | {"Idempotency-Key": key})
    assert got == status
    if status == 200:
        assert result == key
        assert sample.calls[0].request_id == answer.headers["X-Request-ID"]
    else:
        assert result["errors"][0]["field"] == "Idempotency-Key"


FAILURES = [("timeout", 504), ("full", 507), ("problem", 409), ("bug", 500), ("exit", 500)]


@pytest.mark.parametrize(("how", "status"), FAILURES)
async def test_a_failing_method_answers_a_problem(running: RunningServer, how: str, status: int) -> None:
    """By its kind; nothing internal is told."""
    got, problem, answer = await post(running, "Sample/fail", json.dumps({"how": how}))
    assert got == status
    assert "secret" not in json.dumps(problem)
    assert answer.headers.get("Retry-After") == ("7" if how == "problem" else None)
    assert running.sample("potoserver_calls_in_flight") == 0
    await running.server.stop()


async def test_an_unforeseen_failure_is_logged_with_its_request_id(
    tmp_path: Path, running_server: RunServer
) -> None:
    """At error by `http`, with the traceback."""
    async with running_server(tmp_path, [Sample()]) as running:
        _, problem, _ = await post(running, "Sample/fail", '{"how": "bug"}')
    (line,) = [line for line in log_lines(tmp_path) if line["event"] == "call failed"]
    assert line["level"] == "error"
    assert line["logger"] == "http"
    assert line["request"] == problem["requestId"]
    assert "RuntimeError" in json.dumps(line)


async def test_a_caller_that_goes_away_stops_nothing(running: RunningServer, sample: Sample) -> None:
    """Neither a method with one result nor a stream."""
    call = asyncio.create_task(running.call("Sample/wait"))
    await until(lambda: running.sample("potoserver_calls_in_flight"))
    call.cancel()
    await asyncio.wait((call,))
    answer = await running.session.post(f"{running.url}/Sample/held", headers=EVENTS)
    assert b"first" in await answer.content.readuntil(b"\n\n")
    answer.close()
    sample.gate.set()
    async with asyncio.timeout(10):
        while len(sample.finished) < 2:
            await asyncio.sleep(0.005)
    assert sorted(sample.finished) == ["held", "wait"]


async def test_a_stream_gives_deltas_and_done(running: RunningServer, sample: Sample) -> None:
    """`done` carries the result, or null where the method gives none; what stands after it runs."""
    async with running.session.post(
        f"{running.url}/Sample/spell", data='{"word": "hü"}', headers=EVENTS
    ) as answer:
        assert answer.content_type == "text/event-stream"
        events = parse_events(await answer.read())
    assert [(event.type, event.data) for event in events] == [
        ("delta", "h"),
        ("delta", "ü"),
        ("done", {"visitedPlace": {"streetName": "hü", "houseNumber": 1}, "visitorId": "v"}),
    ]
    assert sample.finished == ["spell"]
    assert not sample.calls[-1].whole
    async with running.session.post(
        f"{running.url}/Sample/count", data='{"upto": 0}', headers=EVENTS
    ) as answer:
        assert [(event.type, event.data) for event in parse_events(await answer.read())] == [("done", None)]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/event-stream;q=0", ""])
async def test_without_asking_for_events_a_stream_is_gathered(
    running: RunningServer, sample: Sample, accept: str
) -> None:
    """Into its result, or the list of its items; the method may know."""
    headers = JSON | {"Accept": accept}
    assert (await post(running, "Sample/count", '{"upto": 3}', headers))[1] == [0, 1, 2]
    _, result, _ = await post(running, "Sample/spell", '{"word": "a"}', headers)
    assert result["visitorId"] == "v"
    assert sample.calls[-1].whole


@pytest.mark.parametrize(
    ("how", "expected", "detail"),
    [("problem", 502, "The model failed."), ("exit", 500, "The server failed.")],
)
async def test_an_error_before_the_first_item_has_its_own_status(
    running: RunningServer, how: str, expected: int, detail: str
) -> None:
    """Later it is an `error` event with a problem document."""
    none, one = (json.dumps({"items": items, "how": how}) for items in range(2))
    status, problem, answer = await post(running, "Sample/breakAfter", none, EVENTS)
    assert status == expected
    assert problem["detail"].startswith(detail)
    assert answer.content_type == "application/problem+json"
    async with running.session.post(f"{running.url}/Sample/breakAfter", data=one, headers=EVENTS) as reply:
        assert reply.status == 200
        events = parse_events(await reply.read())
    assert [event.type for event in events] == ["delta", "error"]
    assert events[1].data["status"] == expected
    assert events[1].data["requestId"] == reply.headers["X-Request-ID"]
    assert (await post(running, "Sample/breakAfter", one))[0] == expected


@pytest.mark.parametrize(("blocks", "chars"), [(600, 65_536), (9600, 4096)])
async def test_a_slow_reader_ends_its_reply_and_not_the_method(
    tmp_path: Path, running_server: RunServer, blocks: int, chars: int
) -> None:
    """More than `limits.outbox_bytes` waiting cuts the answer without `done`, however small the items are."""
    sample = Sample()
    async with running_server(tmp_path, [sample], limits={"outbox_bytes": 200_000}) as running:
        answer = await running.session.post(
            f"{running.url}/Sample/flood", json={"blocks": blocks, "chars": chars}, headers=EVENTS
        )
        async with asyncio.timeout(20):
            while "flood" not in sample.finished:
                await asyncio.sleep(0.01)
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
        status, problem, _ = await post(running, "Sample/flood", '{"blocks": 10}')
        assert status == 500
        assert "text/event-stream" in problem["detail"]


async def test_a_stream_opens_after_a_heartbeat_without_an_item(
    running: RunningServer, sample: Sample
) -> None:
    """A proxy must not give up on a slow model."""
    asking = asyncio.ensure_future(running.session.post(f"{running.url}/Sample/silent", headers=EVENTS))
    await asyncio.wait_for(sample.started.wait(), 10)
    await running.core.clock.advance(14.9)
    assert not asking.done()
    await running.core.clock.advance(0.2)
    answer = await asyncio.wait_for(asking, 10)
    assert answer.status == 200
    sample.gate.set()
    assert [event.type for event in parse_events(await answer.read())] == ["delta", "done"]


async def ask_raw(running: RunningServer, path: str, body: str, version: str = "1.1") -> socket.socket:
    """A call that streams, on a socket of our own; its answer is still to be read."""
    host, port = running.url.removeprefix("http://").split(":")
    sock = socket.socket()
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (host, int(port)))
    head = [f"POST /{path} HTTP/{version}", "Host: localhost", *(f"{k}: {v}" for k, v in EVENTS.items())]
    request = "\r\n".join([*head, f"Content-Length: {len(body)}", "", body])
    await loop.sock_sendall(sock, request.encode())
    return sock


async def read_until(sock: socket.socket, wanted: bytes, got: bytes = b"") -> bytes:
    """What has come, with `got` before it, once that is in it."""
    async with asyncio.timeout(10):
        while wanted not in got:
            got += await asyncio.get_running_loop().sock_recv(sock, 65_536)
    return got


def chunks_of(answer: bytes) -> list[bytes]:
    """The chunks of a chunked answer, each one write of the server's."""
    return answer.partition(b"\r\n\r\n")[2].split(b"\r\n")[1::2]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_what_is_passed_on_is_written_where_it_is_made(
    running: RunningServer, sample: Sample, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """While the reader keeps up: in that moment, without a turn of the loop for a task that writes it."""
    monkeypatch.setattr(reply_writer, "_TOGETHER_S", -1.0)
    got = b""

    def read(passed: str) -> None:
        nonlocal got
        # Nothing else runs meanwhile: what does not come was not written.
        while passed.encode() not in got and select.select([sock], [], [], 10)[0]:
            data = sock.recv(65_536)
            assert data, "the server ended the answer"
            got += data
        assert passed.encode() in got

    sample.on_passed = read
    with closing(await ask_raw(running, "Sample/passOn", '{"words": 5}', version)) as sock:
        got = await read_until(sock, b"word 0")
        sample.gate.set()
        await settle()
        got = await read_until(sock, b"event: done", got)
    body = b"".join(chunks_of(got)) if version == "1.1" else got.partition(b"\r\n\r\n")[2]
    assert b"\r" not in body
    events = [(event.type, event.data) for event in parse_events(body)]
    assert events == [*(("delta", f"word {number}") for number in range(5)), ("done", 5)]


async def chunks_passed_on_together(
    running: RunningServer, sample: Sample, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> list[bytes]:
    """The chunks of a reply whose first word was written a moment before all others were passed on."""
    monkeypatch.setattr(reply_writer, "_TOGETHER_S", 1e9)
    with closing(await ask_raw(running, "Sample/passOn", arguments)) as sock:
        got = await read_until(sock, b"word 0")
        sample.gate.set()
        return chunks_of(await read_until(sock, b"event: done", got))


async def test_what_is_passed_on_in_one_turn_of_the_loop_goes_out_together(
    running: RunningServer, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one write at the end of the turn, the end of the reply after it."""
    chunks = await chunks_passed_on_together(running, sample, monkeypatch, '{"words": 5}')
    events = [[(event.type, event.data) for event in parse_events(chunk)] for chunk in chunks]
    assert events[:3] == [
        [("delta", "word 0")],
        [("delta", f"word {number}") for number in range(1, 5)],
        [("done", 5)],
    ]


async def test_what_is_passed_on_in_one_turn_of_the_loop_gathers_up_to_a_piece(
    running: RunningServer, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that says very much without a pause is not kept in memory for as long as it goes on."""
    arguments = '{"words": 200, "chars": 1000}'
    chunks = await chunks_passed_on_together(running, sample, monkeypatch, arguments)
    assert 65_536 < max(map(len, chunks)) < 67_000
    words = [event.data for event in parse_events(b"".join(chunks)) if event.type == "delta"]
    assert [word.strip() for word in words] == [f"word {number}" for number in range(200)]


async def test_items_that_wait_together_go_out_together(running: RunningServer) -> None:
    """One write, so one chunk, has them all, and the end with them."""
    with closing(await ask_raw(running, "Sample/count", '{"upto": 20}')) as sock:
        chunk, *_ = chunks_of(await read_until(sock, b"\r\n0\r\n"))
    assert [event.type for event in parse_events(chunk)] == ["delta"] * 20 + ["done"]


async def test_a_client_of_http_1_0_gets_a_stream(running: RunningServer) -> None:
    """Without chunks: nginx speaks it to us unless told otherwise."""
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /Sample/count HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer test-token\r\n"
        b"Accept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"
        b'{"upto":1}'
    )
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    writer.close()
    assert b" 200 " in head.split(b"\r\n")[0]
    assert [event.type for event in parse_events(body)] == ["delta", "done"]


async def test_the_description_is_valid_openapi(running: RunningServer) -> None:
    """Made from the signatures: every method is in it, with its arguments by wire name."""
    async with running.session.get(f"{running.url}/openapi.json") as answer:
        document = await answer.json()
    validate(document)
    assert document["openapi"].startswith("3.1")
    echo = document["paths"]["/Sample/echo"]["post"]
    schema = echo["requestBody"]["content"]["application/json"]["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    assert set(schema["properties"]) == {"someText", "repeatCount"}
    assert schema["required"] == ["someText"]
    assert "/Sample/hidden" not in document["paths"]
    assert "text/event-stream" in document["paths"]["/Sample/spell"]["post"]["responses"]["200"]["content"]
    assert "visitedPlace" in document["components"]["schemas"]["Visit"]["properties"]
