"""What the networks that ship answer to one ECG, and why: committed answers, identities, planted networks."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from torch import nn

from ecgstudy.data.cohort import record_paths
from ecgstudy.data.delineations import read_delineation
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS, Record, read_record
from ecgstudy.data.simulator.synthetic import simulate
from ecgstudy.explain import methods
from ecgstudy.explain.unlike import unlikeness
from ecgstudy.preprocessing import fill_gaps
from ecgstudy.reading import calibration, explanation, waves
from ecgstudy.reading.explanation import UnreadableError, explain
from ecgstudy.reading.shipped import ENTRIES, OWN, Shipped, shipped
from ecgstudy.reading.waves import PARTS, Parts, delineate
from ecgstudy.studies import fitness, leaderboard

SIMULATED = f"{OWN}, simulated"
# Trained on simulated records alone, and between these and real ones.
ALONE = [name for name, (board, _) in ENTRIES.items() if board != "real"]
MIDWAY = [name for name in ENTRIES if name not in ALONE]


@pytest.fixture(scope="module")
def record():
    return simulate(3, 0, labels=frozenset({"RBBB", "PVC"})).record


@pytest.fixture(scope="module")
def answer(record):
    return explain(record)


# --- what ships ------------------------------------------------------------------------------------------------------


def test_platts_scaling_is_the_likeliest_sigmoid():
    rng = np.random.default_rng(0)
    p = rng.random((400, 3)) ** 3
    y = rng.random((400, 3)) < calibration.sigmoid(0.7 * calibration.logit(p) - 0.5)
    ours = calibration.fitted(p, y)
    for c in range(3):
        positives, negatives = y[:, c].sum(), (~y[:, c]).sum()
        target = np.where(y[:, c], (positives + 1) / (positives + 2), 1 / (negatives + 2))
        # Each record twice, as a positive and as a negative of these weights.
        z = np.tile(calibration.logit(p[:, c]), 2)[:, None]
        weights, labels = np.concatenate([target, 1 - target]), np.repeat([1, 0], len(p))
        other = LogisticRegression(C=np.inf, tol=1e-10).fit(z, labels, sample_weight=weights)
        assert ours.slope[c] == pytest.approx(other.coef_[0, 0], rel=1e-4)
        assert ours.intercept[c] == pytest.approx(other.intercept_[0], rel=1e-4, abs=1e-4)
    assert np.isfinite(
        calibration.fitted(np.float32([[0], [1], [1], [0]]), np.array([[0], [1], [1], [0]]) > 0)(p[:, :1])
    ).all()


def test_a_fold_is_calibrated_by_the_others_alone():
    rng = np.random.default_rng(0)
    p, fold = rng.random((100, 2)), np.arange(100) % 4
    y = rng.random((100, 2)) < p
    before = calibration.cross_fitted(p, y, fold)
    changed = np.where(fold[:, None] == 2, ~y, y)
    after = calibration.cross_fitted(p, changed, fold)
    np.testing.assert_array_equal(after[fold == 2], before[fold == 2])
    assert (after[fold != 2] != before[fold != 2]).all()


def test_records_are_judged_by_the_networks_that_ship():
    assert ENTRIES[OWN] == ("real", fitness.ENTRY)


@pytest.mark.parametrize("name", ENTRIES)
def test_what_ships_is_calibrated_and_keeps_its_order(name):
    ships = shipped(name)
    assert (ships.calibration.slope > 0).all()
    checked = ships.checked.mean(numeric_only=True)
    assert checked["calibration error, calibrated"] < checked["calibration error, raw"]
    assert checked["Brier score, calibrated"] < checked["Brier score, raw"] + 1e-4
    # With one member, what is called is what the system calls.
    if len(ships.runs) == 1:
        called = ships.calibration(ships.answers) >= ships.thresholds
        assert (called == ships.called).mean() > 0.9999
    assert ships.score("AUROC").value > 0.7 and (ships.yes["right"] <= ships.yes["said yes"]).all()


@pytest.mark.parametrize("name", MIDWAY)
def test_answers_are_those_of_the_members_that_had_not_seen_the_record(name):
    ships = shipped(name)
    for run in ships.runs:
        tested = run.predictions[run.predictions["split"] == "test"]
        np.testing.assert_allclose(ships.answers[tested["record"]], tested[list(CLASSES)], atol=1e-6)


@pytest.mark.parametrize("name", ALONE)
def test_a_simulated_record_gets_the_committed_answer(name):
    ships = shipped(name)
    for index in (0, 5):
        e = explain(simulate(index, 7, fs=ships.system.fs, balance=1).record, system=name)
        assert not e.seen.any()
        np.testing.assert_allclose(e.members[0], ships.calibration(ships.answers[index]), atol=0.005)
    assert explain(simulate(2500, 7, fs=ships.system.fs, balance=1).record, system=name).seen.all()


@pytest.mark.parametrize("name", MIDWAY)
def test_a_simulated_record_that_came_before_the_real_ones_has_been_seen(name):
    ships, first = shipped(name), leaderboard.STARTS[leaderboard.MIDWAY]
    drawn = {key: first[key] for key in ("balance", "variety")} | {"fs": ships.system.fs}
    assert ships.seen(simulate(5, first["seed"], **drawn).record).all()
    assert not ships.seen(simulate(first["records"], first["seed"], **drawn).record).any()
    plain = simulate(5, first["seed"], fs=ships.system.fs, balance=first["balance"]).record
    assert not ships.seen(plain).any()  # of the same name, from another heart


@pytest.mark.parametrize("name", MIDWAY)
def test_a_real_record_gets_the_committed_answer_of_the_member_that_had_not_seen_it(name, real_data):
    ships = shipped(name)
    there = ships.records[ships.records["source"] == "georgia"]
    paths = {path.stem: path for path in record_paths(["challenge-2021"]) if "georgia" in path.parts}
    for row in there.index[:3]:
        e = explain(read_record(paths[there["name"][row]]), system=name)
        assert e.seen.sum() == len(e.seen) - 1
        copied = dataclasses.replace(read_record(paths[there["name"][row]]), name="copy", source="elsewhere")
        assert ships.seen(copied).tolist() == e.seen.tolist()
        assert not ships.seen(dataclasses.replace(copied, signal=-copied.signal)).any()
        np.testing.assert_allclose(e.probabilities, ships.calibration(ships.answers[row]), atol=1e-4)


# --- the answer ------------------------------------------------------------------------------------------------------


def test_the_answer_is_the_mean_of_the_calibrated_members(record, answer):
    ships = shipped()
    x = torch.from_numpy(np.stack(ships.system.windows(explanation.prepared(record, 125))))
    with torch.no_grad():
        raw = np.stack([torch.sigmoid(network(x)).numpy()[0] for network in ships.networks])
    np.testing.assert_allclose(answer.probabilities, ships.calibration(raw).mean(axis=0), atol=1e-6)
    thresholds = np.array([list(run.card["thresholds"].values()) for run in ships.runs])
    np.testing.assert_allclose(answer.thresholds, ships.calibration(thresholds).mean(axis=0))
    table = answer.answer
    assert table["called"].tolist() == (table["probability"] >= table["threshold"]).tolist()
    assert table["yes"].tolist() == (raw >= thresholds).sum(axis=0).tolist()
    assert set(answer.main) == set(table.loc[table["called"], "class"]) == {"PVC", "RBBB"}


def test_members_that_have_seen_the_record_do_not_count(answer):
    seen = np.array([True, False, True, True, False])
    some = dataclasses.replace(answer, seen=seen)
    np.testing.assert_allclose(some.probabilities, answer.members[~seen].mean(axis=0))
    assert dataclasses.replace(answer, seen=seen | True).used.all()
    # The maps are those of the members used, too, also where they were asked for before.
    each = [dataclasses.replace(answer, seen=np.arange(5) != m).lead_map("RBBB") for m in range(5)]
    assert np.ptp(each, axis=0).max() > 0.01
    np.testing.assert_allclose(answer.lead_map("RBBB"), np.mean(each, axis=0), atol=1e-6)
    np.testing.assert_allclose(some.lead_map("RBBB"), np.mean([each[1], each[4]], axis=0), atol=1e-6)


@pytest.mark.parametrize("name", ENTRIES)
def test_the_terms_add_up_to_the_logit(name, record):
    e = explain(record, system=name)
    if not name.startswith(OWN):
        with pytest.raises(ValueError, match=f"logit of {name} is no sum over time"):
            e.terms("AF")
        return
    for one in (e, explain(cut(record, 6), system=name), explain(long(record, 40), system=name)):
        for finding in ("RBBB", "PVC", "AF"):
            terms, window = one.terms(finding), one.window(finding)
            with torch.no_grad():
                logits = [network(window.x[None])[0, CLASSES.index(finding)].item() for network in one.shipped.networks]
            members = list(range(1, len(logits) + 1))
            np.testing.assert_allclose(terms[members].sum(), logits, atol=1e-4)
            np.testing.assert_allclose(terms.groupby("part")[members].sum().sum(), logits, atol=1e-4)
            bias = [network.bias[CLASSES.index(finding)].item() for network in one.shipped.networks]
            np.testing.assert_allclose(terms[members].iloc[-1], bias, atol=1e-6)
            seconds = terms["seconds"].iloc[:-1]
            assert seconds.between(window.start, window.stop).all() and seconds.is_monotonic_increasing


def cut(record: Record, seconds: float) -> Record:
    return dataclasses.replace(record, signal=record.signal[:, : round(seconds * record.fs)])


def long(record: Record, seconds: float) -> Record:
    times = int(np.ceil(seconds / record.seconds))
    return cut(dataclasses.replace(record, signal=np.tile(record.signal, times)), seconds)


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("seconds", [5, 12.5, 60])
def test_records_of_other_lengths_are_read_where_it_is_said(name, seconds, record):
    e = explain(long(record, seconds), system=name)
    system = e.system
    assert all(len(w.maps) == len(e.members) and w.maps.shape[-1] == w.signal.shape[1] for w in e.windows)
    if seconds <= system.seconds:
        np.testing.assert_allclose([(w.start, w.stop) for w in e.windows], [(0, seconds)], atol=0.005)  # half a sample
    elif name == "BUTTeam":
        assert [(w.start, w.stop) for w in e.windows] == [(0, system.seconds)]
    else:
        last = seconds - system.seconds
        np.testing.assert_allclose([w.start for w in e.windows], [0, last / 2, last], atol=0.01)
    for window in e.windows:  # what the network was given is this stretch: V3 looks the same
        given = window.x[LEADS.index("V3")].numpy()[window.there]
        assert np.corrcoef(given, window.signal[LEADS.index("V3")])[0, 1] > 0.9


def test_a_record_of_another_rate_gets_nearly_the_same_answer(answer):
    for fs in (100, 257, 1000):
        other = explain(simulate(3, 0, labels=frozenset({"RBBB", "PVC"}), fs=fs, noise=0).record)
        quiet = explain(simulate(3, 0, labels=frozenset({"RBBB", "PVC"}), fs=500, noise=0).record)
        assert np.abs(other.probabilities - quiet.probabilities).max() < 0.12


def test_of_a_very_long_record_the_beginning_is_read(record):
    e = explain(long(record, 300))
    assert e.windows[-1].stop == explanation.LONGEST == e.signal.shape[1] / 125


def test_what_cannot_be_asked_is_refused_by_name(record):
    some = dataclasses.replace(record, name="r9", signal=record.signal[:8], leads=LEADS[:8])
    with pytest.raises(UnreadableError, match="r9 lacks V3, V4, V5, V6: the networks need all twelve leads"):
        explain(some)
    with pytest.raises(UnreadableError, match=r"lasts 1 s"):
        explain(cut(record, 1))
    with pytest.raises(ValueError, match=r"no networks of 'CNNGAP' ship; .*did you mean 'CNN-GAP'"):
        explain(record, system="CNNGAP")
    with pytest.raises(ValueError, match="no map 'Grad-CAMM' of CNN-GAP"):
        explain(record, system="CNN-GAP", method="Grad-CAMM")


def test_gaps_and_flat_leads_are_read(record):
    signal = record.signal.copy()
    signal[0, 100:300], signal[7] = np.nan, 0
    e = explain(dataclasses.replace(record, signal=signal), even_if_unfit=True)
    assert np.isfinite(e.probabilities).all()
    e = explain(dataclasses.replace(record, signal=np.zeros_like(signal)), even_if_unfit=True)
    assert np.isfinite(e.probabilities).all() and e.shares("AF").empty and e.bridged.empty


def test_an_unfit_record_gets_no_answer_unless_asked(record):
    thousandfold = dataclasses.replace(record, signal=1000 * record.signal)
    e = explain(thousandfold)
    assert not e.quality.fit and not e.answered and not e.windows and e.unlike is None
    e = explain(thousandfold, even_if_unfit=True)
    assert e.answered and e.unlike.unlike


def test_how_unlike_a_record_is_follows_from_the_pass_that_answers(record):
    e = explain(record)
    assert e.quality.fit and e.unlike.distance == pytest.approx(unlikeness(e.shipped.runs, record).distance, rel=1e-4)
    assert explain(record, system="CNN-GAP").unlike is None  # nothing is known of its training records


# --- the map ---------------------------------------------------------------------------------------------------------


def test_shares_add_up_and_a_level_map_has_those_of_chance(answer):
    for name in CLASSES:
        shares = answer.shares(name)
        assert shares["chance"].sum() == pytest.approx(1)
        if shares["share"].notna().all():
            assert shares["share"].sum() == pytest.approx(1)
            assert (shares["low"] <= shares["share"] + 1e-9).all() or answer.member_maps(name).min() < 0
        np.testing.assert_allclose(answer.shares_by_lead(name).sum(), 1)
        assert answer.leads(name).sum() == pytest.approx(1)
    parts = answer.windows[0].parts
    np.testing.assert_allclose(parts.shares(np.full(1250, 0.3)), parts.chance)
    level = dataclasses.replace(answer.windows[0], maps=np.ones_like(answer.windows[0].maps))
    shares = dataclasses.replace(answer, windows=(level,)).shares("AF")
    for column in ("share", "low", "high"):
        np.testing.assert_allclose(shares[column], shares["chance"])


def test_a_map_with_nothing_for_a_class_has_no_shares():
    parts = Parts(np.array([5]), np.array([0, 0, 2, 2, 5]))
    assert np.isnan(parts.shares(-np.ones(5))).all()
    np.testing.assert_allclose(parts.shares(np.array([1, 0, 2, -9, 1.0])), [0.25, 0, 0.5, 0, 0, 0.25])
    np.testing.assert_allclose(parts.sums(np.array([1, 0, 2, -9, 1.0])), [1, 0, -7, 0, 0, 1])
    np.testing.assert_allclose(parts.chance, [0.4, 0, 0.4, 0, 0, 0.2])


def test_members_agree_by_ranks(answer):
    pairs = answer.agreement("RBBB")
    m = answer.member_maps("RBBB")
    expected = [stats.spearmanr(m[a], m[b])[0] for a in range(5) for b in range(a + 1, 5)]
    np.testing.assert_allclose(pairs, expected, atol=1e-9)
    assert not len(explain(answer.record, system="CNN-GAP").agreement("RBBB"))


def test_maps_by_lead_are_captums(answer):
    for name in ("RBBB", "AF"):
        window, c = answer.window(name), torch.tensor([CLASSES.index(name)])
        theirs = [methods.captum_map("input × gradient", n, window.x[None], c)[0].numpy() for n in answer.used_networks]
        np.testing.assert_allclose(answer.lead_map(name), np.mean(theirs, axis=0), atol=1e-6)
    assert not answer.tells_leads_apart
    apart = explain(answer.record, method="input × gradient")
    assert apart.tells_leads_apart
    np.testing.assert_allclose(apart.lead_map("RBBB"), answer.lead_map("RBBB"), atol=1e-6)
    np.testing.assert_allclose(apart.map("RBBB"), answer.lead_map("RBBB").sum(axis=0), atol=1e-6)
    assert explain(answer.record, system="BUTTeam", method="max CAM").map("RBBB").shape == (1250,)


class Planted(nn.Module):
    """Finds an RBBB where V1 is high, and nothing else anywhere."""

    stride = 1

    def __init__(self):
        super().__init__()
        self.join = nn.Identity()

    def contributions(self, x):
        parts = x.new_zeros(len(x), len(CLASSES), x.shape[-1])
        parts[:, CLASSES.index("RBBB")] = 40 * (x[:, LEADS.index("V1")] - 0.5).clamp(min=0) / x.shape[-1]
        return parts

    def forward(self, x):
        return self.contributions(self.join(x)).sum(dim=-1) - 3


def test_of_a_planted_network_all_is_as_planted():
    real = shipped(SIMULATED)
    planted = Shipped("planted", real.board, real.entry, real.runs)
    vars(planted)["networks"] = [Planted()]
    vars(planted)["calibration"] = calibration.Calibration(np.ones(9), np.zeros(9))
    record = simulate(3, 0, labels=frozenset({"RBBB"}), noise=0).record
    e = explain(record, system=planted)
    leads = pd.Series(e.leads("RBBB"), LEADS)
    assert leads["V1"] == pytest.approx(1) and leads.drop("V1").abs().max() == 0
    shares = e.shares("RBBB")["share"]
    assert shares["QRS"] > 0.95
    change = e.bridged["RBBB"]
    assert change.idxmin() == "QRS" and change["QRS"] < -0.05 and change.drop("QRS").abs().max() < 0.02
    assert (e.bridged.drop(columns="RBBB").abs() < 1e-12).all(axis=None)


def test_a_bridge_is_a_straight_line(record):
    slow = simulate(3, 0, labels=frozenset({"RBBB", "PVC"}), fs=125).record
    e = explain(slow)
    signal, parts = slow.signal.copy(), delineate(slow.signal, 125)
    inside = parts.of_sample == PARTS.index("T")
    at = np.arange(signal.shape[1])
    for lead in signal:
        lead[inside] = np.interp(at[inside], at[~inside], lead[~inside])
    other = explain(dataclasses.replace(slow, signal=signal), even_if_unfit=True)
    np.testing.assert_allclose(e.bridged.loc["T"], other.probabilities - e.probabilities, atol=1e-4)


# --- parts of the beat -----------------------------------------------------------------------------------------------


def test_parts_are_those_of_simulated_waves():
    right = []
    for index in range(12):
        s = simulate(index, 40, labels=frozenset({"NSR"}), noise=0)
        parts = delineate(s.record.signal, 500)
        told = named(s.waves, "II", 5000)
        right.append((parts.of_sample == told)[told >= 0].mean())
    assert np.mean(right) > 0.8


def test_a_wide_qrs_is_taken_whole():
    for labels in ({"LBBB"}, {"RBBB"}):
        s = simulate(5, 40, labels=frozenset(labels), noise=0)
        parts = delineate(s.record.signal, 500)
        wide = named(s.waves, "V2", 5000) == PARTS.index("QRS")
        assert (parts.of_sample[wide] == PARTS.index("QRS")).mean() > 0.9


def test_without_beats_there_are_no_parts():
    assert delineate(np.zeros((12, 5000)), 500) is None
    assert delineate(np.random.default_rng(0).normal(size=(12, 300)), 500) is None


def named(table: pd.DataFrame, lead: str, samples: int) -> np.ndarray:
    """Number of the part of each sample as delineated waves tell it, −1 where they do not."""
    own = table[table["lead"] == lead].dropna(subset=["onset", "offset"]).sort_values("onset")
    told, last = np.full(samples, -1), None
    between = {("P", "QRS"): "PR", ("QRS", "T"): "ST", ("T", "P"): "TQ", ("T", "QRS"): "TQ"}
    for wave, onset, offset in own[["wave", "onset", "offset"]].itertuples(index=False):
        begin, end = int(onset), int(offset) + 1
        if last and (kind := between.get((last[0], wave))) and begin - last[1] < 1000:
            told[last[1] : begin] = PARTS.index(kind)
        told[begin:end], last = PARTS.index(wave), (wave, end)
    return told


@pytest.mark.slow
def test_parts_are_those_of_ludbs_cardiologists_as_often_as_pages_say(real_data):
    right = covered = 0
    for path in record_paths(["ludb"]):
        one, table = read_record(path), read_delineation(path).astype({"onset": float, "offset": float})
        parts = delineate(fill_gaps(one.signal), one.fs)
        if parts is None:
            continue
        for lead in ("II", "V2", "V5"):
            told = named(table, lead, one.signal.shape[1])
            right, covered = right + (parts.of_sample == told)[told >= 0].sum(), covered + (told >= 0).sum()
    assert right / covered == pytest.approx(waves.AGREES, abs=0.005)
