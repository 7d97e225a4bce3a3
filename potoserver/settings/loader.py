"""Merges the settings' sources: defaults, the settings file, the environment, flags; the last one wins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from potoserver.module.base import ServerModule
from potoserver.module.loader import ModuleLoadError, find_modules
from potoserver.settings.engine_url import EMBEDDED_ENGINE
from potoserver.settings.errors import SettingsError
from potoserver.settings.given import Given, read_json, read_yaml
from potoserver.settings.keys import (
    CLIENT_VARIABLES,
    ENV_PREFIX,
    ENV_SEPARATOR,
    SettingKey,
    did_you_mean,
    keys_of,
    variable_of,
)
from potoserver.settings.model import Settings

SETTINGS_FILE_NAME = "potoserver.yaml"
CONFIG_FLAG = "config"
"""The one flag that is no setting: the settings file to read instead."""

_SHOWN_CHARS = 60
_Model = TypeVar("_Model", bound=BaseModel)
_Path = tuple[str, ...]
_Merged = dict[_Path, tuple[Any, Given]]
_DEBUG: _Path = ("log", "debug")
_EARLY: tuple[_Path, ...] = (("modules_dir",), ("modules",), _DEBUG)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a start needs to know.

    Attributes:
        settings: The core's settings. Paths are absolute.
        sections: Each module's settings by its section's name.
        modules_dir: The folder in which plugins were looked for; None without one.
        modules: The modules to run.
        sources: Where each key was read, by dotted key: `potoserver.yaml line 12`. A key that is missing
            here has its default.
    """

    settings: Settings
    sections: Mapping[str, BaseModel]
    modules_dir: Path | None
    modules: tuple[type[ServerModule], ...]
    sources: Mapping[str, str]


def load(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> Loaded:
    """Reads every source and checks what it says.

    Args:
        flags: Values of flags by dotted key (`log.debug`), and `config` for another settings file. None
            stands for a flag that wasn't given.
        environ: The environment.
        cwd: Relative paths start here; `potoserver.yaml` is looked for here.

    Raises:
        SettingsError: A value, a key or a file is wrong.
        ModuleLoadError: A module can't be loaded.
    """
    flags = {key: value for key, value in flags.items() if value is not None}
    tree = _settings_file(flags.get(CONFIG_FLAG), cwd)
    core = {key.path: key for key in keys_of(Settings)}
    # Modules are found before the rest is checked: their sections are settings too.
    early: dict[_Path, SettingKey] = {path: core[path] for path in _EARLY}
    merged = _merge(early, tree, flags, environ, strict=False)
    try:
        modules_dir, modules = _find_modules(merged, cwd)
    except ModuleLoadError as error:
        error.debug = merged[_DEBUG][0] if _DEBUG in merged else ""
        raise

    models = {each.section: each.settings_model for each in modules if each.settings_model is not None}
    keys = dict(core)
    for section, model in models.items():
        keys.update({key.path: key for key in keys_of(model, (section,))})
    merged = _merge(keys, tree, flags, environ, strict=True)
    sources = {".".join(path): given.source for path, (_, given) in merged.items()}
    nested = _nest(keys, merged, cwd)
    inner = {section: nested.pop(section, {}) for section in models}
    settings = _build(Settings, nested, (), sources)
    sections = {
        section: _build(model, inner[section], (section,), sources) for section, model in models.items()
    }
    _check_together(settings, sources)
    return Loaded(settings, sections, modules_dir, modules, sources)


def _settings_file(config: object, cwd: Path) -> dict[str, Given]:
    if config is not None:
        path = _resolve(Path(str(config)), cwd, str(config), "flag --config")
        if not path.is_file():
            raise SettingsError(str(config), "flag --config", "there is no such file")
        return read_yaml(path, str(config))
    path = cwd / SETTINGS_FILE_NAME
    return read_yaml(path, SETTINGS_FILE_NAME) if path.exists() else {}


def _merge(
    keys: Mapping[_Path, SettingKey],
    tree: Mapping[str, Given],
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    strict: bool,
) -> _Merged:
    """The value of every key that was given, from its strongest source. `strict` refuses unknown keys."""
    merged: _Merged = {}
    for path, given in _flatten(keys, tree, (), strict):
        merged[path] = (_value(keys[path], given), given)
    merged.update(_from_environment(keys, environ, strict))
    for name, value in flags.items():
        path = tuple(name.split("."))
        if path in keys:
            given = Given(value, f"flag --{path[-1].replace('_', '-')}", is_text=True)
            merged[path] = (_value(keys[path], given), given)
    return merged


def _flatten(
    keys: Mapping[_Path, SettingKey], tree: Mapping[str, Given], prefix: _Path, strict: bool
) -> list[tuple[_Path, Given]]:
    """The values of keys in a tree of sections."""
    found: list[tuple[_Path, Given]] = []
    for name, given in tree.items():
        path = (*prefix, name)
        if path in keys:
            found.append((path, given))
        elif not any(key[: len(path)] == path for key in keys):
            if strict:
                dotted = ".".join(path)
                if "." in name:
                    _refuse_dots(dotted, len(prefix), given.source, keys)
                hint = did_you_mean(dotted, [key.dotted for key in keys.values()])
                raise SettingsError(dotted, given.source, f"unknown setting{hint}")
        elif given.children is not None:
            found.extend(_flatten(keys, given.children, path, strict))
        elif given.value is not None:
            raise SettingsError(".".join(path), given.source, "expected a mapping of settings")
    return found


def _refuse_dots(dotted: str, depth: int, source: str, keys: Mapping[_Path, SettingKey]) -> None:
    """Raises for a name with dots in it, `depth` sections deep, that would be a setting, were it nested."""
    lengths = range(max(2, depth + 1), max(map(len, keys)) + 1)
    known = {".".join(key[:length]) for key in keys for length in lengths}
    # The longest that fits: what comes after it may be a token, which is not shown.
    found = max((each for each in known if f"{dotted}.".startswith(f"{each}.")), key=len, default="")
    if found:
        nested = ": {".join(found.split(".")) + ": …" + "}" * found.count(".")
        raise SettingsError(found, source, f"a key is not written with dots here, write it nested: {nested}")


def _from_environment(keys: Mapping[_Path, SettingKey], environ: Mapping[str, str], strict: bool) -> _Merged:
    own = {name: path for path, key in keys.items() for name in key.variables}
    groups = {path[:length] for path in keys for length in range(1, len(path))}
    group_of = {variable_of(path): path for path in groups}
    merged: _Merged = {}
    for variable, text in sorted(environ.items()):
        source = f"environment {variable}"
        if variable in own:
            pairs = [(own[variable], Given(text, source, is_text=True))]
        elif variable in group_of:
            dotted = ".".join(group_of[variable])
            given = read_json(text, dotted, source)
            wrapped = {group_of[variable][-1]: given}
            pairs = _flatten(keys, wrapped, group_of[variable][:-1], strict)
        elif variable.startswith(ENV_PREFIX) and variable not in CLIENT_VARIABLES and strict:
            dotted = variable.removeprefix(ENV_PREFIX).replace(ENV_SEPARATOR, ".").lower()
            hint = did_you_mean(variable.upper(), [*own, *group_of])
            raise SettingsError(dotted or variable, source, f"unknown variable{hint}")
        else:
            continue
        for path, given in pairs:
            value = _value(keys[path], given)
            if path in merged and merged[path][0] != value:
                also = merged[path][1].source
                raise SettingsError(".".join(path), source, f"another value than {also} has; set only one")
            merged[path] = (value, given)
    return merged


def _value(key: SettingKey, given: Given) -> Any:
    """The typed value. Text is read leniently, values of YAML and JSON must have the type."""
    if given.is_text and key.takes_json and isinstance(given.value, str):
        given = read_json(given.value, key.dotted, given.source)
    try:
        if given.is_text:
            return key.adapter.validate_python(given.value)
        # As JSON, since strictness there knows a list from a tuple and a text from a path.
        return key.adapter.validate_json(json.dumps(given.value), strict=True)
    except ValidationError as error:
        raise _wrong_value(key, given, error) from None


def _wrong_value(key: SettingKey, given: Given, error: ValidationError) -> SettingsError:
    errors = error.errors(include_url=False)
    # A key that nobody knows is often the missing one, misspelled: its own error says more.
    details = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    inside = details["loc"]
    shown = [key.dotted, *("…" if key.secret and not at else str(part) for at, part in enumerate(inside))]
    kind = details["type"]
    if kind == "extra_forbidden":
        shown[-1] = str(inside[-1])
        hint = did_you_mean(str(inside[-1]), key.names_at(inside[:-1]))
        problem = f"unknown key{hint}"
    elif kind == "missing":
        problem = f"missing, expected {key.expected(inside)}"
    elif kind in ("value_error", "assertion_error"):
        problem = str(details["ctx"]["error"])
    else:
        problem = f"expected {key.expected(inside)}"
        if not key.secret:
            problem += f", not {_shown(details['input'])}"
    return SettingsError(".".join(shown), given.at(inside).source, problem)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def _find_modules(merged: _Merged, cwd: Path) -> tuple[Path | None, tuple[type[ServerModule], ...]]:
    folder, folder_given = merged.get(("modules_dir",), (None, None))
    names, names_given = merged.get(("modules",), (None, None))
    if folder is not None and folder_given is not None:
        folder = _resolve(folder, cwd, "modules_dir", folder_given.source)
        if not folder.is_dir():
            raise SettingsError("modules_dir", folder_given.source, f"there is no folder {folder}")
    else:
        folder = _default_modules_dir(cwd)
    try:
        return folder, find_modules(folder, names, Settings.model_fields)
    except ModuleLoadError as error:
        if names_given is None:
            raise
        raise ModuleLoadError(f"modules ({names_given.source}): {error}") from error.__cause__


def _default_modules_dir(cwd: Path) -> Path | None:
    """`modules` of the checkout; for an installed package, and where that has none, of `cwd`."""
    beside = Path(__file__).resolve().parents[2]
    if beside.name not in ("site-packages", "dist-packages") and (beside / "modules").is_dir():
        return beside / "modules"
    return cwd / "modules" if (cwd / "modules").is_dir() else None


def _nest(keys: Mapping[_Path, SettingKey], merged: _Merged, cwd: Path) -> dict[str, Any]:
    """The values as the models take them, every path made absolute, those of defaults too."""
    nested: dict[str, Any] = {}
    for path, key in keys.items():
        source = ""
        if path in merged:
            value, source = merged[path][0], merged[path][1].source
        elif key.is_path and isinstance(key.field.default, Path):
            value = key.field.default
        else:
            continue
        place = nested
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = _resolve(value, cwd, key.dotted, source) if isinstance(value, Path) else value
    return nested


def _resolve(path: Path, cwd: Path, key: str, source: str) -> Path:
    """The path, absolute. There need not be anything yet.

    Raises:
        SettingsError: It begins with `~` and a name that no user has, or the system can't take it.
    """
    try:
        resolved = cwd / path.expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):
            resolved.stat()
    except RuntimeError:
        raise SettingsError(key, source, f"{path.parts[0]} is nobody's home folder") from None
    except ValueError:
        raise SettingsError(key, source, "expected a path, this one holds what no path can") from None
    except OSError as error:
        raise SettingsError(key, source, f"can't be used: {error.strerror}") from None
    return resolved


def _build(
    model: type[_Model], values: Mapping[str, Any], prefix: _Path, sources: Mapping[str, str]
) -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        dotted = ".".join((*prefix, *(str(part) for part in details["loc"])))
        if details["type"] == "missing":
            problem = "missing, it has no default"
        else:
            problem = str(details.get("ctx", {}).get("error", details["msg"]))
        # A validator may judge a whole section: then the key that it speaks of is the one to name.
        inside = [key for key in sources if f"{key}.".startswith(f"{dotted}.")]
        named = [key for key in inside if key.removeprefix(f"{dotted}.") in problem] or inside
        source = sources[named[0]] if named else ""
        raise SettingsError(named[0] if named else dotted, source, problem) from None


def _check_together(settings: Settings, sources: Mapping[str, str]) -> None:
    """What no single value shows."""
    if settings.development_tokens and not settings.loopback_only:
        raise SettingsError(
            "host",
            sources.get("host", ""),
            f"{settings.host!r} is no loopback address, and the development tokens are active; set "
            "auth.tokens, auth.jwt_secret or auth.jwt_public_key_file, or listen on localhost",
        )
    if settings.workers > 1 and settings.engine == EMBEDDED_ENGINE:
        raise SettingsError(
            "workers",
            sources.get("workers", ""),
            f"{settings.workers} workers need an engine that they share, and {EMBEDDED_ENGINE} is for one "
            "process; name a Valkey or Redis by engine, such as --engine valkey://localhost:6379/0, or run "
            "one worker",
        )
    key_file = settings.auth.jwt_public_key_file
    if key_file is not None:
        from potoserver.settings.public_key import read_public_key  # noqa: PLC0415 - brings cryptography

        try:
            read_public_key(key_file)
        except ValueError as error:
            key = "auth.jwt_public_key_file"
            raise SettingsError(key, sources.get(key, ""), str(error)) from None
