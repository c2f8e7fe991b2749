import numpy as np
import pytest
import torch

from ecgstudy.data.labels import CLASSES
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain import cells
from ecgstudy.systems.butt import BUTTSystem
from ecgstudy.systems.ecgmaster import ECGMasterSystem
from ecgstudy.systems.xecgnet import XECGNetSystem


@pytest.fixture(scope="module")
def records():
    return [synthetic.simulate(i, 5, fs=125, balance=1) for i in range(4)]


@pytest.mark.parametrize(
    ("system", "first"),
    [
        (BUTTSystem(fs=125, seconds=14), 0),  # padded at the end
        (ECGMasterSystem(fs=125, seconds=14), 250),  # on both sides
        (XECGNetSystem(fs=125, seconds=14), 500),  # in front, and no row says so
        (XECGNetSystem(fs=125, seconds=8), 0),  # cut
    ],
)
def test_the_key_lies_where_the_input_has_the_record(records, system, first):
    seen = cells.inputs(system, records)
    number = min(1250, system.samples)
    assert seen.x.shape[0] == 4 and seen.key.shape == (4, 9, system.samples)
    for row, s in enumerate(records):
        expected = np.zeros((9, system.samples), dtype=bool)
        for one in s.evidence.itertuples():
            expected[CLASSES.index(one[1]), first + one.onset : first + min(one.offset, number)] = True
        np.testing.assert_array_equal(seen.key[row], expected)
        assert seen.valid[row].sum() == number and seen.valid[row, first]
        assert {c for c, there in zip(CLASSES, seen.labels[row], strict=True) if there} == s.record.labels
    assert seen.patients.tolist() == [s.record.patient_id for s in records]


def test_a_cell_has_what_any_of_its_samples_has():
    at = np.array([0, 0, 1, 0, 0, 0, 0, 1, 0, 1], dtype=bool)
    assert cells.in_cells(at, 3, 4).tolist() == [True, False, True, True]  # the last has one sample
    assert cells.in_cells(at, 4, 2).tolist() == [True, True]  # two samples are beyond the last
    assert cells.in_cells(np.stack([at, ~at])[None], 3, 4).shape == (1, 2, 4)


def test_level_map_and_energy_of_an_input():
    x = torch.zeros(1, 13, 20)
    x[0, 0, 5:8], x[0, 3, 12], x[0, 12, 5:13] = 1, 3, 1
    key = np.zeros((1, 9, 20), dtype=bool)
    seen = cells.Inputs(x, x[:, -1].numpy() > 0, key, np.ones((1, 9), dtype=bool), np.array(["p"]))
    np.testing.assert_allclose(seen.even(4, 5), [[[0, 1 / 3, 1 / 3, 1 / 3, 0]]])
    np.testing.assert_allclose(seen.energy(4, 5), [[[0, 0.25, 0, 0.75, 0]]])  # the validity has none


def test_mass_inside_counts_what_is_positive():
    own = np.array([[[3.0, -5, 1, 0]], [[-1.0, -1, 0, 0]]])
    key = np.zeros((2, 9, 8), dtype=bool)
    key[:, 2, :2] = key[:, 4, 4:] = True
    x, labels = torch.zeros(2, 12, 8), np.zeros((2, 9), dtype=bool)
    labels[:, [2, 5]] = True
    seen = cells.Inputs(x, np.ones((2, 8), dtype=bool), key, labels, np.array(["p", "q"]))
    inside = seen.inside(own, 2)
    assert inside.shape == (2, 9)
    assert inside[0, 2] == 0.75 and inside[0, 5] == 0  # a label without evidence has nothing inside
    assert np.isnan(inside[1]).all()  # a map that is nowhere positive
    assert np.isnan(inside[0, [0, 4]]).all()  # a class without a label


def test_overlaps_of_pairs_of_true_classes():
    rng = np.random.default_rng(0)
    weights = rng.random((3, 4, 9, 6))
    weights /= weights.sum(axis=-1, keepdims=True)
    key = rng.random((4, 9, 6)) < 0.5
    labels = np.zeros((4, 9), dtype=bool)
    labels[0, 2] = labels[1, [3, 7]] = labels[3, [0, 4, 8]] = True
    found = cells.overlaps(weights, key, labels)
    assert found.index.tolist() == [1, 3, 3, 3]
    pairs = [(1, 3, 7), (3, 0, 4), (3, 0, 8), (3, 4, 8)]

    def common(a, b):
        return sum(min(x, y) for x, y in zip(a, b, strict=True))

    for row, (r, a, b) in zip(found.to_dict("records"), pairs, strict=True):
        assert row["two true classes"] == pytest.approx(np.mean([common(m[r, a], m[r, b]) for m in weights]))
        any_two = [common(m[r, c], m[r, d]) for m in weights for c in range(9) for d in range(c)]
        assert row["any two classes"] == pytest.approx(np.mean(any_two))
        assert row["one true class, two members"] == pytest.approx(common(weights[0, r, a], weights[1, r, a]))
        even = [key[r, c] / max(key[r, c].sum(), 1) for c in (a, b)]
        assert row["their answer keys"] == pytest.approx(common(*even))
    assert cells.overlap(weights, weights) == pytest.approx(1)
