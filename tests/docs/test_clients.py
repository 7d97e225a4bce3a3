"""The programs of docs/clients.md run as they stand there, against a server."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys

import pytest

from potoserver import client as library
from potoserver.client import AnswerError, ClientError
from tests.process.conftest import StartServer
from tests.process.conftest import start_server as start_server  # noqa: PLC0414 - a fixture
from tests.support.process import CHECKOUT, server_environment

PAGE = (CHECKOUT / "docs" / "clients.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LIMIT_S = 30


@pytest.mark.process
async def test_the_python_programs_do_what_they_say(start_server: StartServer) -> None:
    """A reply, a streamed one, and a stream of events that shows both of another program's messages."""
    server = await start_server()
    first, streamed, events = (program.replace("http://localhost:3799", server.url) for program in PROGRAMS)
    reader = await begin(events)
    try:
        await until_printed(reader, "connected")
        assert await output(first) == "Hello!\n"
        assert await output(streamed) == "One word after the other\nstop\n"
        await until_printed(reader, "'content': 'One word after the other'")
        await server.stop()
        await until_printed(reader, "shutdown, trying again in")
    finally:
        reader.kill()
        await reader.communicate()


async def begin(program: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-uc", program, env=server_environment(), stdout=subprocess.PIPE
    )


async def output(program: str) -> str:
    process = await begin(program)
    async with asyncio.timeout(LIMIT_S):
        printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


async def until_printed(process: asyncio.subprocess.Process, part: str) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        async for line in process.stdout:
            if part in line.decode():
                return
    pytest.fail(f"it ended without {part!r}")


def test_every_error_has_its_line() -> None:
    """With the status that it stands for."""
    exported = [each for each in vars(library).values() if isinstance(each, type)]
    for error in exported:
        if issubclass(error, ClientError) and error is not ClientError:
            assert f"| `{error.__name__}` |" in PAGE
            for status in re.findall(r"\d{3}", (error.__doc__ or "").partition(":")[0]):
                assert (
                    error is AnswerError
                    or status in PAGE.partition(f"| `{error.__name__}` |")[2].partition("\n")[0]
                )
