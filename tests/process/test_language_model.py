"""The responder `openai` through the whole server: llama.cpp's own server answers, and faults lie between."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest

from tests.faults.proxy import Proxy
from tests.process.conftest import StartServer
from tests.support.llama import KEY, LlamaServer
from tests.support.process import CHECKOUT
from tests.support.rate_limit import RateLimit
from tests.support.sse import stream
from tests.support.talk import Talk

pytestmark = pytest.mark.process


def with_llama(*options: dict[str, Any]) -> pytest.MarkDecorator:
    """Asks for llama.cpp's server with these options, once with each."""
    return pytest.mark.parametrize("llama", options, indirect=True, ids=str)


@pytest.fixture
def llama(request: pytest.FixtureRequest) -> Iterator[LlamaServer]:
    """llama.cpp's server."""
    try:
        server = LlamaServer(**getattr(request, "param", {}))
    except OSError as error:
        pytest.skip(f"llama.cpp's server can't be had: {error}")
    with server:
        yield server


@pytest.fixture
async def between(llama: LlamaServer) -> AsyncIterator[Proxy]:
    """The network between the two servers; some sixty words a second come through, as of a larger model."""
    async with Proxy(llama.port) as proxy:
        proxy.to_client.chunk_bytes, proxy.to_client.interval_s = 1000, 0.05
        yield proxy


class Begin(Protocol):
    """Starts a server whose model is at a port."""

    async def __call__(self, model_port: int, **environment: str) -> Talk: ...


@pytest.fixture
def begin(start_server: StartServer, http: aiohttp.ClientSession) -> Begin:
    """Starts a server with the responder `openai` and a user of it."""

    async def begin(model_port: int, **environment: str) -> Talk:
        model = {"BASE_URL": f"http://127.0.0.1:{model_port}/v1", "MODEL": "one-page", "API_KEY": KEY}
        settings = {f"POTO_CHAT__OPENAI__{name}": value for name, value in model.items()}
        return Talk(await start_server(**{"POTO_CHAT__RESPONDER": "openai"} | settings | environment), http)

    return begin


NO_RETRIES = {"POTO_CHAT__OPENAI__RETRIES": "0"}


async def test_the_file_that_readme_shows_is_all_that_a_model_needs(
    llama: LlamaServer, start_server: StartServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """As it stands there, but for the port; the key comes from the environment."""
    readme = (CHECKOUT / "README.md").read_text()
    (example,) = re.findall(r"^```yaml\n(chat:\n.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert example.count(":11434/") == 1
    (tmp_path / "potoserver.yaml").write_text(example.replace(":11434/", f":{llama.port}/"))
    talk = Talk(await start_server(POTO_CHAT__OPENAI__API_KEY=KEY), http)
    assert (await talk.say("greet"))["reply"] == "Good day to you."
    assert (await talk.call("endSession"))["archiveId"]
    await talk.server.until_logged("archive marked", titled=True)


async def test_a_reply_is_streamed_and_kept_with_how_it_ended(llama: LlamaServer, begin: Begin) -> None:
    """In the model's own pieces; a character of several tokens is whole, and a model may say nothing."""
    talk = await begin(llama.port)
    async with talk.hear("please greet") as reader:
        done = await reader.next("done")
        pieces = [each.data["text"] for each in reader.seen if each.type == "delta"]
    assert pieces == ["Good", " day", " to", " you", "."]
    assert (done.data["reply"], done.data["finishReason"]) == ("Good day to you.", "stop")
    question, reply = talk.kept()
    assert question["content"] == "please greet"
    assert reply["content"] == "Good day to you."
    assert (reply["model"], reply["finish_reason"]) == ("one-page", "stop")
    assert (await talk.say("smile"))["reply"] == "😀"
    assert (await talk.say("nothing"))["reply"] == ""
    assert (await talk.say("greet"))["reply"] == "Good day to you."


async def test_a_reply_grows_while_the_model_speaks_and_a_stop_ends_its_work(
    llama: LlamaServer, begin: Begin, between: Proxy
) -> None:
    """Pieces come long before the end; a stopped reply is kept so far, and the model says no more."""
    talk = await begin(between.port)
    async with talk.hear("go on forever") as reader:
        for _ in range(3):
            await reader.next("delta")
        assert any(slot["is_processing"] for slot in await llama.slots())
        assert await talk.call("stopGeneration") == {"stopped": True}
        done = await reader.next("done")
    assert done.data["finishReason"] == "stopped"
    await llama.until_idle()
    reply = talk.kept()[-1]
    assert reply["content"] == done.data["reply"]
    assert reply["content"].startswith("tick tock")
    assert reply["interrupted"] is True


async def test_a_stop_of_the_server_keeps_the_reply_so_far_and_ends_the_models_work(
    llama: LlamaServer, begin: Begin, between: Proxy
) -> None:
    """Within `shutdown_timeout_s`; the caller gets what there is."""
    talk = await begin(between.port, POTO_SHUTDOWN_TIMEOUT_S="10")
    async with talk.hear("forever") as reader:
        await reader.next("delta")
        talk.server.send_signal(signal.SIGTERM)
        done = await reader.next("done")
    assert done.data["finishReason"] == "shutdown"
    assert await talk.server.wait() == 0
    await llama.until_idle()
    (dialog,) = talk.server.dialogs()
    assert dialog["messages"][-1]["content"] == done.data["reply"]


@with_llama({"most_tokens": 3})
async def test_a_reply_that_the_model_cuts_says_so(llama: LlamaServer, begin: Begin) -> None:
    """Finish reason `length`; what is cut is no JSON, so with `jsonOutput` that is 502."""
    talk = await begin(llama.port)
    reply = await talk.say("greet")
    assert (reply["reply"], reply["finishReason"]) == ("Good day to", "length")
    detail, _ = await talk.fail("greet", 502, "k1", jsonOutput=True)
    assert "not JSON" in detail
    assert [each["content"] for each in talk.kept()] == ["greet", "Good day to", "greet"]


async def test_json_output_is_what_the_models_grammar_allows(llama: LlamaServer, begin: Begin) -> None:
    """The same question, answered in words and in JSON."""
    talk = await begin(llama.port)
    assert (await talk.say("greet"))["reply"] == "Good day to you."
    reply = await talk.say("greet", jsonOutput=True)
    assert json.loads(reply["reply"]) == {"colour": "green"}
    reply = await talk.say("ponder", jsonOutput=True, reasoningEnabled=True)
    assert json.loads(reply["reply"]) == {"colour": "green"}


@with_llama({"tells_reasoning": True}, {"tells_reasoning": False})
async def test_reasoning_stands_beside_the_reply(llama: LlamaServer, begin: Begin) -> None:
    """In the answer and in the file, in either form that the model's server gives it; else it is left out."""
    talk = await begin(llama.port)
    reply = await talk.say("ponder", reasoningEnabled=True)
    assert (reply["reply"], reply["reasoning"]) == ("Then we answer", "First I wonder")
    kept = talk.kept()[-1]
    assert (kept["content"], kept["reasoning"]) == ("Then we answer", "First I wonder")
    reply = await talk.say("ponder")
    assert (reply["reply"], reply["reasoning"]) == ("Then we answer", None)
    assert "reasoning" not in talk.kept()[-1]


async def test_the_model_is_shown_the_dialog(llama: LlamaServer, begin: Begin) -> None:
    """Question and reply before, and the system prompt."""
    talk = await begin(llama.port)
    assert (await talk.say("count"))["reply"] == "one"
    assert (await talk.say("count"))["reply"] == "three"
    await talk.call("endSession")
    assert (await talk.say("count", systemPrompt="Be brief."))["reply"] == "two"


@with_llama({"context": 512})
async def test_a_dialog_that_outgrows_the_model_goes_on(llama: LlamaServer, begin: Begin) -> None:
    """Its older half is left out until it fits; a question that is too long itself hinders none."""
    talk = await begin(llama.port)
    for _ in range(6):
        assert (await talk.say(f"{'x' * 150} greet"))["reply"] == "Good day to you."
    assert await talk.server.until_logged("older half of the dialog not shown to the model")
    detail, _ = await talk.fail(f"{'x' * 1000} greet", 502, "k1")
    assert "too long for the model" in detail
    assert (await talk.say("greet"))["reply"] == "Good day to you."


async def test_a_rate_limit_is_waited_for_or_told(llama: LlamaServer, begin: Begin) -> None:
    """Told with `Retry-After`; a repeat with the message's key is answered. A short one nobody notices."""
    async with RateLimit(llama.port, retry_after="7") as gate:
        talk = await begin(gate.port, **NO_RETRIES)
        assert await talk.fail("greet", 502, "k1") == ("The model is busy; try again in 7 s.", "7")
        assert [each["content"] for each in talk.kept()] == ["greet"]
        gate.allowed = 1
        assert await talk.repeat("greet", "k1") == "Good day to you."
        (line,) = await talk.server.until_logged("model request failed")
        assert (line["status"], line["kind"]) == (429, "rate_limit_exceeded")
    await talk.server.stop()
    async with RateLimit(llama.port, retry_after="0") as gate:
        talk = await begin(gate.port, POTO_CHAT__OPENAI__RETRIES="1000")
        answered = asyncio.create_task(talk.say("greet"))
        async with asyncio.timeout(20):
            while gate.refused < 3:
                await asyncio.sleep(0.01)
        gate.allowed = 1
        assert (await answered)["reply"] == "Good day to you."


async def test_a_cut_stream_is_502_and_a_repeat_completes_it(
    llama: LlamaServer, begin: Begin, between: Proxy, http: aiohttp.ClientSession
) -> None:
    """What had come is void: the other connections are told, nothing of it is kept, the message is."""
    talk = await begin(between.port)
    between.to_client.cut_after = 900
    async with stream(http, f"{talk.server.url}/subscribe") as tab:
        async with talk.hear("greet", **{"Idempotency-Key": "k1"}) as reader:
            assert (await reader.next("delta")).data["text"] == "Good"
            error = await reader.next("error")
        assert error.data["status"] == 502
        assert "broke off" in error.data["detail"]
        assert (await tab.next("failed")).data["status"] == 502
    assert [each["content"] for each in talk.kept()] == ["greet"]
    between.to_client.cut_after = None
    assert await talk.repeat("greet", "k1") == "Good day to you."


async def test_a_model_that_falls_silent_is_504_and_a_repeat_completes_it(
    llama: LlamaServer, begin: Begin, between: Proxy
) -> None:
    """`chat.reply_timeout_s`; the connection to it is closed."""
    talk = await begin(between.port, POTO_CHAT__REPLY_TIMEOUT_S="6")
    between.to_client.swallow()
    detail, _ = await talk.fail("greet", 504, "k1")
    assert "within 6 s" in detail
    between.to_client.flow()
    async with asyncio.timeout(20):
        while len(between):
            await asyncio.sleep(0.01)
    assert await talk.repeat("greet", "k1") == "Good day to you."


async def test_a_wrong_key_is_502_and_stays_a_secret(llama: LlamaServer, begin: Begin) -> None:
    """Neither the answer nor the log nor the terminal shows it; the log tells what is wrong."""
    talk = await begin(llama.port, POTO_CHAT__OPENAI__API_KEY="sk-wrong-key", DEBUG="*")
    detail, _ = await talk.fail("greet", 502, "k1")
    assert "status 401" in detail
    (line,) = await talk.server.until_logged("model request failed")
    assert (line["status"], line["kind"]) == (401, "authentication_error")
    told = [detail, talk.server.log_file.read_text(), talk.server.output]
    assert not any("sk-wrong" in text for text in told)


async def test_a_model_that_is_away_is_502_and_the_dialog_goes_on(llama: LlamaServer, begin: Begin) -> None:
    """Before the first word and in mid-reply; a model whose template insists on turns takes what follows."""
    talk = await begin(llama.port, **NO_RETRIES)
    llama.kill()
    detail, _ = await talk.fail("greet", 502, "k1")
    assert "can't be reached" in detail
    llama.start()
    assert await talk.repeat("greet", "k1") == "Good day to you."
    async with talk.hear("forever") as reader:
        await reader.next("delta")
        llama.kill()
        assert (await reader.next("error")).data["status"] == 502
    llama.start()
    assert (await talk.say("count"))["reply"] == "three"
    assert [each["content"] for each in talk.kept()][2:] == ["forever", "count", "three"]


TITLED = {"POTO_CHAT__ARCHIVES__TITLE_BY_RESPONDER": "true"}


async def test_an_archive_is_called_what_the_model_calls_it(
    llama: LlamaServer, begin: Begin, http: aiohttp.ClientSession
) -> None:
    """`chat.archives.title_by_responder`: in the file, in lists, and pages are told."""
    talk = await begin(llama.port, **TITLED)
    async with stream(http, f"{talk.server.url}/subscribe") as tab:
        await talk.say("greet")
        archive_id = (await talk.call("endSession"))["archiveId"]
        told = await tab.next("archives")
    assert told.data == {"change": "renamed", "id": archive_id, "title": "About trees", "pinned": False}
    (dialog,) = talk.server.dialogs()
    assert dialog["title"] == "About trees"
    assert [each["title"] for each in (await talk.call("listArchives"))["archives"]] == ["About trees"]


async def test_a_model_that_has_no_title_holds_up_nothing(
    llama: LlamaServer, begin: Begin, between: Proxy
) -> None:
    """One that is silent: neither archives, nor calls, nor the stop of the server, which is in order."""
    talk = await begin(between.port, **TITLED)
    await talk.say("greet")
    between.to_client.swallow()
    between.cut()
    sent = between.to_server.passed
    assert (await talk.call("endSession"))["archiveId"]
    async with asyncio.timeout(20):
        while between.to_server.passed == sent:
            await asyncio.sleep(0.01)
    assert [each["title"] for each in (await talk.call("listArchives"))["archives"]] == ["greet"]
    assert await talk.server.stop(limit_s=15) == 0
    assert not talk.server.logged("left undone at shutdown")
