"""Finds server modules: plugins in a folder, loaded by path, and import strings."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from potoserver.module.base import ServerModule
from potoserver.module.hook_signatures import check_hooks
from potoserver.module.rpc import rpc_methods


class ModuleLoadError(Exception):
    """A module can't be loaded. The text is one line; `__cause__` is what its code raised, where it did.

    Attributes:
        debug: The debug patterns in force, once they are known: they decide on showing a traceback.
    """

    debug: str = ""


def find_modules(
    folder: Path | None, names: Sequence[str] | None, reserved_sections: Iterable[str] = ()
) -> tuple[type[ServerModule], ...]:
    """Loads server modules.

    A plugin is a file `<name>.py`, or a folder `<name>` with an `__init__.py`, whose name begins with
    neither `_` nor `.`. It exports the subclasses of `ServerModule` that are defined in it.

    Args:
        folder: The folder of plugins; None for none.
        names: What to load, in this order: a plugin's name, the name of a class that a plugin exports,
            or an import string `package.module:Class`. None loads every plugin of the folder, by name.
        reserved_sections: Keys of the settings that no module may take for its section.

    Raises:
        ModuleLoadError: A name is unknown, an import failed, or the modules don't fit together.
    """
    plugins = _plugins_in(folder) if folder is not None else {}
    found: list[type[ServerModule]] = []
    for name in plugins if names is None else names:
        if ":" in name:
            found.append(_import_class(name))
        elif name in plugins:
            found.extend(_load_plugin(plugins[name]))
        else:
            found.append(_load_by_class_name(name, plugins, folder))
    _check(found, frozenset(reserved_sections))
    return tuple(found)


def _plugins_in(folder: Path) -> dict[str, Path]:
    """The file to load of each plugin, by the plugin's name, sorted."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise ModuleLoadError(f"can't read the folder of modules {folder}: {error.strerror}") from None
    plugins: dict[str, Path] = {}
    for entry in entries:
        file = entry / "__init__.py" if entry.is_dir() else entry
        if entry.name.startswith(("_", ".")) or file.suffix != ".py" or not file.is_file():
            continue
        if entry.stem in plugins:
            raise ModuleLoadError(f"module {entry.stem}: both a file and a folder of that name in {folder}")
        plugins[entry.stem] = file
    return plugins


def _load_plugin(file: Path) -> list[type[ServerModule]]:
    plugin, folder = _plugin_and_folder(file)
    try:
        module = importlib.import_module(_import_name(plugin, file, folder))
    except (Exception, SystemExit) as error:
        raise ModuleLoadError(f"module {plugin} ({file}): its import failed: {_in_a_line(error)}") from error
    inside = f"{module.__name__}."
    classes = [
        value
        for name, value in vars(module).items()
        if _is_server_module(value)
        and not name.startswith("_")
        and not inspect.isabstract(value)
        and f"{value.__module__}.".startswith(inside)
    ]
    if not classes:
        raise ModuleLoadError(f"module {plugin} ({file}): it exports no subclass of ServerModule")
    return list(dict.fromkeys(classes))


def _plugin_and_folder(file: Path) -> tuple[str, Path]:
    return (file.parent.name, file.parent.parent) if file.stem == "__init__" else (file.stem, file.parent)


def _import_name(plugin: str, file: Path, folder: Path) -> str:
    """`<folder name>.<plugin>` where that is this file or free, else a name made unique by the path.

    So a checkout's `modules` are the same objects for a program that imports `modules.chat_server`, and
    two folders of one name still don't mix.
    """
    plain = folder.name
    if plain.isidentifier():
        if _search_paths(plain) is None:
            _make_package(plain, folder)
        spec = importlib.util.find_spec(f"{plain}.{plugin}") if _search_paths(plain) else None
        if spec is not None and spec.origin is not None and Path(spec.origin).resolve() == file.resolve():
            return spec.name
    digest = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    unique = f"potoserver_modules_{digest}"
    if unique not in sys.modules:
        _make_package(unique, folder)
    return f"{unique}.{plugin}"


def _search_paths(package: str) -> list[str] | None:
    """Where a package's modules are looked for: empty for no package, None where the name is free."""
    loaded = sys.modules.get(package)
    if loaded is not None:
        return list(getattr(loaded, "__path__", []))
    spec = importlib.util.find_spec(package)
    return None if spec is None else list(spec.submodule_search_locations or [])


def _make_package(name: str, folder: Path) -> None:
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package


def _load_by_class_name(name: str, plugins: Mapping[str, Path], folder: Path | None) -> type[ServerModule]:
    # The sources are read, not run: a plugin that isn't asked for does nothing.
    for file in plugins.values():
        if name in _names_bound_in(file):
            for found in _load_plugin(file):
                if found.name() == name:
                    return found
    known = ", ".join(plugins) or "none"
    raise ModuleLoadError(f"no module {name!r} in {folder}; the plugins there: {known}")


def _names_bound_in(file: Path) -> set[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in statement.names)
    return names


def _import_class(import_string: str) -> type[ServerModule]:
    path, _, attribute = import_string.partition(":")
    if not re.fullmatch(r"\w+(\.\w+)*", path) or not attribute.isidentifier():
        raise ModuleLoadError(f"{import_string!r} is no import string; expected package.module:Class")
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{path}.".startswith(f"{error.name}."):
            raise ModuleLoadError(f"{import_string}: there is no Python module {error.name!r}") from None
        raise ModuleLoadError(f"{import_string}: its import failed: {_in_a_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise ModuleLoadError(f"{import_string}: its import failed: {_in_a_line(error)}") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise ModuleLoadError(f"{import_string}: the module {path!r} has no {attribute!r}")
    if not _is_server_module(found):
        raise ModuleLoadError(f"{import_string}: it is no subclass of ServerModule")
    return found  # type: ignore[no-any-return]  # _is_server_module has checked it


def _is_server_module(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, ServerModule) and value is not ServerModule


def _check(found: Sequence[type[ServerModule]], reserved_sections: frozenset[str]) -> None:
    for name, count in Counter(each.name() for each in found).items():
        if count > 1:
            raise ModuleLoadError(f"module {name}: two modules of that name")
    sections = [each.section for each in found if each.section]
    for each in found:
        if each.settings_model is not None and not each.section:
            raise ModuleLoadError(f"module {each.name()}: it has a settings_model but no section")
        if each.section and not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", each.section):
            raise ModuleLoadError(f"module {each.name()}: its section {each.section!r} is no snake_case name")
        if each.section in reserved_sections:
            raise ModuleLoadError(f"module {each.name()}: its section {each.section!r} is the server's own")
        if sections.count(each.section) > 1:
            raise ModuleLoadError(f"module {each.name()}: another one has its section {each.section!r}")
        try:
            # Methods are read bound, and without running a constructor.
            rpc_methods(object.__new__(each))
            check_hooks(each)
        except TypeError as error:
            raise ModuleLoadError(f"module {each.name()}: {' '.join(str(error).split())}") from error


def _in_a_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
