import dataclasses
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from ecgstudy import maps
from ecgstudy.book import examples, hearts, plots, real_records
from ecgstudy.data import audit
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.simulator import synthetic
from ecgstudy.systems.butt import BUTTSystem
from ecgstudy.systems.cnn_gap import CNNGAPSystem
from ecgstudy.systems.small_gap import SmallGAPSystem


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def pvc():
    return examples.Example.simulated("PVC", fs=125, seed=1)


def run_of(system, seed=0):
    torch.manual_seed(seed)
    network = system.network().eval()
    return SimpleNamespace(classes=CLASSES, system=system, network=lambda: network)


def coloured(ax):
    """Values of the map along the lead that a panel shows, and the lead itself."""
    lines = ax.collections[0]
    points = np.array([segment[0] for segment in lines.get_segments()])
    return lines.get_array(), points


def bars(ax):
    """Spans (start, end) in seconds that the answer key marks."""
    spans = [path.vertices[:, 0] for path in ax.collections[1].get_paths()]
    return [(x.min(), x.max()) for x in spans]


def test_a_simulated_example_has_its_key(pvc):
    assert pvc.signal.shape == (12, 1250) and pvc.labels == ("PVC",) and pvc.title == "simulated"
    chosen = hearts.CHOSEN["PVC"], hearts.SEED
    s = synthetic.simulate(*chosen, fs=125, labels=frozenset({"PVC"}), noise=hearts.NOISE)
    np.testing.assert_array_equal(pvc.signal, s.record.signal)
    rows = s.evidence[s.evidence["class"] == "PVC"]
    first = rows[rows["lead"] == "II"].iloc[0]
    marked = pvc.key[CLASSES.index("PVC"), 1]
    assert marked[first["onset"] : first["offset"]].all() and not pvc.key[CLASSES.index("STE")].any()
    assert examples.Example.simulated("RBBB", "PVC", fs=125).labels == ("RBBB", "PVC")


def test_a_real_example_is_the_one_with_most_labels(monkeypatch, pvc):
    plain = synthetic.simulate(0, 0, fs=250, labels=frozenset({"PVC"})).record
    rich = synthetic.simulate(0, 0, fs=250, labels=frozenset({"RBBB", "PVC"})).record
    found = {"PVC": plain, "RBBB": rich, "AF": None}
    monkeypatch.setattr(audit, "example", lambda *, label: found[label])
    example = examples.Example.real("PVC", "RBBB", "AF", fs=125)
    assert example.title == f"synthetic/{rich.name} (RBBB, PVC)" and example.key is None
    assert example.signal.shape == (12, 1250) and example.fs == 125
    monkeypatch.setattr(real_records, "committed", dict)
    assert examples.Example.real("AF", fs=125) is None


def test_without_recordings_at_hand_one_that_comes_with_the_book_is_shown(monkeypatch):
    monkeypatch.setattr(audit, "example", lambda *, label: None)
    for label in CLASSES:
        example = examples.Example.real(label, fs=125)
        assert label in example.labels and example.signal.shape == (12, 1250) and example.key is None
        assert example.title.split("/")[1].split()[0] in real_records.committed()


@pytest.mark.parametrize("label", CLASSES)
def test_charts_show_a_simulated_and_a_real_record_of_the_class(label):
    found = examples.charts(label)
    assert [r.source == "synthetic" for r, _ in found] == [True, False]
    assert all(label in r.labels and r.name in title and label in title for r, title in found)


def test_where_there_is_no_example_nothing_is_drawn():
    assert examples.class_map(None, "PVC", run_of(SmallGAPSystem()), "CAM") is None
    assert not plt.get_fignums()


def test_the_map_of_a_class_lies_over_the_input_with_its_evidence(pvc):
    system = CNNGAPSystem(fs=125, width=1 / 16, dilation=0.5)
    run = run_of(system)
    figure = examples.class_map(pvc, "PVC", run, "CAM")
    values, points = coloured(figure.axes[0])
    x = torch.from_numpy(system.windows(pvc.signal)[0])[None]
    expected = maps.at_samples(maps.cam(run.network(), x), 8, 1250)[0, CLASSES.index("PVC")]
    np.testing.assert_allclose(values, expected[:-1], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(points[:, 1], x[0, 1, :-1])  # lead II
    assert figure.axes[0].get_title(loc="left") == "simulated: PVC"
    key = pvc.key[CLASSES.index("PVC"), 1]
    edges = np.flatnonzero(np.diff(key.astype(int), prepend=0, append=0))
    spans = [(a / 125, (b - 1) / 125) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    np.testing.assert_allclose(bars(figure.axes[0]), spans)


def test_steps_are_cells_and_padding_is_left_out(pvc):
    system = BUTTSystem(fs=125, seconds=14, filters=2, convolutions=2, levels=5)
    run = run_of(system)
    figure = examples.class_map(pvc, "PVC", run, "max CAM", stepped=True, unit=0.2)
    values, points = coloured(figure.axes[0])
    assert len(values) == 1249  # 10 s of the 14 s
    cells = maps.max_cam(run.network(), torch.from_numpy(system.windows(pvc.signal)[0])[None])
    cells = cells[0, CLASSES.index("PVC")]
    assert all((values[i * 32 : (i + 1) * 32] == cells[i].item()).all() for i in range(len(cells)))
    lead = pvc.signal[1] - pvc.signal[1].mean()
    np.testing.assert_allclose(points[:, 1], lead[:-1], atol=1e-5)  # in mV again


def test_a_record_is_found_in_front_of_its_padding_and_behind_it():
    x = torch.zeros(1, 13, 100)
    x[0, :, 30:80] = 1
    key = np.zeros((1, 12, 50), dtype=bool)
    key[0, 1, 10:20] = True
    figure = examples.over_ecg(x, 10, torch.arange(10.0)[None], 10, ["t"], evidence=key, stepped=True, scale="words")
    values, points = coloured(figure.axes[0])
    np.testing.assert_array_equal(values, np.repeat(np.arange(3, 8), 10)[:-1])
    assert points[0, 0] == 0 and bars(figure.axes[0]) == [(1.0, 1.9)]
    assert figure.axes[-1].get_ylabel() == "words"


def test_several_maps_stand_side_by_side_with_the_evidence_of_their_labels(pvc):
    both = dataclasses.replace(examples.Example.simulated("RBBB", "PVC", fs=125, seed=1))
    a, b = run_of(SmallGAPSystem()), run_of(SmallGAPSystem(), 1)
    columns = {"first": (a, "CAM", ["RBBB", "PVC"]), "second": (b, "CAM", ["PVC"])}
    figure = examples.own_maps(both, columns, centred=True)
    titles = [ax.get_title(loc="left") for ax in figure.axes[:2]]
    assert titles == ["simulated: first", "simulated: second"]
    cells = maps.cam(b.network(), both.input(b.system))[0, CLASSES.index("PVC")]
    expected = maps.at_samples(cells - cells.mean(), b.network().stride, 1250)
    np.testing.assert_allclose(coloured(figure.axes[1])[0], expected[:-1], rtol=1e-4, atol=1e-6)
    rbbb, alone = both.key[CLASSES.index("RBBB"), 1], both.key[CLASSES.index("PVC"), 1]
    seconds = [sum(end - start for start, end in bars(ax)) for ax in figure.axes[:2]]
    spans = [np.count_nonzero(k[1:] & k[:-1]) / 125 for k in (rbbb | alone, alone)]
    np.testing.assert_allclose(seconds, spans)


@pytest.mark.parametrize("signed", [False, True])
def test_all_classes_stand_below_the_ecg(signed):
    x = torch.zeros(13, 80)
    x[12, 15:60] = 1
    x[1, 15:60] = torch.arange(45.0)
    cells = np.linspace(-1, 2, 9 * 8).reshape(9, 8)
    evidence = np.zeros((9, 8), dtype=bool)
    evidence[5, 2:4] = evidence[0, 3] = True
    label = CLASSES[5]
    figure = examples.class_rows(x, 10, cells, 10, evidence=evidence, labels=[label], title="share", signed=signed)
    lead, rows, bar = figure.axes
    np.testing.assert_array_equal(lead.lines[0].get_ydata(), x[1])
    np.testing.assert_array_equal(rows.collections[0].get_array().reshape(9, 8), cells)
    assert rows.collections[0].get_clim() == ((-2, 2) if signed else (0, 2))
    assert [t.get_text() for t in rows.get_yticklabels()] == [f"{c} (true)" if c == label else c for c in CLASSES]
    # Cells 2 and 3 of the sixth class, and of no class that is not true.
    assert [line.get_xdata().tolist() for line in rows.lines] == [[2, 3], [3, 4]]
    assert all(5 < y < 6 for line in rows.lines for y in line.get_ydata())
    assert {line.get_color() for line in rows.lines} == {plots.EVIDENCE}
    assert rows.get_xlim() == (1, 6) and rows.get_ylim() == (9, 0)  # the cells that hold any of the record
    assert bar.get_ylabel() == "share"
