"""The machine's wall time is stepped, stopped, wrong at the start, or in a leap; nobody loses anything."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import yaml

from tests.faults.clock import MachineClock
from tests.process.conftest import StartServer
from tests.support import saved
from tests.support.process import ServerProcess, chat, tokens_of
from tests.support.sse import open_stream, stream

pytestmark = pytest.mark.process

SUBSCRIBE = "/subscribe"
HOUR_MS = 3_600_000
USERS = ["u0", "u1", "u2"]
NAME = re.compile(r"(\d{4}(?:-\d\d){5})(?:-(\d+))?")


@pytest.fixture
def clock(tmp_path: Path) -> MachineClock:
    return MachineClock(tmp_path / "clock.json")


def ms_of(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def by_order(server: ServerProcess, user: str) -> list[dict[str, Any]]:
    """A user's archives, oldest first by name, each checked for itself."""

    def order(path: Path) -> tuple[str, int]:
        match = NAME.fullmatch(path.stem)
        assert match, path
        return match[1], int(match[2] or 1)

    dialogs = []
    for path in sorted(server.archives(user), key=order):
        dialog = yaml.safe_load(path.read_bytes())
        assert order(path)[0] == dialog["ended"][:19].replace("T", "-").replace(":", "-"), "named by its end"
        stamps = [dialog["started"], *(each["timestamp"] for each in dialog["messages"]), dialog["ended"]]
        assert stamps == sorted(stamps)
        dialogs.append(dialog)
    ends = [dialog["ended"] for dialog in dialogs]
    assert ends == sorted(ends)
    return dialogs


def said(dialog: dict[str, Any]) -> list[str]:
    """What the user said in a dialog."""
    return [each["content"] for each in dialog["messages"] if each["role"] == "user"]


async def visit(
    server: ServerProcess, http: aiohttp.ClientSession, user: str, texts: list[str], between: Any = None
) -> None:
    """Comes, talks, drops for a moment, talks on, leaves; `between` is called in each gap."""
    token = f"t-{user}"
    step = between or (lambda: None)
    before = len(server.archives(user))
    reader = await open_stream(http, server.url + SUBSCRIBE, token)
    conversation = (await reader.next("connected")).data["conversation"]
    for text in texts:
        step()
        assert (await chat(http, server.url, text, token))["conversationId"] == conversation
        await reader.close()
        step()
        reader = await open_stream(http, server.url + SUBSCRIBE, token, last_event_id=reader.last_id)
        connected = (await reader.next("connected")).data
        assert (connected["conversation"], connected["resumed"], connected["gap"]) == (
            conversation,
            True,
            False,
        )
    await reader.close()
    step()
    await saved.until_archived(server.data_dir / "users" / user, before + 1)


async def listed(server: ServerProcess, http: aiohttp.ClientSession, user: str) -> list[str]:
    """The conversations that `listArchives` gives, two on a page, newest first."""
    found: list[str] = []
    cursor = None
    while True:
        answer = await http.post(
            f"{server.url}/ChatServerModule/listArchives",
            json={"limit": 2, "cursor": cursor},
            headers={"Authorization": f"Bearer t-{user}"},
        )
        page = await answer.json()
        found += [each["conversationId"] for each in page["archives"]]
        cursor = page["cursor"]
        if cursor is None:
            return found


async def test_steps_of_an_hour_both_ways_while_people_talk_leave_and_return(
    start_server: StartServer, http: aiohttp.ClientSession, clock: MachineClock
) -> None:
    """Each visit is one dialog; archives are in order by name, end and list; a line and health tell of it."""
    server = await start_server(SESSION_RECONNECT_GRACE="3000", **clock.environment, **tokens_of(USERS))
    steps = [HOUR_MS, -HOUR_MS]

    def stepping(position: int) -> Any:
        def step() -> None:
            nonlocal position
            clock.step(steps[position % 2])
            position += 1

        return step

    for turn in range(3):
        # The first of them steps the clock under the feet of the others.
        await asyncio.gather(
            *(
                visit(server, http, user, [f"{user} {turn}.{n}" for n in range(2)], step)
                for user, step in zip(USERS, (stepping(turn), None, None), strict=True)
            )
        )
    clock.step(HOUR_MS)
    for user in USERS:
        dialogs = by_order(server, user)
        assert [said(dialog) for dialog in dialogs] == [
            [f"{user} {turn}.{n}" for n in range(2)] for turn in range(3)
        ]
        assert {dialog["reason"] for dialog in dialogs} == {"disconnect"}
        newest_first = [dialog["conversation"] for dialog in reversed(dialogs)]
        assert await listed(server, http, user) == newest_first
    [line, *_] = await server.until_logged("alarm on", alarm="clock-stepped")
    assert (line["level"], line["logger"]) == ("warning", "alarm")
    assert {"by_s", "stamps_ahead_s"} <= set(line)
    async with asyncio.timeout(30):  # one alarm may have gone off by itself, and the next one be on its way
        while "clock-stepped" not in str((await (await http.get(f"{server.url}/health")).json())["alarms"]):
            await asyncio.sleep(0.1)
    assert await server.stop() == 0


async def test_a_stopped_clock_and_a_start_with_an_older_time_lose_and_double_nothing(
    start_server: StartServer, http: aiohttp.ClientSession, clock: MachineClock
) -> None:
    """Ends in the order in which they came, over a kill and a start two hours back, as without a battery."""
    environment = {"SESSION_RECONNECT_GRACE": "3000", **clock.environment, **tokens_of(USERS)}
    server = await start_server(**environment)
    clock.stop()
    await visit(server, http, "u0", ["stopped 0"])
    await visit(server, http, "u0", ["stopped 1"])
    clock.step(0)
    await chat(http, server.url, "left open", "t-u0")
    await server.__aexit__()

    clock.step(-2 * HOUR_MS)
    await server.start()
    async with stream(http, server.url + SUBSCRIBE, "t-u0") as reader:
        await reader.next("connected")
        await chat(http, server.url, "went on", "t-u0")
    await saved.until_archived(server.data_dir / "users" / "u0", 3)
    await visit(server, http, "u0", ["behind"])
    clock.step(2 * HOUR_MS + 5000)
    await visit(server, http, "u0", ["right again"])
    dialogs = by_order(server, "u0")
    assert [said(dialog) for dialog in dialogs] == [
        ["stopped 0"],
        ["stopped 1"],
        ["left open", "went on"],
        ["behind"],
        ["right again"],
    ]
    assert await listed(server, http, "u0") == [dialog["conversation"] for dialog in reversed(dialogs)]
    assert saved.set_aside(server.data_dir) == []
    assert await server.stop() == 0


LEAPS = {
    "America/New_York": ("2024-03-10T06:59:58Z", "2024-11-03T05:59:58Z"),
    "Australia/Lord_Howe": ("2024-04-06T14:59:58Z", "2024-10-05T15:29:58Z"),
}
"""Two seconds before the host's wall shows another hour, or half hour: forth and back, or back and forth."""


@pytest.mark.parametrize("zone", LEAPS)
async def test_a_leap_of_the_hosts_daylight_saving_changes_nothing(
    start_server: StartServer, http: aiohttp.ClientSession, clock: MachineClock, zone: str
) -> None:
    """Times on disk and on the wire are UTC: names and stamps go on by seconds across the leap."""
    leaps = [ms_of(leap) for leap in LEAPS[zone]]
    clock.set(leaps[0] - 60_000)
    server = await start_server(
        TZ=zone, SESSION_RECONNECT_GRACE="3000", **clock.environment, **tokens_of(USERS)
    )
    for number, leap_ms in enumerate(leaps):
        clock.set(leap_ms - 30_000)
        await visit(server, http, "u0", [f"before {number}"])
        clock.set(leap_ms)
        reader = await open_stream(http, server.url + SUBSCRIBE, "t-u0")
        await reader.next("connected")
        await chat(http, server.url, f"over {number}", "t-u0")
        clock.set(leap_ms + 4000)
        await chat(http, server.url, f"behind {number}", "t-u0")
        await reader.close()
        await saved.until_archived(server.data_dir / "users" / "u0", 2 * (number + 1))
    dialogs = by_order(server, "u0")
    assert [said(dialog) for dialog in dialogs] == [
        texts
        for number in range(2)
        for texts in ([f"before {number}"], [f"over {number}", f"behind {number}"])
    ]
    for number, leap_ms in enumerate(leaps):
        for dialog in dialogs[2 * number : 2 * number + 2]:
            times = [dialog["started"], *(each["timestamp"] for each in dialog["messages"]), dialog["ended"]]
            assert all(leap_ms - 30_000 <= ms_of(each) <= leap_ms + 30_000 for each in times), times
    for line in server.log_lines():
        age_s = abs(datetime.fromisoformat(line["timestamp"]).timestamp() - datetime.now(UTC).timestamp())
        assert age_s < 600, "the log is in UTC, too"
    assert await server.stop() == 0


async def test_tokens_and_cookies_expire_by_wall_time(
    start_server: StartServer, http: aiohttp.ClientSession, clock: MachineClock
) -> None:
    """A step over their end makes them 401 at once; a step back makes them good again."""
    secret = "a secret of thirty-two bytes or more"
    server = await start_server(
        POTO_AUTH__JWT_SECRET=secret, POTO_AUTH__LOGIN_LIFETIME_S="7200", **clock.environment
    )
    token = jwt.encode({"sub": "a1", "exp": clock.now_ms() // 1000 + 1800}, secret, algorithm="HS256")
    lasting = jwt.encode({"sub": "a1", "exp": clock.now_ms() // 1000 + 86_400}, secret, algorithm="HS256")
    url = f"{server.url}/ChatServerModule/getConversation"
    login = await http.post(f"{server.url}/login", json={"token": lasting})
    cookie = f"{login.headers['Set-Cookie'].partition(';')[0]}"

    async def statuses() -> list[int]:
        by_token = await http.post(url, headers={"Authorization": f"Bearer {token}"})
        by_cookie = await http.post(url, headers={"Cookie": cookie, "Origin": server.url})
        return [by_token.status, by_cookie.status]

    for step_ms, expected in (
        (0, [200, 200]),
        (HOUR_MS, [401, 200]),
        (2 * HOUR_MS, [401, 401]),
        (-3 * HOUR_MS, [200, 200]),
    ):
        clock.step(step_ms)
        assert await statuses() == expected
    assert await server.stop() == 0
