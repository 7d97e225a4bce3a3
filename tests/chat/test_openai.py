"""The OpenAI responder against a real endpoint on loopback."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from openai.types.chat import ChatCompletionChunk
from pydantic import ValidationError

from modules.chat_server.journal import Message
from modules.chat_server.responders import ResponderSetupError
from modules.chat_server.settings import ChatSettings

from .support import A1, Chat

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Endpoint:
    """An OpenAI-compatible endpoint: each request is answered by the next of `answers`."""

    def __init__(self) -> None:
        self.answers: list[Handler] = []
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.released = asyncio.Event()
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        self.server = TestServer(app, host="127.0.0.1")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        self.keys.append(request.headers.get("Authorization"))
        return await self.answers.pop(0)(request)

    def will_stream(self, *deltas: dict[str, Any], finish: str | None = "stop", hang: bool = False) -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)

            async def send(choices: list[Any]) -> None:
                part = {
                    "id": "c",
                    "object": "chat.completion.chunk",
                    "created": 1,
                    "model": "m-2025",
                    "choices": choices,
                }
                await response.write(b"data: " + json.dumps(part).encode() + b"\n\n")

            for delta in deltas:
                await send([{"index": 0, "delta": delta, "finish_reason": None}])
            if hang:
                await self.released.wait()
            if finish is None:
                assert request.transport is not None
                await asyncio.sleep(0.05)
                request.transport.abort()
                return response
            await send([{"index": 0, "delta": {}, "finish_reason": finish}])
            await send([])
            await response.write(b"data: [DONE]\n\n")
            return response

        self.answers.append(handler)

    def will_refuse(self, status: int, **headers: str) -> None:
        async def handler(_request: web.Request) -> web.StreamResponse:
            body = {"error": {"message": "internal detail sk-secret", "type": "x"}}
            return web.json_response(body, status=status, headers=headers)

        self.answers.append(handler)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    await endpoint.server.start_server()
    yield endpoint
    endpoint.released.set()
    await endpoint.server.close()


def chat_with(tmp_path: Path, endpoint: Endpoint, **options: Any) -> Chat:
    openai = {"base_url": str(endpoint.server.make_url("/v1")), "model": "m", "api_key": "sk-secret"}
    openai |= options.pop("openai", {})
    return Chat.in_memory(tmp_path, settings={"responder": "openai", "openai": openai} | options)


async def past_pauses(chat: Chat, asked: Any) -> None:
    """Moves the clock until the call is answered, letting real sockets do their part between."""
    async with asyncio.timeout(10):
        while not asked.task.done():
            await asyncio.sleep(0.01)
            await chat.clock.advance(0.25)


async def test_a_reply_is_streamed(tmp_path: Path, endpoint: Endpoint) -> None:
    """Piece by piece, with model and finish reason in the journal; the key goes to the endpoint alone."""
    endpoint.will_stream({"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo 😀"})
    async with chat_with(tmp_path, endpoint) as chat:
        call = chat.begin("hi", system_prompt="Be brief.")
        reply = await call.answer()
        assert (reply.reply, reply.reasoning, reply.finish_reason) == ("Hello 😀", None, "stop")
        assert [each.text for each in call.deltas] == ["Hel", "lo 😀"]
        kept = (await chat.module.dialogue_journal.get_conversation(A1))[-1]
        assert (kept.model, kept.finish_reason) == ("m-2025", "stop")
        request = endpoint.requests[0]
        assert (request["model"], request["stream"]) == ("m", True)
        assert "response_format" not in request
        assert request["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
        ]
        assert endpoint.keys == ["Bearer sk-secret"]
        assert "sk-secret" not in repr(chat.context.lines)


async def test_no_model_is_made_of_each_part(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are looked at as the JSON that they are: a pydantic model of each costs more than all the rest."""
    made: list[object] = []
    monkeypatch.setattr(ChatCompletionChunk, "construct", lambda *_, **data: made.append(data))
    endpoint.will_stream({"content": "one "}, {"content": "two"})
    async with chat_with(tmp_path, endpoint) as chat:
        assert (await chat.ask("hi")).reply == "one two"
    assert made == []


@pytest.mark.parametrize("part", ["null", "7", "[]", '{"choices": [null]}', '{"choices": [{"delta": 7}]}'])
async def test_parts_that_make_no_sense_are_502(tmp_path: Path, endpoint: Endpoint, part: str) -> None:
    """Whatever the endpoint sends."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"data: {part}\n\ndata: [DONE]\n\n".encode())
        return response

    endpoint.answers.append(handler)
    async with chat_with(tmp_path, endpoint) as chat:
        assert (await chat.begin("hi").problem()).status == 502


async def test_the_model_sees_the_dialog_within_its_bound(tmp_path: Path, endpoint: Endpoint) -> None:
    """The newest messages; the question always."""
    async with chat_with(tmp_path, endpoint, openai={"history_chars": 10}) as chat:
        for message in ("one", "two", "a question too long"):
            endpoint.will_stream({"content": "4444"})
            await chat.ask(message)
        shown = [[each["content"] for each in request["messages"]] for request in endpoint.requests]
        assert shown == [["one"], ["one", "4444", "two"], ["a question too long"]]


async def test_json_output_asks_for_a_json_object(tmp_path: Path, endpoint: Endpoint) -> None:
    """And what comes is checked."""
    async with chat_with(tmp_path, endpoint) as chat:
        endpoint.will_stream({"content": '{"a":'}, {"content": "1}"})
        assert json.loads((await chat.ask("x", json_output=True)).reply) == {"a": 1}
        assert endpoint.requests[0]["response_format"] == {"type": "json_object"}
        endpoint.will_stream({"content": "sure!"})
        assert (await chat.begin("x", json_output=True).problem()).status == 502


@pytest.mark.parametrize(
    "deltas",
    [
        [{"reasoning_content": "hm "}, {"reasoning_content": "so"}, {"content": "yes"}],
        [{"reasoning": "hm "}, {"reasoning": "so"}, {"content": "yes"}],
        [{"content": "<thi"}, {"content": "nk>hm so</thin"}, {"content": "k>\n\nyes"}],
    ],
)
@pytest.mark.parametrize("enabled", [True, False])
async def test_reasoning_is_told_from_the_reply(
    tmp_path: Path, endpoint: Endpoint, deltas: list[dict[str, str]], enabled: bool
) -> None:
    """In every form that endpoints have for it; without `reasoningEnabled` it is left out."""
    endpoint.will_stream(*deltas)
    async with chat_with(tmp_path, endpoint) as chat:
        call = chat.begin("x", reasoning_enabled=enabled)
        reply = await call.answer()
        assert reply.reply == "yes"
        assert reply.reasoning == ("hm so" if enabled else None)
        assert "".join(each.reasoning for each in call.deltas) == ("hm so" if enabled else "")


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_passes_by_itself_is_tried_again(tmp_path: Path, endpoint: Endpoint, status: int) -> None:
    """Not before `Retry-After`; the caller notices nothing."""
    endpoint.will_refuse(status, **{"Retry-After": "7"})
    endpoint.will_stream({"content": "ok"})
    async with chat_with(tmp_path, endpoint) as chat:
        call = chat.begin("x")
        while not chat.context.logged("model request failed"):
            await asyncio.sleep(0.01)
        await chat.clock.advance(6.9)
        await asyncio.sleep(0.05)
        assert len(endpoint.requests) == 1
        await past_pauses(chat, call)
        assert (await call.answer()).reply == "ok"


async def test_tries_are_limited(tmp_path: Path, endpoint: Endpoint) -> None:
    """`chat.openai.retries` more, then 502 without internals or keys."""
    for _ in range(3):
        endpoint.will_refuse(500)
    async with chat_with(tmp_path, endpoint) as chat:
        call = chat.begin("x")
        await past_pauses(chat, call)
        problem = await call.problem()
        assert problem.status == 502
        assert "secret" not in str(problem) and "internal" not in str(problem)
        assert len(endpoint.requests) == 3
        assert await chat.open_texts() == ["x"]
        assert "secret" not in repr(chat.context.lines)


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_a_refusal_is_not_repeated(tmp_path: Path, endpoint: Endpoint, status: int) -> None:
    """It would be refused again."""
    endpoint.will_refuse(status)
    async with chat_with(tmp_path, endpoint) as chat:
        assert (await chat.begin("x").problem()).status == 502
        assert len(endpoint.requests) == 1


async def test_a_busy_model_that_asks_for_too_long_a_wait_is_said_to_be_busy(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    """Nobody is kept waiting for an hour, or past the time that the reply has: when to come is told."""
    async with chat_with(tmp_path, endpoint, reply_timeout_s=30) as chat:
        for asked in ("3600", "30.5"):
            endpoint.will_refuse(429, **{"Retry-After": asked})
            problem = await chat.begin("x").problem()
            assert problem.status == 502 and "busy" in problem.detail
            assert problem.retry_after_s == (3600 if asked == "3600" else 31)
        assert len(endpoint.requests) == 2


@pytest.mark.parametrize("asked", ["inf", "nan", "-1", "1e300", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"])
async def test_a_time_to_wait_that_makes_no_sense_is_not_told(
    tmp_path: Path, endpoint: Endpoint, asked: str
) -> None:
    """Nor waited for."""
    endpoint.will_refuse(429, **{"Retry-After": asked})
    async with chat_with(tmp_path, endpoint, openai={"retries": 0}) as chat:
        problem = await chat.begin("x").problem()
        assert (problem.status, problem.retry_after_s) == (502, None)


async def test_an_error_in_the_stream_is_502(tmp_path: Path, endpoint: Endpoint) -> None:
    """As some endpoints tell of a failure after the first word."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"error": {"message": "internal", "code": "overloaded"}}\n\n')
        return response

    endpoint.answers.append(handler)
    async with chat_with(tmp_path, endpoint) as chat:
        assert (await chat.begin("x").problem()).status == 502
        (line,) = chat.context.logged("model request failed")
        assert line["kind"] == "overloaded"


@pytest.mark.parametrize("deltas", [[{"content": "begun"}], []])
async def test_a_stream_that_breaks_off_is_502(
    tmp_path: Path, endpoint: Endpoint, deltas: list[dict[str, str]]
) -> None:
    """Repeated only where nothing had come yet; nothing partial is kept."""
    async with chat_with(tmp_path, endpoint, openai={"retries": 1}) as chat:
        endpoint.will_stream(*deltas, finish=None)
        endpoint.will_stream(*deltas, finish=None)
        call = chat.begin("x")
        await past_pauses(chat, call)
        assert (await call.problem()).status == 502
        assert len(endpoint.requests) == (1 if deltas else 2)
        assert await chat.open_texts() == ["x"]


async def test_a_model_that_hangs_is_504(tmp_path: Path, endpoint: Endpoint) -> None:
    """`chat.reply_timeout_s`, by the clock."""
    endpoint.will_stream({"content": "begun"}, hang=True)
    async with chat_with(tmp_path, endpoint, reply_timeout_s=30) as chat:
        call = chat.begin("x")
        while not call.deltas:
            await asyncio.sleep(0.01)
        await chat.clock.advance(29.9)
        assert not call.task.done()
        await chat.clock.advance(0.1)
        assert (await call.problem()).status == 504


@pytest.mark.parametrize(
    ("deltas", "title"),
    [
        ([{"content": "\n"}, {"content": "Old "}, {"content": "trees\n"}], "Old trees\n"),
        ([{"content": "x" * 150}] * 2, "x" * 300),
        ([{"reasoning_content": "x" * 3000}] * 3, ""),
    ],
)
async def test_a_title_is_listened_to_no_longer_than_one_can_be(
    tmp_path: Path, endpoint: Endpoint, deltas: list[dict[str, str]], title: str
) -> None:
    """Its first line, and bounded thoughts; the model, which has more to say, is hung up on."""
    endpoint.will_stream(*deltas, hang=True)
    async with chat_with(tmp_path, endpoint) as chat:
        dialog = [Message("user", "y" * 5000, "m-1", 1), Message("assistant", "", "m-2", 2)] * 9
        async with asyncio.timeout(10):
            assert await chat.module._responder.title(dialog) == title
        (asked,) = endpoint.requests[0]["messages"]
        assert asked["content"].startswith(f"user: {'y' * 1000}\n\nuser: ")
        assert asked["content"].endswith("Answer with the title alone.")
        assert len(asked["content"]) < 4500


async def test_nobody_there_is_502(tmp_path: Path, endpoint: Endpoint) -> None:
    """A port where nothing listens."""
    async with chat_with(tmp_path, endpoint, openai={"retries": 0}) as chat:
        await endpoint.server.close()
        assert (await chat.begin("x").problem()).status == 502


async def test_no_foreign_key_is_sent(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key in the settings, OPENAI_API_KEY of the environment stays where it is."""
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "sk-environment")
    endpoint.will_stream({"content": "ok"})
    async with chat_with(tmp_path, endpoint, openai={"api_key": None}) as chat:
        await chat.ask("x")
        assert "sk-environment" not in str(endpoint.keys)


async def test_without_the_package_the_start_says_what_to_install(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with the command."""
    monkeypatch.setitem(sys.modules, "openai", None)
    chat = chat_with(tmp_path, endpoint)
    with pytest.raises(ResponderSetupError, match=r"pip install 'potoserver\[llm\]'") as error:
        await chat.context.start(chat.module)
    assert "\n" not in str(error.value)


def test_the_model_must_be_named() -> None:
    """`chat.responder: openai` without `chat.openai.model` stops the start."""
    with pytest.raises(ValidationError, match=r"needs openai\.model"):
        ChatSettings.model_validate({"responder": "openai"})


def test_the_key_is_not_shown() -> None:
    """Neither printed nor logged by accident."""
    settings = ChatSettings.model_validate({"openai": {"api_key": "sk-secret"}})
    assert "sk-secret" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000/v1", "ftp://x/v1", "http://", "http://x:y/v1", "http://x y/v1", "http://[::1/v1"],
)
def test_the_endpoint_must_be_an_http_url(url: str) -> None:
    """What was expected is said in one line."""
    with pytest.raises(ValidationError, match="expected an http or https URL"):
        ChatSettings.model_validate({"openai": {"base_url": url}})


@pytest.mark.parametrize("url", ["http://localhost:8000/v1", "https://[::1]/", "http://10.0.0.1:80/a/b/v1"])
def test_an_http_url_is_taken_as_it_is(url: str) -> None:
    """Whoever serves there."""
    assert ChatSettings.model_validate({"openai": {"base_url": url}}).openai.base_url == url
