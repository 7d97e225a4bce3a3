"""This server and its peers side by side: what a connection, an event and a call cost.

Usage: scripts/bench/run [--only SCENE ...] [--peers NAME ...] [--repeats N] [--minutes N] [--short]

Starts each server by itself on one processor and the load on another, measures, and starts the next one; then
all of it again, in another order. Prints the medians, how far apart the repeats were, the ratios that are
bounded, and how busy the load was, and saves all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import tempfile
import time
from pathlib import Path

from scripts.bench.side_by_side.machine import Bystanders, about
from scripts.bench.side_by_side.peers.potoserver import Potoserver
from scripts.bench.side_by_side.plots import save_plots
from scripts.bench.side_by_side.rows.base import SHORT, Size
from scripts.bench.side_by_side.run import Run
from scripts.bench.side_by_side.scenes import PEERS, SCENES
from scripts.bench.side_by_side.table import bounds_table, saved, values_table


def page_of(run: Run, facts: dict[str, object]) -> str:
    """Everything that a run found."""
    peers = [peer.name for peer in run.peers]
    parts = [
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        "Medians of the repeats; in brackets how far apart the lowest and the highest are.",
        values_table(run.samples, peers),
        "Bounds of this server; ratios are taken repeat by repeat.",
        bounds_table(run.samples, Potoserver.name),
        "How busy the load was: near 100 it has measured itself.",
        values_table(run.busy, peers),
    ]
    if run.left_out:
        parts.append("\n".join(["Left out:", "", *(f"- {each}" for each in run.left_out)]))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[scene.name for scene in SCENES], metavar="SCENE")
    parser.add_argument("--peers", nargs="+", choices=[peer.name for peer in PEERS], metavar="NAME")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=14)
    parser.add_argument("--short", action="store_true", help="few of everything: whether it works at all")
    parser.add_argument("--save", type=Path, default=Path(".bench"))
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    bystanders, load_before = Bystanders(), os.getloadavg()[0]
    begun_s = time.monotonic()
    # Not where temporary files go: that may be no disk.
    options.save.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.save.resolve()) as folder:
        run = Run(
            Path(folder),
            [peer for peer in PEERS if not options.peers or peer.name in options.peers],
            [
                scene
                for scene in SCENES
                if (scene.name in options.only if options.only else not scene.asked_for)
            ],
            SHORT if options.short else Size(),
            repeats=options.repeats,
            limit_s=options.minutes * 60,
        )
        asyncio.run(run.measure())
    facts = about() | {
        "load before": f"{load_before:.1f}",
        "others meanwhile": f"{bystanders.cores():.2f} processors",
        "took": f"{time.monotonic() - begun_s:.0f} s, {options.repeats} repeats",
    }
    page = page_of(run, facts)
    print(page)
    name = time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime())
    file = saved(options.save, name, page, run.samples, facts)
    print("saved as", file, *save_plots(run.samples, [peer.name for peer in run.peers], file))


if __name__ == "__main__":
    main()
