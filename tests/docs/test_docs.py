"""The documentation says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from potoserver import Cause, ServerModule
from potoserver.module.loader import find_modules
from potoserver.module.rpc import rpc_methods

CHECKOUT = Path(__file__).parents[2]
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def text(name: str) -> str:
    return (CHECKOUT / name).read_text()


def test_the_example_module_is_the_one_that_the_page_builds() -> None:
    """The whole file stands in the page, and each step's code in the file."""
    module = text("modules/who_is_online.py")
    blocks = [
        code for language, code in FENCE.findall(text("docs/writing-modules.md")) if language == "python"
    ]
    assert module in blocks
    for step in blocks[1:5]:
        assert step in module
    assert len(module.splitlines()) < 60


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Within the checkout."""
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_hook_has_its_line() -> None:
    """A hook that no page tells of is one that nobody finds."""
    page = text("docs/writing-modules.md")
    hooks = [name for name in vars(ServerModule) if name.startswith("on_") or name.endswith("_fields")]
    assert len(hooks) == 10
    for name in [*hooks, "startup_checks", "commands"]:
        assert f"`{name}" in page, name


def test_every_argument_of_a_shipped_method_is_described() -> None:
    """`/openapi.json` and the page `/docs` say of each what it is, not its type alone."""
    methods = [
        each for made in find_modules(CHECKOUT / "modules", None) for each in rpc_methods(made()).items()
    ]
    assert len(methods) > 20
    for name, method in methods:
        for argument, schema in method.arguments.model_json_schema().get("properties", {}).items():
            assert schema.get("description"), f"{name}: {argument} has no line under `Args:`"


def test_every_cause_and_reason_is_explained() -> None:
    """An operator who reads one in a log finds what it means."""
    from modules.chat_server.journal.records import Reason

    page = text("docs/operations.md")
    for word in (*Cause, *Reason):
        assert f"| `{word}` |" in page, word


def test_every_kind_of_finding_is_explained() -> None:
    """Who reads one in the output of `dialogs verify` finds what it means and what mends it."""
    from modules.chat_server.commands.findings import Kind

    page = text("docs/commands.md")
    for kind in Kind:
        assert f"| `{kind}` |" in page, kind


def test_every_metric_of_the_page_exists_and_every_core_metric_is_on_it() -> None:
    """Names in a dashboard come from there."""
    from potoserver.metrics import Metrics

    page = text("docs/operations.md")
    exported = {
        metric.name + ("_total" if metric.type == "counter" else "")
        for metric in Metrics().registry.collect()
    }
    named = set(re.findall(r"`(potoserver_\w+|…_\w+)", page))
    for name in exported:
        ending = "…_" + name.removeprefix("potoserver_events_")
        assert name in named or ending in named, name
