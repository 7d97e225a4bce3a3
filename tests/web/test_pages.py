"""How the server answers with its own pages and their files."""

from __future__ import annotations

import configparser
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yarl

from potoserver.web.pages import CONTENT_SECURITY_POLICY, PAGES
from tests.support.server import RunningServer, RunServer
from tests.web.sample import Sample

STATIC = Path(__file__).parents[2] / "potoserver" / "web" / "static"
FILES = sorted(file.name for file in STATIC.iterdir())


@pytest.fixture
async def running(tmp_path: Path, running_server: RunServer) -> AsyncIterator[RunningServer]:
    async with running_server(tmp_path, [Sample()]) as running:
        yield running


def test_every_file_is_in_the_package() -> None:
    """An installed server has them, too."""
    config = configparser.ConfigParser()
    config.read(STATIC.parents[2] / "setup.cfg")
    patterns = config["options.package_data"]["potoserver"].split()
    for file in STATIC.rglob("*"):
        assert any(file.relative_to(STATIC.parents[1]).match(pattern) for pattern in patterns), file


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
async def test_a_page_comes_with_a_strict_policy(running: RunningServer, page: object) -> None:
    """Without a token: it holds nothing of anybody."""
    path = page.path  # type: ignore[attr-defined]
    async with running.session.get(running.url + path) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        headers = answer.headers
        assert headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-cache"
        text = await answer.text()
    assert " style=" not in text
    assert "http" not in text.replace("http-equiv", "")
    async with running.session.head(running.url + path) as answer:
        assert (answer.status, int(answer.headers["Content-Length"])) == (200, len(text.encode()))
    async with running.session.post(running.url + path) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")


def test_the_policy_allows_nothing_but_the_server_itself() -> None:
    """No `unsafe-…`, no host, no wildcard."""
    directives = dict(part.split(" ", 1) for part in CONTENT_SECURITY_POLICY.split("; "))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["connect-src"] == "'self'"
    assert directives["frame-ancestors"] == directives["base-uri"] == directives["form-action"] == "'none'"
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "*" not in CONTENT_SECURITY_POLICY


@pytest.mark.parametrize("name", FILES)
async def test_a_file_is_kept_by_browsers_until_it_changes(running: RunningServer, name: str) -> None:
    """It has its own type, and an ETag that makes the next answer a 304."""
    url = f"{running.url}/static/{name}"
    types = {"js": "text/javascript", "css": "text/css", "html": "text/html", "svg": "image/svg+xml"}
    async with running.session.get(url) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == f"{types[name.rpartition('.')[2]]}; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-cache"
        etag = answer.headers["ETag"]
        assert await answer.read() == (STATIC / name).read_bytes()
    for known, status in (
        (etag, 304),
        (f'"x", {etag}', 304),
        (f"W/{etag}", 304),
        ("*", 304),
        ('"x"', 200),
        ("?", 200),
    ):
        async with running.session.get(url, headers={"If-None-Match": known}) as answer:
            assert (answer.status, answer.headers["ETag"]) == (status, etag), known
            if status == 304:
                assert await answer.read() == b""


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "..",
        "%2e%2e",
        "..%2fpages.py",
        "%2e%2e%2f__init__.py",
        "..%5cpages.py",
        "chat.html%00",
        "CHAT.HTML",
        "chat.html/",
        "",
    ],
)
async def test_no_other_file_can_be_had(running: RunningServer, name: str) -> None:
    """A name is looked up among those of the package: no path is made from it."""
    async with running.session.get(yarl.URL(f"{running.url}/static/{name}", encoded=True)) as answer:
        assert answer.status == 404
        assert answer.content_type == "application/problem+json"


async def test_a_module_does_not_take_the_place_of_a_file(running: RunningServer) -> None:
    """Nor a file that of a call."""
    async with running.session.post(f"{running.url}/static/chat.html") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")


async def test_with_development_tokens_pages_are_for_this_machine(running: RunningServer) -> None:
    """As everything else."""
    for path in ("/", "/static/chat.html", "/whoami"):
        async with running.session.get(running.url + path, headers={"Host": "elsewhere.example"}) as answer:
            assert answer.status == 403


async def test_who_is_logged_in_can_be_asked(
    running: RunningServer, tmp_path: Path, running_server: RunServer
) -> None:
    """Nobody is no error. Development tokens are told while they are valid, and never others."""
    url = f"{running.url}/whoami"
    development = [{"token": "test-token", "user": "a1"}, {"token": "admin-token", "user": "admin"}]
    nobody = {"user": None, "name": "", "roles": [], "developmentTokens": development}
    async with running.session.get(url) as answer:
        assert (answer.status, await answer.json()) == (200, nobody)
    async with running.session.get(url, headers={"Cookie": "potoserver=not-any-more"}) as answer:
        assert (answer.status, await answer.json()) == (200, nobody)
    async with running.session.post(f"{running.url}/login", json={"token": "test-token"}) as answer:
        cookie = f"potoserver={answer.cookies['potoserver'].value}"
        assert (await answer.json())["user"] == "a1"
    async with running.session.get(url, headers={"Cookie": cookie}) as answer:
        assert (await answer.json()) == nobody | {"user": "a1", "roles": ["user"]}
    async with running.session.get(url, headers={"Cookie": cookie, "Sec-Fetch-Site": "cross-site"}) as answer:
        assert answer.status == 403
    async with running.session.get(url, headers={"Authorization": "Bearer wrong"}) as answer:
        assert answer.status == 401
    auth = {"tokens": {"secret-token": {"user": "ann"}}}
    async with (
        running_server(tmp_path / "tokens", auth=auth) as other,
        other.session.get(f"{other.url}/whoami") as answer,
    ):
        assert (await answer.json())["developmentTokens"] == []
