"""Every command that README shows, run as it stands there, in a fresh copy: the first ten minutes."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.process import CHECKOUT
from tests.support.screen import Screen
from tests.support.terminal import terminal

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

COMMANDS = re.findall(r"^```sh\n(.*?)^```$", (CHECKOUT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
METHODS = re.findall(
    r"^```python\n(.*?)^```$", (CHECKOUT / "README.md").read_text(), re.MULTILINE | re.DOTALL
)
COPIED = ("LICENSE", "README.md", "modules", "potoserver", "pyproject.toml", "scripts", "setup.cfg")
SETUP_LIMIT_S = 240.0

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


def command(part: str) -> str:
    """The one command of README with this in it."""
    (found,) = [each for each in COMMANDS if part in each]
    return found


async def run(text: str, folder: Path, limit_s: float = 20) -> str:
    """Runs a command of README in a shell; it must succeed. Returns what it printed."""
    process = await asyncio.create_subprocess_shell(
        text, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, executable="/bin/bash"
    )
    try:
        async with asyncio.timeout(limit_s):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


async def until_printed(process: asyncio.subprocess.Process, part: str, limit_s: float) -> str:
    """Reads a process's output up to the line with this in it."""
    assert process.stdout is not None
    printed = ""
    async with asyncio.timeout(limit_s):
        async for line in process.stdout:
            printed += line.decode()
            if part in printed:
                return printed
    pytest.fail(f"it ended without {part!r}:\n{printed}")


def test_readme_shows_no_command_that_is_not_run_here() -> None:
    """A new command in README fails this until it is run below, or is this very run."""
    parts = [
        "./scripts/run",
        "./scripts/test",
        "/subscribe",
        "jsonOutput",
        "cat data",
        "grep ",
        "text/event-stream",
        "potoserver token",
        "potoserver chat",
        "modules new",
        "/announce",
    ]
    assert len(COMMANDS) == len(parts)
    for part in parts:
        assert command(part)


async def begin_server(checkout: Path, port: int) -> asyncio.subprocess.Process:
    """`./scripts/run` in a fresh copy, once it serves."""
    left_out = ("POTO_", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    server = await asyncio.create_subprocess_exec(
        *command("./scripts/run").split(),
        *("--port", str(port)),
        cwd=checkout,
        # Most of what pip would compile after the installation is never loaded here.
        env=kept | {"SESSION_RECONNECT_GRACE": "300", "PIP_COMPILE": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    await until_printed(server, f"http://127.0.0.1:{port}", SETUP_LIMIT_S)
    return server


async def begin_reader(subscribe: str) -> asyncio.subprocess.Process:
    """The command that connects."""
    return await asyncio.create_subprocess_shell(
        f"exec {subscribe}",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # A suite run in the background of a shell has Ctrl+C ignored, and curl would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


async def end(process: asyncio.subprocess.Process, number: signal.Signals) -> int | None:
    """Ends it, reading what it still prints."""
    process.send_signal(number)
    await process.communicate()
    return process.returncode


async def talk(text: str, checkout: Path, url: str) -> None:
    """The command that talks, at its prompt; blocking is fine, the server is another process."""
    program, *arguments = text.split()
    environ = {"POTO_URL": url, "PYTHONPATH": ""}
    with terminal(*arguments, cwd=checkout, program=str(checkout / program), **environ) as child:
        screen = Screen(child)
        screen.until("/help shows the commands", "a1>", "connected")
        screen.say("From the terminal", "\nFrom the terminal", "a1>")
        screen.say("/archives", "Test message", "you left", "a1>")
        child.sendeof()
        assert screen.end() == 0


@needs_curl
async def test_every_command_of_readme_does_what_it_says(tmp_path: Path) -> None:
    """From `./scripts/run` in a fresh copy to the archive, the log, a token, and a plugin's event."""
    checkout = tmp_path / "potoserver"
    for name in (*COPIED, "tests/", "docs/"):
        if name.endswith("/"):
            (checkout / name).mkdir()
        elif (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, checkout / name)
        else:
            checkout.mkdir(exist_ok=True)
            shutil.copy(CHECKOUT / name, checkout / name)
    port = free_port()

    def at_port(text: str) -> str:
        return text.replace(":3799/", f":{port}/")

    begun = []
    try:
        server = await begin_server(checkout, port)
        begun.append(server)
        reader = await begin_reader(at_port(command("/subscribe")))
        begun.append(reader)
        await until_printed(reader, "event: connected", 20)
        answer = await run(at_port(command("jsonOutput")), checkout)
        assert '"reply":"Test message"' in answer
        await until_printed(reader, '"role":"assistant"', 20)
        streamed = await run(at_port(command("text/event-stream")), checkout)
        assert streamed.count("event: delta") == 5
        assert "event: done" in streamed
        await end(reader, signal.SIGINT)
        archived = checkout / "data" / "users" / "a1" / "dialogs" / "archived"
        async with asyncio.timeout(20):
            while "message_count: 4" not in "".join(each.read_text() for each in archived.glob("*.yaml")):
                await asyncio.sleep(0.05)
            while "dialog archived" not in (checkout / "logs" / "server.log").read_text():
                await asyncio.sleep(0.05)
        assert 'content: "Test message"' in await run(command("cat data"), checkout)
        assert "dialog archived" in await run(command("grep "), checkout)
        assert "sha256:" in await run(command("potoserver token"), checkout)
        await talk(command("potoserver chat"), checkout, f"http://localhost:{port}")

        # A plugin of one's own.
        assert "wrote  modules/announcements.py" in await run(command("modules new"), checkout)
        with (checkout / "modules" / "announcements.py").open("a") as plugin:
            (method,) = METHODS
            plugin.write(f"\n{method}")
        await run(f"PYTHONPATH=. {sys.executable} -m pytest -q tests/modules", checkout, 60)
        assert await end(server, signal.SIGINT) == 0
        server = await begin_server(checkout, port)
        begun.append(server)
        reader = await begin_reader(at_port(command("/subscribe")))
        begun.append(reader)
        await until_printed(reader, '"text":"Hello, a1!"', 20)
        assert (await run(at_port(command("/announce")), checkout)).endswith("\n1")
        await until_printed(reader, "event: announcement", 20)
        await until_printed(reader, '"text":"Coffee is ready"', 20)
        assert await end(server, signal.SIGTERM) == 0
    finally:
        for process in begun:
            if process.returncode is None:
                process.kill()
                await process.wait()
