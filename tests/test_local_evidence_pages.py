from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import PathCollection

from ecgstudy.book import chapter, hearts, report
from ecgstudy.book import local_evidence_pages as pages
from ecgstudy.data.labels import CLASSES
from ecgstudy.explain import trials
from ecgstudy.explain.cases import synthetic_cases
from ecgstudy.explain.evaluation import make_maps
from ecgstudy.metrics import Interval
from ecgstudy.studies import explanations, leaderboard
from ecgstudy.systems.catalogue import by_name, with_chapter
from ecgstudy.systems.local_evidence import LocalEvidenceSystem

SYSTEM = LocalEvidenceSystem(channels=16, rhythm=8, depth=1)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def run(seed=0, **answers):
    """A run whose network is not trained and whose numbers are none that it starts with."""
    torch.manual_seed(seed)
    network = SYSTEM.network().eval()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return SimpleNamespace(system=SYSTEM, network=lambda: network, **answers)


def test_times_are_the_shortest_of_all_tries(monkeypatch):
    """Of a clock on which every try takes 1 ms more than the one before it."""
    ticks = iter(np.repeat(np.cumsum(np.arange(0, 200)), 2)[1:] / 1000)
    monkeypatch.setattr(pages.time, "perf_counter", lambda: next(ticks))
    threads = torch.get_num_threads()
    found = pages.times(SYSTEM, run().network(), np.zeros((12, 1250), dtype=np.float32), batch=5)
    assert found == {"ms_windows": "1.0", "ms_one": "21.0", "ms_many": f"{41 / 5:.1f}"}
    assert torch.get_num_threads() == threads


def test_completeness_is_the_largest_miss_of_all_inputs():
    x = torch.zeros(130, 19, 40)
    x[129] = 0.25

    class Missing(torch.nn.Module):
        def incompleteness(self, part):
            assert len(part) <= 64
            return part.mean(dim=-1) if part.dtype == torch.float32 else 0 * part.mean(dim=-1)

    table = pages.completeness(SimpleNamespace(network=Missing), x, "caption").data
    assert table.to_numpy().tolist() == [["float32", "2.5e-01"], ["float64", "0.0e+00"]]
    exact = pages.completeness(run(), torch.randn(4, 19, 200), "caption").data["largest difference"].astype(float)
    assert exact[0] < 1e-4 and exact[1] < 1e-12


def test_each_system_draws_its_own_map_of_the_same_record():
    runs = {"one": run(1), "two": run(2)}
    figure = pages.own_map_of_each(runs, ["PVC", "AF"], 250)
    axes = np.array(figure.axes).reshape(3, 2)
    assert [ax.get_title() for ax in axes[0]] == ["PVC, lead II", "AF, lead II"]
    case = hearts.case("AF", 250)
    (line,) = axes[0, 1].lines
    np.testing.assert_array_equal(line.get_ydata(), case.signals[0, 1])
    assert line.get_xdata()[-1] == pytest.approx(10, abs=0.01)
    case = hearts.case("AF", SYSTEM.fs)
    m = make_maps("evidence", SYSTEM, runs["two"].network(), case)
    mass = trials.localisation(m, case.any_lead)["mass"][0]
    assert axes[2, 1].texts[0].get_text() == (f"{mass:.2f} inside" if (m > 0).any() else "silent")
    assert axes[2, 0].get_ylabel() == "two\nevidence" and axes[2, 1].get_ylabel() == ""


def test_the_other_systems_are_the_runs_of_their_chapters(monkeypatch):
    asked = []
    monkeypatch.setattr(explanations, "chapter_runs", lambda *given, **seed: asked.append((*given, seed)) or [run()])
    monkeypatch.setattr(pages, "own_map_of_each", lambda *given: given)
    first = run()
    ours = SimpleNamespace(has_key=True, runs=[first], system=SYSTEM)
    runs, classes, fs = pages.every_system(ours, ["PVC"], SimpleNamespace(profile="smoke", seed=4))
    assert list(runs) == [cls.name for cls in with_chapter()] and runs["Local evidence"] is first
    assert asked == [(name, "smoke", {"seed": 4}) for name in runs if name != "Local evidence"]
    assert classes == ["PVC"] and fs == SYSTEM.fs


def test_without_a_key_nothing_is_tried(monkeypatch):
    said, glued = [], {}
    monkeypatch.setattr(chapter, "display", said.append)
    monkeypatch.setattr(report, "glue_all", glued.update)
    ours = SimpleNamespace(has_key=False)
    tried = pages.OnTrial(ours, None)
    shown = [pages.every_system(ours, ["PVC"], None), tried.drawn(), tried.table(), tried.by_class(), tried.glue()]
    shown += [tried.drawn_with_the_key(), tried.with_the_key()]
    assert shown == [None] * 7 == [None for _ in said]
    assert set(glued) == {"own_excess", "above_gradient", "above_verdict", "best_own", "best_gradient"}


def test_others_are_shown_by_their_own_maps_and_gradients_on_simulated_records():
    table = pages.maps_of_others(explanations.committed(), "Local evidence")
    assert set(table["cohort"]) == set(table["trained"]) == {"synthetic"}
    assert set(table["system"]) <= {cls.name for cls in with_chapter()} - {"Local evidence"}
    shown = table.groupby("system")["method"].unique()
    for name, methods in shown.items():
        assert set(methods) <= {*by_name(name).own_maps, "input × gradient"}
    assert table["system"].is_monotonic_increasing and len(shown) > 2


def rows(system, method, value, c=""):
    about = {"system": system, "method": method, "trial": "excess mass", "class": c}
    return about | {"value": value, "low": value - 0.1, "high": value + 0.1}


def test_excess_by_class_has_a_point_for_each_class_that_there_is():
    table = pd.DataFrame([rows("A", m, v, c) for m, v in (("x", 0.2), ("y", 0.5)) for c in CLASSES[:3]])
    figure = pages.excess_by_class(table, ("y", "x"))
    (ax,) = figure.axes
    y, x = (one.get_offsets() for one in ax.collections if isinstance(one, PathCollection))
    assert y[:, 0].tolist() == [0.5] * 3 and x[:, 0].tolist() == [0.2] * 3
    np.testing.assert_allclose(y[:, 1] - x[:, 1], 0.6)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(CLASSES)
    assert ax.lines[0].get_xdata()[0] == 0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["y", "x"]


def test_trials_are_drawn_with_this_system_above_the_others():
    mine = pd.DataFrame([rows("L", "evidence", 0.4), rows("L", "evidence", 0.9, "AF")])
    theirs = pd.DataFrame([rows("A", "CAM", 0.2), rows("A", "CAM", 0.5) | {"trial": "pointing"}])
    tried = pages.OnTrial(SimpleNamespace(has_key=True), None)
    tried.__dict__.update(mine=mine, theirs=theirs)
    excess, pointing = tried.drawn().axes
    assert (excess.get_title(loc="left"), pointing.get_title(loc="left")) == ("excess mass", "pointing")
    names = {round(y): label.get_text() for y, label in zip(excess.get_yticks(), excess.get_yticklabels(), strict=True)}
    assert [names[-y] for y in range(4)] == ["L", "evidence", "A", "CAM"]
    assert [text.get_text() for text in excess.texts] == ["chance", "0.40", "0.20"] and not pointing.lines


def test_texts_of_excess_mass_name_the_best_of_the_others():
    mine = pd.DataFrame([rows("L", "evidence", 0.4), rows("L", "input × gradient", 0.1)])
    others = [("A", "CAM", 0.2), ("B", "attention", 0.3), ("A", "input × gradient", 0.15)]
    theirs = pd.DataFrame([*(rows(*o) for o in others), rows("A", "CAM", 0.9, "AF")])
    index = pd.MultiIndex.from_tuples([("evidence", "excess mass"), ("input × gradient", "excess mass")])
    tried = pd.DataFrame(np.column_stack([np.full(12, 0.4), np.arange(12) / 100]), columns=index)
    cases = SimpleNamespace(names_of_classes=np.repeat(["AF", "PVC"], 6), patients=np.arange(12))
    found = pages.excess_texts(tried, cases, mine, theirs, "evidence", 40)
    assert found["own_excess"] == "0.40 (0.30–0.50)" and found["above_verdict"] == "supported"
    assert found["above_gradient"].startswith("0.35 (0.3")  # 0.4 less the mean of 0 … 0.11, 0.345
    assert found["best_own"] == "B's attention, 0.30 (0.20–0.40)"
    assert found["best_gradient"] == "A's input × gradient, 0.15 (0.05–0.25)"


def test_networks_with_and_without_the_key_stand_side_by_side():
    cases = synthetic_cases(SYSTEM.fs, 2, seed=3, classes=["PVC", "LBBB"])
    arms = {name: run(i, probabilities=lambda _, i=i: i) for i, name in enumerate(("labels", "key"), start=1)}
    chapter = SimpleNamespace(interval=lambda _, p: Interval(p / 10, p / 20, p / 5), test=None, repeats=20)
    some = {"simulated": cases, "others": cases.take(np.arange(4))}
    rows = pages.with_the_key(chapter, arms, some).set_index(["metric", "taught with"])
    assert rows.loc["macro-AUROC"].to_numpy().tolist() == [[0.1, 0.05, 0.2], [0.2, 0.1, 0.4]]
    assert list(dict.fromkeys(rows.index.get_level_values(0)))[1:] == ["excess mass, simulated", "excess mass, others"]
    maps = make_maps("evidence", SYSTEM, arms["key"].network(), cases)
    excess = pd.Series(trials.localisation(maps, cases.any_lead)["excess mass"])
    mean = excess.groupby(cases.names_of_classes).mean().mean()
    assert rows.loc[("excess mass, simulated", "key"), "value"] == pytest.approx(mean)


def test_on_real_records_it_is_beside_the_best_of_the_others_and_trees():
    rows = pages.on_real_records("Local evidence", 20)
    table = rows.pivot(index="entry", columns="metric", values="value")
    areas = leaderboard.committed("real").query("metric == 'AUROC' and `class` == ''").set_index("system")["value"]
    others = areas[[cls.name for cls in with_chapter() if cls.name != "Local evidence" and cls.name in areas.index]]
    best, trees = others.idxmax(), "features and trees"
    assert list(dict.fromkeys(rows["entry"])) == ["Local evidence", "Local evidence, midway", best, trees]
    assert table.loc[best, "macro-AUROC"] == others.max()
    assert np.isnan(table.loc[best, f"less {best}"]) and np.isnan(table.loc[trees, f"less {trees}"])
    less = table.loc["Local evidence", f"less {trees}"]
    assert less == pytest.approx(areas["Local evidence"] - areas[trees], abs=0.0011)
