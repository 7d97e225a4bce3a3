"""One browser of each kind for all tests of this folder; a context, a server and a clean console for each."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Route, async_playwright, expect

from tests.browser.engines import ENGINES, Chromium, Engine
from tests.support.npm import npm_is_there, npm_packages
from tests.support.process import NOBODY_DEPARTS, ServerProcess

HERE = Path(__file__).parent
STATIC = HERE.parents[1] / "potoserver" / "web" / "static"
_TIMEOUT_MS = 30_000
"""For one step. On an idle machine none takes seconds but for a grace or repeated tries."""
expect.set_options(timeout=_TIMEOUT_MS)
_REPORT_VIOLATIONS = """addEventListener("securitypolicyviolation", (event) =>
    console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));"""

_FIND_FAULTS = """const { violations } = await axe.run({ resultTypes: ["violations"] });
    return violations
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .flatMap(({ id, help, nodes }) =>
            nodes.map(({ html, failureSummary }) => `${id}: ${help}: ${html} ${failureSummary}`));"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test runs in Chromium, and in the long form in the others."""
    if "kind" in metafunc.fixturenames:
        kinds = ENGINES[:1] if metafunc.definition.get_closest_marker("chromium_only") else ENGINES
        metafunc.parametrize("kind", [_parameter(kind) for kind in kinds], scope="session")


def _parameter(kind: type[Engine]) -> object:
    marks = [] if kind is Chromium else [pytest.mark.long]
    if kind.program() is None:
        reason = f"there is no {kind.__name__} here; as root on Debian ./scripts/test installs it"
        marks.append(pytest.mark.skip(reason=reason))
    return pytest.param(kind, id=kind.name, marks=marks)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder share the browsers' event loop."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            item.add_marker(pytest.mark.process)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(kind: type[Engine]) -> AsyncIterator[Engine]:
    """A headless browser with a profile of its own."""
    async with async_playwright() as playwright, kind(playwright) as engine:
        yield engine


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def modules(engine: Engine) -> AsyncIterator[Page]:
    """A page without a server: the page's own modules, straight from the package."""
    context = await engine.new_context()

    async def serve(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name.endswith(".js"):
            await route.fulfill(path=STATIC / name, content_type="text/javascript")
        else:
            await route.fulfill(body="<!doctype html>", content_type="text/html")

    await context.route("**", serve)
    page = await context.new_page()
    await page.goto("http://localhost/")
    yield page
    await context.close()


class Console:
    """What the pages of a test complain of: errors, exceptions, violations of the policy. None is right.

    Attributes:
        faults: So far.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._expected: list[re.Pattern[str]] = []

    def expect(self, pattern: str) -> None:
        """A fault that the test itself provokes, such as the line of a request that failed."""
        self._expected.append(re.compile(pattern))

    def watch(self, page: Page) -> None:
        """Listens to a page."""
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"{page.url}: {error}"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.text} ({message.location.get('url')})")

    def check(self) -> None:
        """Fails if there was any that the test did not expect."""
        assert [each for each in self.faults if not any(known.search(each) for known in self._expected)] == []


@pytest.fixture
def console() -> AsyncIterator[Console]:
    """The complaints of all pages of the test; it fails in the end if there were any."""
    console = Console()
    yield console
    console.check()


class StartServer(Protocol):
    """Starts a server in the test's folder; environment variables are given as keyword arguments."""

    async def __call__(self, *args: str, folder: Path | None = None, **environment: str) -> ServerProcess: ...


@pytest_asyncio.fixture(loop_scope="session")
async def start_server(tmp_path: Path) -> AsyncIterator[StartServer]:
    """Starts servers as processes of their own; what is left of them is ended after the test."""
    async with AsyncExitStack() as stack:

        async def start(*args: str, folder: Path | None = None, **environment: str) -> ServerProcess:
            server = ServerProcess(folder or tmp_path, *args, environment=environment)
            stack.push_async_callback(_end, server)
            return await server.start()

        yield start


async def _end(server: ServerProcess) -> None:
    await server.__aexit__()
    print(f"--- the server's output, port {server.port}\n{server.output}")  # shown when the test failed


class NewContext(Protocol):
    """Makes a context of the browser, a person's browser of its own: its pages share cookies."""

    async def __call__(self, **options: object) -> BrowserContext: ...


@pytest_asyncio.fixture(loop_scope="session")
async def new_context(
    engine: Engine, console: Console, start_server: StartServer
) -> AsyncIterator[NewContext]:
    """Makes contexts whose pages may complain of nothing. They are closed before the servers end."""
    async with AsyncExitStack() as stack:

        async def make(**options: object) -> BrowserContext:
            context = await engine.new_context(**options)
            stack.push_async_callback(context.close)
            context.set_default_timeout(_TIMEOUT_MS)
            await context.add_init_script(_REPORT_VIOLATIONS)
            context.on("page", console.watch)
            return context

        yield make


@pytest_asyncio.fixture(loop_scope="session")
async def context(new_context: NewContext) -> BrowserContext:
    """A context."""
    return await new_context()


@pytest_asyncio.fixture(loop_scope="session")
async def own_server(start_server: StartServer) -> ServerProcess:
    """A server with the development tokens, for this test alone; nothing is archived while a page loads."""
    return await start_server(**NOBODY_DEPARTS)


@dataclass(frozen=True)
class Place:
    """The server that tests share, as one of its users sees it: no test meets another one's user.

    Attributes:
        process: The server; not to be stopped.
        user: A user that no other test has; also an admin.
        token: Hers.
    """

    process: ServerProcess
    user: str
    token: str

    @property
    def url(self) -> str:
        return self.process.url

    @property
    def port(self) -> int:
        return self.process.port

    def logged(self, event: str, **fields: object) -> list[dict[str, object]]:
        """The lines of that event about the user."""
        return self.process.logged(event, user=self.user, **fields)

    async def until_logged(self, event: str, count: int = 1) -> None:
        """Waits for so many lines of that event about the user."""
        await self.process.until_logged(event, count, user=self.user)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def places(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iterator[Place]]:
    """A server for the session, and its users one after the other."""
    users = [f"p{number}" for number in range(200)]
    tokens = {f"t-{user}": {"user": user, "roles": ["user", "admin"]} for user in users}
    folder = tmp_path_factory.mktemp("shared")
    environment = {"POTO_AUTH__TOKENS": json.dumps(tokens)} | NOBODY_DEPARTS
    async with ServerProcess(folder, environment=environment) as process:
        yield iter([Place(process, user, f"t-{user}") for user in users])


@pytest.fixture
def server(places: Iterator[Place]) -> Place:
    """The shared server, with a user of this test's own."""
    return next(places)


@pytest_asyncio.fixture(loop_scope="session")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that is no browser."""
    async with aiohttp.ClientSession() as session:
        yield session


async def sign_in(context: BrowserContext, server: ServerProcess | Place, token: str | None = None) -> None:
    """Gives a context the cookie of a login: the place's user, or a1."""
    token = token or (server.token if isinstance(server, Place) else "test-token")
    answer = await context.request.post(f"{server.url}/login", data={"token": token})
    assert answer.ok, await answer.text()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext, server: Place) -> Page:
    """The chat page, signed in."""
    await sign_in(context, server)
    page = await context.new_page()
    await page.goto(server.url)
    return page


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, to be evaluated in a page."""
    if not npm_is_there():
        pytest.skip("npm, which brings axe-core, is not installed")
    return (npm_packages("axe-core@4.10.3") / "axe-core" / "axe.min.js").read_text()


async def accessibility_faults(page: Page, axe: str) -> list[str]:
    """What axe-core finds serious or critical on a page as it is now."""
    return list(await page.evaluate(f"(async () => {{ {axe}; {_FIND_FAULTS} }})()"))
