"""Every setting of the core: its key, type, default and meaning. docs/configuration.md is made from this."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator

from potoserver.settings.engine_url import EMBEDDED_ENGINE, check_engine_url, shown_engine
from potoserver.users import User

HS256_KEY_BYTES = 32
"""Of a key to sign with by HS256, at least (RFC 7518, section 3.2)."""

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]
# The upper bounds are far above what makes sense: they stop slips of the pen, and numbers that no timer and
# no system call takes.
_HOUR_S = 3600
_DAY_S = 86_400
_YEAR_S = 31_536_000
_MANY = 1_000_000

_TOKEN_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_HOST_LABEL = "[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_HOST_NAME = re.compile(rf"(?!.{{254}}){_HOST_LABEL}(\.{_HOST_LABEL})*\.?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


class Section(BaseModel):
    """A group of settings: frozen, nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PresenceSettings(Section):
    """When a user counts as gone."""

    grace_ms: NonNegativeInt = Field(
        5000,
        le=_DAY_S * 1000,
        description="From a user's last connection's end to the session's end, in ms; 0 ends at once.",
        json_schema_extra={"env": "SESSION_RECONNECT_GRACE"},
    )


class LogSettings(Section):
    """What is logged, and how long log files are kept."""

    debug: str = Field(
        "",
        description="Logger patterns at debug level, by commas: `session:*,journal:*,-session:activity`.",
        json_schema_extra={"env": "DEBUG"},
    )
    debug_sse: bool = Field(
        False,
        description="Log every event, heartbeat and replay: id, type, bytes, never data.",
        json_schema_extra={"env": "DEBUG_SSE"},
    )
    max_bytes: PositiveInt = Field(10_485_760, description="Size at which `server.log` is rotated.")
    backups: PositiveInt = Field(5, le=1000, description="How many rotated files are kept.")


class TokenOwner(Section):
    """Whom a token stands for."""

    user: str = Field(description="The user's id.")
    name: str = Field("", description="A name for people.")
    email: str = Field("", description="An address.")
    roles: tuple[str, ...] = Field(("user",), description="What the user may do.")

    @field_validator("user")
    @classmethod
    def _usable_id(cls, user: str) -> str:
        User.create(user)
        return user

    @field_validator("roles")
    @classmethod
    def _no_empty_role(cls, roles: tuple[str, ...]) -> tuple[str, ...]:
        if not all(roles):
            raise ValueError("a role must not be empty")
        return roles


class AuthSettings(Section):
    """Who may come in. With none of these set there are development tokens, on loopback only."""

    tokens: dict[str, TokenOwner] = Field(
        default_factory=dict,
        repr=False,
        description="A token, or its SHA-256 as `sha256:<64 hex digits>`, to `{user, name, email, roles}`.",
        json_schema_extra={"secret": True},
    )
    jwt_secret: SecretStr | None = Field(
        None, description="Accepts JSON Web Tokens signed HS256 with it; 32 bytes or more."
    )
    jwt_public_key_file: Path | None = Field(
        None, description="Accepts JSON Web Tokens signed RS256 or ES256 for this PEM key."
    )
    login_lifetime_s: PositiveInt = Field(
        1_209_600, le=_YEAR_S, description="How long the cookie of a login is good, in seconds."
    )

    @field_validator("tokens")
    @classmethod
    def _usable_tokens(cls, tokens: dict[str, TokenOwner]) -> dict[str, TokenOwner]:
        # No message names a token: it would end in a log.
        usable = {}
        for token, owner in tokens.items():
            key = token.lower() if token.lower().startswith("sha256:") else token
            if not token:
                raise ValueError("a token must not be empty")
            if key.startswith("sha256:") and not _TOKEN_HASH.fullmatch(key):
                raise ValueError("a hashed token must be sha256: and 64 hex digits")
            if not all("!" <= char <= "~" for char in key):
                raise ValueError("a token must be of visible ASCII characters, without a blank")
            if key in usable:
                raise ValueError("one hashed token is given twice")
            usable[key] = owner
        return usable

    @field_validator("jwt_secret")
    @classmethod
    def _long_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().encode()) < HS256_KEY_BYTES:
            raise ValueError(f"the secret must have at least {HS256_KEY_BYTES} bytes (RFC 7518, section 3.2)")
        return secret


class CorsSettings(Section):
    """Pages of other origins that may call this server from a browser."""

    origins: tuple[str, ...] = Field((), description="Origins such as `https://example.org`; empty is off.")

    @field_validator("origins")
    @classmethod
    def _usable_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        # Compared as text with what browsers send, so an entry of another form would never match.
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin, expected scheme://host or scheme://host:port in lower case, "
                    "without a path, a slash at the end or *"
                )
            port = _DEFAULT_PORTS.get(origin.partition(":")[0])
            if port is not None and origin.endswith(port):
                raise ValueError(f"{origin!r} names its scheme's own port, which browsers leave out")
        return origins


class HookSettings(Section):
    """How long a module's hook may take, and how long a failing one is repeated."""

    timeout_s: PositiveSeconds = Field(10, le=_HOUR_S, description="One try of a hook, in seconds.")
    retry_for_s: PositiveSeconds = Field(
        _DAY_S,
        le=_YEAR_S,
        description="How long a failing departure hook is repeated before it is parked, in seconds.",
    )


class LimitSettings(Section):
    """Bounds; 0 is off where it is allowed."""

    connections: NonNegativeInt = Field(
        50_000,
        le=_MANY,
        description="Open event streams; also held below what the limit of open files allows.",
    )
    connections_per_user: NonNegativeInt = Field(
        10, le=_MANY, description="Open event streams of one user, on all nodes."
    )
    sockets: PositiveInt = Field(
        10_000,
        le=_MANY,
        description="Accepted connections without an event stream: idle, in a call, without a whole request. "
        "Also held below a quarter of what the limit of open files allows.",
    )
    head_timeout_s: PositiveSeconds = Field(
        10, le=_HOUR_S, description="How long a new connection's first request may be in coming, in seconds."
    )
    calls_at_once: PositiveInt = Field(1000, le=_MANY, description="Calls in flight.")
    calls_at_once_per_user: PositiveInt = Field(64, le=_MANY, description="Calls of one user in flight.")
    calls_per_minute: NonNegativeInt = Field(600, le=_MANY, description="Requests of one user in a minute.")
    body_bytes: PositiveInt = Field(1_048_576, description="Size of a request's body.")
    body_timeout_s: PositiveSeconds = Field(
        30, le=_HOUR_S, description="How long a request's body may be in coming, in seconds."
    )
    outbox_bytes: PositiveInt = Field(
        2_097_152, description="What may wait for a slow reader before its connection is ended."
    )
    user_bytes: NonNegativeInt = Field(
        1_073_741_824,
        description="What one user's dialogs may take on the disk, each file counted in blocks of 4 KiB; "
        "past that a message is answered 507.",
    )


class BacklogSettings(Section):
    """The log of a user's events from which a returning client gets what it missed."""

    events: PositiveInt = Field(256, description="Events kept for one user.")
    bytes: PositiveInt = Field(1_048_576, description="Bytes kept for one user.")
    seconds: PositiveSeconds = Field(300, le=_YEAR_S, description="How long an event is kept.")


class Settings(Section):
    """All settings of the core. Modules have sections of their own beside these, in the same sources."""

    host: str = Field(
        "localhost",
        description="Address to listen on; `localhost` is 127.0.0.1 and ::1.",
        json_schema_extra={"env": "HOST"},
    )
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        3799, description="Port to listen on; 0 takes a free one.", json_schema_extra={"env": "PORT"}
    )
    trusted_proxies: tuple[str, ...] = Field(
        ("127.0.0.0/8", "::1/128"),
        description="Addresses or networks of proxies whose `X-Forwarded-For` is believed where wrong tokens "
        "are counted by the address that they come from.",
    )
    data_dir: Path = Field(Path("data"), description="Folder of the dialogs.")
    log_dir: Path = Field(Path("logs"), description="Folder of `server.log`.")
    engine: Annotated[str, AfterValidator(check_engine_url)] = Field(
        EMBEDDED_ENGINE,
        repr=False,
        description="What keeps presence and event logs: `memory://` is embedded, for one node; several "
        "nodes share a Valkey 7.2+ or Redis 6.2+: `valkey://host:6379/0`, `redis://`, over TLS `valkeys://`, "
        "`rediss://`, or `unix:///path`.",
        json_schema_extra={"secret": True},
    )
    workers: Annotated[int, Field(ge=1, le=1024)] = Field(
        1,
        description="Processes that serve on the address, each a node of its own; more than one need an "
        "engine that nodes share.",
    )
    modules_dir: Path | None = Field(
        None, description="Folder of plugins; without it the checkout's `modules`."
    )
    modules: tuple[str, ...] | None = Field(
        None,
        description="Plugins by name, or `package.module:Class`; without it all found in the folder.",
    )
    heartbeat_s: PositiveSeconds = Field(
        15, le=_HOUR_S, description="Seconds between two heartbeats of a connection."
    )
    send_timeout_s: Annotated[float, Field(ge=1, le=_DAY_S)] = Field(
        20, description="How long a client may take nothing of what it is sent, in seconds."
    )
    shutdown_timeout_s: Annotated[float, Field(ge=3, le=_HOUR_S)] = Field(
        30, description="All that a shutdown may take, in seconds."
    )
    presence: PresenceSettings = PresenceSettings()
    log: LogSettings = LogSettings()
    auth: AuthSettings = AuthSettings()
    cors: CorsSettings = CorsSettings()
    hooks: HookSettings = HookSettings()
    limits: LimitSettings = LimitSettings()
    backlog: BacklogSettings = BacklogSettings()

    @field_validator("trusted_proxies")
    @classmethod
    def _usable_networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise ValueError(
                    f"{proxy!r} is no address and no network, expected 10.0.0.7 or 10.0.0.0/24"
                ) from None
        return proxies

    @field_validator("host")
    @classmethod
    def _usable_host(cls, host: str) -> str:
        if _address_of(host) is None and not _HOST_NAME.fullmatch(host):
            raise ValueError("expected a host name or an IP address, without scheme, port or brackets")
        return host

    @property
    def shown_engine(self) -> str:
        """`engine` as it may be shown: without who logs in there."""
        return shown_engine(self.engine)

    @property
    def loopback_only(self) -> bool:
        """Whether `host` is reached from this machine alone."""
        address = _address_of(self.host)
        return self.host.lower() == "localhost" if address is None else address.is_loopback

    @property
    def development_tokens(self) -> bool:
        """Whether nobody was given access, so that the development tokens are active."""
        return not (self.auth.tokens or self.auth.jwt_secret or self.auth.jwt_public_key_file)

    @property
    def retry_ms(self) -> int:
        """The reconnection time that clients are told: 1000 ms, or a quarter of a grace below 4 s, not 0."""
        quarter = self.presence.grace_ms // 4
        return min(1000, quarter) if quarter else 1000


def _address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
