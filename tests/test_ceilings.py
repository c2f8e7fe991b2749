"""Ceilings: what perfect maps score on cells, by hand and on simulated records."""

import numpy as np
import pytest
import torch

from ecgstudy.explain import ceilings, trials
from ecgstudy.explain.cases import synthetic_cases
from ecgstudy.explain.outside import cases_of
from ecgstudy.studies.trainings import Ensemble


def _cases(key, leads=1):
    """Records without a flat sample, whose evidence is ``key``."""
    rows, n = key.shape
    signals = 1 + np.random.default_rng(0).random((rows, leads, n))
    return cases_of(signals, [0] * rows, key, fs=100, known=["a", "b"])


def _cells(cases, stride, count):
    x = torch.zeros(len(cases.classes), 13, cases.signals.shape[-1])
    x[:, -1] = 1
    return ceilings.Cells(x, stride, count)


def test_a_cell_is_the_mean_of_its_samples():
    values = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 8.0]])
    cells = _cells(_cases(values > 3), 4, 2)
    # The ninth sample lies beyond the last cell and counts to it.
    assert cells.averaged(values).tolist() == [[1.5, 6.0]]
    assert _cells(_cases(values > 3), 4, 3).averaged(values).tolist() == [[1.5, 5.5, 8.0]]


def test_padding_counts_to_no_cell():
    x = torch.zeros(1, 13, 12)
    x[:, -1, 3:9] = 1
    cells = ceilings.Cells(x, 4, 3)
    assert cells.averaged(np.array([[4.0, 1, 2, 3, 4, 6]])).tolist() == [[4.0, 2.5, 6.0]]
    assert cells.placed(np.ones((1, 3))).shape == (1, 6)
    with pytest.raises(ValueError, match="5 samples a row"):
        cells.averaged(np.ones((1, 5)))


def test_no_map_of_the_cells_has_more_mass_inside_than_the_best_cell():
    rng = np.random.default_rng(1)
    key = np.zeros((6, 96), dtype=bool)
    for row in key:
        begin = rng.integers(0, 80)
        row[begin : begin + rng.integers(3, 15)] = True
    cases = _cases(key)
    cells = _cells(cases, 8, 12)
    best = trials.localisation(cells.placed(cells.best(key)), key)["mass"]
    for _ in range(200):
        some = rng.random((6, 12)) ** rng.integers(1, 20)
        assert (trials.localisation(cells.placed(some), key)["mass"] <= best + 1e-6).all()


def test_cells_of_a_sample_are_the_samples():
    key = np.zeros((2, 40), dtype=bool)
    key[0, 3:9], key[1, 30:] = True, True
    cases = _cases(key)
    fine, coarse = ceilings.references(cases), ceilings.references(cases, _cells(cases, 1, 40))
    for name, m in fine.items():
        if name != "best cell":
            np.testing.assert_allclose(coarse[name], m, atol=1e-6)
    scores = ceilings.scores(cases)
    assert (scores["perfect map", "excess mass"] == 1).all()
    assert (scores["perfect map", "AUC"] == 1).all()


@pytest.fixture(scope="module")
def simulated():
    return synthetic_cases(125, 6, seed=1000)


# By an independent computation on 270 explanations of these records: the perfect map, the best cell, the detector.
REVIEWED = {
    "xECGNet": (0.025, 0.071, 0.001),
    "BUTTeam": (0.152, 0.301, 0.042),
    "ECGMaster": (0.152, 0.301, 0.042),
    "CNN-GAP": (0.811, 0.98, 0.212),
    "Local evidence": (0.907, 1.0, 0.206),
}


@pytest.mark.parametrize("name", REVIEWED)
def test_ceilings_of_the_systems_are_those_of_an_independent_check(name, simulated):
    system = Ensemble.of_profile(name, "demo", 7).system
    cells = ceilings.cells_of(system, system.network(), simulated.inputs(system))
    found = trials.summary(
        ceilings.scores(simulated, cells)[
            [("perfect map", "excess mass"), ("best cell", "excess mass"), ("QRS detector", "excess mass")]
        ],
        simulated.names_of_classes,
        simulated.patients,
        repeats=1,
    )
    means = found[found["class"] == ""].set_index("method")["value"]
    # 54 explanations against 270: what the key alone decides is the same, what the record decides too is near.
    perfect, best, detector = REVIEWED[name]
    assert means["perfect map"] == pytest.approx(perfect, abs=0.005)
    assert means["best cell"] == pytest.approx(best, abs=0.05)
    assert means["QRS detector"] == pytest.approx(detector, abs=0.04)
    assert means["perfect map"] <= means["best cell"]


def test_a_spoilt_perfect_map_loses_what_was_reported(simulated):
    """Blurred by 0.1 s it keeps half of its excess mass, with a constant a sixth; the AUC knows no constant."""
    scores = ceilings.sensitivity(simulated, 8).mean()
    assert scores["perfect", "excess mass"] == 1
    assert scores["blurred by 0.1 s", "excess mass"] == pytest.approx(0.49, abs=0.02)
    assert scores["plus a constant", "excess mass"] == pytest.approx(0.16, abs=0.02)
    assert scores["plus a constant", "AUC"] == 1


def test_bounds_are_the_perfect_map_and_the_best_that_knows_nothing(simulated):
    means = trials.summary(ceilings.scores(simulated), simulated.names_of_classes, simulated.patients, repeats=1)
    bounds = ceilings.bounds(means)
    value = means.set_index(["method", "trial", "class"])["value"]
    assert bounds.loc[("excess mass", "LBBB"), "ceiling"] == 1
    assert bounds.loc[("excess mass", "LBBB"), "floor"] == value["QRS detector", "excess mass", "LBBB"]
    # Of AF the blind maps know less than nothing: what stays is chance.
    assert value["QRS detector", "excess mass", "AF"] < 0
    assert bounds.loc[("excess mass", "AF"), "floor"] == 0
