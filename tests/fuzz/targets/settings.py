"""The settings: a file, the environment, flags."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from potoserver.settings import SettingsError, load
from potoserver.settings.loader import SETTINGS_FILE_NAME, Loaded
from tests.fuzz.target import Target, fields

_FOLDER = TemporaryDirectory()
_PLAIN = {"modules": "[]"}
_SECRET = "hush-hush-hush"


def _load(flags: dict[str, str], environ: dict[str, str], text: bytes | None = None) -> Loaded | None:
    """What was read; None where it was refused, in one line that names a key."""
    folder = Path(_FOLDER.name)
    path = folder / SETTINGS_FILE_NAME
    if text is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(text)
    try:
        return load(_PLAIN | flags, environ, folder)
    except SettingsError as error:
        message = str(error)
        assert message.strip()
        assert len(message.splitlines()) == 1
        assert error.key.strip()
        assert message.isprintable()
        assert message.startswith(" ".join(error.key.split())[:100]) or not error.key.isprintable()
        assert len(message) < 2000
        assert _SECRET not in message
        return None


def check_file(data: bytes) -> None:
    """Any file is read, or refused in one line that names the key and the line."""
    found = _load({}, {}, data)
    if found is not None:
        again = _load({}, {}, data)
        assert again is not None
        assert (again.settings, again.sources) == (found.settings, found.sources)


def check_secrets(data: bytes) -> None:
    """No refusal shows a token, or what a token is given."""
    indented = b"\n".join(b"    " + line for line in data.split(b"\n"))
    _load({}, {}, b"auth:\n  tokens:\n    hush-hush-hush:\n  " + indented)
    _load({}, {}, b"auth: {jwt_secret: [hush-hush-hush, " + data + b"]}")
    text = data.decode("utf-8", "surrogateescape").replace("\0", "")
    _load({}, {"POTO_AUTH__TOKENS": f'{{"{_SECRET}": {text}}}'})
    _load({}, {"POTO_AUTH__TOKENS": f'{{"{_SECRET}": {{"user": {text}}}}}'})
    _load({}, {"POTO_AUTH__JWT_SECRET": f"{_SECRET}"[: len(data)]})


def check_environment(data: bytes) -> None:
    """Any variable of ours is taken or refused by name; others' are let alone."""
    name, value, flag, text = (part.decode("utf-8", "surrogateescape") for part in fields(data, 4))
    _load({flag: text} if flag else {}, {name: value})
    _load({}, {f"POTO_{name}": value})


TARGETS = (
    Target(
        "settings-file",
        check_file,
        (
            b"",
            b"port: 5\nhost: localhost\n",
            b"presence: {grace_ms: 0}\nlimits:\n  connections: 5\n",
            b"auth:\n  tokens:\n    a: {user: a, roles: [user]}\n",
            b"cors: {origins: ['https://a.example']}\n",
            b"modules: []\nmodules_dir: .\n",
            b"a: &a [*a]\n",
            b"a: &a 1\nb: *a\n",
            b"<<: {port: 5}\n",
            b"port: !!int x\n",
            b"port: !!int\n",
            b"port: !!python/object/apply:os.system [x]\n",
            b"? [a]\n: b\n",
            b"port: 0b1\nheartbeat_s: 1_0.5\n",
            b"heartbeat_s: 1:30\n",
            b"port: 2024-99-99\n",
            b"--- 1\n--- 2\n",
            b"%YAML 9.9\n---\nport: 1\n",
            b"\xff\xfe",
            b"\xef\xbb\xbfport: 1\n",
            b"port: \x00\n",
            b"[" * 200,
            b"a: " * 50,
            b"heartbeat_s: " + b"9" * 5000,
            b"port: 1\rport: 2\n",
            b"'\\ud800': 1\n",
            b'"\\ud800": 1\n',
            b'host: "\\udcff"\n',
            b"presence: [1]\n",
            b"port: !<x> 1\n",
            b"data_dir: ~nobody-at-all/x\n",
            b"data_dir: '\\0'\n",
            b'data_dir: "\\0"\n',
        ),
    ),
    Target(
        "settings-secrets",
        check_secrets,
        (
            b"{user: a}",
            b"1",
            b"[",
            b"{user: a, rolls: []}",
            b"null",
            b"{user: [hush-hush-hush]}",
            b'"a"',
            b"*a",
        ),
    ),
    Target(
        "settings-environment",
        check_environment,
        (
            b"PORT\x005\0port\x006",
            b'LIMITS\0{"connections": 5}\0limits.connections\x005',
            b"PRESENCE__GRACE_MS\0x\0presence.grace_ms\0-1",
            b'AUTH__TOKENS\0{"a": {"user": "a"}}\0config\0nothing',
            b'CORS__ORIGINS\0["https://a"]\0log.debug\0*',
            b'MODULES\0["a"]\0modules_dir\0.',
            b'LOG\0{"debug": {"a": 1}}\0data_dir\0~x',
            b"DATA_DIR\0~nobody-at-all\0log_dir\0~",
            b"PORT\0" + b"9" * 5000,
            b"PORT\0\xff\0host\0\xff",
            b"\0",
            b"\xff" * 400 + b"\0x",
            b"\x1c\0x",
            b"PORT\x005\0config\0" + b"x" * 300,
            b"PORT\x005\0modules_dir\0" + b"x" * 300,
            b"PORT\x005\0data_dir\0" + b"x" * 300,
            b"PRESENCE\0" + b'{"a":' * 800 + b"1" + b"}" * 800,
            b"CORS__ORIGINS\0" + b"[" * 900 + b"]" * 900,
            b"__\0x",
        ),
    ),
)
