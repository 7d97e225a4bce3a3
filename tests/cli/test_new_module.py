"""`modules new`: what it writes passes at once, and what is there is never touched."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from potoserver.cli import run
from tests.support.commands import potoserver
from tests.support.process import CHECKOUT, server_environment

Said = Callable[..., tuple[int, str, str]]
FILES = ("greeter.py", "test_greeter.py", "greeter.md")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder like a checkout: plugins, tests, docs, the project's tools as they are set."""
    folder = tmp_path / "checkout"
    for name in ("modules", "tests", "docs"):
        (folder / name).mkdir(parents=True)
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    (folder / "potoserver").symlink_to(CHECKOUT / "potoserver")
    (folder / "potoserver.yaml").write_text("modules_dir: modules\n")
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with plugins alone."""
    folder = tmp_path / "etc"
    (folder / "my-plugins").mkdir(parents=True)
    (folder / "potoserver.yaml").write_text("modules_dir: my-plugins\n")
    return folder


@pytest.fixture
def said(elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs `modules new …` where there are plugins alone; gives status, output and error output."""
    monkeypatch.chdir(elsewhere)

    def new(*arguments: str) -> tuple[int, str, str]:
        status = run(["modules", "new", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return new


def made_in(folder: Path) -> list[str]:
    """The files there, but for the settings and the tools'."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("potoserver.yaml", "pyproject.toml")
    )


def tool(*arguments: str, folder: Path) -> None:
    """Runs a tool of the project; it must find nothing."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=server_environment(),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_what_it_writes_passes_the_projects_own_tools_at_once(checkout: Path) -> None:
    """Linter, format, strict types, and the test with the project's settings, against a real server."""
    done = potoserver("modules", "new", "greeter", cwd=checkout)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:3] == [
        "wrote  modules/greeter.py",
        "wrote  tests/modules/test_greeter.py",
        "wrote  docs/modules/greeter.md",
    ]
    files = ("modules/greeter.py", "tests/modules/test_greeter.py")
    tool("ruff", "check", "--no-cache", *files, folder=checkout)
    tool("ruff", "format", "--no-cache", "--check", *files, folder=checkout)
    tool("mypy", "--strict", "--cache-dir", str(CHECKOUT / ".mypy_cache"), *files, folder=checkout)
    tool("pytest", "-q", "-p", "no:cacheprovider", folder=checkout)
    assert "POST /Greeter/say" in potoserver("modules", cwd=checkout).stdout


def test_elsewhere_the_test_and_the_page_go_to_the_plugins(said: Said, elsewhere: Path) -> None:
    """Nothing is written outside the folder that the settings name, and the test passes there too."""
    status, out, err = said("BirthdayWishes")
    assert (status, err) == (0, "")
    assert made_in(elsewhere) == [
        "my-plugins/birthday_wishes.py",
        "my-plugins/docs/birthday_wishes.md",
        "my-plugins/tests/test_birthday_wishes.py",
    ]
    assert "python -m pytest my-plugins/tests/test_birthday_wishes.py" in out
    assert "class BirthdayWishes(ServerModule)" in (elsewhere / "my-plugins/birthday_wishes.py").read_text()
    tool("pytest", "-q", "-p", "no:cacheprovider", "-c", str(CHECKOUT / "pyproject.toml"), "--rootdir", ".",
         "my-plugins/tests", folder=elsewhere)  # fmt: skip


@pytest.mark.parametrize("given", ["who_else", "WhoElse", "Who_Else"])
def test_a_name_may_be_that_of_the_file_or_of_the_class(said: Said, elsewhere: Path, given: str) -> None:
    """Either leads to the other."""
    assert said(given)[0] == 0
    assert "class WhoElse(ServerModule)" in (elsewhere / "my-plugins/who_else.py").read_text()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "expected letters, digits and _, a letter first"),
        ("my-plugin", "expected letters, digits and _"),
        ("2nd", "a letter first"),
        ("_hidden", "a letter first"),
        ("größe", "expected letters, digits and _"),
        ("../up", "expected letters, digits and _"),
        ("a" * 61, "at most 60"),
        ("\x1b[2J", r"\x1b[2J"),
        ("class", "a word of Python's own"),
        ("Match", "a word of Python's own"),
        ("event", "potoserver has a Event of its own"),
        ("ServerModule", "potoserver has a ServerModule of its own"),
    ],
)
def test_a_name_that_can_be_none_is_refused(said: Said, elsewhere: Path, name: str, words: str) -> None:
    """One line, status 2, nothing written."""
    status, out, err = said("--", name)
    assert (status, out) == (2, "")
    assert words in err
    assert "\x1b" not in err
    assert len(err.splitlines()) == 1
    assert made_in(elsewhere) == []


@pytest.mark.parametrize(
    "there", ["greeter.py", "greeter/__init__.py", "tests/test_greeter.py", "docs/greeter.md"]
)
def test_what_is_there_is_never_overwritten(said: Said, elsewhere: Path, there: str) -> None:
    """Neither the plugin nor its test nor its page; and then none of them is written."""
    path = elsewhere / "my-plugins" / there
    path.parent.mkdir(exist_ok=True)
    path.write_text("from potoserver import ServerModule\nclass Mine(ServerModule):\n    pass\n")
    status, out, err = said("greeter")
    assert (status, out) == (2, "")
    assert f"{path} is there already; nothing was written" in err
    assert made_in(elsewhere) == [f"my-plugins/{there}"]


def test_a_module_of_that_name_under_another_file_is_told(said: Said, elsewhere: Path) -> None:
    """Two of one name could not be served."""
    source = "from potoserver import ServerModule\nclass Greeter(ServerModule):\n    pass\n"
    (elsewhere / "my-plugins" / "hello.py").write_text(source)
    status, _, err = said("greeter")
    assert status == 2
    assert "there is a module Greeter already" in err


def test_what_was_written_is_taken_back_when_the_rest_can_not_be(said: Said, elsewhere: Path) -> None:
    """So that a second try finds the place clean."""
    (elsewhere / "my-plugins" / "docs").write_text("no folder")
    status, out, err = said("greeter")
    assert (status, out) == (1, "")
    assert "docs" in err
    assert made_in(elsewhere) == ["my-plugins/docs"]


def test_a_list_of_modules_that_lacks_it_is_told(said: Said, elsewhere: Path) -> None:
    """Else nobody would know why it is not there after the restart."""
    (elsewhere / "potoserver.yaml").write_text("modules_dir: my-plugins\nmodules: []\n")
    status, out, _ = said("greeter")
    assert status == 0
    assert "Only what is listed is loaded: add 'greeter' to `modules` (potoserver.yaml line 2)." in out


def test_a_module_that_is_broken_is_told_first(said: Said, elsewhere: Path) -> None:
    """With it no server would start."""
    (elsewhere / "my-plugins" / "bad.py").write_text("import not_installed\n")
    status, _, err = said("greeter")
    assert status == 2
    assert "module bad" in err
