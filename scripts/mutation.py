"""Changes the code in small ways and runs the tests on each change: which ones does no test notice?

Usage: scripts/mutate [--keep FOLDER] [AREA ...]

AREA is sessions, presence or journal; without one, all three. mutmut does the work in a copy, so the checkout
stays as it is: a temporary one, or FOLDER. Prints counts and each change that survived; docs/reliability.md
says why those may. Takes the better part of an hour.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant

CHECKOUT = Path(__file__).resolve().parents[1]
TOOLS = Path(sys.executable).parent
COPIED = ("docs", "modules", "potoserver", "scripts", "tests", "pyproject.toml", "setup.cfg")
IGNORED = [r"log(ger)?(\(.*\))?\.debug\(", r"\b_log_archive\(", r"\braise \w+\(", r"^ *assert "]
"""No debug line, no text of an error, and nothing that only narrows a type is changed."""
EXHAUSTIVE = (
    "any_text_loads_equal",
    "known_traps_load_equal_in_node",
    "what_is_written_is_read_back",
    "each_call_fails",
    "ends_at_each_call",
    "is_cut_at_each_call",
    "cut_at_every_byte",
    "power_loss",
    "largest_dialog",
    "many_users_at_once",
)
"""Tests that take seconds: what they alone notice deserves a plain test of its own."""
PYTEST = [
    *("-p", "no:cacheprovider"),
    *("-m", "not long"),
    *("-k", " and ".join(f"not {name}" for name in EXHAUSTIVE)),
    "--hypothesis-seed=0",
    # Not mutmut's own limit: when that is over it signals a number that may be another process's by then.
    *("--timeout", "30"),
    *("--timeout-method", "thread"),
]
VERDICTS = {None: "not run", 0: "survived", 33: "untested", 37: "against the types"}
"""By mutmut's exit codes; every other one is that of a failed test, or of one that came to no end."""
UNNOTICED = {"not run", "survived", "untested"}


@dataclass(frozen=True)
class Area:
    """What is changed, and which tests have to notice."""

    files: list[str]
    tests: list[str]


AREAS = {
    "sessions": Area(
        [
            f"modules/chat_server/{name}.py"
            for name in ("sessions", "lifecycle", "adoption", "archiver", "notices", "lanes")
        ],
        ["tests/chat"],
    ),
    "presence": Area(
        [
            "potoserver/engine/memory.py",
            "potoserver/heartbeat.py",
            "potoserver/subscriptions.py",
            "potoserver/module/hooks.py",
        ],
        ["tests/core", "tests/web/test_subscribe.py"],
    ),
    "journal": Area(
        [
            f"modules/chat_server/journal/{name}.py"
            for name in (
                "archives",
                "dialog_yaml",
                "disk",
                "filesystem",
                "grouping",
                "keyed",
                "layout",
                "order",
                "recovery",
                "references",
                "scan",
                "tools",
                "usage",
                "user_dialogs",
            )
        ],
        ["tests/journal"],
    ),
}


def main() -> int:
    """Mutates the areas asked for; the exit status says only whether that could be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("areas", nargs="*", choices=[[], *AREAS], metavar="AREA")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutation-") as temporary:
        for name in arguments.areas or AREAS:
            folder = (arguments.keep or Path(temporary)) / name
            copy_checkout(folder, AREAS[name])
            command = [TOOLS / "mutmut", "run", "--max-children", "1"]
            environment = os.environ | {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"}
            if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
                return 1
            report(name, folder)
    return 0


def copy_checkout(folder: Path, area: Area) -> None:
    """Copies what the tests need, configured for mutmut; what an earlier run there found out is kept."""
    for name in COPIED:
        source, target = CHECKOUT / name, folder / name
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for pattern in area.files:
        for path in folder.glob(pattern):
            # mutmut passes decorated functions over; this decorator says nothing at run time.
            path.write_text(re.sub(r"^ +@override\n", "", path.read_text(), flags=re.MULTILINE))
    setup = configparser.ConfigParser()
    setup.read(folder / "setup.cfg")
    setup["mutmut"] = {
        key: "\n".join(["", *values])
        for key, values in {
            "source_paths": ["modules", "potoserver"],
            "only_mutate": area.files,
            "do_not_mutate_patterns": IGNORED,
            "also_copy": ["docs", "scripts"],
            "pytest_add_cli_args": PYTEST,
            "pytest_add_cli_args_test_selection": area.tests,
            # What the types forbid is noticed before any test runs.
            "type_check_command": ["mypy", "--output=json", "--no-warn-unused-ignores"],
        }.items()
    } | {"timeout_multiplier": "100000", "use_git_change_detection": "false"}
    with (folder / "setup.cfg").open("w") as file:
        setup.write(file)


def report(name: str, folder: Path) -> None:
    """Prints the area's counts and each change that nothing has noticed."""
    counts: Counter[str] = Counter()
    unnoticed: list[str] = []
    with contextlib.chdir(folder):
        for path in sorted(Path("mutants").rglob("*.meta")):
            for mutant, code in json.loads(path.read_text())["exit_code_by_key"].items():
                verdict = VERDICTS.get(code, "killed")
                counts[verdict] += 1
                if verdict in UNNOTICED:
                    source = path.relative_to("mutants").with_suffix("")
                    unnoticed.append(f"\n{verdict}: {mutant}\n{changed_lines(mutant, source)}")
    print("\n".join(unnoticed))
    print(
        f"\n{name}: {counts.total()} mutants:", ", ".join(f"{n} {each}" for each, n in counts.most_common())
    )


def changed_lines(mutant: str, source: Path) -> str:
    """The lines that a mutant takes out and puts in."""
    difference = get_diff_for_mutant(mutant, path=source).splitlines()[2:]
    return "\n".join(line for line in difference if line.startswith(("-", "+")))


if __name__ == "__main__":
    sys.exit(main())
