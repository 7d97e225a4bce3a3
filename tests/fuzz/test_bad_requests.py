"""Each bad request of the table is answered with its exact problem document, by the real server."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.fuzz.bad import BODY_BYTES, BODY_TIMEOUT_S, CALLS_PER_MINUTE, HEAD_TIMEOUT_S, TITLES, Bad
from tests.fuzz.bad_requests import FOREIGNERS, ROWS
from tests.fuzz.wire import exchange
from tests.process.conftest import StartServer
from tests.support.process import ServerProcess

pytestmark = pytest.mark.process
TRIES = 5
"""How often what is to come too often is tried: on a slow machine one more is allowed meanwhile."""


async def problem_with(server: ServerProcess, row: Bad) -> str | None:
    """In what the answer to a row is another than the table has; None where it is the same."""
    before = row.before.count(b"HTTP/1.1\r\n")
    for _ in range(TRIES):
        found = await exchange(server.port, [row.before + row.request], limit_s=10, wanted=before + 1)
        if len(found.answers) != before + 1:
            return f"{len(found.answers)} answers, {found.rest!r}"
        answer = found.answers[-1]
        if row.status != 429 or answer.status == 429:
            break
    problem = answer.problem
    request_id = answer.headers["x-request-id"]
    expected = {
        "type": "about:blank",
        "title": TITLES[row.status],
        "status": row.status,
        "detail": row.detail,
        "requestId": request_id,
    }
    if row.errors:
        expected["errors"] = [{"field": name, "message": text} for name, text in row.errors.items()]
    headers = {name: answer.headers.get(name) for name in row.headers}
    if (answer.status, problem, headers) != (row.status, expected, dict(row.headers)):
        return f"{answer.status} {problem} {headers}"
    if len(request_id) != 32 or answer.headers["server"] != "potoserver":
        return f"its headers are {answer.headers}"
    return None


async def check(server: ServerProcess, rows: tuple[Bad, ...]) -> None:
    """Sends every row, and tells of all that are answered otherwise."""
    wrong = {row.name: await problem_with(server, row) for row in rows}
    assert {name: text for name, text in wrong.items() if text} == {}
    assert [line for line in server.log_lines() if line["level"] in ("error", "critical")] == []
    assert "Traceback" not in server.output


def test_the_table_has_what_the_contract_names() -> None:
    """At least sixty rows, one of each status, none twice."""
    assert len(ROWS) >= 60
    assert {row.status for row in ROWS} == set(TITLES)
    assert [name for name, count in Counter(row.name for row in ROWS).items() if count > 1] == []


async def test_every_bad_request_has_its_answer(start_server: StartServer) -> None:
    """Status, problem document and headers, over a real socket."""
    limits = {
        "body_bytes": BODY_BYTES,
        "calls_per_minute": CALLS_PER_MINUTE,
        "body_timeout_s": BODY_TIMEOUT_S,
        "head_timeout_s": HEAD_TIMEOUT_S,
    }
    server = await start_server(
        POTO_MODULES=json.dumps(["chat_server", "tests.fuzz.taker:Taker"]),
        POTO_AUTH__TOKENS=json.dumps({"ann": {"user": "ann"}, "hasty": {"user": "hasty"}}),
        POTO_LIMITS=json.dumps(limits),
    )
    await check(server, ROWS)


async def test_development_tokens_refuse_what_comes_from_elsewhere(start_server: StartServer) -> None:
    """403, whatever is asked for."""
    await check(await start_server(), FOREIGNERS)
