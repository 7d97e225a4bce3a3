"""scripts/run and scripts/test, as far as it is cheap: what they choose, say and hand on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
TOOLS = ("bash", "dirname", "env", "grep")
RECORDER = '#!/bin/sh\nfor each; do echo "$each"; done >> "$RECORD"; echo "--" >> "$RECORD"\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the scripts need, on a PATH of a few tools."""
    copy = tmp_path / "checkout"
    shutil.copytree(CHECKOUT / "scripts", copy / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CHECKOUT / ".ci", copy / ".ci")
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, copy)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / "bin" / tool).symlink_to(found)
    return copy


def run(checkout: Path, script: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(checkout / script), *arguments],
        env={"PATH": str(checkout.parent / "bin"), "RECORD": str(checkout.parent / "record"), **environ},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def put(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o755)


def recorded(checkout: Path) -> list[list[str]]:
    """The command lines of the environment's tools, without those that only ask for a version."""
    text = (checkout.parent / "record").read_text()
    calls = [call.splitlines() for call in text.split("--\n") if call]
    return [call for call in calls if call[0] != "-c"]


@pytest.mark.parametrize("script", ["scripts/run", "scripts/test"])
def test_a_missing_python_is_told_clearly(checkout: Path, script: str) -> None:
    """Without Python 3.11 the script says so in one line and does nothing."""
    put(checkout.parent / "bin" / "python3", "#!/bin/sh\nexit 1\n")
    result = run(checkout, script)
    assert result.returncode == 1
    assert result.stderr == "Python 3.11 or later is needed, and none is on PATH.\n"
    assert not (checkout / ".venv").exists()


def test_a_missing_venv_module_is_told_clearly(checkout: Path) -> None:
    """A Python that can't make environments is named, with the package that helps."""
    put(checkout.parent / "bin" / "python3", '#!/bin/sh\ncase "$2" in *venv*) exit 1;; esac\n')
    result = run(checkout, "scripts/run")
    assert result.returncode == 1
    assert "python3 lacks the venv module" in result.stderr
    assert "python3-venv" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "text", "extras"),
    [
        (["--port", "1", "--debug", "a b"], {}, "", ""),
        ([], {"POTO_CHAT__RESPONDER": "openai"}, "", "llm"),
        ([], {}, "chat:\n  responder: openai\n", "llm"),
        ([], {}, "chat:\n  responder: 'openai'  # a model\n", "llm"),
        ([], {}, "chat:\n  responder: echo\n", ""),
        ([], {}, "chat:\n  responder: echo # or openai\n", ""),
        ([], {}, "chat:\n  # responder: openai\n", ""),
        (["--config", "other.yaml"], {}, "chat: {responder: openai}\n", ""),
        (["--config=potoserver.yaml"], {}, 'chat: {"responder": "openai"}\n', "llm"),
    ],
)
def test_run_hands_its_flags_on_and_installs_what_the_configuration_needs(
    checkout: Path, arguments: list[str], environ: dict[str, str], text: str, extras: str
) -> None:
    """The server gets the flags as they are; the extra for models is installed where one is configured."""
    put(checkout / ".venv" / "bin" / "python", RECORDER)
    (checkout / "potoserver.yaml").write_text(text)
    assert run(checkout, "scripts/run", *arguments, **environ).returncode == 0
    assert recorded(checkout) == [["scripts/environment.py", extras], ["-m", "potoserver", *arguments]]


@pytest.mark.parametrize("script", ["scripts/test", ".ci/run"])
@pytest.mark.parametrize(
    ("arguments", "pytest_arguments"),
    [
        ([], ["-m", "not long", "--numprocesses", "4", "--dist", "worksteal"]),
        (["--long"], []),
        (["tests/cli", "--long", "-x"], ["tests/cli", "-x"]),
        (["tests/cli"], ["-m", "not long", "tests/cli"]),
    ],
)
def test_test_runs_every_check(
    checkout: Path, script: str, arguments: list[str], pytest_arguments: list[str]
) -> None:
    """Lint, format, types, layers, audit, tests, in this order; --long takes the long forms in.

    Only the whole suite runs in parallel.
    """
    for tool in ("python", "ruff", "mypy", "lint-imports", "pytest"):
        put(
            checkout / ".venv" / "bin" / tool,
            RECORDER.replace("for each", f'echo {tool} >> "$RECORD"; for each'),
        )
    assert run(checkout, script, *arguments).returncode == 0
    calls = [call for call in recorded(checkout) if call[:2] != ["python", "-c"]]
    assert calls == [
        ["python", "scripts/environment.py", "test"],
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
        ["python", "scripts/audit.py"],
        ["pytest", *pytest_arguments],
    ]


def test_test_fails_with_the_first_failing_check(checkout: Path) -> None:
    """A failing check gives its status and ends the run."""
    put(checkout / ".venv" / "bin" / "python", RECORDER)
    put(checkout / ".venv" / "bin" / "ruff", "#!/bin/sh\nexit 3\n")
    assert run(checkout, "scripts/test").returncode == 3


def environment_of(checkout: Path, *folder: str) -> Callable[[str], list[str]]:
    """An environment whose pip only records; returns what updates it, and tells all that pip was asked."""
    environment = checkout / (folder or (".venv",))[0]
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", environment], check=True, capture_output=True
    )
    # In place of pip: a module of that name which writes down what it is asked.
    site = next((environment / "lib").glob("python3*")) / "site-packages"
    put(
        site / "pip.py",
        f"import sys\nopen({str(checkout.parent / 'pips')!r}, 'a').write(sys.argv[-1] + '\\n')\n",
    )

    def prepare(extras: str) -> list[str]:
        subprocess.run(
            [environment / "bin" / "python", checkout / "scripts" / "environment.py", extras, *folder],
            env={**os.environ, "PYTHONPATH": ""},
            check=True,
            capture_output=True,
            timeout=60,
        )
        return (checkout.parent / "pips").read_text().splitlines()

    return prepare


def test_an_environment_beside_the_first_is_another_one(checkout: Path) -> None:
    """The benchmark's holds packages that no test may come to need."""
    assert environment_of(checkout, ".venv-bench")("bench") == [f"{checkout}[bench]"]
    assert json.loads((checkout / ".venv-bench" / "installed.json").read_text())["extras"] == ["bench"]
    assert not (checkout / ".venv").exists()


def test_nothing_is_installed_again_until_its_inputs_change(checkout: Path) -> None:
    """The second start installs nothing; a changed setup.cfg or another extra does, with earlier extras."""
    prepare = environment_of(checkout)
    plain = str(checkout)
    assert prepare("") == [plain]
    assert prepare("") == [plain]
    assert prepare("test") == [plain, f"{plain}[test]"]
    assert prepare("") == [plain, f"{plain}[test]"]
    with (checkout / "setup.cfg").open("a") as config:
        config.write("# changed\n")
    assert prepare("llm") == [plain, f"{plain}[test]", f"{plain}[llm,test]"]
    stamp = json.loads((checkout / ".venv" / "installed.json").read_text())
    assert stamp["extras"] == ["llm", "test"]


@pytest.mark.skipif(
    os.geteuid() != 0 or "ID=debian\n" not in Path("/etc/os-release").read_text(), reason="for root on Debian"
)
def test_browsers_and_nginx_are_installed_where_there_are_none(checkout: Path) -> None:
    """As root on Debian. Where there are, or is no apt-get, nothing is touched; a failure stops nothing."""
    folder = checkout.parent / "bin"
    put(
        checkout / "programs",
        f"""#!/usr/bin/env bash
        cd {checkout}
        set -e
        source scripts/environment.sh
        prepare_programs "$1"
        """,
    )
    assert run(checkout, "programs", "long").returncode == 0
    put(folder / "apt-get", RECORDER)
    assert run(checkout, "programs", "short").returncode == 0
    calls = recorded(checkout)
    assert [call[0] for call in calls] == ["update", "install"] * 2
    assert "chromium" in calls[1]
    assert "nginx-light" in calls[3]
    put(folder / "apt-get", "#!/bin/sh\nexit 100\n")
    failed = run(checkout, "programs", "short")
    assert failed.returncode == 0
    assert "Chromium could not be installed" in failed.stderr
    assert "nginx could not be installed" in failed.stderr
    put(folder / "apt-get", RECORDER)
    for program in ("chromium", "nginx"):
        put(folder / program, RECORDER)
    assert run(checkout, "programs", "short").returncode == 0
    assert recorded(checkout) == calls
    assert run(checkout, "programs", "long").returncode == 0
    installed = [call for call in recorded(checkout) if call[0] == "install"]
    assert "firefox-esr" in installed[-2]
    assert "webkit2gtk-driver" in installed[-1]
