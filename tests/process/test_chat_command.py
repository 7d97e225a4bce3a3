"""`potoserver chat` in a real terminal, and without one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.process.conftest import StartServer
from tests.support.commands import potoserver
from tests.support.process import ServerProcess, chat, server_environment
from tests.support.screen import ENTER, TAB, UP, Screen, screen_of
from tests.support.sse import stream
from tests.support.told_model import THOUGHT, told_model

pytestmark = pytest.mark.process

PROMPT = "\na1>"
ESCAPES = "\x1b[2J\x1b]0;mine\x07\x9b31m\u202egnol &#27;[31m \x1b]8;;http://evil.example\x1b\\"


@contextmanager
def talking(server: ServerProcess, *arguments: str, **environ: str) -> Iterator[Screen]:
    """The command in a terminal, at its first prompt."""
    with screen_of("chat", "--url", server.url, *arguments, cwd=server.folder, **environ) as screen:
        screen.until("/help shows the commands", PROMPT, "connected")
        yield screen


# In a terminal


async def test_a_dialog_in_the_terminal(start_server: StartServer, http: aiohttp.ClientSession) -> None:
    """A prompt with a history, a reply as Markdown, and who leaves with Ctrl+D has left."""
    server = await start_server(SESSION_RECONNECT_GRACE="300")
    await chat(http, server.url, "said before")
    with talking(server) as screen:
        assert "the one for development is taken: test-token" in screen.text
        screen.until("you  ", "said before", "assistant  ", "said before", PROMPT)
        screen.say("This is **bold** and <b>no</b> HTML", "\nThis is bold and <b>no</b> HTML", PROMPT)
        assert "\x1b[1mbold\x1b[0m" in screen.raw
        screen.say(UP + UP, "a1> said before", "said before", PROMPT)
        screen.child.sendeof()
        assert screen.end() == 0
        assert "archived in a moment" in screen.text
    await server.until_logged("conversation archived")
    assert [each["content"] for each in server.dialogs()[0]["messages"]][::2] == [
        "said before",
        "This is **bold** and <b>no</b> HTML",
        "said before",
    ]


async def test_a_long_reply_scrolls_by_and_stands_there_once(start_server: StartServer) -> None:
    """Higher than the screen, in blocks; nothing is drawn twice, and a fence keeps its lines together."""
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS="1")
    blocks = [f"paragraph{n} with **some** words" for n in range(50)]
    code = "```\nfirst\n\nsecond\n```"
    with talking(server) as screen:
        # Pasted, as a terminal does it, so that line ends are no ENTER.
        pasted = "\n\n".join([*blocks, code, "the end"])
        text = screen.say(f"\x1b[200~{pasted}\x1b[201~", "the end", "second", "the end", PROMPT)
        reply = text[text.rindex("paragraph0 with some words") :]
        for number in range(50):
            assert reply.count(f"paragraph{number} with some words") == 1
        assert reply.count("first") == reply.count("the end") == 1


async def test_ctrl_c_stops_the_reply_and_twice_at_the_prompt_leaves(start_server: StartServer) -> None:
    """What there is of the reply is kept; the status says that one was interrupted."""
    server = await start_server(POTO_CHAT__ECHO__DELAY_MS="100")
    with talking(server) as screen:
        screen.say(" ".join(f"word{n}" for n in range(200)), "word199", "word3")
        screen.child.sendintr()
        screen.until("[stopped]", PROMPT)
        screen.child.sendintr()
        screen.until("Ctrl+C again, or Ctrl+D", PROMPT)
        screen.child.sendintr()
        assert screen.end() == 130
    assert "interrupted: true" in server.current().read_text()


def send_sigint(pid: int) -> None:
    """Sends it, and waits until it was taken: of two that wait there is one left."""
    os.kill(pid, signal.SIGINT)
    while int(re.search(r"ShdPnd:\t(\w+)", Path(f"/proc/{pid}/status").read_text())[1], 16) & 2:
        time.sleep(0.0005)


@pytest.mark.parametrize("between_s", [0, 0.002, 0.008, 0.015])
async def test_two_ctrl_c_right_behind_each_other_leave(start_server: StartServer, between_s: float) -> None:
    """The second one comes while one prompt ends, or before the next one has begun."""
    server = await start_server()
    with talking(server) as screen:
        for _ in range(2):
            send_sigint(screen.child.pid)
            await asyncio.sleep(between_s)
        assert screen.end() == 130


async def test_a_second_ctrl_c_does_not_wait_for_a_server_that_hangs(start_server: StartServer) -> None:
    """The terminal is the user's, whatever the server does."""
    server = await start_server()
    with talking(server) as screen:
        server.send_signal(signal.SIGSTOP)
        try:
            screen.say("anybody there?", "…")
            screen.interrupt()
            screen.until("Stopping it")
            screen.interrupt()
            screen.until("No longer waiting", PROMPT)
            screen.send("/archives" + ENTER)
            screen.until("a1> /archives\n")
            screen.interrupt()
            screen.until("a1> /archives\n", "No longer waiting", PROMPT)
            screen.send("/quit" + ENTER)
            assert screen.end() == 0
        finally:
            server.send_signal(signal.SIGCONT)


async def test_the_commands_behind_a_slash(start_server: StartServer) -> None:
    """End, list, open by number; mistyped ones say what there is, and send nothing."""
    server = await start_server()
    with talking(server) as screen:
        screen.say("Where is the blue lamp?", "\nWhere is the blue lamp?", PROMPT)
        screen.say("/end", "Archived ", "; /restore", PROMPT)
        screen.say("/nope", "There is no /nope; /help lists what there is.", PROMPT)
        screen.say("/open", "/open needs ID behind it.", PROMPT)
        screen.say("/end now", "/end takes nothing behind it.", PROMPT)
        screen.say("/open 7", "You have no such archive.", PROMPT)
        screen.say("/more", "There is no further page.", PROMPT)
        screen.say("/archives", "archived because", "1 ", "it was ended", PROMPT)
        screen.say("/open 1", "because it was ended", "Where is the blue lamp?", PROMPT)
        screen.say("/stop", "No reply is growing.", PROMPT)
        screen.say("//open is no command", "\n/open is no command", PROMPT)
        screen.say("/help", "/restore [ID]", PROMPT)
        screen.send("/arch" + TAB)
        screen.until("/quit  ", "a1> /archives")
        screen.say("", "Where is the blue lamp?", PROMPT)
        screen.send("/quit" + ENTER)
        assert screen.end() == 0


async def test_what_is_archived_is_found_and_gone_on_with(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Words are found with what they stand in; the dialog that was current is archived, and said so."""
    server = await start_server()
    with talking(server) as screen:
        screen.say("Where is the blue lamp?", "\nWhere is the blue lamp?", PROMPT)
        screen.say("/end", "Archived ", PROMPT)
        screen.say("something else", "\nsomething else", PROMPT)
        screen.say("/search lamp", "1 ", "Where is the blue lamp?", "2 ", PROMPT)
        assert "\x1b[1;33mlamp\x1b[0m" in screen.raw
        screen.say("/search unheard-of", "Nothing was found.", PROMPT)
        screen.say("/search lamp", "2 ", PROMPT)
        shown = screen.say("/restore 1", "goes on.", "Where is the blue lamp?", PROMPT)
        assert shown.count("goes on.") == 1
        # By the call's answer, or by the event if that comes first.
        told = shown.count("What you were in is archived as") + shown.count("another conversation began at")
        assert told == 1
        screen.say("and the red one?", "\nand the red one?", PROMPT)
        archived = await http.post(
            f"{server.url}/ChatServerModule/endSession", headers={"Authorization": "Bearer test-token"}
        )
        last = (await archived.json())["archiveId"]
        screen.until(f"/restore {last} goes on with it.", PROMPT)
        screen.say("/restore", "goes on.", "and the red one?", PROMPT)
        screen.send("/quit" + ENTER)
        assert screen.end() == 0
    assert server.current().read_text().count("role:") == 4


async def test_what_other_tabs_do_is_shown_and_can_not_command_the_terminal(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Messages, an archive made elsewhere; control characters are written out."""
    server = await start_server()
    with talking(server) as screen:
        await chat(http, server.url, ESCAPES)
        harmless = r"\x1b[2J\x1b]0;mine\x07\x9b31m\u202egnol"
        screen.until("elsewhere", harmless, "elsewhere", harmless, PROMPT)
        for raw in ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\u202e", "\x1b[31m"):
            assert raw not in screen.raw
        await http.post(
            f"{server.url}/ChatServerModule/endSession", headers={"Authorization": "Bearer test-token"}
        )
        text = screen.until("Archived because it was ended at ", "goes on with it.", PROMPT)
        archive_id = text.rpartition("/restore ")[2].split()[0]
        await http.post(
            f"{server.url}/ChatServerModule/renameArchive",
            json={"id": archive_id, "title": "A new name"},
            headers={"Authorization": "Bearer test-token"},
        )
        screen.until("changed elsewhere (renamed: A new name).", PROMPT)


async def test_a_restart_of_the_server_is_shown_and_survived(start_server: StartServer) -> None:
    """Lost, and connected again; what was said before it is archived, and the notice says so."""
    server = await start_server(SESSION_RECONNECT_GRACE="300")
    with talking(server) as screen:
        screen.say("before", "\nbefore", PROMPT)
        await server.stop()
        screen.until("The server stops.", "Connection lost", PROMPT, "not connected")
        await server.start()
        screen.until("Connected again.", PROMPT, "connected")
        screen.until("Archived because the server stopped at ")  # as it went, or behind its return
        screen.say("after", "\nafter", PROMPT)
        screen.child.sendeof()
        assert screen.end() == 0


async def test_what_is_on_the_screen_is_not_shown_again_after_a_gap(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Also what came with a dialog that was gone on with; the server was killed, so its event log is lost."""
    server = await start_server(SESSION_RECONNECT_GRACE="20000")
    await chat(http, server.url, "kept")
    headers = {"Authorization": "Bearer test-token"}
    async with http.post(f"{server.url}/ChatServerModule/endSession", headers=headers) as answer:
        assert answer.status == 200
    with talking(server) as screen:
        screen.say("/archives", "kept", PROMPT)
        screen.say("/restore 1", "goes on.", "you  ", "kept", "assistant  ", "kept", PROMPT)
        await server.stop(signal.SIGKILL)
        screen.until("Connection lost", PROMPT, "not connected")
        await server.start()
        screen.until("Connected again.", PROMPT, "connected")
        screen.say("after", "\nafter", PROMPT)
        assert "kept" not in screen.text.partition("Connected again.")[2]
        screen.child.sendeof()
        assert screen.end() == 0


async def test_the_list_of_archives_has_times_and_ids_in_a_narrow_terminal(start_server: StartServer) -> None:
    """The other columns make room."""
    server = await start_server()
    with talking(server) as screen:
        screen.resize(24, 80)
        screen.say("word " * 20, "\nword", PROMPT)
        screen.say("/end", "Archived ", "; /restore", PROMPT)
        shown = screen.say("/archives", "messages", "word", PROMPT)
        (archive,) = server.folder.glob("data/users/a1/dialogs/archived/*.yaml")
        assert re.search(rf"1  \d\d:\d\d  word.* 2  it was ended +{archive.stem}", shown), shown
        screen.child.sendeof()
        assert screen.end() == 0


async def test_a_terminal_may_change_its_size(start_server: StartServer) -> None:
    """What comes next has the new width."""
    server = await start_server()
    with talking(server) as screen:
        screen.resize(12, 40)
        screen.say("x" * 20 + " " + "y" * 30, "\n" + "x" * 20 + "\n" + "y" * 30 + "\n", PROMPT)
        screen.child.sendeof()
        assert screen.end() == 0


WRONG: list[tuple[list[str], int, str]] = [
    (["--token", "wrong"], 1, "the server does not take this token: 401"),
    (["--url", "http://localhost:1"], 1, "http://localhost:1 can't be reached: "),
    (["--url", "http://nobody.invalid", "--token", "x"], 1, "there is no host nobody.invalid"),
    (["--url", "https://chat.example.org"], 2, "give one with --token or POTO_TOKEN"),
    (["--url", "localhost:3799"], 2, "--url: expected a URL such as http://localhost:3799"),
    (["--token", "a b"], 2, "--token: a token is of visible ASCII characters"),
    (["--once", " "], 2, "--once: there is no message in it"),
    (["--nonsense"], 2, "No such option"),
]


@pytest.mark.parametrize("way", ["terminal", "pipe"])
async def test_what_does_not_work_is_one_line(start_server: StartServer, way: str) -> None:
    """In a terminal and in a pipe, at once and without a traceback."""
    server = await start_server()
    # The words are the same for both; what a terminal changes shows in the first few.
    for wrong, status, words in WRONG[:3] if way == "terminal" else WRONG:
        arguments = ["chat", *([] if "--url" in wrong else ["--url", server.url]), *wrong]
        if way == "terminal":
            with screen_of(*arguments, cwd=server.folder) as screen:
                ended_with, printed = screen.end(), screen.raw
        else:
            done = potoserver(*arguments, cwd=server.folder, text="hello\n")
            ended_with, printed = done.returncode, done.stderr
            assert done.stdout == ""
        assert ended_with == status, wrong
        *notes, last = printed.splitlines()
        assert words in last
        assert [each for each in notes if "for development" not in each] == []


async def test_a_server_that_takes_no_stream_says_why(
    start_server: StartServer, http: aiohttp.ClientSession
) -> None:
    """Here because the user has too many."""
    server = await start_server(POTO_LIMITS__CONNECTIONS_PER_USER="1")
    async with stream(http, f"{server.url}/subscribe") as reader:
        await reader.next("connected")
        with screen_of("chat", "--url", server.url, cwd=server.folder) as screen:
            assert screen.end() == 1
            assert "the server takes no stream now: too-many-connections-of-user" in screen.text


async def test_the_model_is_told_beforehand_and_its_thoughts_are_shown(start_server: StartServer) -> None:
    """`--system` and `--reasoning` go with each message; without them neither does."""
    with told_model() as model:
        server = await start_server(**model)
        with talking(server, "--system", "Be brief.", "--reasoning") as screen:
            for _ in range(2):
                screen.say("And?", "They ask.\nWhat was I told?\n", "told: ['Be brief.']", PROMPT)
        with talking(server) as screen:
            text = screen.say("And now?", "told: []", PROMPT)
            assert "They ask" not in text[text.rindex("And now?") :]


# Without a terminal


async def test_thoughts_are_not_among_the_replies(start_server: StartServer) -> None:
    """They go to the error output; as JSON they are a field of the answer. A blank `--system` is none."""
    with told_model() as model:
        server = await start_server(**model)
        options = ("--reasoning", "--system", "Be brief.", "--url", server.url)
        done = potoserver("chat", *options, cwd=server.folder, text="And?\n")
        assert (done.returncode, done.stdout) == (0, "told: ['Be brief.']\n")
        assert done.stderr.splitlines()[-2:] == THOUGHT.splitlines()
        done = potoserver("chat", *options, "--json", "--once", "And?", cwd=server.folder)
        assert json.loads(done.stdout)["reasoning"] == THOUGHT
        done = potoserver("chat", "--system", " ", "--url", server.url, "--once", "x", cwd=server.folder)
        assert done.stdout == "told: []\n"
        assert "They ask" not in done.stderr


async def test_a_message_a_line_and_its_reply(start_server: StartServer) -> None:
    """Text as it is but for what would command a terminal; what fails is told and the rest goes on."""
    server = await start_server(SESSION_RECONNECT_GRACE="0")
    text = "one\n\n//two\n" + ESCAPES.replace("\x1b]8;;", "") + "\n/nope\nlast without an end"
    done = potoserver("chat", "--url", server.url, cwd=server.folder, text=text)
    assert done.returncode == 1
    assert done.stdout.splitlines()[:2] == ["one", "/two"]
    assert done.stdout.splitlines()[-1] == "last without an end"
    assert "\x1b" not in done.stdout
    assert "There is no /nope" in done.stderr
    await server.until_logged("conversation archived")
    assert len(server.dialogs()[0]["messages"]) == 8


async def test_as_json_each_answer_is_a_line(start_server: StartServer) -> None:
    """What the protocol says, whole; also that of commands."""
    server = await start_server()
    text = f"{ESCAPES}\n/end\n/archives\n"
    done = potoserver("chat", "--json", "--url", server.url, cwd=server.folder, text=text)
    assert done.returncode == 0
    reply, end, archives = map(json.loads, done.stdout.splitlines())
    assert reply["reply"] == ESCAPES
    assert end["archiveId"] == archives["archives"][0]["id"]
    assert "\x9b" not in done.stdout


async def test_once_says_one_thing_and_the_dialog_goes_on(start_server: StartServer) -> None:
    """The token comes from the environment, which no list of processes shows."""
    server = await start_server()
    for message in ("first", "second"):
        done = potoserver(
            "chat",
            "--once",
            message,
            "--url",
            server.url,
            cwd=server.folder,
            environ={"POTO_TOKEN": "test-token"},
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{message}\n", "")
    done = potoserver("chat", "--once", "x", "--json", cwd=server.folder, environ={"POTO_URL": server.url})
    assert json.loads(done.stdout)["reply"] == "x"
    assert server.current().read_text().count("role:") == 6


def begin(server: ServerProcess, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "potoserver", "chat", "--url", server.url, *arguments],
        cwd=server.folder,
        env=server_environment({"POTO_TOKEN": "test-token"}),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads
        **options,
    )


async def test_a_reader_that_has_had_enough_ends_it_quietly(
    start_server: StartServer, tmp_path: Path
) -> None:
    """As `… | head -1` does."""
    server = await start_server()
    questions = tmp_path / "questions.txt"
    questions.write_text("the same again\n" * 500)
    with questions.open() as file:
        process = begin(server, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"the same again\n"
        process.stdout.close()
        assert await asyncio.to_thread(process.wait, 60) == 1
        assert process.stderr.read() == b""


async def test_ctrl_c_ends_a_pipe_that_waits_for_input(start_server: StartServer) -> None:
    """With its own status, at once, although a thread waits for the next line."""
    server = await start_server()
    process = begin(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert await asyncio.to_thread(process.stdout.readline) == b"hello\n"
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 60) == 130
        assert process.stderr.read() == b""


async def test_bytes_of_any_kind_and_an_empty_input_are_no_trouble(start_server: StartServer) -> None:
    """What is no UTF-8 is replaced, what the server refuses is told, no input is no message."""
    server = await start_server()
    process = begin(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, _ = await asyncio.to_thread(process.communicate, b"\xff\xfe ok\r\n" + b"x" * 2_000_000 + b"\nend\n")
    assert out.decode().splitlines() == ["\ufffd\ufffd ok", "end"]
    assert process.returncode == 1
    assert potoserver("chat", "--url", server.url, cwd=server.folder).returncode == 0


async def test_the_variables_of_the_commands_do_not_disturb_the_server(start_server: StartServer) -> None:
    """Whoever has exported a token can still serve in the same shell."""
    server = await start_server(POTO_TOKEN="x", POTO_URL="http://localhost:1")
    assert await server.stop() == 0
