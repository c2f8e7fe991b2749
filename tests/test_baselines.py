import dataclasses

import numpy as np
import pytest

from ecgstudy import metrics
from ecgstudy.data import qrs
from ecgstudy.data.cohort import build_cohort, synthetic_cohort
from ecgstudy.data.delineations import read_delineation
from ecgstudy.data.records import LEADS, Record, read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.preprocessing import resample
from ecgstudy.systems import baselines

FS = 250


def wave(samples, middle, width, height):
    return height * np.exp(-0.5 * ((np.arange(samples) / FS - middle) / width) ** 2)


def drawn(at=None, seconds=10, st=0.0, p=0.1, r=1.0, pr=0.16):
    """An ECG drawn by hand: R, P before it, T after it in all leads; ST of V2 raised. Also the times of its R peaks."""
    at = np.arange(0.6, seconds - 0.6, 0.8) if at is None else np.asarray(at)
    x = np.zeros((12, seconds * FS))
    for t in at:
        x += wave(x.shape[1], t, 0.015, r) + wave(x.shape[1], t - pr, 0.02, p) + wave(x.shape[1], t + 0.3, 0.035, 0.2)
        between = (np.arange(x.shape[1]) / FS > t + 0.05) & (np.arange(x.shape[1]) / FS < t + 0.2)
        x[LEADS.index("V2"), between] += st
    return x.astype(np.float32), at


def test_waves_drawn_by_hand_are_measured():
    x, at = drawn(st=0.3)
    wander = np.linspace(-0.3, 0.3, 12)[:, None] * np.sin(2 * np.pi * 0.1 * np.arange(x.shape[1]) / FS)
    for signal in (x, x + 5, x + wander):
        np.testing.assert_allclose(qrs.ROBUST.find(signal, FS) / FS, at, atol=0.02)
        found, beat = baselines.measure(signal, FS)
        assert found["rate"] == pytest.approx(75, abs=0.5)
        assert found["RR deviation"] < 0.01 and found["beat alike, least"] > 0.97
        assert found["P to QRS"] == pytest.approx(0.16 - found["QRS width"] / 2, abs=0.02)
        assert 0.05 < found["QRS width"] < 0.1
        for lead in LEADS:
            assert found[f"R {lead}"] == pytest.approx(1, abs=0.08)
            assert found[f"P {lead}"] == pytest.approx(0.1, abs=0.05)
            assert found[f"ST {lead}"] == pytest.approx(0.3 if lead == "V2" else 0, abs=0.05)
        assert beat.shape == (12, round(0.32 * FS) + round(0.52 * FS))


def test_a_longer_pr_and_a_broader_qrs_are_seen():
    usual, slow = (baselines.measure(drawn(pr=pr)[0], FS)[0]["P to QRS"] for pr in (0.16, 0.24))
    assert slow - usual == pytest.approx(0.08, abs=0.02)
    narrow = drawn()[0]
    broad = narrow + sum(wave(narrow.shape[1], t, 0.035, 1) for t in drawn()[1])
    narrow, broad = (baselines.measure(x, FS)[0]["QRS width"] for x in (narrow, broad))
    assert broad > 1.4 * narrow


def test_rhythm():
    regular = np.arange(0.6, 9.4, 0.8)
    premature = regular.copy()
    premature[5] -= 0.3
    irregular = np.cumsum([0.6, 0.5, 0.9, 1.1, 0.6, 0.8, 0.5, 1.2, 0.7, 0.9, 0.6])
    regular, premature, irregular = (baselines.measure(drawn(at)[0], FS)[0] for at in (regular, premature, irregular))
    assert premature["RR shortest"] == pytest.approx(0.5 / 0.8, abs=0.03)
    assert premature["RR longest"] == pytest.approx(1.1 / 0.8, abs=0.03)
    assert premature["RR early"] > 0 == regular["RR early"]
    assert premature["RR paused"] > 0 == regular["RR paused"]
    assert irregular["RR irregular"] > 0.2 > premature["RR irregular"]
    shares = np.array([0.5, 0.9, 1.1, 0.6, 0.8, 0.5, 1.2, 0.7, 0.9, 0.6]) / 0.75
    assert irregular["RR deviation"] == pytest.approx(shares.std(), abs=0.03)


def test_a_beat_of_another_shape_is_found_to_be_early_and_unlike():
    at = np.arange(0.6, 9.4, 0.8)
    at[5] -= 0.3
    alike = baselines.measure(drawn(at)[0], FS)[0]
    ectopic = drawn(np.delete(at, 5))[0] - wave(10 * FS, at[5], 0.04, 1.2) + wave(10 * FS, at[5] + 0.2, 0.06, 0.6)
    unlike = baselines.measure(ectopic, FS)[0]
    assert alike["early alike"] > 0.9
    assert unlike["early alike"] == unlike["beat alike, least"] < 0.2
    assert unlike["beat alike, typical"] > 0.9


def is_beat(true, found, tolerance):
    """Which of ``found`` are within ``tolerance`` of one of ``true``."""
    return np.array([np.abs(true - f).min() <= tolerance if len(true) else False for f in found], dtype=bool)


def beat_times(waves, fs):
    """Times of QRS complexes marked in at least six leads."""
    peaks = np.sort(waves.loc[waves["wave"] == "QRS", "peak"].to_numpy() / fs)
    groups = np.split(peaks, np.flatnonzero(np.diff(peaks) > 0.2) + 1)
    return np.array([np.median(g) for g in groups if len(g) >= 6])


def detected(records):
    """Sensitivity and positive predictive value over (signal at 100 Hz, true times), between first and last mark."""
    hits, right = [], []
    for signal, true in records:
        found = qrs.ROBUST.find(signal, 100) / 100
        hits.append(is_beat(found, true, 0.1))
        right.append(is_beat(true, found[(found > true[0] - 0.1) & (found < true[-1] + 0.1)], 0.1))
    return np.concatenate(hits).mean(), np.concatenate(right).mean()


def test_beats_of_the_simulator_are_found():
    simulated = [synthetic.simulate(i, 0, fs=100, balance=1) for i in range(40)]
    sensitivity, predictive = detected((s.record.signal, beat_times(s.waves, 100)) for s in simulated)
    assert sensitivity > 0.97 and predictive > 0.9


def test_beats_of_ludb_are_found(real_data):
    paths = [real_data / "ludb" / "data" / str(n) for n in range(1, 201, 4)]
    records = ((r := read_record(p), beat_times(read_delineation(p), r.fs)) for p in paths)
    sensitivity, predictive = detected((resample(r.signal, r.fs, 100), true) for r, true in records)
    assert sensitivity > 0.995 and predictive > 0.995


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("samples", [50, 130, 1000])
def test_what_has_no_beat_is_measured_too(samples):
    rng = np.random.default_rng(0)
    names = list(baselines.measure(drawn()[0], FS)[0])
    for x in (np.zeros((12, samples)), np.full((12, samples), 3.0), rng.normal(size=(12, samples)) * 0.1):
        found, beat = baselines.measure(x.astype(np.float32), 100)
        assert list(found) == names and np.isfinite(beat).all() and beat.shape == (12, 84)
        # Unknown is only what is about several beats.
        unknown = {name for name, value in found.items() if not np.isfinite(value)}
        assert all(name.startswith(("rate", "RR", "beat", "P alike", "P residue", "early")) for name in unknown)


def test_flat_and_noisy_leads_do_not_hide_the_beats():
    x, at = drawn()
    x[[1, 4, 7]] = 0
    x[9] = np.random.default_rng(0).normal(size=x.shape[1]) * 3
    np.testing.assert_allclose(qrs.ROBUST.find(x, FS) / FS, at, atol=0.02)
    found, beat = baselines.measure(x, FS)
    assert (beat[[1, 4, 7]] == 0).all() and found["R II"] == 0
    assert found["R V6"] == pytest.approx(1, abs=0.08)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield synthetic_cohort(220, 100, balance=1)


@pytest.fixture(scope="module")
def records(cohort):
    return np.flatnonzero(cohort.folds(3) != 0), np.flatnonzero(cohort.folds(3) == 0)


@pytest.fixture(scope="module")
def fitted(cohort, records):
    return baselines.FeatureBaseline(trees=60).fit(cohort, records[0])


def test_simulated_classes_are_told_apart(cohort, records, fitted):
    p = fitted.predict(cohort, records[1])
    assert p.shape == (len(records[1]), 9) and p.min() >= 0 and p.max() <= 1
    assert metrics.macro_auroc(cohort.labels[records[1]], p) > 0.68


def test_components_are_those_of_the_training_beats(cohort, records, fitted):
    beats = baselines.cohort_features(cohort)[1][records[0]].astype(np.float64)
    for lead, (mean, found) in enumerate(zip(fitted.mean, fitted.axes, strict=True)):
        centred = beats[:, lead] - beats[:, lead].mean(axis=0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        np.testing.assert_allclose(mean, beats[:, lead].mean(axis=0), atol=1e-4)
        np.testing.assert_allclose(np.abs(found @ axes[:6].T), np.eye(6), atol=5e-3)


def test_same_seed_same_answer(cohort, records, fitted):
    p = fitted.predict(cohort, records[1])
    again, other = (baselines.FeatureBaseline(trees=60, seed=s).fit(cohort, records[0]) for s in (0, 1))
    np.testing.assert_array_equal(again.predict(cohort, records[1]), p)
    assert (other.predict(cohort, records[1]) != p).any()
    np.testing.assert_array_equal(fitted.predict(cohort, records[1][::-1]), p[::-1])


def test_a_class_that_none_or_all_of_the_training_records_have(cohort, records, monkeypatch):
    measured = baselines.cohort_features(cohort)
    monkeypatch.setattr(baselines, "cohort_features", lambda _: measured)
    labels = cohort.labels.copy()
    labels[records[0], 3], labels[records[0], 5] = False, True
    changed = dataclasses.replace(cohort, labels=labels)
    p = baselines.FeatureBaseline(trees=5).fit(changed, records[0]).predict(changed, records[1])
    assert (p[:, 3] == 0).all() and (p[:, 5] == 1).all()


def test_source_baseline_by_hand():
    labels = {"a": ["AF", "AF", "NSR"], "b": ["NSR"], "c": ["PVC"]}  # the last of each source is tested
    rng = np.random.default_rng(0)
    made = [
        Record(f"{s}{i}", rng.normal(size=(12, 100)).astype(np.float32), 100, LEADS, s, f"{s}{i}", frozenset({label}))
        for s, several in labels.items()
        for i, label in enumerate([*several, "STE"])
    ]
    cohort = build_cohort(iter(made), fs=100.0, identity={"test": "source"})
    train, test = np.array([0, 1, 2, 4]), np.array([7, 3, 5])  # nothing of c to learn from
    expected = np.empty((3, 9))
    expected[0] = 1 / 2
    expected[1] = [(1 + 1) / 5, (2 + 1) / 5, *[1 / 5] * 7]
    expected[2] = [(1 + 1) / 3, *[1 / 3] * 8]
    np.testing.assert_allclose(baselines.source_baseline(cohort, train, test), expected, rtol=1e-6)


def test_trees_grow_again_from_what_is_kept():
    cohort = synthetic_cohort(140, 100)
    learned, asked = np.arange(100), np.arange(100, 140)
    trees = baselines.FeatureBaseline(trees=60).fit(cohort, learned)
    kept = trees.kept()
    np.testing.assert_allclose(kept["inputs"], trees.inputs, rtol=1e-3, atol=1e-3)
    assert kept["labels"].shape == (100, 9) and sum(part.nbytes for part in kept.values()) < 80_000
    first, again = (baselines.FeatureBaseline(trees=60).grown_from(kept).predict(cohort, asked) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    # A measure in half precision may fall on the other side of a tree's question, and change its vote.
    before = trees.predict(cohort, asked)
    assert np.abs(first - before).max() < 0.2 and np.corrcoef(first.ravel(), before.ravel())[0, 1] > 0.99
    # What is kept of other records grows other trees.
    other = baselines.FeatureBaseline(trees=60).fit(cohort, asked).kept()
    assert np.abs(baselines.FeatureBaseline(trees=60).grown_from(other).predict(cohort, asked) - first).max() > 0.2
