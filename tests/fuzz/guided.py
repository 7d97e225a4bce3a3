"""Fuzzing guided by coverage, with atheris: `scripts/fuzz --seconds 60 [target ...]`.

Each target runs in a process of its own, since libFuzzer ends the one that it runs in. What it learns is kept
in `--corpus`, so that a later run goes on from there; an input that breaks a promise is printed, to become a
seed of its target.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

INSTRUMENTED = ("potoserver", "modules", "yaml", "jwt", "aiohttp", "yarl")
MEGABYTES = 2048
"""Of memory that one target may take."""
HANG_S = 10
"""How long one input may take, instrumented; far above what any promise allows."""


def main() -> int:
    """Runs the targets one after the other; 1 when one has broken its promise."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="which ones; all of them without a name")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--corpus", type=Path, help="a folder for what is learned")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return _fuzz(options.targets[0], options.corpus, options.seconds)
    from tests.fuzz.targets import TARGETS

    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        print("The targets are", *TARGETS)
        return 2
    with tempfile.TemporaryDirectory() as temporary:
        corpus = options.corpus or Path(temporary)
        broken = [
            name for name in options.targets or TARGETS if not _run(name, corpus.resolve(), options.seconds)
        ]
    if broken:
        print("broken:", *broken)
    return 1 if broken else 0


def _run(name: str, corpus: Path, seconds: int) -> bool:
    """Runs one target in a process of its own, and says in one line what came of it."""
    folder = corpus / name
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.guided", "--inside", "--seconds", str(seconds), name]
    result = subprocess.run(
        [*command, "--corpus", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    text = result.stdout.decode(errors="replace")
    done = re.findall(r"stat::number_of_executed_units: (\d+)", text)
    reached = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", text)
    covered, features, kept = reached[-1] if reached else ("0", "0", "0")
    print(
        f"{name}: {'ok' if not result.returncode else 'BROKEN'}, {done[-1] if done else 'no'} executions, "
        f"{covered} branches, {features} features, {kept} inputs kept",
        flush=True,
    )
    if result.returncode:
        print(text[-6000:])
        for path in sorted(folder.parent.glob(f"{name}.*-*")):
            print(f"{path}: {path.read_bytes()!r}")
    return not result.returncode


def _fuzz(name: str, folder: Path, seconds: int) -> int:
    """Fuzzes one target in this process, which libFuzzer then ends."""
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    for number, seed in enumerate(target.seeds):
        (folder / f"seed-{number}").write_bytes(seed)
    atheris.Setup(
        [
            sys.argv[0],
            str(folder),
            f"-max_total_time={seconds}",
            f"-timeout={HANG_S}",
            f"-rss_limit_mb={MEGABYTES}",
            f"-artifact_prefix={folder.parent / name}.",
            "-print_final_stats=1",
        ],
        target.check,
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
