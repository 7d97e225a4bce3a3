"""Each block of README and docs/ that a reader would run is run by a test, or it stands here why not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from potoserver.settings import load
from tests.docs.pages import RUN, Block, blocks_of, pages
from tests.support.process import CHECKOUT

README = "process/test_readme::test_every_command_of_readme_does_what_it_says"
PROGRAMS = "docs/test_clients::test_the_python_programs_do_what_they_say"
COMMANDS = "docs/test_operator_commands::test_a_block_of_commands_does_what_it_says"
TALKING = "docs/test_commands::test_the_commands_that_talk_to_a_server"
MODULE = "docs/test_module_page::test_each_kind_of_method_and_the_settings_work_as_shown"
EXAMPLE = "docs/test_docs::test_the_example_module_is_the_one_that_the_page_builds"
PAGES = "browser/test_docs::test_the_scripts_for_pages_of_the_server"
ELSEWHERE = "browser/test_docs::test_the_script_for_a_page_of_another_origin"
ALL = ""
"""Every block of that language on a page."""

RUN_BY: dict[tuple[str, str, str], str] = {
    ("README.md", "sh", ALL): README,
    ("README.md", "python", ALL): README,
    ("README.md", "yaml", "chat:"): (
        "process/test_language_model::test_the_file_that_readme_shows_is_all_that_a_model_needs"
    ),
    ("docs/clients.md", "python", ALL): PROGRAMS,
    ("docs/clients.md", "js", 'import { PotoClient } from "http://localhost:3799/static/poto-client.js";'): (
        ELSEWHERE
    ),
    ("docs/clients.md", "js", ALL): PAGES,
    ("docs/commands.md", "sh", 'eval "$(potoserver --show-completion)"'): (
        "cli/test_completion::test_tab_completes_in_bash"
    ),
    ("docs/commands.md", "sh", ALL): f"{COMMANDS} or {TALKING}",
    ("docs/operations.md", "sh", ALL): COMMANDS,
    ("docs/operations.md", "yaml", ALL): "docs/test_blocks::test_the_example_of_a_retention_is_accepted",
    ("docs/configuration.md", "yaml", ALL): "docs/test_blocks::test_the_example_of_settings_is_accepted",
    ("docs/scaling.md", "yaml", ALL): "docs/test_blocks::test_the_line_that_names_an_engine_is_accepted",
    ("docs/writing-modules.md", "sh", ALL): (
        "docs/test_module_page::test_the_commands_show_what_the_example_does"
    ),
    ("docs/writing-modules.md", "python", "async with ("): (
        "docs/test_module_page::test_the_test_on_the_page_is_the_one_that_is_written"
    ),
    ("docs/writing-modules.md", "python", "class AnnouncementSettings(BaseModel):"): MODULE,
    ("docs/writing-modules.md", "python", ALL): f"{MODULE} or {EXAMPLE}",
}
"""By page, language and first line: the test that runs it as it stands there."""

NOT_RUN: dict[tuple[str, str, str], str] = {
    ("README.md", "sh", "./scripts/test"): "it is this very run",
    ("README.md", "yaml", 'conversation: "sse-1704110400000-abc123def"'): (
        "an archive, shortened; journal/test_format holds the form to the letter"
    ),
    (
        "docs/operations.md",
        "sh",
        "useradd --system --home-dir /opt/potoserver --shell /usr/sbin/nologin potoserver",
    ): ("it makes a user and a service of the machine; web/test_security_deploy reads the unit"),
    ("docs/operations.md", "sh", "cp -r deploy/nginx/potoserver /etc/nginx/"): (
        "it changes the machine's nginx; cluster/test_deploy has nginx read the same files"
    ),
    ("docs/scaling.md", "sh", "docker compose -f deploy/compose.yaml up --build --detach --wait"): (
        "it needs Docker; cluster/test_deploy reads the file"
    ),
    ("docs/scaling.md", "sh", "docker compose -f deploy/compose.yaml build"): "it needs Docker",
    ("docs/scaling.md", "sh", "apt-get install valkey-server nginx    # or redis-server, 6.2 or later"): (
        "it changes the machine; cluster/test_deploy has each program read its file"
    ),
    ("docs/scaling.md", "sh", "python -m potoserver --engine valkey://localhost:6379/0 --workers 4"): (
        "it takes two ports of the machine; cluster/test_workers runs the same on free ones"
    ),
    ("docs/protocol.md", "js", 'const answer = await fetch("/ChatServerModule/exportArchives", {'): (
        "three lines of a page; browser/test_chat_archives takes an export in one"
    ),
}
"""By page, language and first line: why no test runs it."""

BLOCKS = [block for page in pages() for block in blocks_of(page) if block.language in RUN]


def runner_of(block: Block) -> str:
    """What runs a block, the most exact entry first; empty where nothing does."""
    exact = (block.page, block.language, block.first_line)
    return RUN_BY.get(exact) or RUN_BY.get((block.page, block.language, ALL), "")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}: {block.first_line}")
def test_each_block_is_run_or_it_is_said_why_not(block: Block) -> None:
    """By a test that is there."""
    if (block.page, block.language, block.first_line) in NOT_RUN:
        return
    named = runner_of(block)
    assert named, f"{block.page}, {block.section}: run this block in a test, and name that here"
    for each in named.split(" or "):
        file, _, name = each.partition("::")
        tree = ast.parse((CHECKOUT / "tests" / f"{file}.py").read_text(encoding="utf-8"))
        functions = {
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert not name or name in functions, each


def test_nothing_is_named_that_no_page_shows_any_more() -> None:
    """Neither as run nor as not run."""
    shown = {(block.page, block.language, first) for block in BLOCKS for first in (block.first_line, ALL)}
    assert set(RUN_BY) | set(NOT_RUN) <= shown
    assert not set(RUN_BY) & set(NOT_RUN)


def test_the_example_of_settings_is_accepted(tmp_path: Path) -> None:
    """As a settings file, with every module of the checkout."""
    (example,) = [block for block in blocks_of("docs/configuration.md") if block.language == "yaml"]
    (tmp_path / "potoserver.yaml").write_text(example.text)
    loaded = load({}, {}, tmp_path)
    assert [owner.user for owner in loaded.settings.auth.tokens.values()] == ["alice"]


def test_the_line_that_names_an_engine_is_accepted(tmp_path: Path) -> None:
    """As the whole settings file of a node."""
    (example,) = [block for block in blocks_of("docs/scaling.md") if block.language == "yaml"]
    (tmp_path / "potoserver.yaml").write_text(example.text)
    assert load({}, {}, tmp_path).settings.engine == "valkey://localhost:6379/0"


def test_the_example_of_a_retention_is_accepted(tmp_path: Path) -> None:
    """And it only tells what would go, until the operator says otherwise."""
    (example,) = [block for block in blocks_of("docs/operations.md") if block.language == "yaml"]
    (tmp_path / "potoserver.yaml").write_text(example.text)
    loaded = load({}, {}, tmp_path)
    retention = loaded.sections["chat"].retention
    assert (retention.max_age_days, retention.max_count, retention.dry_run) == (365, 5000, True)
