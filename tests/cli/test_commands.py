"""The command line: what it prints, and its exit status; as a process where it starts a server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.cli.conftest import Command
from tests.support.commands import potoserver
from tests.support.process import CHECKOUT, ServerProcess, server_environment

GREETER = """
import sys
import typer
from pydantic import BaseModel, ConfigDict
from potoserver import ServerModule, rpc

class Manners(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    greeting: str = "Hello"

class Greeter(ServerModule):
    \"\"\"Greets people.\"\"\"
    section = "greeter"
    settings_model = Manners

    @rpc(roles={"admin"})
    async def greet_all(self, how: str) -> str:
        \"\"\"Greets everyone [loudly].\"\"\"
        return how

    def commands(self):
        app = typer.Typer()

        @app.command()
        def one(context: typer.Context, name: str) -> None:
            typer.echo(f"{context.obj.sections['greeter'].greeting}, {name}, {context.obj.settings.data_dir}")

        @app.command()
        def fail() -> None:
            raise typer.Exit(1)

        @app.command()
        def read() -> None:
            open("nowhere")

        def wave() -> None:
            \"\"\"Waves at people.\"\"\"
            typer.echo("waves")

        return {"greet": app, "wave": wave}
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A folder to run in, with a plugin `greeter`."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "greeter.py").write_text(GREETER)
    (tmp_path / "potoserver.yaml").write_text("modules_dir: plugins\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "x"], "port (flag --port): expected a whole number"),
        (["serve", "--port", "x"], "port (flag --port): expected a whole number"),
        (["--port", "1", "serve", "--port", "x"], "port (flag --port): expected a whole number"),
        (["check", "--port", "x"], "port (flag --port): expected a whole number"),
        (["--port", "1", "modules", "--port", "x"], "port (flag --port): expected a whole number"),
        (["modules", "--config", "none.yaml"], "none.yaml (flag --config): there is no such file"),
        (["token", "--config", "none.yaml"], "No such option"),
        (["--data-dir", "potoserver.yaml"], "potoserver.yaml is no folder"),
        (["--data-dir", "/proc/none"], "data_dir (flag --data-dir): /proc/none can't be made"),
        (["serve", "--data-dir", "x" * 300], "File name too long"),
        (["--host", "0.0.0.0"], "no loopback address"),
        (["--config", "none.yaml"], "none.yaml (flag --config): there is no such file"),
        (["--nonsense"], "No such option"),
        (["nonsense"], "No such command 'nonsense'"),
        (["--port"], "requires an argument"),
        (["token", "a b"], "a token must be of visible ASCII characters"),
    ],
)
def test_bad_usage_ends_with_status_2_and_one_line(
    plugins: Path, arguments: list[str], words: str, command: Command
) -> None:
    """Wrong settings, flags and commands: one line on stderr, no traceback, nothing started."""
    result = command(*arguments, cwd=plugins)
    assert result.returncode == 2
    assert result.stderr.startswith("potoserver: ")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (plugins / "logs").exists()


def test_a_module_that_fails_to_load_shows_its_traceback_at_debug_only(
    plugins: Path, command: Command
) -> None:
    """The cause in one line; the traceback where a debug pattern matches `module:*`."""
    (plugins / "plugins" / "bad.py").write_text("import not_installed\n")
    result = command(cwd=plugins)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "module bad" in result.stderr
    assert "No module named 'not_installed'" in result.stderr
    for environ, flags in (({"DEBUG": "module:*"}, []), ({}, ["--debug", "*"])):
        loud = command(*flags, cwd=plugins, environ=environ)
        assert loud.returncode == 2
        assert "Traceback" in loud.stderr
        assert loud.stderr.splitlines()[-1] == result.stderr.strip()


def test_the_version_is_printed(tmp_path: Path, command: Command) -> None:
    """`--version` prints name and version and starts nothing."""
    for arguments in (["--version"], ["--version", "check"]):
        result = command(*arguments, cwd=tmp_path)
        assert result.returncode == 0
        assert re.fullmatch(r"potoserver \S.*\n", result.stdout)


def test_help_lists_what_modules_bring(plugins: Path, command: Command) -> None:
    """The commands of modules stand beside the server's own."""
    result = command("--help", cwd=plugins)
    assert result.returncode == 0
    for each in ("serve", "token", "modules", "check", "greet", "wave     Waves at people."):
        assert each in result.stdout


def test_help_works_with_broken_modules(plugins: Path, command: Command) -> None:
    """Who needs help gets it, with a note on why a command may be missing."""
    (plugins / "plugins" / "bad.py").write_text("import not_installed\n")
    result = command("--help", cwd=plugins)
    assert result.returncode == 0
    assert "serve" in result.stdout
    assert "the modules' commands are missing here: module bad" in result.stderr


def test_a_modules_command_runs_with_what_was_loaded(plugins: Path, command: Command) -> None:
    """It finds the settings in its context, also those of flags before it, and gives the exit status."""
    environ = {"POTO_GREETER__GREETING": "Good day"}
    result = command("--data-dir", "here", "greet", "one", "Bob", cwd=plugins, environ=environ)
    assert (result.returncode, result.stdout) == (0, f"Good day, Bob, {plugins / 'here'}\n")
    assert command("greet", "fail", cwd=plugins).returncode == 1
    result = command("greet", "read", cwd=plugins)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "No such file or directory: 'nowhere'" in result.stderr
    assert command("wave", cwd=plugins).stdout == "waves\n"


def test_two_modules_can_not_bring_one_command(plugins: Path, command: Command) -> None:
    """A clash is told, not hidden."""
    second = GREETER.replace("Greeter", "Second").replace('"greeter"', '"second"')
    (plugins / "plugins" / "second.py").write_text(second)
    result = command("wave", cwd=plugins)
    assert result.returncode == 2
    assert "there is a command 'greet' already" in result.stderr


def test_modules_are_listed_with_their_methods(plugins: Path, command: Command) -> None:
    """Each module with its section, each method with its path, roles and first line, as written."""
    result = command("modules", cwd=plugins)
    assert result.returncode == 0
    assert re.search(r"Greeter +section greeter +Greets people\.", result.stdout)
    assert re.search(r"POST /Greeter/greetAll +admin +Greets everyone \[loudly\]\.", result.stdout)


def test_a_token_is_made_and_can_be_configured(tmp_path: Path, command: Command) -> None:
    """A new token comes with its hash and a piece of settings file that is accepted."""
    result = command("token", cwd=tmp_path)
    assert result.returncode == 0
    token = result.stdout.split()[1]
    assert len(token) >= 43
    hashed = "sha256:" + hashlib.sha256(token.encode()).hexdigest()
    assert result.stdout.count(hashed) == 2
    assert result.stdout.count(token) == 1
    (tmp_path / "modules").mkdir()
    (tmp_path / "potoserver.yaml").write_text(result.stdout.partition("\n\n")[2])
    assert command("check", cwd=tmp_path, environ={"PORT": "0"}).returncode == 0


def test_a_given_token_is_hashed_and_not_repeated(tmp_path: Path, command: Command) -> None:
    """The token may come as an argument or on the input, where no list of processes shows it."""
    hashed = "sha256:" + hashlib.sha256(b"my-own").hexdigest()
    for arguments, text in ((["token", "my-own"], ""), (["token", "-"], "my-own\n")):
        result = command(*arguments, cwd=tmp_path, text=text)
        assert result.returncode == 0
        assert hashed in result.stdout
        assert "my-own" not in result.stdout


def test_check_says_what_is_in_the_way(plugins: Path, command: Command) -> None:
    """One line for each thing; status 1 for a taken port or a folder that is none, 2 for wrong settings."""
    assert command("--port", "0", "check", cwd=plugins).returncode == 0
    assert not (plugins / "data").exists()
    (plugins / "data").write_text("a file")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = command("--port", str(port), "check", cwd=plugins)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert lines[:5] == [
        "ok      settings: all are known and possible",
        "ok      engine: memory://",
        "ok      modules: Greeter",
        f"wrong   data_dir: {plugins / 'data'} is no folder",
        f"ok      log_dir: {plugins / 'logs'}",
    ]
    assert lines[-1] == f"wrong   port: can't listen on localhost port {port}: Address already in use"
    assert command("--port", "x", "check", cwd=plugins).returncode == 2


@pytest.mark.parametrize("name", ["check", "modules"])
@pytest.mark.parametrize("raised", ["RuntimeError('no\\nway')", "SystemExit('no way')"])
def test_a_module_that_can_not_be_made_is_named(
    plugins: Path, name: str, raised: str, command: Command
) -> None:
    """Its constructor raises, or exits: one line with its name, no traceback."""
    failing = f"    def __init__(self):\n        raise {raised}\n"
    (plugins / "plugins" / "greeter.py").write_text(GREETER + failing)
    result = command(name, "--port", "0", cwd=plugins)
    output = result.stdout + result.stderr
    assert result.returncode == (1 if name == "check" else 2)
    assert [line for line in output.splitlines() if "no way" in line and "module Greeter" in line]
    assert "Traceback" not in output


def test_check_says_that_a_key_can_not_be_used(plugins: Path, command: Command) -> None:
    """And so does the start: one line with key and source, status 2."""
    public = rsa.generate_private_key(65537, 1024).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (plugins / "short.pem").write_bytes(pem)
    environ = {"POTO_AUTH__JWT_PUBLIC_KEY_FILE": "short.pem"}
    for arguments in (["check"], ["--port", "0"]):
        result = command(*arguments, cwd=plugins, environ=environ)
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
        assert "auth.jwt_public_key_file (environment POTO_AUTH__JWT_PUBLIC_KEY_FILE): " in result.stderr
        assert "RSA of 2048 bits or more" in result.stderr


@pytest.mark.process
async def test_check_says_that_another_server_uses_the_data(tmp_path: Path) -> None:
    """While one runs on the same folder; not any more when it has stopped."""
    async with ServerProcess(tmp_path) as server:
        flags = ("--data-dir", str(server.data_dir), "--port", "0", "check")
        result = potoserver(*flags, cwd=tmp_path)
        assert result.returncode == 1
        assert f"wrong   data_dir: another server uses {server.data_dir}" in result.stdout.splitlines()
        await server.stop()
        assert potoserver(*flags, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("script", [["-m", "potoserver"], ["-Pc", "from potoserver.cli import main; main()"]])
def test_import_strings_are_found_in_the_current_folder(tmp_path: Path, script: list[str]) -> None:
    """`package.module:Class` beside the settings file works with `python -m` and with the console script."""
    (tmp_path / "shop.py").write_text(GREETER)
    result = subprocess.run(
        [sys.executable, *script, "modules"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "POTO_MODULES": '["shop:Greeter"]'},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "POST /Greeter/greetAll" in result.stdout


@pytest.mark.process
async def test_a_server_tells_where_it_is_and_ends_with_status_0(tmp_path: Path) -> None:
    """The terminal shows address, folders, modules and the development tokens; SIGTERM ends it in order."""
    async with ServerProcess(tmp_path) as server:
        assert await server.stop() == 0
    for words in (
        "localhost port any free one",
        str(server.data_dir),
        str(server.log_file),
        "ChatServerModule",
        "test-token (user a1), admin-token (user admin)",
        server.url,
    ):
        assert words in server.output
    assert {"serving", "stopped"} <= {line["event"] for line in server.log_lines()}


@pytest.mark.process
async def test_configured_tokens_are_not_shown(tmp_path: Path) -> None:
    """With a token configured the terminal says how many there are, and no development token."""
    environ = {"POTO_AUTH__TOKENS": '{"my-own-token": {"user": "bob"}}'}
    async with ServerProcess(tmp_path, environment=environ) as server:
        assert await server.stop(signal.SIGINT) == 0
    assert "1 configured" in server.output
    assert "test-token" not in server.output
    assert "my-own-token" not in server.output + server.log_file.read_text()


@pytest.mark.process
def test_a_start_that_fails_ends_with_status_1(plugins: Path) -> None:
    """A module whose start raises, and a taken port: one line at the end says why, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = potoserver("--port", str(port), cwd=plugins)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last == f"potoserver: can't listen on localhost port {port}: Address already in use"
    failing = "    async def on_start(self):\n        raise RuntimeError('no\\nway')\n"
    (plugins / "plugins" / "greeter.py").write_text(GREETER + failing)
    result = potoserver("--port", "0", cwd=plugins)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "potoserver: Greeter could not start: no way"
    assert "Traceback" not in result.stderr
    assert "Traceback" in potoserver("--port", "0", "--debug", "module:*", cwd=plugins).stderr


@pytest.mark.process
def test_a_folder_of_logs_that_can_not_be_used_is_named(plugins: Path) -> None:
    """The start stops with the key, its source and status 2."""
    (plugins / "file").write_text("")
    result = potoserver("--log-dir", "file", "--port", "0", cwd=plugins)
    assert result.returncode == 2
    assert result.stderr.startswith("potoserver: log_dir (flag --log-dir): ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.process
async def test_a_connection_that_brings_no_whole_request_is_closed(tmp_path: Path) -> None:
    """Idle from the beginning, in the middle of a head, or of a further one; each here after a second."""
    (tmp_path / "shorter.py").write_text(
        "import potoserver.listen\npotoserver.listen._KEEPALIVE_S = 1\nfrom potoserver import ServerModule\n"
        "class Shorter(ServerModule):\n    pass\n"
    )
    environ = {"POTO_MODULES": '["shorter:Shorter"]', "POTO_LIMITS__HEAD_TIMEOUT_S": "1"}
    whole = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with ServerProcess(tmp_path, environment=environ) as server:
        for beginning, answers in ((b"", []), (whole[:-2], [b"408"]), (whole + whole[:-2], [b"200"])):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(beginning)
            async with asyncio.timeout(20):
                assert re.findall(rb"HTTP/1.1 (\d+)", await reader.read()) == answers
            writer.close()


@pytest.mark.process
def test_what_signs_tokens_is_loaded_with_the_first_token(tmp_path: Path) -> None:
    """A start that needs none does not wait for it."""
    code = (
        "import sys; from potoserver.cli import run; assert run(['modules']) == 0; "
        "sys.exit(' '.join({'jwt', 'cryptography'} & {*sys.modules}) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=server_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
