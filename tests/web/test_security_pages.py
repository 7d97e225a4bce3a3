"""Other sites' pages in a user's browser: the cookie, tickets, and what a page may make of an answer."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from tests.support.server import RunningServer, RunServer
from tests.web.sample import Sample

SECRET = "a secret of at least sixty-four bytes, so that no algorithm finds it short"
TLS = {"X-Forwarded-Proto": "https"}
OWNER = {"user": "ann", "name": "Ann Example", "email": "ann@example.org", "roles": ["user", "admin"]}


@pytest.fixture
async def running(tmp_path: Path, running_server: RunServer) -> AsyncIterator[RunningServer]:
    auth = {"tokens": {"hunter2": OWNER}, "jwt_secret": SECRET}
    async with running_server(tmp_path, [Sample()], auth=auth) as running:
        yield running


async def login(running: RunningServer, **headers: str) -> SimpleCookie:
    url = f"{running.url}/login"
    async with running.session.post(url, json={"token": "hunter2"}, headers=headers) as answer:
        assert answer.status == 200
        return answer.cookies


async def status(running: RunningServer, headers: dict[str, str], method: str = "POST") -> int:
    """Of a call or, by GET, of an event stream."""
    path = "Sample/remember" if method == "POST" else "subscribe"
    async with running.session.request(method, f"{running.url}/{path}", headers=headers) as answer:
        return answer.status


def claims_in(token: str) -> Any:
    """What anybody can read who sees a signed token."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


async def test_behind_tls_the_cookie_is_of_this_host_alone(running: RunningServer) -> None:
    """`__Host-`, Secure, Path=/ and no Domain: browsers take it from nobody else."""
    cookies = await login(running, **TLS)
    assert list(cookies) == ["__Host-potoserver"]
    cookie = cookies["__Host-potoserver"]
    assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
    assert await status(running, TLS | {"Cookie": f"__Host-potoserver={cookie.value}"}) == 200
    async with running.session.post(f"{running.url}/logout", headers=TLS) as answer:
        assert answer.cookies["__Host-potoserver"]["max-age"] == "0"


async def test_a_neighbour_can_not_log_somebody_in_as_himself(running: RunningServer) -> None:
    """Behind TLS the plain name, which another sub-domain can set, counts for nothing, alone or beside."""
    plain = (await login(running))["potoserver"].value
    secure = (await login(running, **TLS))["__Host-potoserver"].value
    assert await status(running, {"Cookie": f"potoserver={plain}"}) == 200
    assert await status(running, TLS | {"Cookie": f"potoserver={plain}"}) == 401
    assert await status(running, TLS | {"Cookie": f"potoserver={plain}; __Host-potoserver={secure}"}) == 200
    assert await status(running, TLS | {"Cookie": f"potoserver={secure}; __Host-potoserver=x"}) == 401


@pytest.mark.parametrize(
    ("site", "expected"), [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)]
)
async def test_an_image_on_another_page_opens_no_stream(
    running: RunningServer, site: str, expected: int
) -> None:
    """A GET without Origin is judged by `Sec-Fetch-Site`; other ports of this host are the same site."""
    cookie = {"Cookie": f"potoserver={(await login(running))['potoserver'].value}"}
    assert await status(running, cookie | {"Sec-Fetch-Site": site}, "GET") == expected
    assert await status(running, cookie | {"Sec-Fetch-Site": site}) == expected
    bearer = {"Authorization": "Bearer hunter2"}
    assert await status(running, bearer | {"Sec-Fetch-Site": site}) == 200


async def test_an_allowed_origin_is_not_judged_by_its_site(tmp_path: Path, running_server: RunServer) -> None:
    """Its pages' requests are cross-site, and allowed."""
    page = {"Origin": "https://chat.example", "Sec-Fetch-Site": "cross-site"}
    auth = {"tokens": {"hunter2": OWNER}}
    cors = {"origins": ["https://chat.example"]}
    async with running_server(tmp_path, [Sample()], auth=auth, cors=cors) as running:
        cookie = {"Cookie": f"potoserver={(await login(running, **page))['potoserver'].value}"}
        assert await status(running, cookie | page) == 200


async def test_a_cookie_or_ticket_is_no_help_in_guessing_the_token(
    tmp_path: Path, running: RunningServer, running_server: RunServer
) -> None:
    """What it says of the token can't be computed from the token: each server says something else of it."""
    async with running_server(tmp_path / "other", auth={"tokens": {"hunter2": OWNER}}) as other:
        said = [claims_in((await login(each))["potoserver"].value)["credential"] for each in (running, other)]
    assert said[0] != said[1]
    async with running.session.post(
        f"{running.url}/subscribe/ticket", headers={"Authorization": "Bearer hunter2"}
    ) as answer:
        assert claims_in((await answer.json())["ticket"])["credential"] == said[0]


@pytest.mark.parametrize("kind", ["token", "jwt"])
async def test_a_ticket_tells_the_user_s_id_and_nothing_more(running: RunningServer, kind: str) -> None:
    """It stands in a URL: no name, no address, no roles. The stream that it opens is the user's."""
    claims = {"sub": "ann", "name": OWNER["name"], "email": OWNER["email"], "roles": OWNER["roles"]}
    token = "hunter2" if kind == "token" else jwt.encode(claims, SECRET, algorithm="HS256")
    async with running.session.post(
        f"{running.url}/subscribe/ticket", headers={"Authorization": f"Bearer {token}"}
    ) as answer:
        ticket = (await answer.json())["ticket"]
    text = json.dumps(claims_in(ticket))
    for secret in ("Ann", "example.org", "admin"):
        assert secret not in text
    async with running.session.get(f"{running.url}/subscribe", params={"ticket": ticket}) as answer:
        assert '"user":"ann"' in (await answer.content.readuntil(b"\n\n")).decode()


@pytest.mark.parametrize("path", ["/health", "/metrics", "/openapi.json", "/nothing", "/Sample/remember"])
async def test_no_page_runs_or_embeds_an_answer(running: RunningServer, path: str) -> None:
    """Whatever an answer holds: it is no script, no frame, no image, and it is not kept."""
    async with running.session.get(running.url + path) as answer:
        headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert "python" not in headers["Server"].lower()


async def test_an_error_says_nothing_of_what_was_sent(running: RunningServer) -> None:
    """But for the names of fields, in JSON."""
    marker = "<script>alert(1)</script>"
    headers = {"Authorization": f"Bearer {marker}", "Cookie": f"potoserver={marker}", "Referer": marker}
    for path in (f"/{marker}", f"/Sample/{marker}", f"/subscribe?ticket={marker}&lease={marker}"):
        async with aiohttp.request("GET", running.url + path, headers=headers) as answer:
            assert answer.status >= 400
            assert answer.content_type == "application/problem+json"
            assert "script" not in await answer.text()
    async with running.session.post(
        f"{running.url}/Sample/echo", data=marker, headers={"Authorization": "Bearer hunter2"}
    ) as answer:
        assert "script" not in await answer.text()
