import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial

import numpy as np
import pandas as pd
import pytest

from ecgstudy.data.delineations import read_delineation
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS, read_record
from ecgstudy.data.simulator import dipole, disturbance, heart, synthetic
from ecgstudy.data.simulator.synthetic import CPSC_2018, CRITERIA, answer_key, simulate
from ecgstudy.paths import REPOSITORY

COMBINATIONS = list(CPSC_2018)


@cache
def simulated(index, *labels, **options):
    return simulate(index, 17, labels=frozenset(labels), noise=0, **options)


def beats(one):
    """Onset, offset of P, QRS and T of each beat in s, over all leads, from the table of waves alone."""
    waves = one.waves
    grouped = {}
    for name in ("P", "QRS", "T"):
        rows = waves[waves["wave"] == name].sort_values("onset")
        # Waves of one beat overlap over the leads; those of two beats do not.
        start = rows["onset"].to_numpy() > rows["offset"].cummax().shift(fill_value=-1).to_numpy()
        table = rows.groupby(start.cumsum()).agg(onset=("onset", "min"), offset=("offset", "max"))
        table = table.to_numpy() / one.record.fs
        # At the record's edges some leads show a wave whole and others do not.
        grouped[name] = table[(table[:, 0] > 0.1) & (table[:, 1] < one.record.seconds - 0.1)]
    return grouped


def pr_intervals(one):
    found = beats(one)
    after = np.searchsorted(found["QRS"][:, 0], found["P"][:, 0])
    return np.array(
        [found["QRS"][q, 0] - p for q, p in zip(after, found["P"][:, 0], strict=True) if q < len(found["QRS"])]
    )


def qrs_durations(one):
    return np.diff(beats(one)["QRS"], axis=1).ravel()


def st_levels(one):
    """ST (12,) 60 ms after the J point of an undisturbed record, median over the usual beats."""
    p = one.parameters
    aberrant = p["heart"]["pac_aberrant"]
    usual = [heart.CONDUCTED] if aberrant else [heart.CONDUCTED, heart.PAC]
    j = [
        t + p["heart"]["qrs_duration"]
        for t, k in zip(p["beats"]["onset"], p["beats"]["kind"], strict=True)
        if k in usual
    ]
    at = np.rint((np.array(j) + 0.06) * one.record.fs).astype(int)
    return np.median(one.record.signal[:, at[(at > 0) & (at < one.record.signal.shape[1])]], axis=1)


def meets(one, name):
    """Leads (set) in which ST meets the criterion, from the published thresholds."""
    record = one.record
    level = dict(zip(LEADS, st_levels(one), strict=True))
    high = 0.15 if record.sex == "F" else 0.2 if record.age >= 40 else 0.25
    if name == "STD":
        met = {lead for lead in LEADS if level[lead] <= -0.05}
    else:
        met = {lead for lead in LEADS if level[lead] >= (high if lead in ("V2", "V3") else 0.1)}
    pairs = ["I aVL", "II aVF", "III aVF", *(f"V{k} V{k + 1}" for k in range(1, 6))]
    return {lead for pair in map(str.split, pairs) if met >= set(pair) for lead in pair}


def test_dower_is_the_inverse_of_the_published_inverse():
    # Edenbrandt & Pahlm, J Electrocardiol 1988;21:361-367: X, Y, Z from V1 ... V6, I, II; their Z points to the back.
    published = [
        [-0.172, -0.074, 0.122, 0.231, 0.239, 0.194, 0.156, -0.010],
        [0.057, -0.019, -0.106, -0.022, 0.041, 0.048, -0.227, 0.887],
        [-0.229, -0.310, -0.246, -0.063, 0.055, 0.108, 0.022, 0.102],
    ]
    inverse = np.linalg.pinv(dipole.DOWER)
    np.testing.assert_allclose(inverse, np.roll(published, 2, axis=1), atol=0.002)


def test_dower_reproduces_published_limb_leads():
    # Dower's aVF, tabulated independently of I and II: -0.081, 1.184, -0.162.
    twelve = dipole.eight_to_twelve(dipole.DOWER)
    np.testing.assert_allclose(twelve[LEADS.index("aVF")], [-0.081, 1.184, -0.162], atol=0.002)
    np.testing.assert_allclose(twelve[LEADS.index("III")], [-0.397, 1.301, -0.191], atol=0.001)


@pytest.mark.parametrize("noise", [0, 1])
def test_einthoven_and_goldberger(noise):
    for index in range(12):
        one, two, three, avr, avl, avf = simulate(index, 3, noise=noise).record.signal[:6].astype(float)
        residuals = [one + three - two, avr + (one + two) / 2, avl - (one - three) / 2, avf - (two + three) / 2]
        assert np.abs(residuals).max() < 1e-6


def test_draw_equals_a_naive_sum():
    rng = np.random.default_rng(0)
    leads = dipole.eight_to_twelve(dipole.DOWER)
    placed, naive, time = [], np.zeros((3, 1000)), np.arange(1000) / 250
    for _ in range(4):
        template = np.column_stack([rng.normal(0, 30, 3), rng.uniform(8, 30, 3), rng.normal(0, 0.5, (3, 3))])
        wave = dipole.wave(template, leads)
        onset, duration = rng.uniform(-0.5, 4.2, 6), rng.uniform(0.05, 0.2, 6)
        placed.append((wave, onset, duration))
        for t, d in zip(onset, duration, strict=True):
            for centre, width, vector in zip(wave.centre, wave.width, wave.dipole, strict=True):
                naive += vector[:, None] * np.exp(-0.5 * ((time - t - centre * d) / (width * d)) ** 2)
    np.testing.assert_allclose(dipole.draw(placed, 1000, 250), naive, atol=0.002)


def test_wave_is_seen_where_it_is_drawn():
    """A Gaussian of 1 mV along x exceeds a tenth of its peak within 2.15 widths."""
    leads = np.zeros((12, 3))
    leads[0, 0], leads[1, 0] = 0.1, 0.01  # a peak of 0.1 mV; one of 10 µV, not seen
    wave = dipole.wave(np.array([[50, 10, 1.0, 0, 0]]), leads)
    np.testing.assert_allclose(wave.marks[0], [0, 0.5, 1], atol=0.01)
    assert np.isnan(wave.marks[1:]).all()
    assert 1 / wave.width[0] == pytest.approx(2 * np.sqrt(2 * np.log(10)), rel=0.02)


def test_plateau_has_its_level_where_it_is_measured():
    st = dipole.plateau(np.array([0.1, -0.2, 0]), slope=0.5, measured_at=0.4)
    np.testing.assert_allclose(st.at(0.4), [0.1, -0.2, 0], rtol=1e-12)
    assert st.at(0.8)[0] > st.at(0.2)[0] > 0.08


def same(one, other):
    return (
        one.record.signal.tobytes() == other.record.signal.tobytes()
        and one.evidence.equals(other.evidence)
        and one.waves.equals(other.waves)
        and one.parameters == other.parameters
        and (one.record.name, one.record.patient_id) == (other.record.name, other.record.patient_id)
    )


def test_same_bytes_in_any_order_and_process():
    forward = [simulate(i, 5) for i in range(8)]
    backward = [simulate(i, 5) for i in reversed(range(8))][::-1]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        pooled = list(pool.map(partial(simulate, seed=5), range(8)))
    assert all(map(same, forward, backward)) and all(map(same, forward, pooled))
    assert len({one.record.signal_hash for one in forward}) == 8
    assert not same(simulate(0, 6), forward[0])


def test_patients_have_one_or_two_records():
    records = [simulate(i, 2, fs=100).record for i in range(9)]
    patients = [r.patient_id for r in records]
    assert sorted(patients.count(p) for p in set(patients)) == [1, 1, 1, 2, 2, 2]
    for patient in set(patients):
        assert len({(r.age, r.sex) for r in records if r.patient_id == patient}) == 1


def test_every_combination_has_its_evidence_and_nothing_else():
    for index, labels in enumerate(COMBINATIONS * 3):
        one = simulate(index, 8, labels=labels, fs=250)
        signal, key = one.record.signal, answer_key(one.evidence, 2500)
        assert one.record.labels == labels and set(one.record.codes) == labels
        assert signal.shape == (12, 2500) and signal.dtype == np.float32 and np.isfinite(signal).all()
        assert {CLASSES[k] for k in np.flatnonzero(key.any(axis=(1, 2)))} == labels
        assert np.abs(signal).max() < 12
        edges = one.evidence[["onset", "offset"]].to_numpy()
        assert edges.min() >= 0 and edges.max() <= 2500 and (edges[:, 0] < edges[:, 1]).all()
        marks = one.waves[["onset", "peak", "offset"]].to_numpy()
        assert marks.min() >= 0 and marks.max() < 2500 and (np.diff(marks, axis=1) >= 0).all()
        json.dumps(one.parameters, allow_nan=False)


def test_criteria_name_every_class():
    assert tuple(CRITERIA) == CLASSES
    assert all(all(criterion) for criterion in CRITERIA.values())


def test_the_page_on_criteria_says_what_the_code_does():
    """Its sections are the classes in order; each gives the code's words for definition, evidence and leads."""
    page = (REPOSITORY / "book" / "criteria.md").read_text()
    bibliography = (REPOSITORY / "book" / "references.bib").read_text()
    sections = [" ".join(part.split()) for part in page.split("\n## ")[1:]]
    assert [part.split(":")[0] for part in sections[: len(CLASSES)]] == list(CLASSES)
    for part, criterion in zip(sections, CRITERIA.values(), strict=False):
        assert f"**Definition.** {criterion.definition} {{cite}}`{criterion.reference}`" in part
        for field in ("evidence", "leads"):
            words = getattr(criterion, field)
            assert f"**{field.capitalize()}.** {words[0].upper()}{words[1:]}" in part
        assert f"{{{criterion.reference}," in bibliography
    assert f"{100 * synthetic.DISAGREEMENT:.0f} % of the label sets" in " ".join(page.split())


@pytest.mark.parametrize("index", range(25))
def test_av_block_and_its_borderline(index):
    assert pr_intervals(simulated(index, "I-AVB")).min() > 0.200
    normal = pr_intervals(simulated(index, "NSR"))
    assert normal.min() >= 0.118 and normal.max() <= 0.200


@pytest.mark.parametrize("index", range(25))
def test_bundle_branch_blocks_and_their_borderline(index):
    assert qrs_durations(simulated(index, "NSR")).max() < 0.120
    right, left = simulated(index, "RBBB"), simulated(index, "LBBB")
    for one in (right, left):
        assert qrs_durations(one).min() > 0.1199


def mean_qrs(one, first, last):
    """Mean (12,) of the signal between two fractions of the conducted QRS."""
    p = one.parameters
    fs, duration = one.record.fs, p["heart"]["qrs_duration"]
    onset = np.array([t for t in p["beats"]["onset"] if 0.2 < t < 9.5])
    parts = [
        one.record.signal[:, round((t + first * duration) * fs) : round((t + last * duration) * fs)] for t in onset
    ]
    return np.concatenate(parts, axis=1).mean(axis=1)


def test_block_morphology():
    """Late forces of RBBB to the right and front; forces of LBBB to the left and back from the start to the end."""
    v1, v2, v6 = (LEADS.index(lead) for lead in ("V1", "V2", "V6"))
    late = np.array([mean_qrs(simulated(i, "RBBB"), 0.6, 0.95) for i in range(25)])
    whole = np.array([mean_qrs(simulated(i, "LBBB"), 0.05, 0.95) for i in range(25)])
    assert (late[:, [v1, v2]].max(axis=1) > 0).mean() >= 0.95
    assert (late[:, [0, v6]].min(axis=1) < 0).mean() >= 0.95
    assert (whole[:, v1] < 0).mean() >= 0.9
    assert (whole[:, [0, v6]].max(axis=1) > 0).mean() >= 0.95


def rr_variation(one):
    rr = np.diff(beats(one)["QRS"][:, 0])
    return rr.std() / rr.mean()


def test_a_wide_qrs_alone_is_no_bundle_branch_block():
    """Unspecific delays are as wide as blocks, keep a normal form and carry no evidence of a block."""
    hearts = [(one.parameters["heart"], one) for one in (simulated(i, "STD", fs=100, seconds=6) for i in range(60))]
    wide = [(found, one) for found, one in hearts if found["qrs_duration"] >= 0.12]
    assert 1 <= len(wide) <= 15 and all(found["qrs_form"] == "normal" for found, _ in wide)
    assert all(set(one.evidence["class"]) == {"STD"} for _, one in wide)
    # The late forces point to the back, not to the right and front as those of RBBB do.
    assert np.median([mean_qrs(one, 0.6, 0.95)[LEADS.index("V1")] for _, one in wide]) < 0


def test_a_reader_disagrees_now_and_then():
    drawn = [simulate(i, 11, fs=100, seconds=6, balance=1, noise=0) for i in range(400)]
    labels = [(one.record.labels, frozenset(one.parameters["truth"])) for one in drawn]
    assert 0.02 < np.mean([read != truth for read, truth in labels]) < 0.065
    told = synthetic.disputed(pd.Series(["|".join(one.record.notes) for one in drawn]))
    assert told.tolist() == [read != truth for read, truth in labels]
    for one, (read, truth) in zip(drawn, labels, strict=True):
        assert set(one.evidence["class"]) == truth  # the answer key follows the heart, not the reader
        assert synthetic._consistent(read) == read
        if read != truth:
            (missed,) = truth - read
            assert not read - truth or read - truth <= set(synthetic.READINGS[missed])
            assert set(synthetic.READINGS[missed]) & (read | {"NSR"})


def test_labels_that_are_asked_for_are_not_disputed():
    assert all(simulate(i, 1, labels={"PAC"}, fs=100, seconds=6).record.labels == {"PAC"} for i in range(60))


def test_ectopic_and_aberrant_beats_come_early_in_fibrillation():
    aberrant = 0
    for index in range(40):
        for labels in (("AF", "PVC"), ("AF",)):
            parameters = simulated(index, *labels, fs=100).parameters
            rr, kind = np.diff(parameters["beats"]["onset"]), np.array(parameters["beats"]["kind"])[1:]
            assert (rr[kind == heart.PVC] < 60 / parameters["heart"]["rate"]).all()
            if labels == ("AF",) and (kind == heart.ABERRANT).any():
                aberrant += 1
                assert rr[kind == heart.ABERRANT].min() <= np.quantile(rr[kind == heart.CONDUCTED], 0.35)
    assert aberrant >= 5


def test_fibrillation_is_irregular_and_without_p():
    fibrillating = [simulated(i, "AF") for i in range(25)]
    sinus = [simulated(i, "NSR") for i in range(25)]
    assert not any((one.waves["wave"] == "P").any() for one in fibrillating)
    assert all((one.waves["wave"] == "P").any() for one in sinus)
    assert min(map(rr_variation, fibrillating)) > 0.04
    assert np.median([*map(rr_variation, fibrillating)]) > 2 * np.median([*map(rr_variation, sinus)])
    # Between T and P a sinus rhythm is flat; fibrillatory waves of 4 to 9 Hz are not.
    for one in fibrillating:
        gap = one.evidence.assign(length=one.evidence["offset"] - one.evidence["onset"]).nlargest(1, "length").iloc[0]
        part = one.record.signal[LEADS.index("V1"), gap["onset"] : gap["offset"]]
        assert np.ptp(part) > 0.005
        crossings = (np.diff(np.sign(part - part.mean())) != 0).sum() / (len(part) / one.record.fs) / 2
        assert 2 < crossings < 20


def of_kind(one, kind):
    p = one.parameters["beats"]
    return [k for k in range(1, len(p["kind"]) - 1) if p["kind"][k] == kind], np.array(p["onset"])


@pytest.mark.parametrize("index", range(25))
def test_ectopic_beats(index):
    for name, kind in (("PAC", heart.PAC), ("PVC", heart.PVC)):
        one, without = simulated(index, name), simulated(index, "NSR")
        ectopic, onset = of_kind(one, kind)
        sinus = np.array(without.parameters["beats"]["onset"])
        assert ectopic
        found = beats(one)
        rr = np.diff(onset)
        for k in ectopic:
            at = np.abs(found["QRS"][:, 0] - onset[k]).argmin()
            assert found["QRS"][at, 0] == pytest.approx(onset[k], abs=0.003)  # the table shows it where it is drawn
            coupled = one.parameters["beats"]["kind"][k - 1] == kind
            if not coupled and k == min(ectopic):  # up to the first ectopic beat both records are one
                assert rr[k - 1] < 0.96 * (sinus[k] - sinus[k - 1])
                two = sinus[k + 1] - sinus[k - 1]
                pause = onset[k + 1] - onset[k - 1]
                if name == "PAC":
                    assert pause < two
                elif one.parameters["beats"]["kind"][k + 1] != kind:
                    assert pause == pytest.approx(two, abs=1e-9)
            before = (found["P"][:, 0] > onset[k] - 0.22) & (found["P"][:, 1] <= onset[k] + 0.003)
            assert before.any() == (name == "PAC")
            if name == "PVC":
                assert np.diff(found["QRS"][at])[0] > 0.1199
                spans = one.evidence[one.evidence["lead"] == "II"][["onset", "offset"]].to_numpy() / one.record.fs
                assert np.abs(spans[:, 0] - onset[k]).min() < 0.003


@pytest.mark.parametrize("index", range(25))
def test_st_deviation_and_its_borderline(index):
    for name in ("STD", "STE"):
        one = simulated(index, name)
        affected = set(one.evidence["lead"])
        assert affected == set(one.parameters["heart"]["st"]["affected"][name])
        assert len(affected) >= 2 and affected <= meets(one, name)
    normal = simulated(index, "NSR")
    assert not meets(normal, "STD") and not meets(normal, "STE")


def test_st_evidence_lies_between_j_and_t():
    one = simulated(3, "STE")
    found = beats(one)
    lead = one.evidence["lead"].iloc[0]
    spans = one.evidence[one.evidence["lead"] == lead][["onset", "offset"]].to_numpy() / one.record.fs
    for onset, offset in spans[(spans[:, 0] > 0.5) & (spans[:, 1] < 9.5)]:
        assert np.abs(found["QRS"][:, 1] - onset).min() < 0.005
        assert np.abs(found["T"][:, 0] - offset).min() < 0.005
        assert 0.03 < offset - onset < 0.25


def test_removing_the_class_changes_the_record_only_at_its_evidence():
    """STE taken away: nothing else than the ST segment (with its flanks) of every lead changes."""
    index = next(
        i
        for i in range(20)
        if simulated(i, "STE").parameters["heart"] | {"st": 0} == simulated(i, "NSR").parameters["heart"] | {"st": 0}
    )
    one, without = simulated(index, "STE"), simulated(index, "NSR")
    change = np.abs(one.record.signal - without.record.signal)
    key = answer_key(one.evidence, change.shape[1])[CLASSES.index("STE")]
    affected = key.any(axis=1)
    flank = np.ones(2 * 90 + 1)  # 180 ms: the segment starts within the QRS and ends in T
    near = np.convolve(key.any(axis=0), flank, mode="same") > 0
    assert (change[:, near] ** 2).sum() > 0.98 * (change**2).sum()
    assert change[affected].max() > 0.05
    inside = change[affected][:, key.any(axis=0)].mean()
    assert inside > 5 * change[:, ~near].mean()
    assert not meets(without, "STE")


def test_removing_ectopic_beats_leaves_what_was_before():
    for name in ("PAC", "PVC"):
        pairs = ((simulated(i, name), simulated(i, "NSR")) for i in range(20))
        hearts = ("t_factor", "qrs_form", "qrs_duration", "aberrant_beats")
        one, without = next(
            (a, b) for a, b in pairs if all(a.parameters["heart"][k] == b.parameters["heart"][k] for k in hearts)
        )
        first = one.evidence["onset"].min()
        change = np.abs(one.record.signal - without.record.signal)
        assert change[:, : first - 50].max() < 0.02 and change[:, first:].max() > 0.1


def naive_key(evidence, samples, stride):
    fine = np.zeros((len(CLASSES), 12, samples), dtype=bool)
    for row in evidence.itertuples(index=False):
        fine[CLASSES.index(row[0]), LEADS.index(row[1]), row[2] : row[3]] = True
    cells = [fine[..., k : k + stride].any(axis=-1) for k in range(0, samples, stride)]
    return np.stack(cells, axis=-1)


@pytest.mark.parametrize("stride", [1, 7, 32, 5000])
def test_answer_key_equals_a_naive_one(stride):
    for index in range(4):
        one = simulate(index, 1, balance=1)
        key = answer_key(one.evidence, 5000, stride=stride)
        np.testing.assert_array_equal(key, naive_key(one.evidence, 5000, stride))
        any_lead = answer_key(one.evidence, 5000, leads=1, stride=stride)
        np.testing.assert_array_equal(any_lead[:, 0], key.any(axis=1))


def test_answer_key_refuses_what_it_cannot_render():
    evidence = simulated(0, "NSR").evidence
    with pytest.raises(ValueError, match="leads must be 12"):
        answer_key(evidence, 5000, leads=3)
    with pytest.raises(ValueError, match="stride at least 1"):
        answer_key(evidence, 5000, stride=0)


def test_label_table_has_the_published_counts():
    total = {name: sum(n for labels, n in CPSC_2018.items() if name in labels) for name in CLASSES}
    published = {
        "NSR": 918,
        "AF": 1221,
        "I-AVB": 722,
        "LBBB": 236,
        "RBBB": 1857,
        "PAC": 616,
        "PVC": 700,
        "STD": 869,
        "STE": 220,
    }
    left_out = {"AF": 4, "PAC": 4}  # AF with PAC
    assert total == {name: n - left_out.get(name, 0) for name, n in published.items()}


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_labels_are_as_frequent_as_asked(balance):
    drawn = [synthetic._draw_labels(1, index, 2 * (index // 3) + index % 3 // 2, balance) for index in range(6000)]
    counts = np.array(list(CPSC_2018.values()), dtype=float)
    natural = np.array([[name in labels for labels in CPSC_2018] for name in CLASSES]) @ counts / counts.sum()
    found = np.array([sum(name in labels for labels in drawn) for name in CLASSES]) / 6000
    if balance == 0:
        np.testing.assert_allclose(found, natural, atol=0.03)
    elif balance == 1:
        assert found.min() > 1 / 9 - 0.03  # each class is drawn equally often, and more come along with others
    else:
        assert (found > natural.min()).all() and found.min() > 0.06


def test_one_heart_at_every_rate():
    slow, fast = simulated(2, "PVC", fs=100), simulated(2, "PVC", fs=1000)
    assert slow.parameters == fast.parameters
    np.testing.assert_allclose(slow.record.signal, fast.record.signal[:, ::10], atol=0.002)
    columns = ["onset", "peak", "offset"]
    both = slow.waves.index.intersection(fast.waves.index)
    assert abs(slow.waves.loc[both, columns] - fast.waves.loc[both, columns] / 10).to_numpy().max() <= 0.51


def test_noise_adds_to_the_same_heart():
    clean, noisy, twice = (simulate(1, 3, labels={"NSR"}, noise=noise) for noise in (0, 1, 2))
    assert clean.parameters["heart"] == noisy.parameters["heart"] and clean.waves.equals(noisy.waves)
    added = noisy.record.signal - clean.record.signal
    np.testing.assert_allclose(twice.record.signal - clean.record.signal, 2 * added, atol=0.0025)
    assert 0.002 < added.std() < 0.5


def test_noise_at_an_electrode_reaches_the_leads_it_makes():
    """The right arm's noise enters I and II negative, and a third of it every chest lead, through Wilson's terminal."""
    rng = np.random.default_rng(0)
    drawn = disturbance.draw_disturbance(rng, 10) | {"mains": [0] * 9, "tremor": 0, "artefacts": []}
    drawn |= {name: [0.02] + [0] * 8 for name in ("baseline", "electrode", "muscle")}
    noise = disturbance.electrode_noise(rng, drawn, 1000, 100)
    np.testing.assert_allclose(noise[1], noise[0], atol=1e-7)
    np.testing.assert_allclose(noise[2:], np.tile(noise[0] / 3, (6, 1)), atol=1e-7)
    assert noise[0].std() > 0.01


@pytest.mark.parametrize("fault", [*disturbance._FAULTS])
def test_faults_move_the_leads_and_what_is_known_of_them(fault):
    """The record with a fault is the record without it, its leads renamed as ``shown`` says."""
    eight = np.random.default_rng(0).normal(size=(8, 50))
    before = dipole.eight_to_twelve(eight)
    after, shown = disturbance.mix_up(eight, fault)
    after = dipole.eight_to_twelve(after)
    for lead, seen in enumerate(shown):
        if seen < 0:
            assert fault == f"{LEADS[lead]} off" and not after[lead].any()
        else:
            np.testing.assert_allclose(np.abs(after[seen]), np.abs(before[lead]), atol=1e-12)
    assert (shown != np.arange(12)).sum() in ({1} if fault.endswith("off") else {2, 4})


def test_faults_are_recorded():
    faulty = [
        one
        for one in (simulate(i, 4, fs=100, seconds=6) for i in range(250))
        if any("fault" in note for note in one.record.notes)
    ]
    assert 1 <= len(faulty) <= 20 and any("reversed" in note for one in faulty for note in one.record.notes)
    for one in faulty:
        fault = one.parameters["disturbance"]["fault"]
        index = int(one.record.name.split("-")[1])
        clean = simulate(index, 4, fs=100, seconds=6, noise=0)
        _, shown = disturbance.mix_up(np.zeros((8, 1)), fault)
        renamed = {LEADS[lead]: LEADS[seen] for lead, seen in enumerate(shown) if seen >= 0}
        for found, true in ((one.waves, clean.waves), (one.evidence, clean.evidence)):
            true = true.assign(lead=true["lead"].astype(str).map(renamed)).dropna()
            rows = set(found.astype({"lead": str}).itertuples(index=False, name=None))
            assert rows == set(true.itertuples(index=False, name=None))
        assert one.record.notes[0] == f"simulated fault: {fault}"
        if fault.endswith("off"):
            lead = fault.split()[0]
            assert not one.record.signal[LEADS.index(lead)].any()
            assert lead not in set(one.waves["lead"]) | set(one.evidence["lead"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fs": 50}, "fs must be at least 100"),
        ({"seconds": 3}, "seconds at least 6"),
        ({"balance": 2}, "balance within 0 and 1"),
        ({"noise": -1}, "noise not negative"),
        ({"labels": frozenset()}, "use one or more of NSR"),
        ({"labels": {"WPW"}}, "WPW.*use one or more of NSR"),
        ({"labels": {"NSR", "PVC"}}, "NSR stands alone"),
        ({"labels": {"AF", "PAC"}}, "AF has neither"),
        ({"labels": {"LBBB", "RBBB"}}, "a bundle branch block is"),
    ],
)
def test_errors_say_the_remedy(options, message):
    with pytest.raises(ValueError, match=message):
        simulate(0, 0, **options)


def test_long_and_short_records():
    for seconds in (6, 30):
        for index, labels in enumerate(COMBINATIONS):
            one = simulate(index, 9, labels=labels, fs=100, seconds=seconds)
            assert one.record.seconds == seconds
            assert set(one.evidence["class"]) == labels


def test_written_records_are_read_back(tmp_path):
    written = [simulate(i, 0, balance=1) for i in range(3)]
    synthetic.write(written, tmp_path)
    evidence = pd.read_csv(tmp_path / "evidence.csv")
    parameters = json.loads((tmp_path / "parameters.json").read_text())
    for one in written:
        read = read_record(tmp_path / f"{one.record.name}.hea")
        np.testing.assert_array_equal(read.signal, one.record.signal)
        assert (read.labels, read.age, read.sex, read.fs) == (one.record.labels, one.record.age, one.record.sex, 500)
        rows = evidence[evidence["record"] == one.record.name]
        assert rows[["onset", "offset"]].to_numpy().tolist() == one.evidence[["onset", "offset"]].to_numpy().tolist()
        assert parameters[one.record.name] == json.loads(json.dumps(one.parameters))


def test_labels_are_as_frequent_as_in_cpsc(real_data):
    table = pd.read_csv(real_data / "cpsc-2018-original" / "REFERENCE.csv")
    sets = table.iloc[:, 1:].apply(lambda row: frozenset(CLASSES[int(k) - 1] for k in row.dropna()), axis=1)
    counted = sets.value_counts().to_dict()
    assert counted.pop(frozenset({"AF", "PAC"})) == 4
    assert counted == CPSC_2018


def amplitudes(signals):
    return np.array([np.percentile(x, 99.8, axis=1) - np.percentile(x, 0.2, axis=1) for x in signals])


def test_amplitudes_are_those_of_ptb_xl(real_data):
    """Peak to peak per lead: median, 5 and 95 % within a factor of the real ones."""
    paths = sorted((real_data / "ptb-xl" / "records500").rglob("*.hea"))[::4]
    real = amplitudes(read_record(path).signal for path in paths)
    ours = amplitudes(simulate(i, 0).record.signal for i in range(120))
    for percentile, factor in ((50, 1.5), (5, 2.0), (95, 2.0)):
        ratio = np.percentile(ours, percentile, axis=0) / np.percentile(real, percentile, axis=0)
        assert (1 / factor < ratio).all() and (ratio < factor).all(), (percentile, ratio.round(2))


def test_noise_is_that_of_ptb_xl(real_data):
    """Energy above 45 Hz in quiet 100 ms, and below 0.5 Hz: the median lies between real 5 and 95 %."""
    paths = sorted((real_data / "ptb-xl" / "records500").rglob("*.hea"))[::4]
    real = [read_record(path).signal for path in paths]
    ours = [simulate(i, 0).record.signal for i in range(100)]

    def levels(signals):
        found = []
        for x in signals:
            spectrum = np.fft.rfft(x - x.mean(axis=1, keepdims=True))
            hz = np.fft.rfftfreq(x.shape[1], 1 / 500)
            quick = np.fft.irfft(spectrum * (hz > 45), x.shape[1]).reshape(12, 100, 50)
            quiet = np.percentile(np.sqrt((quick**2).mean(axis=2)), 30, axis=1)
            slow = np.fft.irfft(spectrum * ((hz > 0.05) & (hz < 0.5)), x.shape[1]).std(axis=1)
            found.append([quiet.mean(), slow.mean()])
        return np.array(found)

    low, high = np.percentile(levels(real), [5, 95], axis=0)
    middle = np.median(levels(ours), axis=0)
    assert (low < middle).all() and (middle < high).all()


def test_durations_are_those_of_ludb(real_data):
    """Medians of P, QRS and T in lead II lie between LUDB's 10 and 90 % of records."""
    real = {name: [] for name in ("P", "QRS", "T")}
    for path in sorted((real_data / "ludb" / "data").glob("*.hea"))[::2]:
        waves = read_delineation(path)
        waves = waves[waves["lead"] == "II"].dropna()
        for name in real:
            lengths = (waves["offset"] - waves["onset"])[waves["wave"] == name]
            real[name] += [lengths.median()] if len(lengths) else []
    ours = {name: [] for name in real}
    for index in range(60):
        waves = simulate(index, 0, noise=0).waves
        waves = waves[waves["lead"] == "II"]
        for name in ours:
            lengths = (waves["offset"] - waves["onset"])[waves["wave"] == name]
            ours[name] += [lengths.median()] if len(lengths) else []
    for name in real:
        low, high = np.percentile(real[name], [10, 90])
        assert low < np.median(ours[name]) < high, name
