"""Calls of methods: results, streams, repeats that add nothing, downloads, and each error by its type."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from modules.chat_server.module import ChatServerModule
from potoserver import Call, ProblemError, ServerModule, rpc
from potoserver.client import (
    AnswerError,
    Backoff,
    ClientError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    NotSignedInError,
    PotoClient,
    ProtocolError,
    RepeatPolicy,
    TooManyError,
    UnavailableError,
    UnreachableError,
)
from potoserver.client import errors as every_error
from tests.chat.support import LedResponder
from tests.client.conftest import Serving
from tests.client.support import LIMIT_S, SOON, client_of, says, scripted, streams

CALL = "/ChatServerModule/chatWithHistory"
RESULT = {
    "conversationId": "c",
    "messageId": "m",
    "reply": "one two",
    "reasoning": None,
    "finishReason": "stop",
}


def delta(text: str, reasoning: str = "") -> str:
    return f"event: delta\ndata: {json.dumps({'text': text, 'reasoning': reasoning})}\n\n"


def done(**other: Any) -> str:
    return f"event: done\ndata: {json.dumps(RESULT | other)}\n\n"


# Results


async def test_a_result_is_the_wires_json_and_names_may_be_pythons(serving: Serving) -> None:
    """snake_case for methods and arguments; the result's names are the wire's."""
    async with serving() as running, client_of(running.url) as client:
        chat = client.module("ChatServerModule")
        one = await chat.chatWithHistory(message='{"a": 1}', jsonOutput=True)
        two = await chat.chat_with_history(message="x", json_output=True)
        assert json.loads(one["reply"]) == {"echo": '{"a": 1}'}
        assert one["finishReason"] == "stop"
        assert two["conversationId"] == one["conversationId"]
        assert [each["content"] for each in (await chat.get_conversation())["messages"]][::2] == [
            '{"a": 1}',
            "x",
        ]


async def test_a_reply_streams_and_ends_with_its_result(serving: Serving) -> None:
    """Each delta as it comes: the first is here before the second is said."""
    responder = LedResponder()
    async with serving(ChatServerModule(responder=responder)) as running, client_of(running.url) as client:
        reply = client.module("ChatServerModule").chatWithHistory.stream(message="Hello!")
        responder.say("one")
        assert (await anext(reply))["text"] == "one"
        assert reply.result is None
        responder.answer(" two")
        assert [each["text"] async for each in reply] == [" two"]
        assert reply.result["reply"] == "one two"
        assert not reply.replaced


async def test_a_method_that_does_not_stream_has_a_result_only(serving: Serving) -> None:
    """`stream` of it gives no delta."""
    async with serving() as running, client_of(running.url, "admin-token") as client:
        reply = client.module("ChatServerModule").get_active_session_count.stream()
        assert [each async for each in reply] == []
        assert reply.result == 0


async def test_a_reply_left_early_goes_on_at_the_server(serving: Serving) -> None:
    """Closing it is no stop: the caller has gone, nothing more."""
    responder = LedResponder()
    async with serving(ChatServerModule(responder=responder)) as running, client_of(running.url) as client:
        chat = client.module("ChatServerModule")
        reply = chat.chatWithHistory.stream(message="Hello!")
        responder.say("one")
        await anext(reply)
        await reply.aclose()
        responder.answer(" two")
        async with asyncio.timeout(LIMIT_S):
            while len(messages := (await chat.getConversation())["messages"]) < 2:
                await asyncio.sleep(0.01)
        assert messages[1]["content"] == "one two"


# Repeats


async def test_a_cut_reply_is_had_again_and_each_part_is_given_once() -> None:
    """Cut in the middle and away for a while: one key, one reply, no word doubled."""
    async with scripted() as server, client_of(server.url) as client:
        server.answer(
            CALL,
            says(503, "{}", Retry_After="0"),
            streams(delta("on", "th"), delta("e t"), cut=True),
            streams(delta("one"), cut=True),
            streams(delta("one two", "think"), done()),
        )
        reply = client.module("ChatServerModule").chatWithHistory.stream(message="Hello!")
        parts = [each async for each in reply]
        assert "".join(each["text"] for each in parts) == "one two"
        assert "".join(each["reasoning"] for each in parts) == "think"
        assert (reply.result, reply.replaced) == (RESULT, False)
        requests = server.requests[CALL]
        keys = {each.partition("Idempotency-Key: ")[2].partition("\r\n")[0] for each in requests}
        ids = {each.partition("X-Request-ID: ")[2].partition("\r\n")[0] for each in requests}
        assert (len(requests), len(keys), ids) == (4, 1, {reply.request_id})
        await client.module("ChatServerModule").chatWithHistory(message="Another call")
        assert server.header(CALL, "Idempotency-Key") not in keys


@pytest.mark.parametrize("again", ["two", "on", "one four"])
async def test_another_reply_than_the_one_that_had_begun_replaces_it(again: str) -> None:
    """The server crashed in between and asked the model anew: the result is right, the deltas are void."""
    async with scripted() as server, client_of(server.url) as client:
        server.answer(CALL, streams(delta("one t"), cut=True), streams(delta(again), done(reply=again)))
        reply = client.module("ChatServerModule").chatWithHistory.stream(message="Hello!")
        assert [each["text"] async for each in reply] == ["one t"]
        assert (reply.result["reply"], reply.replaced) == (again, True)


async def test_a_repeat_adds_nothing_at_the_real_server(serving: Serving) -> None:
    """A key of the caller's own is good for a second client, too."""
    async with serving() as running:
        for _ in range(2):
            async with client_of(running.url) as client:
                chat = client.module("ChatServerModule")
                await chat.chatWithHistory.keyed("order-17")(message="Once")
        async with client_of(running.url) as client:
            messages = (await client.module("ChatServerModule").getConversation())["messages"]
        assert [each["content"] for each in messages] == ["Once", "Once"]


async def test_repeats_have_an_end(unused_tcp_port: int) -> None:
    """Then the last error is the caller's."""
    policy = RepeatPolicy(for_s=0.3, backoff=Backoff(base_s=0.05, most_s=0.1))
    async with PotoClient(f"http://127.0.0.1:{unused_tcp_port}", "test-token", repeat=policy) as client:
        with pytest.raises(UnreachableError, match="can't be reached"):
            await client.module("ChatServerModule").chatWithHistory(message="x")
    async with scripted() as server, PotoClient(server.url, "test-token", repeat=policy) as client:
        server.answer(CALL, says(503, "{}", Retry_After="3600"))
        with pytest.raises(UnavailableError) as caught:
            await client.module("ChatServerModule").chatWithHistory(message="x")
        assert caught.value.retry_after_s == 3600
        assert len(server.requests[CALL]) == 1


@pytest.mark.parametrize("answer", [says(503, "{}", Retry_After="0"), streams(cut=True)])
async def test_a_call_without_a_key_is_not_repeated(answer: Any) -> None:
    """Only its caller knows whether it may be done twice; one that says so by a key has it repeated."""
    async with scripted() as server, client_of(server.url) as client:
        server.answer("/Shop/buy", answer, says(200, "1", "application/json"))
        with pytest.raises((UnavailableError, UnreachableError)):
            await client.module("Shop").buy()
        assert await client.module("Shop").buy.keyed("k")() == 1


# Errors


class Failing(ServerModule):
    @rpc
    async def fail(self, status: int) -> None:
        raise ProblemError(status, f"Because of {status}.", retry_after_s=7 if status in (429, 503) else None)

    @rpc
    async def fail_late(self, call: Call) -> AsyncIterator[int]:
        yield 1
        raise ProblemError(507, "The disk is full.")


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "AnswerError"),
        (403, "ForbiddenError"),
        (404, "NotFoundError"),
        (409, "ConflictError"),
        (429, "TooManyError"),
        (502, "ModelFailedError"),
        (503, "UnavailableError"),
        (504, "ModelFailedError"),
        (507, "FullError"),
    ],
)
async def test_each_status_has_its_error(serving: Serving, status: int, name: str) -> None:
    """With everything that the problem document says."""
    async with serving(Failing()) as running, client_of(running.url) as client:
        with pytest.raises(AnswerError) as caught:
            await client.module("Failing").fail(status=status)
    error = caught.value
    assert type(error) is getattr(every_error, name)
    assert (error.status, error.detail) == (status, f"Because of {status}.")
    assert error.title
    assert error.request_id
    assert error.retry_after_s == (7 if status in (429, 503) else None)
    assert str(error) == f"{status} {error.title}: Because of {status}."


async def test_bad_arguments_are_named(serving: Serving) -> None:
    """Each with its field, as a person reads it."""
    async with serving() as running, client_of(running.url) as client:
        with pytest.raises(InvalidError) as caught:
            await client.module("ChatServerModule").chatWithHistory(message="", more=1)
        assert {each.field: each.message for each in caught.value.errors} == {
            "message": "must not be empty",
            "more": "is not known here",
        }
        assert "message must not be empty" in str(caught.value)
        with pytest.raises(ForbiddenError):
            await client.module("ChatServerModule").listSessions()
        with pytest.raises(NotFoundError):
            await client.module("Nobody/../x").call()
    async with serving() as running, client_of(running.url, "wrong") as client:
        with pytest.raises(NotSignedInError):
            await client.module("ChatServerModule").getConversation()


async def test_an_error_in_mid_stream_is_the_same_as_one_before(serving: Serving) -> None:
    """The deltas before it are given, then it is raised."""
    async with serving(Failing()) as running, client_of(running.url) as client:
        reply = client.module("Failing").failLate.stream()
        assert await anext(reply) == 1
        with pytest.raises(every_error.FullError, match="The disk is full"):
            await anext(reply)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (says(429, "", Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"), TooManyError),
        (says(500, "[1]"), every_error.ServerFaultError),
        (says(503, "<html>", "text/html", Retry_After="soon"), UnavailableError),
        (says(418, '{"detail": 1, "errors": [1, {}]}'), AnswerError),
        (says(307, Location="http://elsewhere.example"), ProtocolError),
        (says(200, "<html>", "text/html"), ProtocolError),
        (says(200, "[" * 5000), ProtocolError),
    ],
)
async def test_what_a_proxy_says_is_typed_too(answer: Any, error: type[ClientError]) -> None:
    """No problem document, or a strange one: the status alone makes the error."""
    async with scripted() as server, client_of(server.url) as client:
        server.answer("/Shop/buy", answer)
        with pytest.raises(error) as caught:
            await client.module("Shop").buy()
        assert type(caught.value) is error
        assert getattr(caught.value, "retry_after_s", None) in (None, 0.0)


# Tokens


async def test_a_token_is_renewed_once_for_all_calls_that_it_failed(serving: Serving) -> None:
    """The first asks for a new one, the others take it; a second refusal is the caller's."""
    given = ["old", "test-token"]
    async with serving() as running, client_of(running.url, lambda: given.pop(0)) as client:
        calls = [client.module("ChatServerModule").getConversation() for _ in range(8)]
        assert len(await asyncio.gather(*calls)) == 8
        assert given == []
    given = ["old", "older", "oldest"]
    async with serving() as running, client_of(running.url, lambda: given.pop(0)) as client:
        with pytest.raises(NotSignedInError):
            await client.module("ChatServerModule").getConversation()
        assert given == ["oldest"]


async def test_what_a_provider_raises_reaches_the_caller(serving: Serving) -> None:
    """From a call and from a subscription."""

    def provider() -> str:
        raise LookupError("no token today")

    async with serving() as running, client_of(running.url, provider) as client:
        with pytest.raises(LookupError):
            await client.module("ChatServerModule").getConversation()
        with pytest.raises(LookupError):
            await anext(client.subscribe(backoff=SOON))


# Downloads


async def test_a_download_is_kept_once_it_is_whole(tmp_path: Path) -> None:
    """Read as chunks, or saved under a name; one that is cut leaves what was there before."""
    target = tmp_path / "export.json"
    target.write_text("before")
    disposition = 'attachment; filename="../../archives.json"'
    async with scripted() as server, client_of(server.url) as client:
        method = client.module("ChatServerModule").exportArchives
        server.answer(
            "/ChatServerModule/exportArchives",
            streams("one", "two", cut=True),
            says(404, "{}"),
            says(200, '{"all": 1}', "application/json", Content_Disposition=disposition),
        )
        with pytest.raises(UnreachableError):
            await method.download(target)
        with pytest.raises(NotFoundError):
            await method.download(target)
        assert [each.read_text() for each in tmp_path.iterdir()] == ["before"]
        assert await method.download(target, format="json") == 10
        assert target.read_text() == '{"all": 1}'
        assert target.stat().st_mode & 0o777 == 0o600
        assert '{"format": "json"}' in server.requests["/ChatServerModule/exportArchives"][-1]
        async with method.open() as download:
            assert (download.filename, download.content_type) == ("archives.json", "application/json")
            assert b"".join([chunk async for chunk in download]) == b'{"all": 1}'


async def test_archives_are_exported_and_imported_by_the_client(serving: Serving, tmp_path: Path) -> None:
    """The real server's file is saved whole, and is JSON that it takes in again, once."""
    target = tmp_path / "archives.json"
    async with serving() as running, client_of(running.url) as client:
        chat = client.module("ChatServerModule")
        await chat.chatWithHistory(message="Where is the blue lamp?")
        await chat.endSession()
        assert await chat.exportArchives.download(target, format="json") == target.stat().st_size
        (entry,) = (await chat.listArchives())["archives"]
        await chat.deleteArchive(id=entry["id"])
        archives = json.loads(target.read_bytes())["archives"]
        assert len((await chat.importArchives(archives=archives))["imported"]) == 1
        assert (await chat.importArchives(archives=archives))["skipped"] == 1
        (match,) = (await chat.searchArchives(query="lamp", role="user"))["matches"]
        assert match["archiveId"]


# By itself


def test_it_needs_nothing_of_the_servers() -> None:
    """What a program imports with it is no server."""
    code = (
        "import sys, potoserver.client as it; it.PotoClient;"
        "print([name for name in sys.modules if name.startswith(("
        "'potoserver.web', 'potoserver.server', 'potoserver.core', 'potoserver.engine.memory',"
        "'potoserver.cli.', 'typer', 'aiohttp_sse', 'prompt_toolkit'))])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_the_server_does_not_load_the_client() -> None:
    """`import potoserver` stays as quick as it was."""
    code = "import sys, potoserver; print('potoserver.client' in sys.modules, 'aiohttp' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False False\n"


@pytest.mark.parametrize("url", ["localhost:3799", "ftp://localhost", "http://", "//x"])
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    """Rather than as a server that can't be reached."""
    with pytest.raises(ValueError, match="expected a URL such as"):
        PotoClient(url)


async def test_it_is_used_in_async_with() -> None:
    """Whoever forgets that is told."""
    with pytest.raises(RuntimeError, match="async with"):
        await PotoClient("http://localhost:1").module("X").y()


def test_every_error_is_a_client_error() -> None:
    """One except clause takes them all."""
    raised = [
        each for each in vars(every_error).values() if isinstance(each, type) and issubclass(each, Exception)
    ]
    assert len(raised) >= 14
    assert all(issubclass(each, ClientError) for each in raised)
