"""The browsers that the tests of this folder run in: the installed ones, as they come."""

from __future__ import annotations

import asyncio
import shutil
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

from playwright.async_api import Browser, BrowserContext, Locator, Playwright

CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""For one that tests drive: it asks nobody anything by itself."""


class Engine(ABC):
    """A browser, started when the first context of it is asked for.

    Attributes:
        name: How tests call it.
        programs: What it may be called on `PATH`.
    """

    name: ClassVar[str]
    programs: ClassVar[tuple[str, ...]]

    def __init__(self, playwright: Playwright) -> None:
        self._playwright = playwright
        self._browsers: dict[str, Browser] = {}
        self._closing = AsyncExitStack()

    @classmethod
    def program(cls) -> str | None:
        """Where it is; None where it is not installed."""
        return next(filter(None, map(shutil.which, cls.programs)), None)

    @abstractmethod
    async def new_context(self, **options: Any) -> BrowserContext:
        """A person's browser of its own, with options of Playwright's; nothing moves in it."""

    @abstractmethod
    async def press(self, target: Locator) -> None:
        """Taps on it, where that can be done."""

    @abstractmethod
    async def download(self, button: Locator, folder: Path) -> Path:
        """Clicks what has a file downloaded; moves that to a folder, under the name that a person gets."""

    async def _started(self, key: str, **how: Any) -> Browser:
        if key not in self._browsers:
            launcher = self._playwright[self.name]
            browser = await launcher.launch(executable_path=self.program(), headless=True, **how)
            self._closing.push_async_callback(browser.close)
            self._browsers[key] = browser
        return self._browsers[key]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._closing.aclose()


class Chromium(Engine):
    """Spoken with in its own protocol, which gives a test all that Playwright has."""

    name = "chromium"
    programs = ("chromium", "chromium-browser", "google-chrome")

    async def new_context(self, **options: Any) -> BrowserContext:
        browser = await self._started("", args=CHROMIUM_ARGUMENTS, chromium_sandbox=False)
        return await browser.new_context(**{"reduced_motion": "reduce", **options})

    async def press(self, target: Locator) -> None:
        await target.tap()

    async def download(self, button: Locator, folder: Path) -> Path:
        async with button.page.expect_download() as waiting:
            await button.click()
        download = await waiting.value
        path = folder / download.suggested_filename
        await download.save_as(path)
        return path


class Firefox(Engine):
    """Spoken with in WebDriver BiDi, as every Firefox does.

    That can't set media features yet, so preferences do, and each scheme has a browser of its own.
    """

    name = "firefox"
    programs = ("firefox-esr", "firefox")
    _preferences: ClassVar = {
        "ui.prefersReducedMotion": 1,
        # Without a screen there is no mouse either: fine, and hovers.
        "ui.primaryPointerCapabilities": 6,
        "ui.allPointerCapabilities": 6,
    }

    def __init__(self, playwright: Playwright) -> None:
        super().__init__(playwright)
        self._downloads = Path(self._closing.enter_context(TemporaryDirectory()))

    async def new_context(self, *, color_scheme: str = "light", **options: Any) -> BrowserContext:
        browser = await self._started(
            color_scheme,
            channel="moz-firefox",
            downloads_path=self._downloads,
            firefox_user_prefs=self._preferences | {"ui.systemUsesDarkTheme": int(color_scheme == "dark")},
        )
        return await browser.new_context(**options)

    async def press(self, target: Locator) -> None:
        await target.click()  # nothing comes of a tap

    async def download(self, button: Locator, folder: Path) -> Path:
        # Firefox names a download by no id, and Playwright tells only of those that have one.
        await button.click()
        async with asyncio.timeout(15):
            while True:
                files = list(self._downloads.iterdir())
                if len(files) == 1 and files[0].suffix != ".part" and files[0].stat().st_size:
                    return files[0].rename(folder / files[0].name)
                await asyncio.sleep(0.02)


ENGINES = (Chromium, Firefox)
"""All of them; the first one runs every test."""
