"""Hearts and recorders that differ more: in what, and that labels and evidence stay true."""

import numpy as np
import pytest

from ecgstudy.data.cohort import named_recipe, simulated_checksum, synthetic_recipe
from ecgstudy.data.records import LEADS
from ecgstudy.data.simulator import synthetic, variety
from ecgstudy.profiles import ProfileError

RECORDER = {"low_cut": 0, "order": 1, "high_cut": 0, "step": 0.001, "gain": 1, "silent": 0, "flat": ""}


def drawn(steps, count=150):
    return [synthetic.simulate(i, 3, fs=100, balance=1, variety=steps) for i in range(count)]


@pytest.fixture(scope="module")
def plain():
    return drawn("")


@pytest.fixture(scope="module")
def varied():
    return drawn("all")


def test_steps_are_read_in_any_order():
    assert variety.steps_of("") == frozenset() and variety.steps_of("all") == frozenset(variety.STEPS)
    assert variety.steps_of("forms+atria") == variety.steps_of("atria+forms") == {"forms", "atria"}
    assert variety.steps_of("unlabelled+all") == {*variety.STEPS, "unlabelled"}
    with pytest.raises(ValueError, match=r"'forms\+shapes': no step shapes; there are intervals, forms"):
        synthetic.simulate(0, 0, variety="forms+shapes")


@pytest.mark.parametrize("step", variety.STEPS)
def test_a_step_changes_signals_and_neither_patient_nor_label(step, plain):
    changed = 0
    for one, other in zip(plain[:40], drawn(step, 40), strict=True):
        for name in ("name", "patient_id", "labels", "age", "sex"):
            assert getattr(one.record, name) == getattr(other.record, name)
        changed += not np.array_equal(one.record.signal, other.record.signal)
    assert changed > 1  # of atria those in AF alone


def test_hearts_differ_more_and_keep_to_the_criteria_of_their_classes(plain, varied):
    def of(records, name, chosen=lambda truth: True):
        return np.array([r.parameters["heart"][name] for r in records if chosen(set(r.parameters["truth"]))])

    assert of(varied, "pr", lambda t: "I-AVB" in t).min() > 0.2 >= of(varied, "pr", lambda t: "I-AVB" not in t).max()
    assert of(varied, "qrs_duration", lambda t: t & {"LBBB", "RBBB"}).min() >= 0.12
    normal = of(varied, "rate", lambda t: "NSR" in t)
    assert normal.min() >= 52 and normal.max() <= 104
    assert of(varied, "t_factor", lambda t: "NSR" in t).min() > 0
    for name in ("rate", "qtc", "pac_coupling", "pvc_coupling", "block_strength"):
        assert of(varied, name).std() > 1.1 * of(plain, name).std(), name
    for name, chosen in (
        ("pr", lambda t: "I-AVB" in t),
        ("f_size", lambda t: "AF" in t),
        ("af_irregularity", lambda t: "AF" in t),
        ("qrs_duration", lambda t: t & {"LBBB", "RBBB"}),
    ):
        assert np.median(of(varied, name, chosen)) > np.median(of(plain, name, chosen)), name


def test_one_heart_in_four_has_no_label_and_something_else_and_nsr_is_normal(varied):
    records = drawn("all+unlabelled", 400)
    without = [r for r in records if r.parameters["unnamed"]]
    assert abs(len(without) - 100) < 4 * np.sqrt(400 * 0.25 * 0.75)
    assert {r.parameters["unnamed"]["name"] for r in without} == set(variety.UNNAMED)
    for r in without:
        assert not r.record.labels and not r.record.codes and not r.parameters["truth"] and r.evidence.empty
        name, heart, body = r.parameters["unnamed"]["name"], r.parameters["heart"], r.parameters["body"]
        assert not any(heart["st"]["affected"].values())
        assert heart["pr"] <= 0.2 and (heart["qrs_form"] == "normal" or heart["qrs_duration"] < 0.12)
        assert name != "bradycardia" or heart["rate"] < 54
        assert name != "hypertrophy" or body["qrs_size"] > 1.9
        assert name != "low voltage" or body["qrs_size"] < 0.55
        assert name != "tachycardia" or heart["rate"] > 100
        assert name != "long QT" or heart["qtc"] >= 0.48
        assert name != "axis" or not -45 < body["qrs_axis"] < 50
    normal = [r.parameters for r in records if r.parameters["truth"] == ["NSR"]]
    assert abs(len(normal) - 80) < 40
    for one in normal:
        heart, body = one["heart"], one["body"]
        assert 54 <= heart["rate"] <= 100 and heart["qtc"] <= 0.46 and heart["t_factor"] > 0
        assert -35 <= body["qrs_axis"] <= 40 and 0.55 <= body["qrs_size"] <= 1.9
    # All others are what they are without the step, to the sample.
    others = [
        (one, other)
        for one, other in zip(records, varied, strict=False)
        if one.record.labels == other.record.labels and one.parameters["truth"] not in ([], ["NSR"])
    ]
    assert len(others) > 70
    for one, other in others:
        np.testing.assert_array_equal(one.record.signal, other.record.signal)


def test_what_changed_the_unlabelled_names_no_other_records_anew():
    assert variety.version_of(variety.steps_of("all")) == variety.VERSION == 1  # as committed runs are named
    assert variety.version_of(variety.steps_of("all+unlabelled")) == "1, unlabelled 2"
    plain, wide = (synthetic_recipe(8, 100, variety=v).identity for v in ("all", "all+unlabelled"))
    assert plain["varieties"] != wide["varieties"]


def test_labels_that_are_asked_for_are_kept_with_every_step():
    for index in range(12):
        record = synthetic.simulate(index, 3, fs=100, labels={"RBBB"}, variety="all+unlabelled").record
        assert record.labels == {"RBBB"}


@pytest.mark.parametrize("order", [1, 2])
def test_a_recorders_filters_have_the_gain_of_butterworths(order):
    """|H|² = 1 / (1 + (f/f_c)^2n) of a low-pass, n its order, and of a high-pass with f_c/f."""
    fs, seconds = 500, 200
    time = np.arange(fs * seconds) / fs
    for hz, low, high in ((0.5, 0.5, 0), (1.0, 0.5, 0), (10.0, 0, 40), (40.0, 0, 40)):
        x = np.tile(np.sin(2 * np.pi * hz * time), (8, 1))
        kept, seen = variety.record(x, {**RECORDER, "low_cut": low, "high_cut": high, "order": order, "step": 1e-6}, fs)
        settled = kept[0, fs * seconds // 2 :]
        expected = (1 + (low / hz) ** (2 * order)) ** -0.5 if low else (1 + (hz / high) ** 4) ** -0.5
        assert np.sqrt(2) * settled.std() == pytest.approx(expected, rel=0.01) and seen == x.shape[1]


def test_a_recorder_counts_in_steps_and_loses_the_end_and_a_lead():
    x = np.random.default_rng(0).normal(size=(8, 1000))
    kept, seen = variety.record(x, {**RECORDER, "step": 0.01, "gain": 2, "silent": 2, "flat": "V3"}, 100)
    assert seen == 800 and not kept[:, 800:].any() and not kept[LEADS.index("V3") - 4].any()
    rest = np.delete(kept, LEADS.index("V3") - 4, axis=0)[:, :800]
    assert np.abs(rest - 2 * np.delete(x, LEADS.index("V3") - 4, axis=0)[:, :800]).max() <= 0.005 + 1e-9
    np.testing.assert_allclose(rest / 0.01, np.rint(rest / 0.01), atol=1e-6)


def test_nothing_is_evidence_where_the_recorder_shows_nothing():
    silent = flat = 0
    for one in drawn("recorders", 300):
        recorder, signal = one.parameters["recorder"], one.record.signal
        end = signal.shape[1] - round(100 * recorder["silent"])
        assert one.evidence["offset"].max() <= end and one.waves["offset"].max() < end
        assert not signal[:, end:].any()
        silent += end < signal.shape[1]
        if recorder["flat"]:
            flat += 1
            assert not signal[LEADS.index(recorder["flat"])].any()
            assert recorder["flat"] not in set(one.evidence["lead"]) | set(one.waves["lead"])
    assert silent and flat


def test_cohorts_are_known_by_their_steps():
    plain = simulated_checksum(60, 100, seed=3, balance=1)
    assert plain == simulated_checksum(60, 100, seed=3, balance=1, variety="")
    varied = {
        simulated_checksum(60, 100, seed=3, balance=1, variety=steps) for steps in ("all", "atria", "forms+atria")
    }
    assert len({plain} | varied) == 4
    assert simulated_checksum(60, 100, seed=3, balance=1, variety="atria+forms") in varied
    recipe = named_recipe("synthetic", 100, records=60, balance=1, seed=3, variety="forms+atria")
    assert recipe.command.endswith("--seed 3 --variety forms+atria")
    with pytest.raises(ProfileError, match="variety=atria: only simulated records differ by it, and 'real'"):
        named_recipe("real", 100, records=60, balance=None, seed=0, variety="atria")
    (record,) = recipe.read(0, 1)
    assert np.array_equal(
        record.signal, synthetic.simulate(0, 3, fs=100, balance=1, variety="atria+forms").record.signal
    )
