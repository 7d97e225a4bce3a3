"""schemathesis asks the real server all that its description allows, and much that it forbids."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.process.conftest import StartServer
from tests.support.process import ServerProcess, server_environment

HERE = Path(__file__).parent
MODULES = ["chat_server", "operations", "who_is_online", "tests.fuzz.taker:Taker"]
TOKENS = {"t": {"user": "a1", "roles": ["user", "admin"]}}


async def fuzz(server: ServerProcess, folder: Path, examples: int, seed: int) -> int:
    """Runs schemathesis against a server; returns how many requests it made. Each passed every check."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        f"--config-file={HERE / 'schemathesis.toml'}",
        "run",
        f"{server.url}/openapi.json",
        "--header=Authorization: Bearer t",
        f"--max-examples={examples}",
        f"--seed={seed}",
        "--continue-on-failure",
        "--output-sanitize=false",
        "--report=json",
        "--report-json-path=report.json",
        cwd=folder,
        env=server_environment({"SCHEMATHESIS_HOOKS": "tests.fuzz.schemathesis_checks"}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    print(output.decode())
    assert process.returncode == 0
    report = json.loads((folder / "report.json").read_text())
    assert report["operations"]["selected"] == report["operations"]["tested"] > 20
    return int(report["test_cases"]["generated"])


async def check_log(server: ServerProcess) -> None:
    """Nothing failed that nobody foresaw."""
    assert [line for line in server.log_lines() if line["level"] in ("error", "critical")] == []
    assert "Traceback" not in server.output


async def start(start_server: StartServer) -> ServerProcess:
    return await start_server(
        POTO_MODULES=json.dumps(MODULES),
        POTO_AUTH__TOKENS=json.dumps(TOKENS),
        POTO_LIMITS__CALLS_PER_MINUTE="0",
    )


@pytest.mark.process
async def test_every_answer_is_as_described(start_server: StartServer, tmp_path: Path) -> None:
    """No 500, no status, content type, header or body that the description lacks, and no hang."""
    server = await start(start_server)
    assert await fuzz(server, tmp_path, examples=4, seed=1) > 400
    await check_log(server)


@pytest.mark.long
@pytest.mark.process
@pytest.mark.timeout(1500)
async def test_thousands_of_answers_are_as_described(start_server: StartServer, tmp_path: Path) -> None:
    """The long form, with a new seed for each run."""
    server = await start(start_server)
    seed = int(os.environ.get("FUZZ_SEED", int.from_bytes(os.urandom(4))))
    count = await fuzz(server, tmp_path, examples=400, seed=seed)
    print(f"FUZZ_SEED={seed}: {count} requests")
    assert count > 5000
    await check_log(server)
