"""The code and the commands of docs/writing-modules.md, as they stand there."""

from __future__ import annotations

import asyncio
import subprocess
import textwrap
from contextlib import aclosing
from pathlib import Path

import pytest

from potoserver.cli import plugin_text
from potoserver.client import PotoClient
from potoserver.testing import serving
from tests.docs.pages import blocks_of
from tests.process.conftest import StartServer
from tests.process.conftest import start_server as start_server  # noqa: PLC0414 - a fixture

BLOCKS = blocks_of("docs/writing-modules.md")
LIMIT_S = 30

HEADER = """
import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override
from potoserver import Download, ServerModule, Snapshots, User, per_node, rpc
"""
REST = """
    _log = Path(__file__)

    @rpc
    async def prefix(self) -> str:
        return self.context.settings.prefix
"""


def block(part: str) -> str:
    """The one block of code with this in it."""
    (found,) = [each.text for each in BLOCKS if each.language == "python" and part in each.text]
    return found


async def test_each_kind_of_method_and_the_settings_work_as_shown(tmp_path: Path) -> None:
    """A module is made of the page's blocks, and called by a client."""
    source = "".join(
        (
            HEADER,
            block("class AnnouncementSettings"),
            REST,
            *map(block, ("def count", "log_of_today", "watch_online", "running_here")),
        )
    )
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "announcements.py").write_text(source)
    (tmp_path / "potoserver.yaml").write_text(
        'announcements: {prefix: "Hear: "}\nauth: {tokens: {t: {user: a1, roles: [user, admin]}}}\n'
    )
    async with (
        asyncio.timeout(LIMIT_S),
        serving("announcements", folder=tmp_path, modules_dir=tmp_path / "plugins") as url,
        PotoClient(url, token="t") as client,
    ):
        module = client.module("Announcements")
        assert await module.prefix() == "Hear: "
        assert await module.count(upto=3) == [0, 1, 2]
        assert await module.runningFor() > 0
        await module.log_of_today.download(tmp_path / "today.log")
        assert (tmp_path / "today.log").read_text() == source
        async with client.subscribe() as events:
            await anext(aiter(events))
            async with aclosing(module.watch_online.stream(prefix="a")) as seen:
                async for users in seen:
                    if users == ["a1"]:
                        break


def test_the_test_on_the_page_is_the_one_that_is_written() -> None:
    """By `modules new greeter`."""
    written = plugin_text.TEST.substitute(name="greeter", class_name="Greeter", modules_dir="…")
    assert textwrap.indent(block("serving("), 8 * " ") in written


@pytest.mark.process
async def test_the_commands_show_what_the_example_does(start_server: StartServer) -> None:
    """The stream tells who is online, and so does the call."""
    server = await start_server()
    subscribe, call = (
        each.text.replace("http://localhost:3799", server.url) for each in BLOCKS if each.language == "sh"
    )
    reader = await asyncio.create_subprocess_shell(f"exec {subscribe}", stdout=subprocess.PIPE)
    try:
        assert reader.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            async for line in reader.stdout:
                if line == b'data: {"users":["a1"],"count":1}\n':
                    break
        asked = await asyncio.create_subprocess_shell(call, stdout=subprocess.PIPE)
        printed, _ = await asked.communicate()
        assert printed == b'["a1"]'
    finally:
        reader.kill()
        await reader.communicate()
