"""What stops a start: each wrong setting with one line, and nothing is made."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.process.test_users import REFUSED as WITHOUT_A_FOLDER_NAME
from tests.support.commands import potoserver


@dataclass
class Wrong:
    """A start that must fail.

    Attributes:
        key: The setting that the line must name.
        source: Where it was read, as the line must say.
        file: What `potoserver.yaml` says.
        environment: Variables.
        flags: Flags.
    """

    key: str
    source: str
    file: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        given = self.file.strip() or " ".join(f"{k}={v}" for k, v in self.environment.items())
        return " ".join((given, *self.flags)).replace("\n", "; ")[:60]


def in_file(key: str, text: str, line: int = 1) -> Wrong:
    """A wrong value in a line of the settings file."""
    return Wrong(key, f"potoserver.yaml line {line}", file=text)


def in_environment(key: str, variable: str, value: str) -> Wrong:
    """A wrong value of a variable."""
    return Wrong(key, variable, environment={variable: value})


def in_flag(key: str, flag: str, value: str) -> Wrong:
    """A wrong value of a flag."""
    return Wrong(key, flag, flags=(flag, value))


WRONG = [
    in_file("port", "port: 70000"),
    in_file("port", "host: localhost\nport: '3799'", line=2),
    in_file("port", "port: 3799\nhost: localhost\nport: 3800", line=3),
    in_file("prot", "prot: 3799"),
    in_file("chat.openai.base_ulr", "chat:\n  openai:\n    base_ulr: x", line=3),
    in_file("host", "host: http://localhost"),
    in_file("host", "host: 0.0.0.0"),
    in_file("engine", "engine: carrier-pigeon://"),
    in_file("heartbeat_s", "heartbeat_s: 0"),
    in_file("shutdown_timeout_s", "shutdown_timeout_s: .inf"),
    in_file("send_timeout_s", "send_timeout_s: soon"),
    in_file("presence.grace_ms", "presence:\n  grace_ms: -1", line=2),
    in_file("presence.grace_s", "presence:\n  grace_s: 5", line=2),
    in_file("log.debug_sse", "log:\n  debug_sse: perhaps", line=2),
    in_file("limits.body_bytes", "limits: {body_bytes: 0}"),
    in_file("backlog.events", "backlog:\n\n  events: many", line=3),
    in_file("hooks.timeout_s", "hooks: {timeout_s: -1}"),
    in_file("chat.session_timeout_ms", "chat: {session_timeout_ms: 0}"),
    in_file("chat.session_timeout_scope", "chat: {session_timeout_scope: everyone}"),
    in_file("chat.journal.fsync", "chat:\n  journal:\n    fsync: sometimes", line=3),
    in_file("chat.responder", "chat: {responder: parrot}"),
    in_file("chat.echo.delay_ms", "chat: {echo: {delay_ms: 1.5}}"),
    in_file("chat.sesion_timeout_ms", "chat: {sesion_timeout_ms: 1}"),
    in_file("auth.tokens", "auth: {tokens: {secret-word: {name: Ann}}}"),
    in_file("auth.tokens", "auth: {tokens: {secret-word: {user: ann, roles: admin}}}"),
    in_file("modules", "modules: [no_such_module]"),
    in_file("modules_dir", "modules_dir: nowhere"),
    Wrong("potoserver.yaml", "potoserver.yaml", file="- a\n- list"),
    Wrong("potoserver.yaml", "line 2", file="port: 1\n  : : {"),
    in_environment("port", "PORT", "http"),
    in_environment("host", "HOST", "0.0.0.0"),
    in_environment("host", "HOST", "local host"),
    in_environment("presence.grace_ms", "SESSION_RECONNECT_GRACE", "5s"),
    in_environment("chat.session_timeout_ms", "SESSION_TIMEOUT", "-5"),
    in_environment("chat.session_check_interval_ms", "SESSION_CHECK_INTERVAL", "0"),
    in_environment("log.debug_sse", "DEBUG_SSE", "perhaps"),
    in_environment("chat.journal.fsync", "POTO_CHAT__JOURNAL__FSYNC", "sometimes"),
    in_environment("auth.tokens", "POTO_AUTH__TOKENS", "{secret-word"),
    in_environment("auth.tokens", "POTO_AUTH__TOKENS", '{"sha256:secret-word": {"user": "a1"}}'),
    in_environment("auth.jwt_secret", "POTO_AUTH__JWT_SECRET", ""),
    in_environment("auth.jwt_public_key_file", "POTO_AUTH__JWT_PUBLIC_KEY_FILE", "nowhere.pem"),
    in_environment("modules", "POTO_MODULES", "chat_server"),
    in_environment("no_such_key", "POTO_NO_SUCH_KEY", "1"),
    in_environment("limits.outbox_bytes", "POTO_LIMITS__OUTBOX_BYTES", "2MB"),
    in_flag("port", "--port", "http"),
    in_flag("port", "--port", "-1"),
    in_flag("host", "--host", "0.0.0.0"),
    in_flag("host", "--host", "192.168.1.5"),
    in_flag("engine", "--engine", "carrier-pigeon://"),
    in_flag("nowhere.yaml", "--config", "nowhere.yaml"),
    in_flag("log_dir", "--log-dir", "/dev/null/logs"),
    in_file("chat.responder", "chat: {responder: openai}"),
    *(
        in_environment("auth.tokens", "POTO_AUTH__TOKENS", json.dumps({"secret-word": {"user": user}}))
        for user in WITHOUT_A_FOLDER_NAME
    ),
]


def check(wrong: Wrong, folder: Path, ended: subprocess.CompletedProcess[str]) -> None:
    """Exit status 2, and one line on standard error that names the key and where it was read."""
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.endswith("\n")
    assert wrong.key in ended.stderr
    assert wrong.source in ended.stderr
    assert "secret-word" not in ended.stderr
    assert not (folder / "data").exists()


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_wrong_value_stops_the_start_with_one_line(command: Command, tmp_path: Path, wrong: Wrong) -> None:
    """Exit status 2, and one line on standard error that names the key and where it was read."""
    if wrong.file:
        (tmp_path / "potoserver.yaml").write_text(wrong.file)
    check(wrong, tmp_path, command(*wrong.flags, cwd=tmp_path, environ=wrong.environment))


@pytest.mark.process
@pytest.mark.parametrize(
    "wrong",
    [
        in_file("chat.echo.delay_ms", "chat: {echo: {delay_ms: 1.5}}"),
        in_environment("port", "PORT", "http"),
        in_flag("log_dir", "--log-dir", "/dev/null/logs"),
    ],
    ids=str,
)
def test_so_it_does_as_a_process(tmp_path: Path, wrong: Wrong) -> None:
    """One of each source."""
    if wrong.file:
        (tmp_path / "potoserver.yaml").write_text(wrong.file)
    check(wrong, tmp_path, potoserver(*wrong.flags, cwd=tmp_path, environ=wrong.environment))
