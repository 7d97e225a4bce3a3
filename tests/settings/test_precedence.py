"""Where settings come from, and which source wins."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from potoserver.settings import Loaded, Settings, SettingsError, load
from potoserver.settings.keys import keys_of

FILE, ENV, FSYNC = "potoserver.yaml line", "environment", "POTO_TALK__JOURNAL__FSYNC"
NO_MODULES = {"POTO_MODULES": "[]"}

SECTION_MODULE = """
from typing import Literal
from pydantic import BaseModel, ConfigDict, Field, model_validator
from potoserver import ServerModule

class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    fsync: Literal["always", "never"] = "always"

class Talk(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    timeout_ms: int = Field(300000, gt=0, json_schema_extra={"env": "SESSION_TIMEOUT"})
    speaker: str = ""
    name: str = ""
    journal: Inner = Inner()

    @model_validator(mode="after")
    def _named(self):
        if self.speaker == "robot" and not self.name:
            raise ValueError("a robot as speaker needs a name")
        return self

class TalkModule(ServerModule):
    section = "talk"
    settings_model = Talk
"""


def loaded(folder: Path, text: str = "", environ: dict[str, str] | None = None, **flags: object) -> Loaded:
    (folder / "potoserver.yaml").write_text(text)
    return load(flags, {**NO_MODULES, **(environ or {})}, folder)


def test_without_any_source_the_defaults_hold(tmp_path: Path) -> None:
    """The defaults of the contract, with absolute paths."""
    settings = load({}, NO_MODULES, tmp_path).settings
    assert (settings.host, settings.port, settings.engine) == ("localhost", 3799, "memory://")
    assert (settings.data_dir, settings.log_dir) == (tmp_path / "data", tmp_path / "logs")
    assert settings.presence.grace_ms == 5000
    assert (settings.heartbeat_s, settings.send_timeout_s, settings.shutdown_timeout_s) == (15, 20, 30)
    assert (settings.hooks.timeout_s, settings.hooks.retry_for_s) == (10, 86_400)
    limits = settings.limits
    assert (limits.connections, limits.connections_per_user, limits.calls_per_minute) == (50_000, 10, 600)
    assert (limits.body_bytes, limits.outbox_bytes) == (1_048_576, 2_097_152)
    assert (settings.backlog.events, settings.backlog.bytes, settings.backlog.seconds) == (
        256,
        1_048_576,
        300,
    )
    assert (settings.log.debug, settings.log.debug_sse) == ("", False)
    assert settings.development_tokens


def test_each_source_beats_the_weaker_ones(tmp_path: Path) -> None:
    """File over default, environment over file, flag over environment."""
    assert loaded(tmp_path, "port: 1").settings.port == 1
    assert loaded(tmp_path, "port: 1", {"PORT": "2"}).settings.port == 2
    assert loaded(tmp_path, "port: 1", {"PORT": "2"}, port="3").settings.port == 3


def test_sources_say_where_each_value_was_read(tmp_path: Path) -> None:
    """Each given key has its source, a key with its default has none."""
    found = loaded(tmp_path, "\nport: 1\nlog:\n  debug: a", {"HOST": "::1"}, data_dir="d").sources
    assert dict(found) == {
        "port": "potoserver.yaml line 2",
        "log.debug": "potoserver.yaml line 4",
        "host": "environment HOST",
        "modules": "environment POTO_MODULES",
        "data_dir": "flag --data-dir",
    }


def test_a_section_is_merged_key_by_key(tmp_path: Path) -> None:
    """A key in the environment leaves its neighbours in the file alone."""
    log = loaded(tmp_path, "log:\n  debug: a\n  backups: 7", {"DEBUG": "b"}).settings.log
    assert (log.debug, log.backups) == ("b", 7)


_KEYS = [key for key in keys_of(Settings) if key.dotted != "modules"]


@pytest.mark.parametrize("key", _KEYS, ids=[key.dotted for key in _KEYS])
def test_every_key_can_be_set_by_its_variable(tmp_path: Path, key: object) -> None:
    """`POTO_` and the path in capitals sets it, and so does its own name where it has one."""
    (tmp_path / "plugins").mkdir()
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    (tmp_path / "key.pem").write_bytes(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    texts = {
        "host": "127.0.0.2",
        "engine": "memory://",
        "workers": "1",
        "modules_dir": "plugins",
        "log.debug_sse": "yes",
        "auth.tokens": '{"t": {"user": "a"}}',
        "auth.jwt_secret": "s" * 32,
        "auth.jwt_public_key_file": "key.pem",
        "cors.origins": '["https://example.org"]',
        "trusted_proxies": '["10.0.0.0/24"]',
    }
    for variable in key.variables:
        text = texts.get(key.dotted, "7")
        assert (
            load({}, {**NO_MODULES, variable: text}, tmp_path).sources[key.dotted]
            == f"environment {variable}"
        )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("1", True),
        ("yes", True),
        ("false", False),
        ("0", False),
        ("no", False),
        ("False", False),
    ],
)
def test_the_environment_spells_booleans_in_several_ways(tmp_path: Path, text: str, value: bool) -> None:
    """true, 1 and yes; false, 0 and no."""
    assert loaded(tmp_path, environ={"DEBUG_SSE": text}).settings.log.debug_sse is value


def test_numbers_and_mappings_are_read_from_text(tmp_path: Path) -> None:
    """A variable's text becomes what the key takes; a whole number in the file serves as a float."""
    environ = {
        "POTO_HEARTBEAT_S": "0.5",
        "POTO_AUTH__TOKENS": json.dumps({"t": {"user": "bob", "roles": ["user", "admin"]}}),
        "POTO_LIMITS": '{"connections": 5}',
    }
    settings = loaded(tmp_path, "send_timeout_s: 3", environ).settings
    assert (settings.heartbeat_s, settings.send_timeout_s) == (0.5, 3.0)
    assert settings.auth.tokens["t"].roles == ("user", "admin")
    assert settings.limits.connections == 5


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.org",
        "http://localhost:3000",
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
        "https://example.org:8443",
        "http://example.org:443",
        "capacitor://localhost",
        "chrome-extension://abcdefghijklmnop",
    ],
)
def test_an_origin_is_taken_as_a_browser_writes_it(tmp_path: Path, origin: str) -> None:
    """Scheme, host, and a port that is not the scheme's own."""
    environ = {"POTO_CORS__ORIGINS": json.dumps([origin])}
    assert loaded(tmp_path, environ=environ).settings.cors.origins == (origin,)


@pytest.mark.parametrize(
    "host", ["a", "my_host.example.org.", "a" * 63 + ".b", "1.example", "xn--bcher-kva.de"]
)
def test_any_host_name_is_taken(tmp_path: Path, host: str) -> None:
    """Labels of up to 63 characters, with or without the dot of the root."""
    environ = {"HOST": host, "POTO_AUTH__JWT_SECRET": "s" * 32}
    assert loaded(tmp_path, environ=environ).settings.host == host


def test_both_names_of_a_key_may_agree(tmp_path: Path) -> None:
    """Two variables with one value are no contradiction, however it is spelled."""
    assert loaded(tmp_path, environ={"DEBUG_SSE": "1", "POTO_LOG__DEBUG_SSE": "true"}).settings.log.debug_sse


def test_a_hashed_token_is_kept_in_lower_case(tmp_path: Path) -> None:
    """The hash is compared as text later, so its spelling must not matter."""
    hashed = hashlib.sha256(b"t").hexdigest()
    tokens = loaded(
        tmp_path, f"auth:\n  tokens:\n    SHA256:{hashed.upper()}: {{user: a}}"
    ).settings.auth.tokens
    assert list(tokens) == [f"sha256:{hashed}"]


def test_dates_and_numbers_in_quotes_stay_text(tmp_path: Path) -> None:
    """What YAML would make a date of is a text here."""
    assert loaded(tmp_path, "log:\n  debug: 2024-01-01").settings.log.debug == "2024-01-01"


def test_an_empty_file_and_an_empty_section_set_nothing(tmp_path: Path) -> None:
    """A file of comments, and a section whose keys are all commented out, are fine."""
    assert loaded(tmp_path, "# nothing\n").settings.port == 3799
    assert loaded(tmp_path, "log:\n  # debug: a\n").settings.log.debug == ""


def test_another_file_replaces_the_usual_one(tmp_path: Path) -> None:
    """With --config the usual file is not read at all."""
    (tmp_path / "other.yaml").write_text("heartbeat_s: 1")
    found = loaded(tmp_path, "port: 1", config="other.yaml")
    assert (found.settings.port, found.settings.heartbeat_s) == (3799, 1)
    assert found.sources["heartbeat_s"] == "other.yaml line 1"


def test_secrets_are_not_shown_by_the_settings(tmp_path: Path) -> None:
    """Printing the settings shows neither the JWT secret nor a token."""
    text = "auth:\n  tokens:\n    hush-token: {user: a}"
    settings = loaded(tmp_path, text, {"POTO_AUTH__JWT_SECRET": "hush-hush" * 4}).settings
    assert list(settings.auth.tokens) == ["hush-token"]
    assert "hush-token" not in repr(settings)
    assert settings.auth.jwt_secret is not None
    assert settings.auth.jwt_secret.get_secret_value() == "hush-hush" * 4
    assert "hush-hush" not in repr(settings)


def with_talk(folder: Path) -> None:
    (folder / "plugins").mkdir()
    (folder / "plugins" / "talk.py").write_text(SECTION_MODULE)


def test_a_modules_section_is_read_from_every_source(tmp_path: Path) -> None:
    """A module's keys work like the core's: nested, by variable and by a variable of their own."""
    with_talk(tmp_path)
    (tmp_path / "potoserver.yaml").write_text("modules_dir: plugins\ntalk:\n  speaker: bob\n")
    environ = {"POTO_TALK__JOURNAL__FSYNC": "never", "SESSION_TIMEOUT": "5"}
    found = load({}, environ, tmp_path)
    assert [module.name() for module in found.modules] == ["TalkModule"]
    assert found.sections["talk"].model_dump() == {
        "timeout_ms": 5,
        "speaker": "bob",
        "name": "",
        "journal": {"fsync": "never"},
    }


@pytest.mark.parametrize(
    ("text", "environ", "words"),
    [
        ("talk:\n  speeker: a", {}, f"talk.speeker ({FILE} 2): unknown setting, did you mean talk.speaker?"),
        ("", {"SESSION_TIMEOUT": "0"}, f"talk.timeout_ms ({ENV} SESSION_TIMEOUT): expected a whole number"),
        ("", {FSYNC: "x"}, f"talk.journal.fsync ({ENV} {FSYNC}): expected always or never, not 'x'"),
        (
            "talk:\n  timeout_ms: 5\n  speaker: robot",
            {},
            f"talk.speaker ({FILE} 3): a robot as speaker needs a name",
        ),
    ],
)
def test_a_modules_wrong_value_is_named_like_the_cores(
    tmp_path: Path, text: str, environ: dict[str, str], words: str
) -> None:
    """One line with key and source, also when the module's own check judges the whole section."""
    with_talk(tmp_path)
    (tmp_path / "potoserver.yaml").write_text(text)
    with pytest.raises(SettingsError, match="talk") as caught:
        load({}, {"POTO_MODULES_DIR": "plugins", **environ}, tmp_path)
    assert str(caught.value).startswith(words)


def test_the_section_of_a_module_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    """Settings for a module that does not run stop the start."""
    with pytest.raises(SettingsError, match=r"^talk .*line 1.: unknown setting"):
        loaded(tmp_path, "talk:\n  speaker: a")
