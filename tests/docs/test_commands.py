"""The commands of docs/commands.md that talk to a server, run as they stand there."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.conftest import StartServer
from tests.process.conftest import start_server as start_server  # noqa: PLC0414 - a fixture
from tests.support.process import CHECKOUT, NOBODY_DEPARTS, server_environment
from tests.support.terminal import terminal

PAGE = (CHECKOUT / "docs" / "commands.md").read_text()
LIMIT_S = 60


def commands_of(section: str) -> list[str]:
    """The shell commands of a section of the page."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


async def run(command: str, folder: Path, url: str) -> str:
    """Runs it in a shell, as whoever has installed `potoserver` does; returns its output."""
    program = folder / "potoserver"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m potoserver "$@"\n')
    program.chmod(0o755)
    environment = server_environment({"POTO_URL": url})
    process = await asyncio.create_subprocess_shell(
        command,
        cwd=folder,
        env=environment | {"PATH": f"{folder}:{environment['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    async with asyncio.timeout(LIMIT_S):
        printed, _ = await process.communicate()
    assert process.returncode == 0, command
    return printed.decode()


@pytest.mark.process
async def test_the_commands_that_talk_to_a_server(start_server: StartServer, tmp_path: Path) -> None:
    """Each does what the page says."""
    server = await start_server(**NOBODY_DEPARTS)  # each command is a start of Python
    talk, piped, once = commands_of("chat")
    shown, watched = commands_of("sessions")
    (tmp_path / "questions.txt").write_text("first\nsecond\n")
    assert await run(piped, tmp_path, server.url) == ""
    assert (tmp_path / "replies.txt").read_text() == "first\nsecond\n"
    assert json.loads(await run(once, tmp_path, server.url))["reply"] == "What is new?"
    assert re.search(r"^a1 +\d+ s ", await run(shown, tmp_path, server.url), re.MULTILINE)
    for command, words in ((talk, "/help shows the commands"), (watched, "1 active")):
        arguments = command.split()[1:]
        with terminal(*arguments, cwd=tmp_path, POTO_URL=server.url) as child:
            child.expect_exact(words)
