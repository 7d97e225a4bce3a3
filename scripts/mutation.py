"""Changes the code in small ways and runs the tests on each change: which ones does no test notice?

Usage: scripts/mutate [--keep FOLDER] [AREA ...]

AREA is sessions, archives, presence or journal; without one, all of them. mutmut does the work in a copy, so
the checkout stays as it is: a temporary one, or FOLDER, where a further run tries only what is new, and what
no test noticed before. Prints counts, and each change that survived though mutation_argued.toml does not say
why it may; then the exit status is 1. Takes an hour or two.
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
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.utils.format_utils import get_module_from_key, orig_function_and_class_names_from_key

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
    "call_that_fails_adds_nothing",
    "process_that_ends_leaves_whole_archives",
    "dialog_that_is_full_can_be_restored",
    "full_archive_can_be_pinned",
    "disk_that_does_not_flush",
    "kill_9_at_every_call",
)
"""Tests that take seconds: what they alone notice deserves a plain test of its own."""
PYTEST = [
    *("-p", "no:cacheprovider"),
    *("-p", "mutation_order"),
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
ARGUED = Path(__file__).with_name("mutation_argued.toml")


@dataclass(frozen=True)
class Area:
    """What is changed, and which tests have to notice."""

    files: list[str]
    tests: list[str]


AREAS = {
    "sessions": Area(
        [
            f"modules/chat_server/{name}.py"
            for name in (
                "adoption",
                "archiver",
                "lanes",
                "lifecycle",
                "notices",
                "sessions",
            )
        ],
        ["tests/chat"],
    ),
    "archives": Area(
        [
            *(f"modules/chat_server/{name}.py" for name in ("archive_desk", "restorer", "retention")),
            "modules/chat_server/journal/archive_import.py",
        ],
        [
            "tests/chat/test_archive_desk.py",
            "tests/chat/test_importing.py",
            "tests/chat/test_restores_under_way.py",
            "tests/chat/test_restoring.py",
            "tests/chat/test_retention.py",
            "tests/chat/test_session_rules.py",
            "tests/journal/test_importing.py",
            "tests/journal/test_import_faults.py",
        ],
    ),
    "presence": Area(
        [
            "potoserver/engine/memory.py",
            "potoserver/engine/memory_logs.py",
            "potoserver/heartbeat.py",
            "potoserver/subscriptions.py",
            "potoserver/module/hooks.py",
            "potoserver/module/hook_lane.py",
            "potoserver/module/departure_line.py",
            "potoserver/module/hook_tries.py",
        ],
        ["tests/core", "tests/web/test_subscribe.py"],
    ),
    "journal": Area(
        [
            f"modules/chat_server/journal/{name}.py"
            for name in (
                "appending",
                "archive_changes",
                "archives",
                "batches",
                "by_folder",
                "data_folder",
                "dialog_yaml",
                "disk",
                "fencing",
                "filesystem",
                "first_words",
                "keyed",
                "layout",
                "lock_files",
                "marks",
                "moves",
                "order",
                "patience",
                "pins",
                "recovery",
                "references",
                "restoring",
                "rewriting",
                "scan",
                "spent",
                "taking_back",
                "threads",
                "titles",
                "token_fences",
                "tools",
                "usage",
                "user_calls",
                "user_dialogs",
                "user_keys",
            )
        ],
        ["tests/journal"],
    ),
}


def main() -> int:
    """Mutates the areas asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("areas", nargs="*", choices=[[], *AREAS], metavar="AREA")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    unanswered = 0
    with tempfile.TemporaryDirectory(prefix="mutation-") as temporary:
        for name in arguments.areas or AREAS:
            folder = (arguments.keep or Path(temporary)).absolute() / name
            argued = Arguments()
            copy_checkout(folder, AREAS[name])
            try_again(folder, argued)
            command = [TOOLS / "mutmut", "run", "--max-children", "1"]
            environment = os.environ | {
                "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(CHECKOUT / "scripts"),
            }
            if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
                return 2
            unanswered += report(name, folder, argued)
    return 1 if unanswered else 0


def copy_checkout(folder: Path, area: Area) -> None:
    """Copies what the tests need, configured for mutmut; what an earlier run there found out is kept."""
    for name in COPIED:
        source, target = CHECKOUT / name, folder / name
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    shutil.rmtree(folder / "mutants" / "tests", ignore_errors=True)  # mutmut adds to it, and removes nothing
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
            # What the types forbid is noticed before any test runs. All changes of a method stand in one
            # class, so what it declares each of them declares again; that is not against them.
            "type_check_command": [
                "mypy",
                "--output=json",
                "--no-warn-unused-ignores",
                "--disable-error-code=no-redef",
            ],
        }.items()
    } | {"timeout_multiplier": "100000", "use_git_change_detection": "false"}
    with (folder / "setup.cfg").open("w") as file:
        setup.write(file)


class Arguments:
    """Why some changes may survive, by mutation_argued.toml, and which of its lines were of use.

    The file has a table for each reason: `why`, and `changes` as the report prints them; `*` stands for
    anything.
    """

    def __init__(self) -> None:
        tables = tomllib.loads(ARGUED.read_text())
        self._reasons = {
            (line, re.compile(re.escape(line).replace(r"\*", ".*"))): reason
            for reason, table in tables.items()
            for line in table["changes"]
        }
        self._used: set[str] = set()

    def reason(self, change: str) -> str | None:
        """Why a change may survive; None where nothing says so."""
        for (line, pattern), reason in self._reasons.items():
            if pattern.fullmatch(change):
                self._used.add(line)
                return reason
        return None

    def unused(self, files: list[str]) -> list[str]:
        """Lines about these files that argue for nothing which survived."""
        modules = {Path(file).stem for file in files}
        return [line for line, _ in self._reasons if line not in self._used and line.split(".")[0] in modules]


def try_again(folder: Path, arguments: Arguments) -> None:
    """Lets a run try what an earlier one left unnoticed: there may be tests for it now.

    Which tests cover what is found out anew, too: mutmut would ask the new tests alone, also where a function
    has moved.
    """
    (folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    for path, results in results_in(folder):
        for mutant, code in results["exit_code_by_key"].items():
            if VERDICTS.get(code) in UNNOTICED and not arguments.reason(change_of(mutant, path, folder)):
                results["exit_code_by_key"][mutant] = None
        path.write_text(json.dumps(results))


def results_in(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Reads mutmut's files of results."""
    return [(path, json.loads(path.read_text())) for path in sorted((folder / "mutants").rglob("*.meta"))]


def report(name: str, folder: Path, arguments: Arguments) -> int:
    """Prints the area's counts and each change that nothing has noticed or argued; returns their number."""
    counts: Counter[str] = Counter()
    unanswered: list[str] = []
    for path, results in results_in(folder):
        for mutant, code in results["exit_code_by_key"].items():
            verdict = VERDICTS.get(code, "killed")
            if verdict in UNNOTICED:
                change = change_of(mutant, path, folder)
                reason = arguments.reason(change)
                if reason is None:
                    unanswered.append(f"{verdict}: {mutant}\n    {change}")
                else:
                    verdict = f"argued ({reason})"
            counts[verdict] += 1
    print()
    print("\n".join(unanswered))
    print(f"{name}: {counts.total()} changes:", ", ".join(f"{n} {each}" for each, n in counts.most_common()))
    for line in arguments.unused(AREAS[name].files):
        print(f"Argued in vain: {line}")
    return len(unanswered)


def change_of(mutant: str, path: Path, folder: Path) -> str:
    """A change on one line: `module.Class.function: code before -> code after`."""
    with contextlib.chdir(folder):
        lines = get_diff_for_mutant(
            mutant, path=path.relative_to(folder / "mutants").with_suffix("")
        ).splitlines()
    before, after = (
        " ".join(line[1:].strip() for line in lines[2:] if line.startswith(sign)) for sign in "-+"
    )
    function, class_name = orig_function_and_class_names_from_key(mutant)
    place = ".".join(filter(None, (get_module_from_key(mutant).rpartition(".")[2], class_name, function)))
    return f"{place}: {before} -> {after}"


if __name__ == "__main__":
    sys.exit(main())
