"""What the study costs: every task can be measured, and the page says what the table says."""

import csv
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ecgstudy.book import cost_pages
from ecgstudy.data import cohort
from ecgstudy.paths import cache_root
from ecgstudy.profiles import profile_values
from ecgstudy.studies import costs
from ecgstudy.studies.costs import Point
from ecgstudy.systems.catalogue import by_name, of_papers


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path))  # put back afterwards, whatever is measured
    return tmp_path


SMALL = {
    "simulation": Point("simulation", "records", records=3),
    "cohort, simulated": Point("cohort, simulated", "shards", records=12, shards=3),
    "random reads": Point("random reads", "records", records=12),
    "cold reads": Point("cold reads", "records", records=12),
    "cold reads, prefetched": Point("cold reads, prefetched", "records", records=12),
    "folds": Point("folds", "records", records=60),
    "training": Point("training", "processes", records=40, processes=1),
    "training, noise": Point("training, noise", "records", records=40, shards=4),
    "maps": Point("maps", "samples", records=12, fs=200),
    "trials": Point("trials", "records", records=9),
}


@pytest.mark.parametrize("task", SMALL)
def test_every_task_can_be_measured(task, folder):
    row = costs.measure(SMALL[task], folder)
    point = SMALL[task]
    assert {name: row[name] for name in ("task", "varied", "amount")} == {
        "task": task, "varied": point.varied, "amount": getattr(point, point.varied)
    }  # fmt: skip
    assert row["samples"] == 10 * point.fs and row["records"] == point.records
    # The clock of a process may count in hundredths of a second.
    assert row["cpu_seconds"] >= 0 and row["wall_seconds"] > 0 and row["peak_mib"] > 50
    stored = 12 * 10 * point.fs * 4 * point.records / 2**20
    assert row["disk_mib"] >= stored if (cache_root() / "cohorts").exists() else row["disk_mib"] == 0


def test_recordings_can_be_measured(folder, small_data):
    row = costs.measure(Point("cohort, real", "records", records=3, fs=125), folder)
    assert row["disk_mib"] >= 3 * 12 * 10 * 125 * 4 / 2**20


def test_a_cohort_is_built_each_time_it_is_measured(folder, monkeypatch):
    simulated = []
    simulate = cohort.synthetic.simulate
    monkeypatch.setattr(cohort.synthetic, "simulate", lambda i, *a, **k: simulated.append(i) or simulate(i, *a, **k))
    point = Point("cohort, simulated", "records", records=5)
    for task, times in (("cohort, simulated", 1), ("cohort, simulated", 2), ("random reads", 2), ("maps", 2)):
        costs.measure(replace(point, task=task), folder)
        assert len(simulated) == 5 * times


def test_points_differ_and_every_task_has_some():
    points = costs.points()
    assert len({(point.task, point.varied, point.amount) for point in points}) == len(points)
    assert {point.task for point in points} == set(costs.TASKS)
    assert max(point.records for point in points) == costs.LARGE == 300_000
    for task in ("simulation", "cohort, simulated", "training", "maps"):
        samples = [point.samples for point in points if point.task == task and point.varied == "samples"]
        assert (min(samples), max(samples)) == (1000, 15_000)
    for task in ("cohort, simulated", "training"):
        for varied, amounts in (("processes", {1, 2}), ("shards", {1, 2, 4, 8})):
            assert {p.amount for p in points if (p.task, p.varied) == (task, varied)} == amounts


def test_new_rows_take_the_place_of_old_ones():
    def rows(*named):
        return pd.DataFrame([{"task": t, "varied": "records", "amount": n, "cpu_seconds": s} for t, n, s in named])

    before = rows(("maps", 10, 1.0), ("maps", 100, 2.0), ("simulation", 10, 3.0))
    found = costs.merged(before, rows(("maps", 10, 9.0), ("training", 10, 4.0)))
    assert found["task"].tolist() == ["simulation", "training", "maps", "maps"]
    assert found["cpu_seconds"].tolist() == [3.0, 4.0, 9.0, 2.0]
    assert len(costs.merged(pd.DataFrame(), before)) == 3


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5])
def test_a_power_is_found_again(power):
    amount = np.array([10.0, 100, 1000])
    rows = pd.DataFrame({"amount": amount, "cpu_seconds": 3 * amount**power})
    assert cost_pages.exponent(rows) == pytest.approx(power, abs=1e-9)


def test_the_committed_table_has_every_task_and_system():
    table = costs.committed()
    assert {*costs.TASKS} - {"cold reads", "cold reads, prefetched"} <= {*table["task"]}
    assert {cls.name for cls in of_papers()} == set(table.loc[table["task"] == "paper network", "varied"])
    assert (table[["cpu_seconds", "wall_seconds"]] > 0).all(axis=None)


def test_estimates_follow_from_the_table():
    table = costs.committed()
    lines = {line.split(" | ")[0].strip("| "): line for line in cost_pages.estimates_table().splitlines()}
    cells = {name: [cell.strip() for cell in line.strip("|").split("|")][1:] for name, line in lines.items()}
    # Ten million recordings of 12 leads and 5,000 samples of 4 bytes.
    assert cells["cohort at 500 Hz, float32"][-1] == f"{10_000_000 * 12 * 5000 * 4 / 1e12:.1f} TB"
    rows = table[table["task"] == "training, noise"].sort_values("records")
    first, last = rows.iloc[0], rows.iloc[-1]
    each = (last["peak_mib"] - first["peak_mib"]) / (last["records"] - first["records"])
    expected = (first["peak_mib"] + 1_000_000 * each) * 2**20 / 1e9
    said, unit = cells["memory of a process that trains on it"][1].split()
    assert unit == "GB" and float(said) == pytest.approx(expected, abs=0.06)
    assert last["records"] == costs.LARGE and last["peak_mib"] < 4096
    row = table[(table["task"] == "simulation") & (table["samples"] == 5000)].iloc[0]
    hours = 1_000_000 * row["cpu_seconds"] / row["records"] / 3600
    assert float(cells["to simulate as many at 500 Hz, core-hours"][1].replace(",", "")) == pytest.approx(
        hours, rel=0.06
    )
    for cls in of_papers():
        work = table.loc[(table["task"] == "paper network") & (table["varied"] == cls.name), "amount"].item()
        epochs = profile_values("paper", by_name(cls.name).chapter)["epochs"]
        # Forward, and backward with respect to inputs and to weights; each multiply-add is two operations.
        operations = (1 + 1 + 1) * 2 * work * 88_000 * epochs
        hours = operations / (0.2 * 989e12) / 3600
        (said,) = (c[0] for name, c in cells.items() if name.startswith(f"{cls.name} as published, {epochs:,} epochs"))
        assert float(said.replace(",", "")) == pytest.approx(hours, rel=0.06)
        assert cost_pages.gpu_hours(work, 88_000, epochs) == pytest.approx(hours)


def test_what_was_not_measured_is_said(monkeypatch):
    table = costs.committed()
    monkeypatch.setattr(cost_pages, "_rows", lambda: table[table["task"] != "cohort, real"])
    assert cost_pages.estimates_table().count("not measured") == len(cost_pages.CORPORA)


def test_the_drawing_is_the_same_each_time_and_says_what_it_shows():
    drawn = cost_pages.growth_figure()
    assert drawn == cost_pages.growth_figure()
    assert drawn.startswith("```{raw} html\n<svg role=") and drawn.endswith("</svg>\n```\n")
    assert len(re.search('aria-label="([^"]+)"', drawn)[1]) > 30 and "http" not in re.sub(
        r'xmlns\S*="[^"]+"', "", drawn
    )


def test_growth_is_told_for_records_and_samples():
    lines = cost_pages.growth_table().splitlines()[2:]
    told = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    curves = costs.committed().groupby(["task", "varied"])["amount"].nunique()
    assert {(task, what) for task, what, *_ in told} == {
        (task, what) for (task, what), amounts in curves.items() if amounts > 1 and what in ("records", "samples")
    }
    assert {task for task, what, *_ in told if what == "records"} >= {
        *("simulation", "cohort, simulated", "cohort, real", "folds", "training", "maps", "trials")
    }
    assert all(math.isfinite(float(power.replace("−", "-"))) for *_, power, _ in told)
    # Inputs are kept in memory up to a limit: the most that a training took is not that of the most records.
    (memory,) = (memory for task, what, *_, memory in told if (task, what) == ("training", "records"))
    with costs.TABLE.open(encoding="utf-8") as lines:
        taken = [float(line[-2]) for line in csv.reader(lines) if line[:2] == ["training", "records"]]
    assert memory == f"{min(taken):,.0f} – {max(taken):,.0f}" and taken[-1] < max(taken)
