"""docs/configuration.md says what the settings models say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from potoserver.module.loader import find_modules
from potoserver.settings import Settings, load
from potoserver.settings.keys import keys_of

CHECKOUT = Path(__file__).parents[2]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "configuration_docs", CHECKOUT / "scripts" / "configuration_docs.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date() -> None:
    """The page is what `python scripts/configuration_docs.py` makes of the models."""
    page = (CHECKOUT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == generator().render(), "run: python scripts/configuration_docs.py"


def test_the_example_can_be_used(tmp_path: Path) -> None:
    """The settings file that the page shows is read without a complaint."""
    page = (CHECKOUT / "docs" / "configuration.md").read_text(encoding="utf-8")
    (tmp_path / "potoserver.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    loaded = load({}, {}, tmp_path)
    assert not loaded.settings.development_tokens
    assert loaded.sources["chat.openai.model"].startswith("potoserver.yaml line")


def test_every_setting_says_what_it_means() -> None:
    """Each key of the core and of the modules has a description, and no variable sets two keys."""
    keys = list(keys_of(Settings))
    for module in find_modules(CHECKOUT / "modules", None):
        if module.settings_model is not None:
            keys.extend(keys_of(module.settings_model, (module.section,)))
    assert [key.dotted for key in keys if not key.field.description] == []
    variables = [variable for key in keys for variable in key.variables]
    assert len(variables) == len(set(variables))
