from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from ecgstudy.data import qrs
from ecgstudy.data.cohort import synthetic_cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.data.simulator import synthetic
from ecgstudy.studies import realism
from ecgstudy.systems import parameter_count


def delineated(*waves):
    return pd.DataFrame(waves, columns=["lead", "wave", "onset", "peak", "offset"])


def test_intervals_of_a_beat_counted_by_hand():
    """At 500 Hz a sample is 2 ms; the last P has no QRS behind it, and V1 is another lead."""
    beats = [
        row
        for start in (0, 400, 900)
        for row in (
            ("II", "P", start, start + 20, start + 50),
            ("II", "QRS", start + 80, start + 100, start + 125),
            ("II", "T", start + 200, start + 240, start + 280),
        )
    ]
    found = realism.intervals(
        delineated(*beats, ("II", "P", 1400, 1420, 1440), ("V1", "QRS", 10, 20, 300), ("II", "T", pd.NA, 1500, pd.NA)),
        500,
    )
    expected = {"RR (ms)": 900, "PR (ms)": 160, "QT (ms)": 400, "P (ms)": 100, "QRS (ms)": 90, "T (ms)": 160}
    assert {name: found[name] for name in expected} == expected
    assert found["RR variation"] == pytest.approx(100 / 900)


def test_intervals_of_what_is_not_there_are_missing():
    found = realism.intervals(delineated(("II", "QRS", 10, 20, 30)), 500)
    assert found["QRS (ms)"] == 40 and np.isnan([found[k] for k in found if k != "QRS (ms)"]).all()


@pytest.mark.parametrize("fs", [250, 500])
def test_beats_are_found_where_the_simulator_put_them(fs):
    hits = misses = extra = 0
    for index in range(100):
        one = synthetic.simulate(index, 5, fs=fs, balance=1)
        p = one.parameters
        onset = np.array(p["beats"]["onset"])
        onset = onset[(onset > 0.3) & (onset < 9.7)]
        found = qrs.REALISM.find(one.record.signal, fs) / fs
        distance = found[:, None] - onset
        near = (distance > -0.02) & (distance < 0.2)
        hits, misses = hits + near.any(axis=0).sum(), misses + (~near.any(axis=0)).sum()
        extra += (~near.any(axis=1) & (found > 0.5) & (found < 9.6)).sum()
    # A small ectopic beat between large ones, a large one between small ones, a steep T: a few in a hundred.
    assert misses < 0.02 * hits and extra < 0.04 * hits


def planted(fs=500, st=0.0, t=0.3, qrs=1.0, p=0.1, noise=0.0, seconds=10):
    """A train of Gaussian waves once a second in every lead: known in every measure."""
    time = np.arange(round(seconds * fs)) / fs
    x = np.zeros(len(time))
    for beat in np.arange(0.5, seconds, 1):
        x += qrs * np.exp(-0.5 * ((time - beat) / 0.010) ** 2) + t * np.exp(-0.5 * ((time - beat - 0.28) / 0.03) ** 2)
        x += p * np.exp(-0.5 * ((time - beat + 0.17) / 0.015) ** 2)
        x += st * ((time > beat + 0.05) & (time < beat + 0.18))
    return np.tile(x, (12, 1)) + noise * np.random.default_rng(0).normal(size=(12, len(time)))


def test_features_of_planted_waves():
    found = realism.features(planted(st=0.12, t=-0.3, qrs=1.5, p=0.08), 500)
    assert found["RR (ms)"] == 1000 and found["RR variation"] == pytest.approx(0, abs=1e-3)
    for lead in LEADS:
        assert found[f"QRS (mV), {lead}"] == pytest.approx(1.5, abs=0.13)  # the ST step begins within its window
        assert found[f"ST (mV), {lead}"] == pytest.approx(0.12, abs=0.01)
        assert found[f"T (mV), {lead}"] == pytest.approx(-0.3, abs=0.02)
    assert found["P in II (mV)"] == pytest.approx(0.08, abs=0.005)
    assert found["beat-to-beat, T (mV)"] < 1e-6


@pytest.mark.parametrize("degrees", [-60, 0, 45, 110])
def test_axes_of_a_dipole_that_is_turned(degrees):
    """Einthoven's triangle: I sees the cosine of the angle, aVF (with Goldberger's factor) its sine; T is opposite."""
    x = planted(t=-0.3, p=0)
    x[0] *= np.cos(np.radians(degrees))
    x[5] *= np.sin(np.radians(degrees)) * np.sqrt(3) / 2
    found = realism.features(x, 500)
    assert found["QRS axis (degrees)"] == pytest.approx(degrees, abs=0.5)
    assert (found["T axis (degrees)"] - degrees) % 360 == pytest.approx(180, abs=0.5)


def test_features_of_planted_noise():
    quiet, noisy = realism.features(planted(), 500), realism.features(planted(noise=0.02), 500)
    # White noise of 20 uV: what is above 45 of 250 Hz is sqrt(205 / 250) of it; a median beat takes little of the rest.
    assert noisy["above 45 Hz (mV), V3"] == pytest.approx(0.02 * np.sqrt(205 / 250), rel=0.15)
    assert quiet["above 45 Hz (mV), V3"] < 0.002
    assert noisy["beat-to-beat, T (mV)"] == pytest.approx(0.02, rel=0.25)
    time = np.arange(5000) / 500
    slow = realism.features(planted() + 0.1 * np.sin(2 * np.pi * 0.2 * time), 500)
    assert slow["below 0.5 Hz (mV), II"] == pytest.approx(0.1 / np.sqrt(2), rel=0.02)


def test_features_do_not_depend_on_the_rate_or_the_offset():
    one = realism.features(planted(fs=500) + 3.0, 500)
    other = realism.features(planted(fs=1000), 1000)
    for name in ("RR (ms)", "T (mV), V1", "ST (mV), II", "QRS (mV), V5", "15-40 Hz (log10), I"):
        assert one[name] == pytest.approx(other[name], abs=0.01), name


def test_features_of_a_record_without_beats_are_missing():
    found = realism.features(np.random.default_rng(0).normal(0, 1e-9, (12, 500)), 500)
    assert np.isnan(found["T (mV), V1"]) and np.isfinite(found["below 0.5 Hz (mV), V1"])


def test_ks_is_scipys():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=80), rng.normal(0.5, 1, size=80)
    one[3] = other[60] = np.nan
    found = realism.ks(one, other, [str(k // 2) for k in range(80)], 200)
    expected = stats.ks_2samp(np.delete(one, 3), np.delete(other, 60)).statistic
    assert found.value == pytest.approx(expected, abs=1e-6)
    assert 0 <= found.low < found.high < 2 * found.value


def test_ks_of_one_distribution_is_near_nothing():
    rng = np.random.default_rng(2)
    assert realism.ks(rng.normal(size=100), rng.normal(size=100), np.arange(100), 200).low == 0


def test_ks_interval_covers_a_known_distance():
    """Two normal distributions one deviation apart are 0.383 apart at most."""
    truth, covered = 2 * stats.norm.cdf(0.5) - 1, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found = realism.ks(rng.normal(size=120), rng.normal(1, 1, 120), np.arange(120), 200, seed)
        covered += found.low <= truth <= found.high
    assert covered >= 50


def test_twins_have_the_labels_and_length_of_their_records(tmp_path):
    drawn = [synthetic.simulate(i, 0, balance=1, seconds=12, labels={name}) for i, name in enumerate(CLASSES)]
    drawn.append(synthetic.simulate(99, 0, seconds=8, labels={"AF"}))  # too short
    synthetic.write(drawn, tmp_path)
    found = list(realism.pairs(sorted(tmp_path.glob("*.hea"))))
    assert len(found) == 9
    for pair in found:
        assert pair.real.labels == pair.simulated.record.labels == frozenset(pair.simulated.parameters["truth"])
        assert pair.real.signal.shape == pair.simulated.record.signal.shape == (12, 5000)
        (whole,) = [one.record for one in drawn if one.record.name == pair.real.name]
        np.testing.assert_array_equal(pair.real.signal, whole.signal[:, :5000])


def test_distributions_hold_the_percentiles_of_both():
    rng = np.random.default_rng(2)
    real = pd.DataFrame({"patient": np.arange(200).astype(str), "a": rng.normal(size=200), "b": rng.normal(size=200)})
    simulated = real.assign(b=real["b"] + 10)
    table = realism.distributions("here", real, simulated, 100).set_index(["quantity", "statistic"])["value"]
    assert table["a", "KS"] == 0 and table["b", "KS"] == 1
    assert table["b", "simulated p50"] == pytest.approx(np.median(real["b"]) + 10)
    assert table["a", "real p95"] == pytest.approx(np.percentile(real["a"], 95))


def test_trees_find_what_gives_away_and_nothing_where_there_is_nothing():
    rng = np.random.default_rng(3)
    x = pd.DataFrame(rng.normal(size=(300, 4)), columns=list("abcd"))
    real, patients = np.arange(300) < 150, np.tile(np.arange(150), 2).astype(str)
    scores, _ = realism.tell_apart(x, real, patients)
    assert 0.35 < realism.metrics.macro_auroc(real[:, None], scores[:, None]) < 0.65
    scores, lost = realism.tell_apart(x.assign(c=x["c"] + 2.5 * real), real, patients)
    assert realism.metrics.macro_auroc(real[:, None], scores[:, None]) > 0.9
    assert lost.idxmax() == "c" and lost["c"] > 0.2 > 10 * lost.drop("c").abs().max()


def test_the_network_tells_apart_what_differs():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(72, 12, 200)).astype(np.float32)
    real = np.arange(72) % 2 == 0
    x[real, 3] *= 2
    scores = realism.tell_apart_by_network(x, real, np.arange(72).astype(str), epochs=6)
    assert realism.metrics.macro_auroc(real[:, None], scores[:, None]) > 0.9


def test_the_network_trains_where_one_record_is_left_over():
    x = np.random.default_rng(0).normal(size=(50, 12, 64)).astype(np.float32)  # of 64 samples one cell is left
    assert np.isfinite(realism.tell_apart_by_network(x, np.arange(50) % 2 == 0, np.arange(50).astype(str), 1)).all()


def test_the_plain_network():
    """Its parameters, counted by hand: kernels, a bias and batch normalisation's two numbers a filter, the head."""
    weights = 12 * 32 * 9 + 32 * 64 * 7 + 64 * 64 * 7 + 64 * 128 * 5 + 2 * 128 * 128 * 5
    assert parameter_count(realism.StridedCNN()) == weights + 3 * (32 + 64 + 64 + 3 * 128) + 256 * 9 + 9
    x = torch.randn(2, 12, 1250)
    network = realism.StridedCNN().eval()
    torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=1e-4, atol=1e-5)


def test_transfer_scores_every_record_once_and_pairs_its_folds():
    simulated, real = (synthetic_cohort(n, 100, seed=s, seconds=6, balance=1) for n, s in ((90, 0), (75, 1)))
    system = realism.StridedCNNSystem(fs=100, seconds=6, epochs=1)
    table = realism.transfer(replace(system, rate=0.001), simulated, real, 20, folds=3)
    macro = table[table["quantity"] == "macro"].set_index(["group", "statistic"])["value"]
    for arm in ("simulated alone", "simulated, then real"):
        difference = macro[arm, "AUROC, mean of folds"] - macro["real alone", "AUROC, mean of folds"]
        assert macro[arm, "AUROC above real alone"] == pytest.approx(difference, abs=1e-9)
    counts = table[(table["group"] == "real alone") & (table["statistic"] == "AUROC") & (table["quantity"] != "macro")]
    assert counts["n"].tolist() == real.labels.sum(axis=0).tolist()
    # A start from other weights is another training.
    assert (
        table.query("group == 'real alone' and statistic == 'AUROC'")["value"].to_numpy()
        != table.query("group == 'simulated, then real' and statistic == 'AUROC'")["value"].to_numpy()
    ).any()


def test_student_is_the_paired_t_test():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=5), rng.normal(size=5)
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    np.testing.assert_allclose(realism._student(a - b), (np.mean(a - b), low, high))


def test_without_real_recordings_there_is_nothing_to_guess(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    found = realism.strips(4)
    assert [real for _, real in found] == [False] * 4 and {r.source for r, _ in found} == {"synthetic"}


def test_half_of_the_strips_are_real(real_data):
    found = realism.strips(8)
    assert sum(real for _, real in found) == 4
    assert all((record.source == "synthetic") != real for record, real in found)


def test_the_committed_table_is_of_this_simulator_and_whole():
    table = pd.read_csv(realism.TABLE, keep_default_na=False)
    assert set(table["simulator"]) == {synthetic.VERSION}
    assert set(table["question"]) == {"distribution", "real or simulated", "gives away", "transfer"}
    assert set(table.loc[table["question"] == "distribution", "group"]) == {"LUDB", "PTB-XL", "CPSC 2018"}
    intervals = table[table["statistic"].isin(["KS", "AUROC"])]
    value = intervals[["low", "value", "high"]].astype(float).to_numpy()
    assert (value[:, 0] <= value[:, 2]).all() and (value >= 0).all() and (value <= 1).all()


def test_ludb_is_measured_as_its_cardiologists_marked_it(real_data):
    """Their median QRS in II is near 90 ms and PR near 160 ms, as in healthy and ill adults."""
    real, simulated = realism.ludb_measures()
    assert len(real) == len(simulated) > 100
    assert 80 < real["QRS (ms)"].median() < 110 and 140 < real["PR (ms)"].median() < 180
    committed = pd.read_csv(realism.TABLE)
    row = committed.query("group == 'LUDB' and quantity == 'QRS (ms)' and statistic == 'real p50'")
    assert row["value"].item() == pytest.approx(real["QRS (ms)"].median(), rel=1e-3)
