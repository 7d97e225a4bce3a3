"""What many archives of one user cost: list, search, open, export, beside plain tools on the same files.

Usage: scripts/bench/archives [--archives N] [--messages N] [--runs N]

Makes the archives in a temporary folder, starts the real server on it and asks it over HTTP. For each
question: the median time until the answer was whole, what it took of the processor, how much the server's
memory grew at its peak, and what a plain tool takes of the processor for the same files in the same run. The
server rests four times as long as it has read for a user (see docs/operations.md): a first call is answered
at once, many in a row take five times what they cost.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import aiohttp
import yaml

from scripts.bench.dialogs import ABSENT, FREQUENT, RARE, USER, Made, make
from scripts.bench.gauge import Gauge
from tests.support.process import ServerProcess, tokens_of

BYSTANDER = "b2"
_BYSTANDERS_CALLS = 200
_REST_S = 6.0
"""After this no earlier reading is rested from."""


@dataclass
class Row:
    """One question.

    Attributes:
        name: What is asked.
        ask: Asks it; returns how many bytes were answered.
        baseline: What it stands beside.
        plain: Does that, blocking.
        runs: How often.
    """

    name: str
    ask: Callable[[], Awaitable[int]]
    baseline: str
    plain: Callable[[], object]
    runs: int
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    grown_mb: list[float] = field(default_factory=list)
    plain_s: list[float] = field(default_factory=list)
    answered: int = 0


class Bench:
    """Asks one server.

    Args:
        server: Running.
        session: With the user's token.
        made: Its archives.
        runs: How often a quick question is asked.
    """

    def __init__(self, server: ServerProcess, session: aiohttp.ClientSession, made: Made, runs: int) -> None:
        self._server = server
        self._session = session
        self._made = made
        files = [made.folder / f"{each}.yaml" for each in made.ids]
        middle = made.ids[len(made.ids) // 2]
        self.rows = [
            Row(
                "list, first page",
                self._list_first,
                "list the folder",
                lambda: sorted(made.folder.iterdir()),
                runs,
            ),
            Row("list, all pages", self._list_all, "read each file", lambda: _read(files), 1),
            Row(
                "open one",
                lambda: self._call("getArchive", id=middle),
                "read it as YAML",
                lambda: _load(files[0]),
                runs,
            ),
            Row(
                "search, rare word, first page",
                lambda: self._search_first(RARE),
                "grep -r",
                lambda: _grep(made, RARE),
                runs,
            ),
            Row(
                "search, rare word, all pages",
                lambda: self._search(RARE),
                "grep -r",
                lambda: _grep(made, RARE),
                1,
            ),
            Row(
                "search, frequent word, first page",
                lambda: self._search_first(FREQUENT),
                "grep -r",
                lambda: _grep(made, FREQUENT),
                runs,
            ),
            Row(
                "search, no match, all pages",
                lambda: self._search(ABSENT),
                "grep -r",
                lambda: _grep(made, ABSENT),
                1,
            ),
            Row(
                "search, not in ASCII, all pages",
                lambda: self._search("GRÖSSER nirgends"),
                "grep -r",
                lambda: _grep(made, ABSENT),
                1,
            ),
            Row(
                "search, by a role alone, first page",
                lambda: self._call("searchArchives", role="assistant"),
                "read each file",
                lambda: _read(files),
                runs,
            ),
            Row(
                "search, by a reason that no dialog has, all pages",
                lambda: self._pages("searchArchives", reason="shutdown", limit=100),
                "read each file",
                lambda: _read(files),
                1,
            ),
            Row(
                "export, json",
                lambda: self._export("json"),
                "read each file as YAML",
                lambda: list(map(_load, files)),
                1,
            ),
            Row(
                "export, markdown",
                lambda: self._export("markdown"),
                "read each file as YAML",
                lambda: list(map(_load, files)),
                1,
            ),
            Row("export, zip", lambda: self._export("zip"), "zip the files", lambda: _zip(files), 1),
        ]

    async def run(self) -> None:
        """Asks everything, and does everything beside it."""
        gauge = Gauge(self._server.pid)
        await self._list_first()  # what is loaded once
        for row in self.rows:
            for _ in range(row.runs):
                await asyncio.sleep(_REST_S if row.runs == 1 else 1.0)
                gauge.begin()
                begun_s = time.monotonic()
                row.answered = await row.ask()
                row.seconds.append(time.monotonic() - begun_s)
                row.cpu_s.append(gauge.cpu_s())
                row.grown_mb.append(gauge.grown_bytes() / 1e6)
                begun_s = _processor_s()
                row.plain()
                row.plain_s.append(_processor_s() - begun_s)
            print(line_of(row), flush=True)

    async def bystander(self) -> None:
        """How another user's calls do, alone and while the archives are searched and exported without end."""
        alone_s = await self._talk()
        busy = [
            asyncio.create_task(self._repeat(each)) for each in (self._list_all, lambda: self._export("json"))
        ]
        try:
            beside_s = await self._talk()
        finally:
            for task in busy:
                task.cancel()
            await asyncio.wait(busy)
        for name, seconds in (("alone", alone_s), ("meanwhile", beside_s)):
            print(f"another user's calls, {name}: {_time(median(seconds))}, at most {_time(max(seconds))}")

    async def _talk(self) -> list[float]:
        took_s = []
        headers = {"Authorization": f"Bearer t-{BYSTANDER}"}
        url = f"{self._server.url}/ChatServerModule/chatWithHistory"
        for _ in range(_BYSTANDERS_CALLS):
            begun_s = time.monotonic()
            async with self._session.post(url, json={"message": "Hello!"}, headers=headers) as answer:
                answer.raise_for_status()
                await answer.read()
            took_s.append(time.monotonic() - begun_s)
            await asyncio.sleep(0.05)
        return took_s

    @staticmethod
    async def _repeat(ask: Callable[[], Awaitable[int]]) -> None:
        while True:
            await ask()

    async def _call(self, method: str, **arguments: object) -> int:
        async with self._session.post(
            f"{self._server.url}/ChatServerModule/{method}", json=arguments
        ) as answer:
            answer.raise_for_status()
            return len(await answer.read())

    async def _list_first(self) -> int:
        return await self._call("listArchives", limit=20)

    async def _list_all(self) -> int:
        return await self._pages("listArchives", limit=100)

    async def _search_first(self, query: str) -> int:
        return await self._call("searchArchives", query=query)

    async def _search(self, query: str) -> int:
        return await self._pages("searchArchives", query=query, limit=100)

    async def _pages(self, method: str, **arguments: object) -> int:
        size, cursor, begun = 0, None, False
        while cursor or not begun:
            begun = True
            url = f"{self._server.url}/ChatServerModule/{method}"
            async with self._session.post(url, json=arguments | {"cursor": cursor}) as answer:
                answer.raise_for_status()
                size += len(await answer.read())
                cursor = (await answer.json())["cursor"]
        return size

    async def _export(self, form: str) -> int:
        size = 0
        url = f"{self._server.url}/ChatServerModule/exportArchives"
        async with self._session.post(url, json={"format": form}) as answer:
            answer.raise_for_status()
            async for chunk in answer.content.iter_any():
                size += len(chunk)
        return size


def _processor_s() -> float:
    """What this process and those that it has started have used so far."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _read(files: list[Path]) -> int:
    return sum(len(file.read_bytes()) for file in files)


def _load(file: Path) -> object:
    return yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)


def _grep(made: Made, word: str) -> None:
    command = ["grep", "-r", "-l", "-i", "-F", word, str(made.folder)]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)


def _zip(files: list[Path]) -> None:
    with tempfile.TemporaryFile() as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.name)


HEAD = (
    "| what | answered after | processor | answer | memory | beside | its processor | ratio |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def line_of(row: Row) -> str:
    """A row of the table."""
    cpu_s, plain_s = median(row.cpu_s), median(row.plain_s)
    return (
        f"| {row.name} | {_time(median(row.seconds))} | {_time(cpu_s)} | {_size(row.answered)} "
        f"| +{max(row.grown_mb):.1f} MB | {row.baseline} | {_time(plain_s)} | {cpu_s / plain_s:.1f} |"
    )


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


async def main(archives: int, messages: int, runs: int) -> None:
    """Makes, asks, prints."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begun_s = time.monotonic()
        made = make(folder / "data", archives, messages)
        print(f"{archives:,} archives, {messages:,} messages, {made.bytes / 1e6:.1f} MB, made in", end=" ")
        print(f"{time.monotonic() - begun_s:.1f} s\n\n{HEAD}", flush=True)
        environment = tokens_of([USER, BYSTANDER]) | {"POTO_LIMITS__CALLS_PER_MINUTE": "0"}
        headers = {"Authorization": f"Bearer t-{USER}"}
        timeout = aiohttp.ClientTimeout(total=600)
        async with (
            ServerProcess(folder, environment=environment) as server,
            aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
        ):
            bench = Bench(server, session, made, runs)
            await bench.run()
            print()
            await bench.bystander()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--archives", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    asyncio.run(main(**vars(parser.parse_args())))
