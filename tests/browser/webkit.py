"""WebKitGTK's own browser, the nearest thing to Safari here, driven by WebDriver, the only way it offers."""

from __future__ import annotations

import asyncio
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.support.ports import free_port

ENTER = "\ue007"
ESCAPE = "\ue00c"
_LIMIT_S = 30
_POLL_S = 0.05
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""Under it stands what a script gives for an element (WebDriver, section 12)."""
_RUN = """const done = arguments[1];
    (async (it, arg) => (typeof it === "function" ? it(arg) : it))(EXPRESSION, arguments[0])
        .then((value) => done({ value }), (error) => done({ error: `${error}` }));"""
_BUTTON = """(name) => [...document.querySelectorAll("button")].find((each) =>
    each.checkVisibility() && (each.getAttribute("aria-label") ?? each.innerText).trim() === name)"""


def mini_browser() -> Path | None:
    """The browser; None where it, its driver or a screen to draw on is not installed."""
    if not (shutil.which("WebKitWebDriver") and shutil.which("Xvfb")):
        return None
    return next(Path("/usr/lib").glob("*/webkit*gtk-*/MiniBrowser"), None)


class WebKit:
    """A browser with a screen and a home of its own.

    Args:
        home: Where it keeps things, and downloads to.
        dark: Whether its user likes it dark.
    """

    def __init__(self, home: Path, *, dark: bool = False) -> None:
        self.home = home
        self._dark = dark
        self._ending = AsyncExitStack()
        self._session = ""
        self._current = ""

    async def __aenter__(self) -> Self:
        (self.home / ".config").mkdir(parents=True, exist_ok=True)
        (self.home / ".config" / "user-dirs.dirs").write_text('XDG_DOWNLOAD_DIR="$HOME"\n')
        screen = await self._start("Xvfb", "-displayfd", "1", "-nolisten", "tcp", stdout=PIPE)
        assert screen.stdout is not None
        display = f":{(await screen.stdout.readline()).decode().strip()}"
        port = free_port()
        environment = os.environ | {"HOME": str(self.home), "DISPLAY": display}
        await self._start("WebKitWebDriver", "--host=127.0.0.1", f"--port={port}", env=environment)
        await _until_listening(port)
        self._http = await self._ending.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))
        arguments = ["--automation", "--javascript-can-open-windows-automatically=true"]
        options = {"binary": str(mini_browser()), "args": arguments + ["--dark-mode"] * self._dark}
        capabilities = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        session = await self.call("POST", "/session", capabilities=capabilities)
        self._session = f"/session/{session['sessionId']}"
        self._ending.push_async_callback(self.call, "DELETE", "")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._ending.aclose()

    async def _start(self, *command: str, **how: Any) -> Process:
        process = await asyncio.create_subprocess_exec(
            *command, **{"stdout": DEVNULL, "stderr": DEVNULL, **how}
        )

        async def end() -> None:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()

        self._ending.push_async_callback(end)
        return process

    async def call(self, method: str, path: str, tab: str = "", **parameters: Any) -> Any:
        """Calls a command of the session, in a tab where that matters; answers its value."""
        if tab and tab != self._current:
            await self.call("POST", "/window", handle=tab)
            self._current = tab
        json = parameters if method == "POST" else None
        timeout = aiohttp.ClientTimeout(_LIMIT_S)
        async with self._http.request(method, self._session + path, json=json, timeout=timeout) as answer:
            value = (await answer.json())["value"]
            assert answer.ok, f"{path}: {value}"
            return value

    async def downloaded(self, pattern: str) -> Path:
        """Waits for a file of such a name that was downloaded."""
        async with asyncio.timeout(_LIMIT_S):
            while not (files := [file for file in self.home.glob(pattern) if file.stat().st_size]):
                await asyncio.sleep(_POLL_S)
        return files[0]

    async def tab(self, url: str) -> WebKitTab:
        """Opens a tab. The first one is in front of the others until it is closed: these are hidden."""
        if self._current:
            handle = (await self.call("POST", "/window/new", self._current, type="tab"))["handle"]
        else:
            handle = self._current = await self.call("GET", "/window")
        tab = WebKitTab(self, handle)
        await tab.goto(url)
        return tab


class WebKitTab:
    """A tab. What it has in common with Playwright's `Page` is called the same: `LibraryPage` drives both."""

    def __init__(self, browser: WebKit, handle: str) -> None:
        self._browser = browser
        self._handle = handle

    async def _call(self, method: str, path: str, **parameters: Any) -> Any:
        return await self._browser.call(method, path, self._handle, **parameters)

    async def goto(self, url: str) -> None:
        """Goes to a page, and waits until it is there."""
        await self._call("POST", "/url", url=url)

    async def reload(self) -> None:
        """Loads it again."""
        await self._call("POST", "/refresh")

    async def close(self) -> None:
        """Closes it."""
        await self._call("DELETE", "/window")

    async def popup(self, url: str, width: int, height: int) -> WebKitTab:
        """Opens a window of that size, which may be narrower than this browser's own ones."""
        before = set(await self._call("GET", "/window/handles"))
        size = f"width={width},height={height}"
        await self.evaluate("([url, size]) => { open(url, 'popup', size); }", [url, size])
        [handle] = set(await self._call("GET", "/window/handles")) - before
        return WebKitTab(self._browser, handle)

    async def evaluate(self, expression: str, arg: object = None) -> Any:
        """The value of an expression, or what a function gives for an argument."""
        script = _RUN.replace("EXPRESSION", expression)
        answer = await self._call("POST", "/execute/async", script=script, args=[arg])
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    async def wait_for_function(self, expression: str, *, arg: object = None) -> Any:
        """Waits until that is something; returns it. While a page leaves there may be none to ask."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LIMIT_S):
                while True:
                    with suppress(AssertionError):
                        if value := await self.evaluate(expression, arg):
                            return value
                    await asyncio.sleep(_POLL_S)
        text = await self.evaluate("document.body.innerText")
        raise AssertionError(f"not in {_LIMIT_S} s: {expression} with {arg!r} in\n{text}")

    async def click(self, button: str) -> None:
        """Clicks a button by its name, as soon as it can be seen."""
        element = await self.wait_for_function(_BUTTON, arg=button)
        await self._call("POST", f"/element/{element[_ELEMENT]}/click")

    async def type(self, text: str) -> None:
        """Presses keys, where the focus is."""
        element = await self._call("GET", "/element/active")
        await self._call("POST", f"/element/{element[_ELEMENT]}/value", text=text)


async def _until_listening(port: int) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(_POLL_S)
