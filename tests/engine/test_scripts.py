"""The Lua scripts: packed with the rest, and of one slot each."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from potoserver.engine.valkey import keys as names
from potoserver.engine.valkey import scripts
from potoserver.engine.valkey.keys import Keys
from potoserver.engine.valkey.scripts import script

LUA = Path(scripts.__file__).parent / "lua"
NAMES = sorted(file.stem for file in LUA.glob("*.lua") if file.stem != "common")


def test_every_script_is_in_the_package() -> None:
    """An installed server has them, too."""
    root = LUA.parents[3]
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    patterns = config["options.package_data"]["potoserver"].split()
    for file in LUA.iterdir():
        assert any(file.relative_to(root / "potoserver").match(pattern) for pattern in patterns), file


@pytest.mark.parametrize("name", NAMES)
def test_a_script_says_what_it_takes_and_each_key_is_described(name: str) -> None:
    """In its head; and `Keys` says what stands there and for how long."""
    assert (LUA / f"{name}.lua").read_text().startswith("-- ")
    for key in script(name).keys:
        assert f"`{key}`" in (Keys.__doc__ or "") or key == "route"


@pytest.mark.parametrize("name", NAMES)
def test_a_scripts_keys_are_one_slot(name: str) -> None:
    """Those of a user and of the user's partition, or those of the registry."""
    keys, taken = Keys("poto"), script(name).keys
    registry = {"nodes", "leases", "lost", "buried", "renewed", "route"}
    if set(taken) <= registry:
        return
    assert not set(taken) & registry
    tags = {keys.of_user("a1", key, "n-1").split("{")[1].split("}")[0] for key in taken}
    assert tags == {f"p{names.partition_of('a1'):02}"}


def test_a_script_has_in_front_what_it_uses_and_nothing_else() -> None:
    """What is sent to channels is in order; so its script is one that Valkey can't have forgotten."""
    assert script("send").command == ("EVAL", script("send").source)
    assert "local function" not in script("send").source
    assert script("publish").command == ("EVALSHA", script("publish").sha1)
    assert "local function open_log" in script("publish").source
