"""The commands of docs/commands.md and docs/operations.md that need no server, run as they stand there."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import Block, blocks_of, put_on_path
from tests.support.dialog_files import archive, leave_open
from tests.support.process import server_environment

LIMIT_S = 60
SECTIONS = ("check", "modules", "dialogs", "import", "verify")
"""Of docs/commands.md; completion is typed in a terminal, the others talk to a server."""

SAYS = {
    "potoserver check": "ok      data_dir",
    "potoserver modules": "POST /ChatServerModule/chatWithHistory",
    "potoserver dialogs list": '"id":"current"',
    "potoserver dialogs show current --user a1": "Is it still open?",
    "potoserver dialogs search '\"coffee machine\"' --after 2024-03-01": "",
    "potoserver dialogs export --user a1 --format markdown": "Where is the coffee machine?",
    "potoserver dialogs export --user a1 --output a1.json": "a1.json: 1 archive imported",
    "potoserver dialogs verify": "nothing is wrong",
    "python -m potoserver dialogs verify": "nothing is wrong",
    "python -m potoserver dialogs verify --repair": "nothing is wrong",
}
"""What each block prints, by its first line."""

BLOCKS = [
    block
    for block in (*blocks_of("docs/commands.md"), *blocks_of("docs/operations.md"))
    if block.language == "sh" and (block.section in SECTIONS or "dialogs verify" in block.text)
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}: {block.first_line}")
async def test_a_block_of_commands_does_what_it_says(tmp_path: Path, block: Block) -> None:
    """In a folder with an archive and an open dialog of a1; the shell stops at the first failure."""
    archive(tmp_path / "data", "a1", ("Where is the coffee machine?", "On the second floor"))
    leave_open(tmp_path / "data", "a1", ("Is it still open?",))
    (tmp_path / "other-data").mkdir()
    path = put_on_path(
        tmp_path / "bin",
        ("python", f'exec "{sys.executable}" "$@"'),
        ("potoserver", f'exec "{sys.executable}" -m potoserver "$@"'),
    )
    process = await asyncio.create_subprocess_exec(
        *("/bin/bash", "-euc", block.text),
        cwd=tmp_path,
        env=server_environment({"PATH": path, "PORT": "0"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    async with asyncio.timeout(LIMIT_S):
        printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    assert SAYS[block.first_line] in printed.decode()


def test_no_block_is_missed() -> None:
    """Each that is known is there, and the other way round."""
    assert {block.first_line for block in BLOCKS} == set(SAYS)
