"""Who is asking: tokens, JSON Web Tokens, the cookie, tickets, and the development tokens' Host rule."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import stat
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import HMACAlgorithm

from potoserver.events import EventId
from potoserver.logs import Logs
from potoserver.settings.model import LogSettings, Settings
from potoserver.web.credentials import Credentials
from potoserver.web.signing import SigningKey
from tests.support.clock import ManualClock
from tests.support.server import RunningServer, RunServer, log_lines
from tests.web.sample import Sample

KEY = SigningKey(b"k" * 32)
SILENT = Logs(LogSettings(), None, None).get("auth")
SECRET = "a secret of at least sixty-four bytes, so that no algorithm finds it short"
START_S = ManualClock().now_ms() // 1000


def hashed(token: str) -> str:
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def with_auth(**auth: Any) -> Settings:
    return Settings.model_validate({"auth": auth})


@pytest.fixture
async def running(
    tmp_path: Path, clock: ManualClock, running_server: RunServer
) -> AsyncIterator[RunningServer]:
    auth = {
        "tokens": {
            "plain": {"user": "ann", "name": "Ann", "roles": ["user", "admin"]},
            hashed("kept"): {"user": "bob"},
        },
        "jwt_secret": SECRET,
        "login_lifetime_s": 500,
    }
    async with running_server(tmp_path, [Sample()], clock=clock, auth=auth) as running:
        yield running


async def who(running: RunningServer, headers: dict[str, str]) -> tuple[int, Any, str | None]:
    """Status, user and challenge of a call."""
    place = {"place": {"streetName": "s"}}
    async with running.session.post(f"{running.url}/Sample/visit", json=place, headers=headers) as answer:
        document = await answer.json(content_type=None)
        return answer.status, document.get("visitorId"), answer.headers.get("WWW-Authenticate")


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"sub": "eve"} | claims, secret, algorithm=algorithm)


@pytest.mark.parametrize(
    ("headers", "user"),
    [
        (bearer("plain"), "ann"),
        (bearer("kept"), "bob"),
        ({"Authorization": "bearer plain"}, "ann"),
        (bearer(token()), "eve"),
        (bearer(token(exp=START_S + 1)), "eve"),
        (bearer(token(jku="https://evil.example/keys")), "eve"),
        (bearer(jwt.encode({"sub": "eve"}, SECRET, headers={"kid": "../../../dev/null"})), "eve"),
        (bearer(token(nbf=START_S)), "eve"),
        (bearer(token(roles=["admin"], name="E", email="e@example.org")), "eve"),
    ],
)
async def test_a_valid_token_is_its_user(running: RunningServer, headers: dict[str, str], user: str) -> None:
    """Plain, hashed in the settings, or signed."""
    assert await who(running, headers) == (200, user, None)


@pytest.mark.parametrize(
    "given",
    [
        "wrong",
        "",
        "Plain",
        hashed("kept"),
        "test-token",
        "admin-token",
        token("another secret of at least thirty-two bytes"),
        token(algorithm="HS512"),
        jwt.encode({"sub": "eve"}, None, algorithm="none"),
        jwt.encode({"sub": "eve"}, SECRET, headers={"crit": ["x"], "x": 1}),
        f"{base64.urlsafe_b64encode(b'[' * 5400).decode().rstrip('=')}.e30.AAAA",
        "a.b.c" * 1500,
        token(exp=START_S),
        token(exp=START_S - 1),
        token(exp="soon"),
        token(exp=True),
        token(nbf=START_S + 1),
        token(aud="somebody else"),
        token(roles="admin"),
        token(roles=["admin", 1]),
        token(name=5),
        token(name="\ud800"),
        token(sub=""),
        token(sub="x" * 201),
        token() + "x",
    ],
)
async def test_an_invalid_token_is_401_and_says_so(running: RunningServer, given: str) -> None:
    """With the error that RFC 6750 names."""
    status, _, challenge = await who(running, bearer(given))
    assert status == 401
    assert challenge is not None
    assert challenge.startswith("Bearer ")
    assert 'error="invalid_token"' in challenge


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic cGxhaW46"}, {"Cookie": "other=1"}])
async def test_without_a_token_the_challenge_names_no_error(
    running: RunningServer, headers: dict[str, str]
) -> None:
    """401 with `WWW-Authenticate: Bearer` alone."""
    status, _, challenge = await who(running, headers)
    assert status == 401
    assert challenge is not None
    assert challenge.startswith("Bearer")
    assert "error" not in challenge


async def test_roles_default_to_user(running: RunningServer) -> None:
    """A JSON Web Token without roles opens no admin method, one with the role does."""
    for claims, status in (({}, 403), ({"roles": ["admin"]}, 200)):
        async with running.session.post(
            f"{running.url}/Sample/rule", headers=bearer(token(**claims))
        ) as answer:
            assert answer.status == status


@pytest.mark.parametrize(("kind", "algorithm"), [("rsa", "RS256"), ("ec", "ES256")])
async def test_a_public_key_decides_the_algorithm(
    tmp_path: Path, clock: ManualClock, kind: str, algorithm: str
) -> None:
    """RS256 or ES256; a token that uses the public key as an HMAC secret is refused."""
    private: Any = (
        rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    )
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path = tmp_path / "key.pem"
    path.write_bytes(pem)
    credentials = Credentials(with_auth(jwt_public_key_file=path), clock, KEY, SILENT)
    identity = credentials.verify(jwt.encode({"sub": "eve"}, private, algorithm=algorithm))
    assert identity is not None
    assert identity.user.id == "eve"
    header_payload = jwt.encode({"sub": "eve"}, SECRET, algorithm="HS256").rpartition(".")[0]
    mac = hmac.new(pem, header_payload.encode(), "sha256").digest()
    confused = f"{header_payload}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    assert credentials.verify(confused) is None
    assert credentials.verify("test-token") is None


@pytest.mark.parametrize("content", [None, b"", b"no key", "p384", "rsa1024"])
def test_a_key_file_that_cannot_be_used_names_its_setting(
    tmp_path: Path, clock: ManualClock, content: bytes | str | None
) -> None:
    """Missing, no PEM, another curve, or too short."""
    path = tmp_path / "key.pem"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        private: Any = (
            ec.generate_private_key(ec.SECP384R1())
            if content == "p384"
            else rsa.generate_private_key(65537, 1024)
        )
        path.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ValueError, match=r"^auth\.jwt_public_key_file: "):
        Credentials(with_auth(jwt_public_key_file=path), clock, KEY, SILENT)


def test_a_secret_that_is_too_short_is_refused() -> None:
    """RFC 7518, section 3.2: HS256 wants a key of 32 bytes or more."""
    with pytest.raises(ValueError, match="at least 32 bytes"):
        with_auth(jwt_secret="x" * 31)
    assert with_auth(jwt_secret="x" * 32)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("wrong", "not in the compact form"),
        (token("another secret of at least thirty-two bytes"), "InvalidSignatureError"),
        (token(algorithm="HS512"), "InvalidAlgorithmError"),
        (token(aud="somebody else"), "InvalidAudienceError"),
        (token(exp=START_S), "it has expired"),
        (token(nbf=START_S + 1), "it is not valid yet"),
        (token(sub=""), "a claim can't be used"),
        (token(roles="admin"), "a claim can't be used"),
    ],
)
def test_a_refused_token_has_its_reason_in_the_log(
    tmp_path: Path, clock: ManualClock, given: str, reason: str
) -> None:
    """One debug line of the logger `auth`, without the token."""
    logs = Logs(LogSettings(debug="auth"), tmp_path / "logs", terminal=None)
    logs.start()
    assert Credentials(with_auth(jwt_secret=SECRET), clock, KEY, logs.get("auth")).verify(given) is None
    logs.stop()
    (line,) = log_lines(tmp_path)
    assert (line["level"], line["logger"], line["event"]) == ("debug", "auth", "token refused")
    assert line["reason"] == reason
    assert given not in str(line)


def test_a_secret_is_looked_at_once(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each token: whether it is a key of another kind does not change."""
    looked: list[Any] = []
    prepare = HMACAlgorithm.prepare_key

    def look(algorithm: HMACAlgorithm, key: str | bytes) -> bytes:
        looked.append(key)
        return prepare(algorithm, key)

    monkeypatch.setattr(HMACAlgorithm, "prepare_key", look)
    credentials = Credentials(with_auth(jwt_secret=SECRET), clock, KEY, SILENT)
    given = [token(), token(name="Eve"), token("another secret of at least thirty-two bytes")]
    looked.clear()
    assert [credentials.verify(each) is not None for each in given] == [True, True, False]
    assert looked == [SECRET.encode()]


def test_a_secret_that_is_a_public_key_verifies_nothing(clock: ManualClock) -> None:
    """Who signs with what everybody may know signs nothing."""
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header, payload, _ = token().split(".")
    mac = hmac.digest(pem, f"{header}.{payload}".encode(), "sha256")
    forged = f"{header}.{payload}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    assert Credentials(with_auth(jwt_secret=pem.decode()), clock, KEY, SILENT).verify(forged) is None


# Development tokens


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:3799", 200),
        ("127.0.0.1:1", 200),
        ("127.9.9.9", 200),
        ("[::1]:3799", 200),
        ("example.org", 403),
        ("localhost.example.org", 403),
        ("evil.localhost", 403),
        ("127.0.0.1.example.org", 403),
        ("10.0.0.1", 403),
        ("[::2]", 403),
        ("localhost@example.org", 403),
        ("", 403),
    ],
)
async def test_development_tokens_serve_loopback_names_alone(
    tmp_path: Path, host: str, status: int, running_server: RunServer
) -> None:
    """403 for any other Host, whatever is asked for."""
    async with running_server(tmp_path, [Sample()]) as running:
        assert (await who(running, bearer("test-token") | {"Host": host}))[0] == status
        async with running.session.get(f"{running.url}/health", headers={"Host": host}) as answer:
            assert answer.status == status


@pytest.mark.parametrize(
    ("name", "clients", "status"),
    [
        ("X-Forwarded-For", "127.0.0.1", 200),
        ("X-Forwarded-For", "::1, 127.0.0.2", 200),
        ("X-Forwarded-For", "127.0.0.1:4711, [::1]:80", 200),
        ("X-Forwarded-For", "", 200),
        ("X-Forwarded-For", "192.168.0.7", 403),
        ("X-Forwarded-For", "127.0.0.1, 192.168.0.7", 403),
        ("X-Forwarded-For", "2001:db8::1", 403),
        ("X-Forwarded-For", "unknown", 403),
        ("Forwarded", "for=127.0.0.1;proto=http;by=10.0.0.1", 200),
        ("Forwarded", 'For="[::1]:4711"', 200),
        ("Forwarded", "proto=https", 200),
        ("Forwarded", "for=127.0.0.1, for=192.0.2.60;proto=http", 403),
        ("Forwarded", 'proto=http; for="[2001:db8::1]:4711"', 403),
        ("Forwarded", "for=_hidden", 403),
    ],
)
async def test_development_tokens_serve_clients_of_this_machine_alone(
    tmp_path: Path, name: str, clients: str, status: int, running_server: RunServer
) -> None:
    """403 for a client that a proxy on this machine lets in from elsewhere."""
    async with running_server(tmp_path, [Sample()]) as running:
        assert (await who(running, bearer("test-token") | {name: clients}))[0] == status


async def test_with_tokens_any_host_and_client_is_served(running: RunningServer) -> None:
    """These rules belong to the development tokens."""
    headers = {"Host": "example.org", "X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1"}
    assert (await who(running, bearer("plain") | headers))[0] == 200


@pytest.mark.parametrize("claim", ["exp", "nbf"])
@pytest.mark.parametrize(
    "value", [1e308, pytest.param(10**400, id="huge"), float("nan"), float("inf"), True, "1"]
)
def test_a_time_beyond_all_time_makes_a_token_invalid(clock: ManualClock, claim: str, value: object) -> None:
    """Refused, never an error of the server."""
    credentials = Credentials(with_auth(jwt_secret=SECRET), clock, KEY, SILENT)
    header = {"alg": "HS256", "typ": "JWT"}
    parts = [json.dumps(part).encode() for part in (header, {"sub": "eve", claim: value})]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    mac = hmac.new(SECRET.encode(), signed, "sha256").digest()
    token = b".".join([signed, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()
    assert credentials.verify(token) is None


async def test_the_development_tokens_are_two_users(tmp_path: Path, running_server: RunServer) -> None:
    """`test-token` is a1, `admin-token` is admin with its role."""
    async with running_server(tmp_path, [Sample()]) as running:
        assert (await who(running, bearer("test-token")))[1] == "a1"
        assert (await who(running, bearer("admin-token")))[1] == "admin"
        assert (await running.call("Sample/rule"))[0] == 403
        assert (await running.call("Sample/rule", token="admin-token"))[0] == 200


# The cookie


async def login(running: RunningServer, given: str, **headers: str) -> tuple[int, Any, SimpleCookie]:
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.post(f"{running.url}/login", json={"token": given}, headers=headers) as answer,
    ):
        return answer.status, await answer.json(content_type=None), answer.cookies


def as_cookie(cookies: SimpleCookie) -> dict[str, str]:
    return {"Cookie": f"potoserver={cookies['potoserver'].value}"}


async def test_login_sets_a_cookie_that_stands_for_the_token(running: RunningServer) -> None:
    """HttpOnly, SameSite=Strict, for the whole site, Secure behind TLS alone."""
    status, document, cookies = await login(running, "plain")
    assert (status, document) == (200, {"user": "ann", "name": "Ann", "roles": ["admin", "user"]})
    cookie = cookies["potoserver"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert (cookie["secure"], cookie["max-age"]) == ("", "500")
    assert "plain" not in cookie.value
    assert await who(running, as_cookie(cookies)) == (200, "ann", None)
    assert cookie["domain"] == ""


async def test_a_cookie_ends_with_its_lifetime_or_its_token(
    running: RunningServer, clock: ManualClock
) -> None:
    """Whichever comes first."""
    _, _, of_token = await login(running, token(exp=START_S + 100))
    _, _, of_settings = await login(running, "plain")
    assert of_token["potoserver"]["max-age"] == "99"  # the clock stands 120 ms after the full second
    await clock.advance(100)
    assert (await who(running, as_cookie(of_token)))[0] == 401
    assert (await who(running, as_cookie(of_settings)))[0] == 200
    await clock.advance(401)
    assert (await who(running, as_cookie(of_settings)))[0] == 401


async def test_a_cookie_ends_when_its_token_leaves_the_settings(
    tmp_path: Path, clock: ManualClock, running_server: RunServer
) -> None:
    """Also one of a JSON Web Token whose secret was replaced; the key outlives the restart."""
    auth = {"tokens": {"one": {"user": "ann"}, "two": {"user": "bob"}}, "jwt_secret": SECRET}
    async with running_server(tmp_path, [Sample()], clock=clock, auth=auth) as running:
        cookies = [(await login(running, given))[2] for given in ("one", "two", token())]
    auth = {"tokens": {"two": {"user": "bob", "roles": ["admin"]}}, "jwt_secret": SECRET + "!"}
    async with running_server(tmp_path, [Sample()], clock=clock, auth=auth) as running:
        statuses = [(await who(running, as_cookie(each)))[0] for each in cookies]
        assert statuses == [401, 200, 401]
        async with running.session.post(
            f"{running.url}/Sample/rule", headers=as_cookie(cookies[1])
        ) as answer:
            assert answer.status == 200  # roles are those of the settings now


async def test_a_forged_cookie_is_401(running: RunningServer) -> None:
    """Only the server's own key signs one, and for this purpose."""
    claims = {"sub": "ann", "credential": "x", "until_ms": None, "aud": "login"}
    assert (await who(running, {"Cookie": f"potoserver={token(**claims)}"}))[0] == 401
    async with running.session.post(f"{running.url}/subscribe/ticket", headers=bearer("plain")) as answer:
        ticket = (await answer.json())["ticket"]
    assert (await who(running, {"Cookie": f"potoserver={ticket}"}))[0] == 401


async def test_the_header_beats_the_cookie(running: RunningServer) -> None:
    """Also where the header's token is not valid."""
    _, _, cookies = await login(running, "plain")
    assert (await who(running, as_cookie(cookies) | bearer("kept")))[1] == "bob"
    assert (await who(running, as_cookie(cookies) | bearer("wrong")))[0] == 401


async def test_a_page_of_another_origin_can_not_use_the_cookie(running: RunningServer) -> None:
    """403; our own pages, programs without Origin and bearer tokens pass."""
    _, _, cookies = await login(running, "plain")
    cookie = as_cookie(cookies)
    same = running.url
    for origin, status in ((same, 200), ("https://evil.example", 403), ("null", 403), (f"{same}1", 403)):
        assert (await who(running, cookie | {"Origin": origin}))[0] == status
    assert (await who(running, cookie | {"Origin": "https://a.example", "Host": "a.example"}))[0] == 200
    assert (await who(running, bearer("plain") | {"Origin": "https://evil.example"}))[0] == 200
    assert (await login(running, "plain", Origin="https://evil.example"))[0] == 403


async def test_logout_clears_the_cookie(running: RunningServer) -> None:
    """With the attributes it was set with."""
    async with running.session.post(f"{running.url}/logout") as answer:
        assert answer.status == 204
        cookie = answer.cookies["potoserver"]
        assert (cookie.value, cookie["max-age"], cookie["path"]) == ("", "0", "/")


# Tickets


class TicketUser:
    """Asks for tickets, and tries them as `/subscribe` does."""

    def __init__(self, running: RunningServer) -> None:
        self.running = running

    async def issue(self, headers: dict[str, str]) -> str:
        url = f"{self.running.url}/subscribe/ticket"
        async with self.running.session.post(url, headers=headers) as answer:
            document = await answer.json()
            assert document["expiresInS"] == 30
            return str(document["ticket"])

    async def subscribe(self, ticket: str, last_event_id: str | None = None) -> tuple[int, str | None]:
        """The status, and the id that `connected` carries."""
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        async with self.running.session.get(
            f"{self.running.url}/subscribe", params={"ticket": ticket}, headers=headers
        ) as answer:
            if answer.status != 200:
                return answer.status, None
            lines = (await answer.content.readuntil(b"\n\n")).decode().split("\n")
            return 200, next((line[4:] for line in lines if line.startswith("id: ")), None)


@pytest.fixture
def tickets(running: RunningServer) -> TicketUser:
    return TicketUser(running)


async def test_a_ticket_opens_one_stream_and_its_reconnects(tickets: TicketUser, clock: ManualClock) -> None:
    """After the first use only with a `Last-Event-ID` of the stream that it opened."""
    ticket = await tickets.issue(bearer("plain"))
    status, opened_with = await tickets.subscribe(ticket)
    assert status == 200
    assert opened_with is not None
    opened = EventId.parse(opened_with)
    assert opened is not None
    assert (await tickets.subscribe(ticket))[0] == 401
    assert (await tickets.subscribe(ticket, "other-0"))[0] == 401
    assert (await tickets.subscribe(ticket, "nonsense"))[0] == 401
    await clock.advance(60)
    assert (await tickets.subscribe(ticket, opened_with))[0] == 200
    assert (await tickets.subscribe(ticket, str(opened._replace(seq=opened.seq + 5))))[0] == 200


async def test_a_ticket_outlives_the_log(tickets: TicketUser, clock: ManualClock) -> None:
    """When the log began anew, the id before and the new one are both good: an answer may have got lost."""
    ticket = await tickets.issue(bearer("plain"))
    _, before = await tickets.subscribe(ticket)
    await clock.advance(1000)
    status, after = await tickets.subscribe(ticket, before)
    assert status == 200
    assert after != before
    assert (await tickets.subscribe(ticket, before))[0] == 200
    assert (await tickets.subscribe(ticket, after))[0] == 200


async def test_an_id_from_before_the_stream_is_not_enough(
    running: RunningServer, tickets: TicketUser
) -> None:
    """The id must not lie before the one with which the stream opened."""
    from potoserver import Event

    for _ in range(3):
        await running.core.engine.publish("ann", Event("x"))
    ticket = await tickets.issue(bearer("plain"))
    _, opened_with = await tickets.subscribe(ticket)
    opened = EventId.parse(opened_with or "")
    assert opened is not None
    assert opened.seq == 3
    assert (await tickets.subscribe(ticket, str(opened._replace(seq=2))))[0] == 401
    assert (await tickets.subscribe(ticket, str(opened)))[0] == 200


async def test_a_ticket_waits_thirty_seconds(tickets: TicketUser, clock: ManualClock) -> None:
    """Then it is good for nothing."""
    ticket, late = await tickets.issue(bearer("plain")), await tickets.issue(bearer("plain"))
    await clock.advance(29.9)
    assert (await tickets.subscribe(ticket))[0] == 200
    await clock.advance(0.2)
    assert (await tickets.subscribe(late))[0] == 401


async def test_a_ticket_ends_with_the_token_it_came_from(tickets: TicketUser, clock: ManualClock) -> None:
    """And is for `/subscribe` alone."""
    ticket = await tickets.issue(bearer(token(exp=START_S + 10)))
    await clock.advance(10)
    assert (await tickets.subscribe(ticket))[0] == 401
    other = await tickets.issue(bearer("plain"))
    assert (await who(tickets.running, bearer(other)))[0] == 401
    url = f"{tickets.running.url}/Sample/rule"
    async with tickets.running.session.post(url, params={"ticket": other}) as answer:
        assert answer.status == 401


async def test_a_ticket_helps_where_the_cookie_has_ended(tickets: TicketUser) -> None:
    """A page can't take its cookie out of a request."""
    ticket = await tickets.issue(bearer("plain"))
    async with tickets.running.session.get(
        f"{tickets.running.url}/subscribe", params={"ticket": ticket}, headers={"Cookie": "potoserver=old"}
    ) as answer:
        assert answer.status == 200


# The key


def test_the_signing_key_is_made_once_and_private(tmp_path: Path) -> None:
    """32 random bytes, mode 0600, the same after a restart."""
    first, second = (SigningKey.load(tmp_path / "data", SILENT) for _ in range(2))
    path = tmp_path / "data" / ".signing-key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [".signing-key"]
    assert second.verify("p", first.sign("p", {"a": 1})) == {"a": 1, "aud": "p"}
    assert second.verify("q", first.sign("p", {"a": 1})) is None


def test_a_damaged_signing_key_is_named(tmp_path: Path) -> None:
    """And never replaced silently."""
    (tmp_path / ".signing-key").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"\.signing-key must have 32 bytes, it has 5"):
        SigningKey.load(tmp_path, SILENT)


async def test_no_token_is_ever_logged(tmp_path: Path, clock: ManualClock, running_server: RunServer) -> None:
    """Whole nor in a ticket's URL, at debug level too; nor what a caller says."""
    auth = {"tokens": {"tell-nobody": {"user": "ann"}}}
    async with running_server(
        tmp_path, [Sample()], clock=clock, auth=auth, log={"debug": "*", "debug_sse": True}
    ) as running:
        ticket = await TicketUser(running).issue(bearer("tell-nobody"))
        await TicketUser(running).subscribe(ticket)
        await login(running, "tell-nobody")
        await login(running, "wrong-secret")
        await running.call("Sample/echo", {"someText": "private words"}, token="tell-nobody")
        await running.call("Sample/echo", {"someText": 1, "private words": 1}, token="tell-nobody")
    lines = log_lines(tmp_path)
    text = str(lines)
    for secret in ("tell-nobody", "wrong-secret", ticket, "private words"):
        assert secret not in text
    requests = [line for line in lines if line["event"] == "request"]
    assert {"/subscribe", "/login", "/Sample/echo"} <= {line["path"] for line in requests}
    assert requests[0]["user"] == "ann"
