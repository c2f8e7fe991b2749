"""A simulated record without one of its findings: what the finding does not touch is the same to the microvolt."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from ecgstudy.book import counterfactual_figures
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS, read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.reading import counterfactual
from ecgstudy.reading.explanation import explain

SETS = [{"AF"}, {"I-AVB"}, {"LBBB"}, {"RBBB"}, {"PAC"}, {"PVC"}, {"STD"}, {"STE"}]
SETS += [{"RBBB", "PVC"}, {"PAC", "PVC"}, {"AF", "RBBB"}, {"AF", "PVC"}, {"I-AVB", "STE"}, {"RBBB", "PAC", "STE"}]
CASES = [(frozenset(labels), name) for labels in SETS for name in sorted(labels)]


def pair(labels, name, index, **settings):
    has = synthetic.simulate(index, 11, labels=labels, **settings)
    return has, synthetic.simulate(index, 11, labels=labels, without=name, **settings)


@pytest.mark.parametrize(("labels", "name"), CASES)
def test_noise_body_and_faults_stay(labels, name):
    for index in (0, 4, 9):
        has, lacks = pair(labels, name, index)
        quiet, quiet_lacks = pair(labels, name, index, noise=0)
        assert has.parameters["body"] == lacks.parameters["body"]
        assert has.parameters["disturbance"] == lacks.parameters["disturbance"]
        assert lacks.record.labels == labels - {name} and name not in set(lacks.evidence["class"])
        if not has.parameters["disturbance"]["fault"]:
            noise, again = (a.record.signal - b.record.signal for a, b in ((has, quiet), (lacks, quiet_lacks)))
            assert np.abs(noise - again).max() <= 0.0021  # each of four signals is rounded to microvolts


@pytest.mark.parametrize(
    ("labels", "name"), [case for case in CASES if case[1] in ("I-AVB", "STD", "STE", "LBBB", "RBBB")]
)
def test_what_is_of_the_beat_moves_no_beat(labels, name):
    for index in range(6):
        has, lacks = (one.parameters["beats"] for one in pair(labels, name, index))
        assert has["onset"] == lacks["onset"] and has["kind"] == lacks["kind"]


@pytest.mark.parametrize("labels", [{"PVC"}, {"PAC"}, {"PAC", "PVC"}, {"RBBB", "PVC"}, {"AF", "PVC"}])
def test_beats_before_a_premature_one_stay_and_other_kinds_stay_everywhere(labels):
    name = "PVC" if "PVC" in labels else "PAC"
    number = {"PAC": 1, "PVC": 2}[name]
    for index in range(8):
        has, lacks = (one.parameters["beats"] for one in pair(frozenset(labels), name, index))
        kind, without = np.array(has["kind"]), np.array(lacks["kind"])
        n = min(len(kind), len(without))
        first = int(np.flatnonzero(kind == number)[0])
        assert has["onset"][:first] == lacks["onset"][:first]
        assert number not in without
        np.testing.assert_array_equal(without[:n], np.where(kind == number, 0, kind)[:n])
        couplet = ((kind[:-1] == number) & (kind[1:] == number)).any()
        if name == "PVC" and "AF" not in labels and not couplet:  # a full pause after each
            own = kind[:n] == number
            onset, again = np.array(has["onset"][:n]), np.array(lacks["onset"][:n])
            np.testing.assert_allclose(onset[~own], again[~own], atol=1e-9)
            assert (onset[own] < again[own] - 0.01).all()


def test_a_first_degree_block_is_the_p_waves_and_nothing_else():
    for index in (1, 2, 5):
        has, lacks = pair(frozenset({"I-AVB"}), "I-AVB", index)
        moved = np.ones(5000, dtype=bool)
        heart = has.parameters["heart"], lacks.parameters["heart"]
        assert heart[0]["pr"] > 0.2 > heart[1]["pr"]
        assert {k: v for k, v in heart[0].items() if k != "pr"} == {k: v for k, v in heart[1].items() if k != "pr"}
        for onset in has.parameters["beats"]["onset"]:
            begin, end = onset - heart[0]["pr"] - 0.12, onset - heart[1]["pr"] + heart[1]["p_duration"] + 0.12
            moved[max(0, int(begin * 500)) : max(0, int(end * 500))] = False
        difference = np.abs(has.record.signal - lacks.record.signal).max(axis=0)
        assert moved.mean() > 0.2 and difference[moved].max() <= 0.0011
        assert difference[~moved].max() > 0.02
        for wave in ("QRS", "T"):
            assert (
                has.waves[has.waves["wave"] == wave]
                .reset_index(drop=True)
                .equals(lacks.waves[lacks.waves["wave"] == wave].reset_index(drop=True))
            )


@pytest.mark.parametrize("name", ["STD", "STE"])
def test_a_deviation_is_the_st_segments_and_nothing_else(name):
    has, lacks = pair(frozenset({name}), name, 3)
    assert has.waves.equals(lacks.waves) and has.parameters["beats"] == lacks.parameters["beats"]
    before = np.zeros(5000, dtype=bool)
    for onset in has.parameters["beats"]["onset"]:  # P and PR
        before[max(0, int((onset - 0.16) * 500)) : max(0, int((onset - 0.02) * 500))] = True
    difference = np.abs(has.record.signal - lacks.record.signal).max(axis=0)
    assert difference[before].max() <= 0.0011 and difference.max() > 0.04
    assert not len(lacks.evidence)


def test_what_cannot_be_taken_away_is_refused():
    with pytest.raises(ValueError, match="has no AF: it has PVC"):
        synthetic.simulate(0, 0, labels=frozenset({"PVC"}), without="AF")
    for labels, name in (({"NSR"}, "NSR"), ({"STD", "STE"}, "STE")):
        with pytest.raises(ValueError, match="cannot be taken away alone"):
            synthetic.simulate(0, 0, labels=frozenset(labels), without=name)
    with pytest.raises(ValueError, match="fs must be at least 100 Hz"):
        synthetic.simulate(0, 0, fs=50, labels=frozenset({"AF"}), without="AF")


def test_numbers_of_a_counterfactual():
    one = counterfactual.compare("PVC", 3, 0, labels=frozenset({"PVC"}))
    numbers = one.numbers()
    c = CLASSES.index("PVC")
    assert numbers["probability"] == one.answer.probabilities[c] > numbers["without"] == one.without.probabilities[c]
    assert numbers["ECG"] == pytest.approx(np.abs(one.has.record.signal - one.lacks.record.signal).max())
    assert 0 < numbers["time"] < 0.5 and numbers["excess mass"] > 0.5
    table = counterfactual.compared(["STE", "PVC"], 2, 0, balance=1)
    assert table["class"].tolist() == ["STE", "STE", "PVC", "PVC"] and table["record"].is_unique


def test_a_file_of_the_simulator_is_told_from_others(tmp_path):
    made = [synthetic.simulate(i, 5, balance=1) for i in range(3)]
    synthetic.write(made, tmp_path)
    for one in made:
        path = tmp_path / f"{one.record.name}.hea"
        answer = explain(read_record(path), even_if_unfit=True)
        several = counterfactual.of_file(path, answer)
        assert {each.name for each in several} == {*one.parameters["truth"]} - {"NSR"}
        for each in several:
            mass, changed = each.numbers()["mass"], each.numbers()["time"]
            assert each.answer is answer and (0 <= mass <= 1 or (changed > 0.9 and np.isnan(mass)))
    shifted = dataclasses.replace(answer.record, signal=np.roll(answer.record.signal, 100, axis=1))
    assert counterfactual.of_file(path, explain(shifted, even_if_unfit=True)) == []
    (tmp_path / "parameters.json").write_text("[]")
    assert counterfactual.of_file(path, answer) == []


def test_figure_and_table_show_the_numbers():
    several = [counterfactual.compare(name, 3, 0, labels=frozenset({name})) for name in ("PVC", "STE")]
    figure = counterfactual_figures.with_and_without(several, leads=["II", "V2"], seconds=4)
    axes = np.array(figure.axes).reshape(2, 2)
    for column, one in enumerate(several):
        time, drawn = axes[0, column].lines[1].get_data()
        lead = one.has.record.signal[LEADS.index(("II", "V2")[column])]
        first = round(500 * time[0])
        np.testing.assert_array_equal(drawn, lead[first : first + 2000])
        assert axes[0, column].get_title(loc="left").startswith(one.name)
        at = one.answer.window(one.name).fs
        of_four = [one.changed[i:][: round(4 * at)].sum() for i in range(len(one.changed))]
        assert of_four[round(time[0] * at)] == max(of_four) > 0
        numbers = one.numbers()
        told = [text.get_text() for text in axes[1, column].get_legend().get_texts()]
        assert told == [f"without it: {numbers['without']:.2f}", f"with it: {numbers['probability']:.2f}"]
    rows = pd.DataFrame([{"class": one.name, "record": "r", **one.numbers()} for one in several])
    shown = counterfactual_figures.counterfactual_table(rows).to_html()
    assert f"{rows['probability'][0]:.2f}" in shown and "records" in shown
