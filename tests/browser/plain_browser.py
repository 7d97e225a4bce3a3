"""A Chromium to which nobody pretends anything, driven by its own protocol.

Playwright has every tab believe that it is looked at, lets the timers of hidden ones run on and switches the
back/forward cache off. Here a tab behind another one is hidden, with its timers throttled; it can be frozen.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.browser.engines import CHROMIUM_ARGUMENTS

_ARGUMENTS = [
    *CHROMIUM_ARGUMENTS,
    "--headless=new",
    # After seconds what a browser does after five minutes: the timers of hidden tabs run once a minute.
    "--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/1/grace_period_seconds_loaded/1",
    "--remote-debugging-port=0",
]
_LIMIT_S = 30
_POLL_S = 0.05


class PlainBrowser:
    """A browser with a profile of its own.

    Args:
        program: The Chromium.
        folder: For the profile.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def __aenter__(self) -> Self:
        arguments = [*_ARGUMENTS, f"--user-data-dir={self._folder}", "about:blank"]
        self._process = await asyncio.create_subprocess_exec(self._program, *arguments, stderr=PIPE)
        async with asyncio.timeout(_LIMIT_S):
            address = await _address(self._process)
        self._http = aiohttp.ClientSession()
        self._socket = await self._http.ws_connect(address, max_msg_size=0)
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(_drain(self._process))]
        return self

    async def __aexit__(self, *exc: object) -> None:
        with suppress(Exception):
            await self.send("Browser.close")
            await asyncio.wait_for(self._process.wait(), _LIMIT_S)
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._http.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Calls a method of the DevTools protocol."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        call = {"id": number, "method": method, "params": params}
        await self._socket.send_json(call if session is None else call | {"sessionId": session})
        message = await asyncio.wait_for(answer, _LIMIT_S)
        assert "error" not in message, f"{method}: {message['error']}"
        return dict(message["result"])

    async def tab(self, url: str) -> PlainTab:
        """Opens a tab, which comes to the front."""
        target = (await self.send("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        tab = PlainTab(self, target, session)
        await self.send("Page.enable", session)
        await tab.goto(url)
        return tab

    async def _listen(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if (answer := self._answers.pop(told.get("id"), None)) is not None:
                answer.set_result(told)


class PlainTab:
    """A tab. What it has in common with Playwright's `Page` is called the same: `LibraryPage` drives both."""

    def __init__(self, browser: PlainBrowser, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session

    async def goto(self, url: str) -> None:
        """Goes to a page, and waits until it is there."""
        await self._browser.send("Page.navigate", self._session, url=url)
        await self.wait_for_function(
            "(url) => location.href === url && document.readyState === 'complete'", arg=url
        )

    async def evaluate(self, expression: str, arg: object = None) -> Any:
        """The value of an expression, or what a function gives for an argument."""
        call = (
            f"(async (it, arg) => typeof it === 'function' ? it(arg) : it)({expression}, {json.dumps(arg)})"
        )
        answer = await self._browser.send(
            "Runtime.evaluate", self._session, expression=call, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def wait_for_function(self, expression: str, *, arg: object = None) -> None:
        """Waits until that is true. In a page that is just leaving there may be nothing to ask."""
        async with asyncio.timeout(_LIMIT_S):
            while True:
                with suppress(AssertionError):
                    if await self.evaluate(expression, arg):
                        return
                await asyncio.sleep(_POLL_S)

    async def show(self) -> None:
        """Brings it to the front: the one that was there is hidden."""
        await self._browser.send("Target.activateTarget", targetId=self._target)
        await self.wait_for_function("document.visibilityState === 'visible'")

    async def until_hidden(self) -> None:
        """Waits until another tab is before it."""
        await self.wait_for_function("document.visibilityState === 'hidden'")

    async def freeze(self) -> None:
        """Suspends it, as a browser does to save power."""
        await self._browser.send("Page.setWebLifecycleState", self._session, state="frozen")

    async def thaw(self) -> None:
        """Lets it go on."""
        await self._browser.send("Page.setWebLifecycleState", self._session, state="active")


async def _address(process: Process) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        if found := re.search(r"DevTools listening on (ws://\S+)", line.decode()):
            return found[1]
    raise AssertionError("Chromium ended at its start")


async def _drain(process: Process) -> None:
    assert process.stderr is not None
    while await process.stderr.read(4096):
        pass
