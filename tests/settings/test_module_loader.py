"""Finding server modules: plugins in a folder, and import strings."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from potoserver.module.loader import ModuleLoadError, find_modules

CHECKOUT = Path(__file__).parents[2]
PLUGIN = "from potoserver import ServerModule\nclass {name}(ServerModule):\n    pass\n"


@pytest.fixture(autouse=True)
def _forget_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What a test imports is gone after it."""
    monkeypatch.syspath_prepend(tmp_path / "path")
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder.joinpath(*name.split("__in__")[::-1]).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names(folder: Path | None, listed: list[str] | None = None) -> list[str]:
    return [each.name() for each in find_modules(folder, listed)]


def test_every_plugin_of_a_folder_is_found(tmp_path: Path) -> None:
    """Files and packages, in the order of their names; what begins with `_` or `.` is none, nor is data."""
    folder = write(
        tmp_path / "plugins",
        beta=PLUGIN.format(name="Beta"),
        _hidden="raise SystemExit",
        __init____in__alpha="from .code import Alpha\nfrom potoserver import ServerModule\n",
        code__in__alpha=PLUGIN.format(name="Alpha"),
        text__in__data="raise SystemExit",
    )
    (folder / "README.md").write_text("no plugin")
    (folder / "__pycache__").mkdir(exist_ok=True)
    assert names(folder) == ["Alpha", "Beta"]


def test_no_folder_holds_no_plugins() -> None:
    """Without folder and names there are no modules."""
    assert names(None) == []


def test_a_plugin_is_named_by_its_file_or_its_class(tmp_path: Path) -> None:
    """The order of the list is kept; a plugin that isn't listed is not even run."""
    folder = write(
        tmp_path / "plugins",
        a=PLUGIN.format(name="First"),
        b=PLUGIN.format(name="Second"),
        broken="raise RuntimeError",
    )
    assert names(folder, ["Second", "a"]) == ["Second", "First"]


def test_the_checkouts_modules_are_the_objects_that_imports_see() -> None:
    """A program that imports `modules.who_is_online` gets the very class that the server runs."""
    (found,) = find_modules(CHECKOUT / "modules", ["who_is_online"])
    assert importlib.import_module("modules.who_is_online").WhoIsOnline is found


def test_two_folders_of_one_name_do_not_mix(tmp_path: Path) -> None:
    """Plugins of a second folder `modules` are its own, whatever is imported under that name already."""
    one = write(tmp_path / "one" / "modules", plug=PLUGIN.format(name="One"))
    two = write(tmp_path / "two" / "modules", plug=PLUGIN.format(name="Two"))
    assert names(one) == ["One"]
    assert names(two) == ["Two"]
    assert names(one) == ["One"]
    assert find_modules(two, None) == find_modules(two, ["plug"])


def test_a_folder_named_like_a_library_does_not_hide_it(tmp_path: Path) -> None:
    """A folder `json` is loaded under a name of its own."""
    import json

    folder = write(tmp_path / "json", decoder=PLUGIN.format(name="Decoder"))
    assert names(folder) == ["Decoder"]
    assert sys.modules["json"] is json


def test_an_import_string_is_loaded(tmp_path: Path) -> None:
    """`package.module:Class` needs no folder."""
    write(tmp_path / "path" / "shop", till=PLUGIN.format(name="Till"))
    assert names(None, ["shop.till:Till"]) == ["Till"]


@pytest.mark.parametrize(
    ("import_string", "words"),
    [
        ("nowhere.at.all:X", "there is no Python module 'nowhere'"),
        ("shop.nowhere:X", "there is no Python module 'shop.nowhere'"),
        ("shop.needy:X", "its import failed: ModuleNotFoundError: No module named 'not_installed'"),
        ("shop.broken:X", "its import failed: ValueError: two lines"),
        ("shop.typo:X", "its import failed: SyntaxError"),
        ("shop.quits:X", "its import failed: SystemExit: 3"),
        ("shop.till:Nope", "the module 'shop.till' has no 'Nope'"),
        ("shop.till:number", "no subclass of ServerModule"),
        ("shop.till:ServerModule", "no subclass of ServerModule"),
        ("shop till:X", "is no import string"),
        ("shop.till:", "is no import string"),
        (":X", "is no import string"),
        ("shop..till:X", "is no import string"),
    ],
)
def test_a_missing_module_is_told_from_one_that_fails(tmp_path: Path, import_string: str, words: str) -> None:
    """One line says whether the name is wrong or the module's own code is."""
    write(
        tmp_path / "path" / "shop",
        till=PLUGIN.format(name="Till") + "number = 5\n",
        needy="import not_installed",
        broken="raise ValueError('two\\nlines')",
        typo="def (",
        quits="raise SystemExit(3)",
    )
    with pytest.raises(ModuleLoadError) as caught:
        find_modules(None, [import_string])
    assert import_string in str(caught.value)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_cause_of_a_failed_import_is_kept(tmp_path: Path) -> None:
    """Its traceback can be shown at debug level."""
    folder = write(tmp_path / "plugins", bad="import not_installed")
    with pytest.raises(
        ModuleLoadError, match=r"module bad .*its import failed: ModuleNotFoundError"
    ) as caught:
        find_modules(folder, None)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


RPC = """
from potoserver import ServerModule, rpc
class Bad(ServerModule):
    @rpc
    {method}
"""


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a": "x = 1"}, "exports no subclass of ServerModule"),
        ({"a": "from potoserver import ServerModule"}, "exports no subclass of ServerModule"),
        ({"a": PLUGIN.format(name="X"), "b": PLUGIN.format(name="X")}, "two modules of that name"),
        ({"a": PLUGIN.format(name="X") + "    section='s'\nclass Y(X): pass"}, "has its section 's'"),
        ({"a": PLUGIN.format(name="X") + "    section='log'"}, "'log' is the server's own"),
        ({"a": PLUGIN.format(name="X") + "    section='No-Name'"}, "no snake_case name"),
        ({"a": PLUGIN.format(name="X") + "    settings_model=ServerModule"}, "settings_model but no section"),
        ({"a": RPC.format(method="def m(self): pass")}, "Bad.m: an rpc method must be async"),
        ({"a": RPC.format(method="async def m(self, x): pass")}, "Bad.m: parameter 'x' needs an annotation"),
        ({"a": RPC.format(method="async def m(self, *x: int): pass")}, "Bad.m: parameter 'x' must be"),
        ({"a": RPC.format(method="async def m(self, x: 'Gone'): pass")}, "name 'Gone' is not defined"),
        ({"a": "x = 1", "__init____in__a": "x = 1"}, "both a file and a folder"),
    ],
)
def test_modules_that_can_not_be_served_are_refused(
    tmp_path: Path, files: dict[str, str], words: str
) -> None:
    """Modules that clash, or offer what can't be offered, stop the start with one line."""
    with pytest.raises(ModuleLoadError) as caught:
        find_modules(write(tmp_path / "plugins", **files), None, ["log"])
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_unknown_plugin_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    """The message lists what there is."""
    folder = write(tmp_path / "plugins", a=PLUGIN.format(name="A"), b=PLUGIN.format(name="B"))
    with pytest.raises(ModuleLoadError, match=r"no module 'chat' in .*plugins; the plugins there: a, b"):
        find_modules(folder, ["chat"])


def test_a_folder_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    """A missing folder is an error, not an empty one."""
    with pytest.raises(ModuleLoadError, match="can't read the folder of modules"):
        find_modules(tmp_path / "nowhere", None)
