"""Each wrong setting stops the start with one line: the key, where it was read, what was expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from potoserver.settings import SettingsError, load

YAML, ENV, FLAG = "potoserver.yaml", "environment", "flag"
TOKEN = "very-secret-token"
HASH = "sha256:" + "ab" * 32

# What is in the file, the environment and the flags; then key, source and words of the message.
IN_THE_FILE = [
    ("port: abc", "port", "line 1", "expected a whole number from 0 to 65535, not 'abc'"),
    ('\n\nport: "3799"', "port", "line 3", "expected a whole number from 0 to 65535, not '3799'"),
    ("port: 70000", "port", "line 1", "from 0 to 65535, not 70000"),
    ("port: -1", "port", "line 1", "not -1"),
    ("port: 1.5", "port", "line 1", "not 1.5"),
    ("port: true", "port", "line 1", "expected a whole number"),
    ("port:", "port", "line 1", "not nothing"),
    ("port: [1]", "port", "line 1", "expected a whole number"),
    ("prot: 1", "prot", "line 1", "unknown setting, did you mean port?"),
    (
        "presence.grace_ms: 1",
        "presence.grace_ms",
        "line 1",
        "a key is not written with dots here, write it nested: presence: {grace_ms: …}",
    ),
    ("log.debug: a", "log.debug", "line 1", "write it nested: log: {debug: …}"),
    ("auth:\n  tokens.x: {user: a}", "auth.tokens", "line 2", "write it nested: auth: {tokens: …}"),
    (f"auth.tokens.{TOKEN}: {{user: a}}", "auth.tokens", "line 1", "write it nested"),
    ("grace_ms: 1", "grace_ms", "line 1", "did you mean presence.grace_ms?"),
    ("presence:\n  grace: 1", "presence.grace", "line 2", "did you mean presence.grace_ms?"),
    ("presence: 5", "presence", "line 1", "expected a mapping"),
    ("presence:\n  grace_ms: -5", "presence.grace_ms", "line 2", "a whole number from 0 to 86400000"),
    ("heartbeat_s: 0", "heartbeat_s", "line 1", "expected a number above 0 up to 3600, not 0"),
    ("heartbeat_s: .inf", "heartbeat_s", "line 1", "expected a number above 0"),
    ("heartbeat_s: .nan", "heartbeat_s", "line 1", "expected a number above 0"),
    ("heartbeat_s: soon", "heartbeat_s", "line 1", "not 'soon'"),
    ("heartbeat_s: 3601", "heartbeat_s", "line 1", "expected a number above 0 up to 3600, not 3601"),
    ("send_timeout_s: 0.0004", "send_timeout_s", "line 1", "expected a number from 1 to 86400"),
    ("send_timeout_s: 1.0e+300", "send_timeout_s", "line 1", "expected a number from 1 to 86400"),
    ("shutdown_timeout_s: 2", "shutdown_timeout_s", "line 1", "expected a number from 3 to 3600"),
    ("shutdown_timeout_s: 1.0e+300", "shutdown_timeout_s", "line 1", "from 3 to 3600"),
    ("presence:\n  grace_ms: 86400001", "presence.grace_ms", "line 2", "from 0 to 86400000"),
    ("hooks:\n  timeout_s: 1.0e+300", "hooks.timeout_s", "line 2", "up to 3600"),
    ("hooks:\n  retry_for_s: 1.0e+300", "hooks.retry_for_s", "line 2", "up to 31536000"),
    ("backlog:\n  seconds: 1.0e+300", "backlog.seconds", "line 2", "up to 31536000"),
    ("auth:\n  login_lifetime_s: 31536001", "auth.login_lifetime_s", "line 2", "up to 31536000"),
    (f"limits:\n  calls_per_minute: 1{'0' * 400}", "limits.calls_per_minute", "line 2", "0 to 1000000"),
    ("limits:\n  connections: 1000001", "limits.connections", "line 2", "from 0 to 1000000"),
    ("log:\n  backups: 1001", "log.backups", "line 2", "up to 1000"),
    ("log:\n  debug_sse: 1", "log.debug_sse", "line 2", "expected true or false, not 1"),
    ("log:\n  debug: 5", "log.debug", "line 2", "expected a text, not 5"),
    ("log:\n  max_bytes: 0", "log.max_bytes", "line 2", "expected a whole number above 0"),
    ("engine: mysql://user:hush@x", "engine", "line 1", "expected memory://"),
    ("data_dir: 5", "data_dir", "line 1", "expected a path, not 5"),
    ("modules: chat_server", "modules", "line 1", "expected a list, each a text"),
    ("modules_dir: nowhere", "modules_dir", "line 1", "there is no folder"),
    ("cors:\n  origins:\n    - 5", "cors.origins.0", "line 2", "expected a text, not 5"),
    *(
        (f"cors:\n  origins: ['{origin}']", "cors.origins", "line 2", words)
        for origin, words in {
            "*": "expected scheme://host or scheme://host:port",
            "https://*.example.org": "is no origin",
            "https://example.org/": "a slash at the end",
            "https://example.org/page": "without a path",
            "https://Example.org": "in lower case",
            "example.org": "is no origin",
            "null": "is no origin",
            "": "is no origin",
            "https://user@example.org": "is no origin",
            "https://example.org?a": "is no origin",
            "https://example.org:x": "is no origin",
            "https://example.org:443": "names its scheme's own port, which browsers leave out",
            "http://localhost:80": "names its scheme's own port",
        }.items()
    ),
    ("trusted_proxies: [10.0.0.1/24]", "trusted_proxies", "line 1", "is no address and no network"),
    ("trusted_proxies: [proxy.example.org]", "trusted_proxies", "line 1", "expected 10.0.0.7 or 10.0.0.0/24"),
    (f"host: {'a' * 200}!", "host", "line 1", "expected a host name or an IP address"),
    ("host: a..b", "host", "line 1", "expected a host name or an IP address"),
    (f"host: {'a' * 64}", "host", "line 1", "expected a host name or an IP address"),
    ("host: http://localhost", "host", "line 1", "expected a host name or an IP address"),
    ("host: localhost:80", "host", "line 1", "expected a host name or an IP address"),
    ('host: "[::1]"', "host", "line 1", "without scheme, port or brackets"),
    ('host: ""', "host", "line 1", "expected a host name or an IP address"),
    ("host: 0.0.0.0", "host", "line 1", "no loopback address, and the development tokens are active"),
    ('host: "::"', "host", "line 1", "no loopback address"),
    ("port: 1\nport: 2", "port", "line 2", "given twice, first in line 1"),
    ("log:\n  debug: a\n  debug: a", "log.debug", "line 3", "given twice, first in line 2"),
    ("5: 6", "the file", "line 1", "expected a text as key"),
    ("- port", YAML, "line 1", "expected a mapping of settings"),
    ("just words", YAML, "line 1", "expected a mapping of settings"),
    ("port: [1", YAML, "line 1", "not valid YAML"),
    ("a: b: c", YAML, "line 1", "not valid YAML"),
    ("port: 1\n---\nport: 2", YAML, "line 2", "not valid YAML"),
    ("port: !!python/object:os.system 5", "port", "line 1", "expected a plain value"),
    ("port: !!int", "port", "line 1", "expected a plain value, this is no int"),
    ("port: !!int x", "port", "line 1", "expected a plain value, this is no int"),
    ("port: !!float '-'", "port", "line 1", "expected a plain value, this is no float"),
    ("port: !!bool maybe", "port", "line 1", "expected a plain value, this is no bool"),
    ("a: &x\n  b: *x", "a.b", "line 1", "aliases are not read here"),
    ("log: &x {debug: a}\npresence: *x", "presence", "line 1", "aliases are not read here"),
    ("auth:\n  tokens: abc", "auth.tokens", "line 2", "expected a mapping"),
    (f"auth:\n  tokens:\n    {TOKEN}: 5", "auth.tokens.…", "line 3", "expected a mapping"),
    (f"auth:\n  tokens:\n    {TOKEN}: {{}}", "auth.tokens.….user", "line 3", "missing, expected a text"),
    (f"auth:\n  tokens:\n    {TOKEN}: {{user: a, rolls: [b]}}", "auth.tokens.….rolls", "line 3", "roles?"),
    (f"auth:\n  tokens:\n    {TOKEN}:\n      user: 5", "auth.tokens.….user", "line 4", "expected a text"),
    (f"auth:\n  tokens:\n    {TOKEN}: {{usr: a}}", "auth.tokens.….usr", "line 3", "did you mean user?"),
    (
        f"auth:\n  tokens:\n    {TOKEN}: {{user: a, roles: admin}}",
        "auth.tokens.….roles",
        "line 3",
        "expected a list, each a text",
    ),
    (f'auth:\n  tokens:\n    {TOKEN}: {{user: ""}}', "auth.tokens.….user", "line 3", "must not be empty"),
    (f"auth:\n  tokens:\n    {TOKEN}: {{user: {'A' * 99}}}", "auth.tokens.….user", "line 3", "200 bytes"),
    (f'auth:\n  tokens:\n    {TOKEN}: {{user: a, roles: [""]}}', "auth.tokens", "line 3", "role must not"),
    (
        f"auth:\n  tokens:\n    {TOKEN}: {{user: a}}\n    {TOKEN}: {{user: b}}",
        "auth.tokens.…",
        "line 4",
        "twice",
    ),
    ('auth:\n  tokens:\n    "": {user: a}', "auth.tokens", "line 2", "a token must not be empty"),
    ('auth:\n  tokens:\n    "a b": {user: a}', "auth.tokens", "line 2", "without a blank"),
    ("auth:\n  tokens:\n    sha256:abcd: {user: a}", "auth.tokens", "line 2", "64 hex digits"),
    (
        f"auth:\n  tokens:\n    {HASH}: {{user: a}}\n    {HASH.upper()}: {{user: b}}",
        "auth.tokens",
        "line 2",
        "twice",
    ),
    ("auth:\n  tokens:\n    12345: {user: a}", "auth.tokens", "line 3", "expected a text as key"),
    ('auth:\n  jwt_secret: ""', "auth.jwt_secret", "line 2", "at least 32 bytes"),
    (f"auth:\n  jwt_secret: {'é' * 15}x", "auth.jwt_secret", "line 2", "at least 32 bytes"),
    ("auth:\n  jwt_secret: 12345678", "auth.jwt_secret", "line 2", "expected a text"),
    ("auth:\n  jwt_public_key_file: none.pem", "auth.jwt_public_key_file", "line 2", "can't be read"),
    ("auth:\n  jwt_public_key_file: potoserver.yaml", "auth.jwt_public_key_file", "line 2", "in PEM"),
]

IN_THE_ENVIRONMENT = [
    ({"PORT": "abc"}, "port", "PORT", "expected a whole number from 0 to 65535, not 'abc'"),
    ({"PORT": ""}, "port", "PORT", "not ''"),
    ({"POTO_PORT": "1e9"}, "port", "POTO_PORT", "expected a whole number"),
    ({"HOST": "a b"}, "host", "HOST", "expected a host name"),
    ({"HOST": "192.168.0.1"}, "host", "HOST", "no loopback address"),
    ({"SESSION_RECONNECT_GRACE": "-1"}, "presence.grace_ms", "SESSION_RECONNECT_GRACE", "from 0 to 86400000"),
    ({"DEBUG_SSE": "maybe"}, "log.debug_sse", "DEBUG_SSE", "expected true or false, not 'maybe'"),
    ({"POTO_PROT": "1"}, "prot", "POTO_PROT", "unknown variable, did you mean POTO_PORT?"),
    ({"POTO_Port": "1"}, "port", "POTO_Port", "did you mean POTO_PORT?"),
    ({"POTO_PRESENCE_GRACE_MS": "1"}, "presence_grace_ms", "POTO_", "did you mean POTO_PRESENCE__GRACE_MS?"),
    ({"POTO_": "1"}, "POTO_", "POTO_", "unknown variable"),
    ({"PORT": "1", "POTO_PORT": "2"}, "port", "POTO_PORT", "another value than environment PORT has"),
    ({"POTO_MODULES": "chat_server"}, "modules", "POTO_MODULES", "expected JSON"),
    ({"POTO_MODULES": '"chat_server"'}, "modules", "POTO_MODULES", "expected a list"),
    ({"POTO_AUTH__TOKENS": "{"}, "auth.tokens", "POTO_AUTH__TOKENS", "expected JSON"),
    ({"POTO_AUTH__TOKENS": f'{{"{TOKEN}": 1}}'}, "auth.tokens.…", "POTO_AUTH__TOKENS", "expected a mapping"),
    ({"POTO_AUTH__TOKENS": '{"a": {}, "a": {}}'}, "auth.tokens", "POTO_AUTH__TOKENS", "given twice"),
    (
        {"POTO_LIMITS": '{"conections": 5}'},
        "limits.conections",
        "POTO_LIMITS",
        "did you mean limits.connections?",
    ),
    ({"POTO_LIMITS": "5"}, "limits", "POTO_LIMITS", "expected a mapping"),
    ({"POTO_ENGINE": "redis://:hush@"}, "engine", "POTO_ENGINE", "expected memory://"),
    ({"POTO_ENGINE": "valkey://:hush@x/one"}, "engine", "POTO_ENGINE", "valkey://host:6379/0"),
    ({"POTO_ENGINE": "unix://x"}, "engine", "POTO_ENGINE", "unix:///path"),
]

IN_FLAGS = [
    ({"port": "x"}, "port", "--port", "not 'x'"),
    ({"host": "0.0.0.0"}, "host", "--host", "no loopback address"),
    ({"engine": "foo"}, "engine", "--engine", "expected memory://"),
    ({"config": "none.yaml"}, "none.yaml", "--config", "there is no such file"),
    ({"config": "."}, ".", "--config", "there is no such file"),
]


def problem_of(folder: Path, text: str = "", environ: dict[str, str] | None = None, **flags: object) -> str:
    (folder / "modules").mkdir(exist_ok=True)
    (folder / "potoserver.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(flags, {"POTO_MODULES": "[]", **(environ or {})} if "modules" not in text else {}, folder)
    problem = str(caught.value)
    assert len(problem.splitlines()) == 1
    assert TOKEN not in problem
    assert "hush" not in problem
    return problem


@pytest.mark.parametrize(("text", "key", "line", "words"), IN_THE_FILE)
def test_a_wrong_value_in_the_file_is_named_with_its_line(
    tmp_path: Path, text: str, key: str, line: str, words: str
) -> None:
    """The line names the key, the file's line and what was expected, and shows no secret."""
    problem = problem_of(tmp_path, text)
    assert problem.startswith(key)
    assert f"{YAML} {line}" in problem
    assert words in problem


@pytest.mark.parametrize(("environ", "key", "variable", "words"), IN_THE_ENVIRONMENT)
def test_a_wrong_value_in_the_environment_is_named_with_its_variable(
    tmp_path: Path, environ: dict[str, str], key: str, variable: str, words: str
) -> None:
    """The line names the key, the variable and what was expected, and shows no secret."""
    problem = problem_of(tmp_path, environ=environ)
    assert problem.startswith(f"{key} (environment {variable}")
    assert words in problem


@pytest.mark.parametrize(("flags", "key", "flag", "words"), IN_FLAGS)
def test_a_wrong_flag_is_named(
    tmp_path: Path, flags: dict[str, object], key: str, flag: str, words: str
) -> None:
    """The line names the key, the flag and what was expected."""
    problem = problem_of(tmp_path, **flags)
    assert problem.startswith(f"{key} (flag {flag})")
    assert words in problem


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 stop the start, and so do control characters."""
    for content in (b"port: \xff\xfe", b"port: \x00"):
        (tmp_path / "potoserver.yaml").write_bytes(content)
        with pytest.raises(SettingsError, match=r"potoserver\.yaml.*(UTF-8|not valid YAML)"):
            load({}, {}, tmp_path)


@pytest.mark.parametrize("kind", ["rsa1024", "p384", "private"])
def test_a_key_that_may_not_be_used_is_named(tmp_path: Path, kind: str) -> None:
    """Too short, another curve, or the private half: the start stops with the key, the line and the file."""
    if kind == "p384":
        private: Any = ec.generate_private_key(ec.SECP384R1())
    else:
        private = rsa.generate_private_key(65537, 1024 if kind == "rsa1024" else 2048)
    if kind == "private":
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    else:
        pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    problem = problem_of(tmp_path, "auth:\n  jwt_public_key_file: key.pem")
    assert problem.startswith(
        "auth.jwt_public_key_file (potoserver.yaml line 2): expected a public key in PEM, "
    )
    assert problem.endswith(f"{tmp_path / 'key.pem'} is none")


def test_nothing_is_suggested_where_nothing_is_close(tmp_path: Path) -> None:
    """That every variable begins with POTO_ makes none of them close."""
    for variable in ("POTO_FOO", "POTO_ROOT", "POTO_MODEL"):
        assert "did you mean" not in problem_of(tmp_path, environ={variable: "1"})


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    """A file nested without bound ends in an error of one line, not in a crash."""
    problem = problem_of(tmp_path, "x: " + "[" * 100 + "]" * 100)
    assert "nested too deeply" in problem
    assert "nested too deeply" in problem_of(tmp_path, "x: " + "[" * 50_000)
    problem = problem_of(tmp_path, environ={"POTO_CORS__ORIGINS": "[" * 100_000})
    assert "expected JSON" in problem


def test_development_tokens_may_not_leave_this_machine(tmp_path: Path) -> None:
    """Any token, secret or key lifts the rule; an empty mapping of tokens does not."""
    assert "no loopback" in problem_of(tmp_path, "host: 0.0.0.0\nauth: {tokens: {}}")
    for auth in ({"tokens": {"t": {"user": "a"}}}, {"jwt_secret": "s" * 32}):
        (tmp_path / "potoserver.yaml").write_text(json.dumps({"host": "0.0.0.0", "auth": auth}))
        assert not load({}, {"POTO_MODULES": "[]"}, tmp_path).settings.development_tokens


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_development_tokens_are_served_on_loopback(tmp_path: Path, host: str) -> None:
    """Loopback names and addresses are fine without any token configured."""
    assert load({"host": host}, {"POTO_MODULES": "[]"}, tmp_path).settings.development_tokens
