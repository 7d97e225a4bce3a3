"""What a benchmark's repeats are made into: medians, noise, ratios, and whether a bound holds."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from scripts.bench.side_by_side.figures import Bound, Figure, Samples, Spread
from scripts.bench.side_by_side.plots import save_plots
from scripts.bench.side_by_side.table import bounds_table, number, saved, values_table

AT_MOST = Bound(2, "raw", at_most=True)
AT_LEAST = Bound(6, "queue", at_most=False)
MEMORY = Figure("memory", "KB", (AT_MOST,))


def samples_of(**values: list[float]) -> Samples:
    samples = Samples()
    for repeat in range(max(map(len, values.values()))):
        for peer, of_peer in values.items():
            if repeat < len(of_peer):
                samples.add(MEMORY, peer, repeat, of_peer[repeat])
    return samples


def test_a_peer_s_value_is_the_median_and_its_noise_how_far_apart_the_repeats_are() -> None:
    """One repeat that was disturbed moves the noise, not the value."""
    assert samples_of(ours=[4.0, 40.0, 5.0]).spread(MEMORY, "ours") == Spread(5.0, 4.0, 40.0)
    assert Spread(5.0, 4.0, 6.0).noise == 0.4
    assert Spread(0.0, 0.0, 0.0).noise == 0
    assert samples_of(ours=[4.0]).spread(MEMORY, "raw") is None


def test_ratios_are_taken_repeat_by_repeat() -> None:
    """A repeat in which the whole machine was slower has the same ratio; one that is not whole counts not."""
    samples = samples_of(ours=[6.0, 60.0, 7.0], raw=[2.0, 20.0])
    assert samples.ratio(MEMORY, "ours", "raw") == Spread(3.0, 3.0, 3.0)
    assert samples.ratio(MEMORY, "ours", "nobody") is None


def test_a_bound_holds_only_where_it_holds_in_every_repeat() -> None:
    """Else the table says that it holds sometimes, which is not met."""

    def holds(ours: list[float]) -> str:
        judged = samples_of(ours=ours, raw=[1.0] * len(ours)).judged(MEMORY, AT_MOST, "ours")
        assert judged is not None
        return judged[1]

    assert holds([2.0, 1.9, 1.0]) == "yes"
    assert holds([1.9, 1.9, 2.1]) == "sometimes"
    assert holds([2.1, 3.0]) == "no"
    assert AT_LEAST.allows(6.0)
    assert not AT_LEAST.allows(5.9)
    absolute = Bound(1, "", at_most=True)
    judged = samples_of(ours=[0.5]).judged(MEMORY, absolute, "ours")
    assert judged == (Spread(0.5, 0.5, 0.5), "yes")


def test_the_tables_show_every_peer_and_every_bound() -> None:
    """Also where something was not measured."""
    samples = samples_of(ours=[5.0, 5.5, 6.0], raw=[1.0, 2.0, 2.0])
    assert values_table(samples, ["ours", "raw", "nobody"]).splitlines() == [
        "| what | ours | raw |",
        "| --- | --- | --- |",
        "| memory, KB | 5.50 (18%) | 2.00 (50%) |",
    ]
    samples.add(Figure("speed", "1/s"), "raw", 0, 1234.5)
    assert values_table(samples, ["ours", "raw"]).splitlines()[-1] == "| speed, 1/s | — | 1,234 (0%) |"
    assert bounds_table(samples, "ours").splitlines()[2] == (
        "| memory | ≤ 2 × raw | 3.00 | 2.75 to 5.00 | no |"
    )
    assert bounds_table(samples, "nchan").splitlines()[2] == "| memory | ≤ 2 × raw | — | — | not measured |"
    assert [number(value) for value in (0, 0.5, 9.94, 12.34, 1234.5)] == [
        "0",
        "0.50",
        "9.94",
        "12.3",
        "1,234",
    ]


def test_what_is_saved_holds_the_page_and_every_value(tmp_path: Path) -> None:
    """So that another run can be held against it."""
    samples = samples_of(ours=[5.0, 6.0], raw=[1.0])
    page = saved(tmp_path / "there", "run", "the page", samples, {"python": "3.11"})
    assert page.read_text() == "the page"
    assert json.loads(page.with_suffix(".json").read_text()) == {
        "about": {"python": "3.11"},
        "figures": [
            {"name": "memory", "unit": "KB", "values": {"ours": {"0": 5.0, "1": 6.0}, "raw": {"0": 1.0}}}
        ],
    }


def test_a_series_is_drawn_with_a_line_for_each_peer(tmp_path: Path) -> None:
    """From its medians, in the order of the other axis; a figure that is no series is not drawn."""
    samples = samples_of(ours=[5.0], raw=[1.0])
    for at, value in ((10_000, 4.0), (1_000, 2.0)):
        point = Figure(f"memory at {at}", "KB", series="memory <each>", along="connections", at=at)
        samples.add(point, "ours", 0, value)
        samples.add(point, "raw", 0, value / 2)
    (file,) = save_plots(samples, ["ours", "raw", "nobody"], tmp_path / "run.md")
    assert file.name == "run-memory-each-.svg"
    drawn = ET.fromstring(file.read_text())
    lines = [each.attrib["points"] for each in drawn.iter() if each.tag.endswith("polyline")]
    assert [len(line.split()) for line in lines] == [2, 2]
    (first_x, first_y), (last_x, last_y) = (map(float, point.split(",")) for point in lines[0].split())
    assert first_x < last_x
    assert first_y > last_y, "more is higher"
    texts = [each.text for each in drawn.iter() if each.tag.endswith("text")]
    assert {"memory <each>, KB", "connections", "ours", "raw"} <= set(texts)
    assert "nobody" not in texts
