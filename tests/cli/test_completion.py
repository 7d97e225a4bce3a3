"""Completion with TAB, in the shells that this machine has."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.support.process import server_environment
from tests.support.terminal import terminal

COMPLETE = "_POTOSERVER_COMPLETE"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The console script, as an installation makes it."""
    script = tmp_path / "bin" / "potoserver"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m potoserver "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
def completions(tmp_path: Path, command: Command) -> Callable[[str], list[str]]:
    """What a shell is told that may come next, as bash asks."""

    def ask(words: str) -> list[str]:
        place = str(len(words.split(" ")) - 1)
        asked = {COMPLETE: "complete_bash", "COMP_WORDS": words, "COMP_CWORD": place}
        done = command(cwd=tmp_path, environ=asked)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return ask


def test_commands_are_completed_also_those_of_modules(completions: Callable[[str], list[str]]) -> None:
    """And the commands below a command, and flags."""
    assert {"serve", "check", "token", "modules", "dialogs"} <= set(completions("potoserver "))
    assert completions("potoserver mod") == ["modules"]
    assert {"list", "show"} <= set(completions("potoserver dialogs "))
    assert completions("potoserver dialogs list --us") == ["--user"]


def test_completion_is_silent_where_the_modules_are_broken(
    tmp_path: Path, completions: Callable[[str], list[str]]
) -> None:
    """The server's own commands are completed all the same."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "bad.py").write_text("import not_installed\n")
    (tmp_path / "potoserver.yaml").write_text("modules_dir: plugins\n")
    assert set(completions("potoserver ")) == {"serve", "check", "token", "modules"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_given_a_script(tmp_path: Path, shell: str, command: Command) -> None:
    """The one that `--show-completion` prints in that shell; a shell that is here must take it."""
    done = command(cwd=tmp_path, environ={COMPLETE: f"source_{shell}"})
    assert done.returncode == 0
    assert f"{COMPLETE}=complete_{shell}" in done.stdout
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(done.stdout)
        subprocess.run([shell, "-n", script], check=True, timeout=60)


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_tab_completes_in_bash(tmp_path: Path, program: Path) -> None:
    """As docs/commands.md says to set it up."""
    path = f"{program.parent}:/usr/bin:/bin"
    with terminal("--norc", "--noprofile", cwd=tmp_path, program="bash", PATH=path, PS1="ready> ") as shell:
        shell.expect_exact("ready> ")
        shell.sendline('eval "$(potoserver --show-completion)"')
        shell.expect_exact("ready> ")
        shell.send("potoserver dia\t")
        shell.expect_exact("dialogs")
        shell.send("sh\t")
        shell.expect_exact("show")


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_tab_completes_in_zsh(tmp_path: Path, program: Path) -> None:
    """By the same line."""
    environ = {"PATH": f"{program.parent}:/usr/bin:/bin", "PS1": "ready> ", "HOME": str(tmp_path)}
    with terminal("-f", "-i", cwd=tmp_path, program="zsh", **environ) as shell:
        for line in ("autoload -Uz compinit; compinit -u", 'eval "$(potoserver --show-completion)"'):
            shell.expect_exact("ready> ")
            shell.sendline(line)
        shell.expect_exact("ready> ")
        shell.send("potoserver dia\t")
        shell.expect_exact("dialogs")
        shell.send(" sh\t")
        shell.expect_exact("show")


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_is_given_completions(tmp_path: Path, program: Path) -> None:
    """With what each does."""
    asks = 'potoserver --show-completion | source; complete -C "potoserver dialogs sh"'
    done = subprocess.run(
        ["fish", "--no-config", "-c", asks],
        cwd=tmp_path,
        env=server_environment({"PATH": f"{program.parent}:/usr/bin:/bin", "HOME": str(tmp_path)}),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith("show\tShows one dialog.")
