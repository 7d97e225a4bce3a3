"""Nobody gets to try token after token: wrong ones are counted by where they come from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp.test_utils import make_mocked_request

from potoserver.web.client_address import ClientAddresses
from potoserver.web.credentials import Credentials, Identity
from potoserver.web.guesses import WRONG_TOKENS_PER_MINUTE
from tests.support.clock import ManualClock
from tests.support.server import RunningServer, RunServer, log_lines
from tests.web.sample import Sample

SECRET = "a secret of at least sixty-four bytes, so that no algorithm finds it short"
AUTH = {"tokens": {"one": {"user": "ann"}, "two": {"user": "bob"}}, "jwt_secret": SECRET}


@pytest.fixture
async def running(
    tmp_path: Path, clock: ManualClock, running_server: RunServer
) -> AsyncIterator[RunningServer]:
    limits = {"calls_per_minute": 0}
    async with running_server(tmp_path, [Sample()], clock=clock, auth=AUTH, limits=limits) as running:
        yield running


async def call(running: RunningServer, token: str, **headers: str) -> int:
    """The status of a call with a bearer token."""
    return (await running.call("Sample/remember", token=token, **headers))[0]


async def login(running: RunningServer, token: str, **headers: str) -> int:
    """The status of a login."""
    url = f"{running.url}/login"
    async with running.session.post(url, json={"token": token}, headers=headers) as answer:
        if answer.status == 429:
            assert int(answer.headers["Retry-After"]) > 0
            assert "wrong tokens" in await answer.text()
        return answer.status


async def exhaust(running: RunningServer, **headers: str) -> None:
    """Brings as many wrong tokens as are looked at, half of them each way."""
    for number in range(WRONG_TOKENS_PER_MINUTE // 2):
        assert await login(running, f"wrong {number}", **headers) == 401
        assert await call(running, f"wrong{number}", **headers) == 401


async def test_wrong_tokens_are_limited_by_address(running: RunningServer, clock: ManualClock) -> None:
    """Logins and bearer tokens together; then 429, whether the next one is right or not; then again."""
    await exhaust(running)
    for token in ("wrong", "one"):
        assert await login(running, token) == 429
        assert await call(running, token) == 429
    await clock.advance(60 / WRONG_TOKENS_PER_MINUTE)
    assert await call(running, "one") == 200


async def test_who_was_at_work_goes_on(running: RunningServer) -> None:
    """A token that was good from there before is good all the time; no other one is."""
    assert await call(running, "one") == 200
    await exhaust(running)
    assert await call(running, "one") == 200
    assert await login(running, "one") == 200
    assert await call(running, "two") == 429
    assert await call(running, "one", **{"X-Forwarded-For": "192.0.2.1"}) == 200


async def test_good_tokens_are_not_counted(running: RunningServer) -> None:
    """However often they come."""
    for _ in range(2 * WRONG_TOKENS_PER_MINUTE):
        assert await call(running, "one") == 200
    assert await call(running, "wrong") == 401


async def test_an_expired_token_is_no_guess(running: RunningServer, clock: ManualClock) -> None:
    """A page that was left open with one locks nobody out; one with another's signature is a guess."""
    expired = jwt.encode({"sub": "eve", "exp": clock.now_ms() // 1000 - 5}, SECRET, algorithm="HS256")
    for _ in range(2 * WRONG_TOKENS_PER_MINUTE):
        assert await call(running, expired) == 401
    assert await call(running, "two") == 200
    for number in range(2 * WRONG_TOKENS_PER_MINUTE):
        claims = {"sub": f"user-{number}", "exp": clock.now_ms() // 1000 + 1}
        token = jwt.encode(claims, SECRET, algorithm="HS256")
        assert await call(running, token) == 200
        await clock.advance(1)
        assert await call(running, token) == 401, "it was good here, and has expired"
    forged = jwt.encode({"sub": "eve"}, SECRET + "!", algorithm="HS256")
    for _ in range(WRONG_TOKENS_PER_MINUTE):
        assert await call(running, forged) == 401
    assert await call(running, forged) == 429


async def test_a_remembered_token_lasts_no_longer_than_its_claims(
    running: RunningServer, clock: ManualClock
) -> None:
    """It ends with its `exp`; and it is not valid again before its `nbf`, where the clock is put back."""
    start_s, since_ms = divmod(clock.wall_ms(), 1000)
    claims = {"sub": "eve", "nbf": start_s, "exp": start_s + 10}
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    for _ in range(3):
        assert await call(running, token) == 200
    clock.step_wall(-since_ms - 1)
    assert await call(running, token) == 401, "it is not valid yet"
    clock.step_wall(1)
    for _ in range(3):
        assert await call(running, token) == 200
    clock.step_wall(9_999)
    assert await call(running, token) == 200
    clock.step_wall(1)
    assert await call(running, token) == 401, "it has expired"


async def test_a_signature_is_checked_twice_at_most(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From each address; what the token stands for is remembered then. A wrong one is looked at each time."""
    checked: list[str] = []
    verify = Credentials.verify

    def count(credentials: Credentials, token: str) -> Identity | None:
        checked.append(token)
        return verify(credentials, token)

    monkeypatch.setattr(Credentials, "verify", count)
    good, forged = (
        jwt.encode({"sub": "eve"}, secret, algorithm="HS256") for secret in (SECRET, SECRET + "!")
    )
    for headers in ({}, {"X-Forwarded-For": "192.0.2.1"}):
        for _ in range(5):
            assert await call(running, good, **headers) == 200
            assert await call(running, forged, **headers) == 401
    assert (checked.count(good), checked.count(forged)) == (4, 10)


async def test_another_client_of_the_proxy_is_not_locked_out(running: RunningServer) -> None:
    """Behind a proxy on this machine each client has its own count; what another one brought is no excuse."""
    assert await call(running, "one") == 200
    await exhaust(running, **{"X-Forwarded-For": "192.0.2.1"})
    assert await call(running, "one", **{"X-Forwarded-For": "192.0.2.1"}) == 429
    assert await call(running, "one", **{"X-Forwarded-For": "10.9.9.9, 192.0.2.1"}) == 429
    assert await call(running, "one", **{"X-Forwarded-For": "192.0.2.2"}) == 200
    assert await call(running, "two") == 200


async def test_what_was_refused_is_in_the_log(tmp_path: Path, running_server: RunServer) -> None:
    """A line for each wrong token that was looked at, with the address and without the token."""
    async with running_server(tmp_path, [Sample()], auth=AUTH) as running:
        await exhaust(running, **{"X-Forwarded-For": "192.0.2.1"})
        for _ in range(20):
            await call(running, "wrong", **{"X-Forwarded-For": "192.0.2.1"})
        assert running.sample("potoserver_rate_limited_total") == 20
    lines = [line for line in log_lines(tmp_path) if line["event"] == "wrong token"]
    assert len(lines) == WRONG_TOKENS_PER_MINUTE
    assert {line["remote"] for line in lines} == {"192.0.2.1"}
    assert {line["path"] for line in lines} == {"/login", "/Sample/remember"}
    assert "wrong1" not in str(lines)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["10.0.0.1"], "192.0.2.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("::1", ["192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["192.0.2.9, 192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["192.0.2.9", "192.0.2.1"], "192.0.2.1"),
        ("127.0.0.1", ["192.0.2.9, 192.0.2.1, 10.1.2.3"], "192.0.2.1"),
        ("127.0.0.1", ["192.0.2.1:4711"], "192.0.2.1"),
        ("127.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::/64"),
        ("127.0.0.1", ["unknown"], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.9, \x1b[31m"], "127.0.0.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("::ffff:127.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("2001:db8:0:1:2:3:4:5", ["192.0.2.1"], "2001:db8:0:1::/64"),
        (None, ["192.0.2.1"], ""),
    ],
)
def test_an_address_is_what_known_proxies_say(peer: str | None, forwarded: list[str], address: str) -> None:
    """The last one that a client can't have made up; of IPv6 the network that one customer gets."""
    headers: Any = [("X-Forwarded-For", each) for each in forwarded]
    transport = type("Peer", (), {"get_extra_info": staticmethod(lambda name, default=None: None)})()
    request = make_mocked_request("GET", "/", transport=transport)
    request = request.clone(headers=headers, remote=peer or "")
    assert ClientAddresses(["127.0.0.0/8", "::1/128", "10.1.0.0/16"]).of(request) == address
