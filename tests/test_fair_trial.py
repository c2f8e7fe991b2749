"""The trial of maps: answers by the rules, from planted scores; and one small system through all of it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ecgstudy.explain import ceilings, trials
from ecgstudy.explain.cases import KEYS, synthetic_cases, with_key
from ecgstudy.studies import fair_trial, leaderboard
from ecgstudy.studies.catalogue import FairTrial
from ecgstudy.studies.fair_trial import SCORED, Scores, on_cells
from ecgstudy.systems.catalogue import by_name

MANY = fair_trial.MANY
CLASSES = np.repeat(["AF", "LBBB", "STD"], 30)
PATIENTS = np.arange(90).astype(str)


def planted(name, method, gain, *, spread=0.0, ceiling=0.8, trainings=5, seed=0):
    """Scores of a map that is better than the detector on its cells by ``gain``; trainings differ by ``spread``."""
    rng, system = np.random.default_rng(seed), by_name(name).of_profile("demo")[0]
    detector = 0.1 + 0.1 * rng.standard_normal(90)
    each = []
    for _ in range(trainings):
        base = detector + gain + spread * rng.standard_normal() + 0.05 * rng.standard_normal(90)
        columns = {}
        for key in KEYS:
            for trial in SCORED:
                columns[method, trial, key] = base
                for label in (str, on_cells):
                    columns[label("QRS detector"), trial, key] = detector
                    columns[label("signal energy"), trial, key] = detector - 0.2
                    columns[label("random"), trial, key] = np.zeros(90)
                    columns[label("perfect map"), trial, key] = np.full(90, ceiling)
        each.append(pd.DataFrame(columns).rename_axis(columns=["method", "trial", "key"]))
    return Scores(system, "synthetic", MANY, each, CLASSES, PATIENTS, "a b")


def asked(**options):
    options = {"gain": 0.0} | options
    found = fair_trial.answered("own maps, simulated", {"CNN-GAP": planted("CNN-GAP", "CAM", **options)}, repeats=200)
    (row,) = found.to_dict("records")
    return row


def test_the_rules_are_whole():
    fixed = fair_trial.rules()
    assert fixed["key"] in KEYS and set(fixed["also"]) == set(KEYS) - {fixed["key"]}
    assert {fixed["metric"], fixed["second"]} == set(fixed["smallest"]) <= set(SCORED)
    for question in fixed["questions"].values():
        for which in question["maps"]:
            name, method = which.split(fair_trial.SEPARATOR)
            assert method in by_name(name).own_maps or method in fair_trial.GENERAL
        assert set(question["classes"]) <= {*trials.GROUPS}


def test_rules_that_promise_another_number_of_answers_are_refused(monkeypatch, tmp_path):
    text = fair_trial.RULES.read_text(encoding="utf-8").replace("m: 21", "m: 20")
    monkeypatch.setattr(fair_trial, "RULES", tmp_path / "rules.yaml")
    fair_trial.RULES.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="own maps, by group"):
        fair_trial.rules()


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ({"gain": 0.3}, "supported"),
        ({"gain": -0.3}, "not supported"),
        ({"gain": 0.0}, "no difference"),
        ({"gain": 0.1, "spread": 0.3}, "undecided"),
        ({"gain": 0.3, "ceiling": 0.12}, "not testable"),
    ],
)
def test_verdicts_of_planted_effects(options, verdict):
    row = asked(**options)
    assert row["verdict"] == row["second"] == verdict and row["also"] == ""
    assert row["against"] == "QRS detector on the cells" and row["n"] == 90 and row["trainings"] == 5


def test_the_interval_is_that_of_the_family_and_the_verdict_is_read_from_it():
    row = asked(gain=0.3, spread=0.02)
    assert row["level"] == pytest.approx(1 - 0.05 / 7)
    one = planted("CNN-GAP", "CAM", 0.3, spread=0.02)
    columns = {"x": (("CAM", "excess mass", KEYS[1]), (on_cells("QRS detector"), "excess mass", KEYS[1]))}
    plain = one.means(columns, 0.95, 200).iloc[0]
    assert row["value"] == pytest.approx(plain["value"])
    # Wider by the ratio of the quantiles of one t distribution, whose freedom lies between trainings' and patients'.
    ratio = (row["high"] - row["low"]) / (plain["high"] - plain["low"])
    bounds = [stats.t.ppf(1 - 0.025 / 7, df) / stats.t.ppf(0.975, df) for df in (93, 4)]
    assert bounds[0] - 1e-6 <= ratio <= bounds[1] + 1e-6


def test_a_difference_between_trainings_widens_the_interval():
    steady, shaky = asked(gain=0.3), asked(gain=0.3, spread=0.1)
    assert shaky["high"] - shaky["low"] > 3 * (steady["high"] - steady["low"])


def test_a_verdict_that_another_key_changes_says_so():
    one = planted("CNN-GAP", "CAM", 0.3)
    for table in one.each:
        table["CAM", "excess mass", "as defined"] -= 0.6
    found = fair_trial.answered("own maps, simulated", {"CNN-GAP": one}, repeats=200)
    assert found["verdict"].tolist() == ["supported"] and found["also"].tolist() == ["as defined"]


def test_groups_are_means_of_their_classes():
    one = planted("CNN-GAP", "CAM", 0.3)
    found = one.means({"x": (("CAM", "AUC", KEYS[0]),)}, repeats=50).set_index("class")["value"]
    assert found["segments"] == pytest.approx(found["STD"])
    assert found["waves"] == pytest.approx(found["LBBB"])
    assert found[""] == pytest.approx(found[["AF", "LBBB", "STD"]].mean())


def test_one_training_has_an_interval_over_patients_alone():
    one = planted("CNN-GAP", "CAM", 0.3, trainings=1)
    found = one.means({"x": (("CAM", "AUC", KEYS[0]),)}, repeats=100)
    wanted = trials.summary(
        one.each[0][[("CAM", "AUC", KEYS[0])]].set_axis(["x"], axis=1).rename_axis(columns="name"),
        CLASSES, PATIENTS, repeats=100,
    )  # fmt: skip
    for column in ("value", "low", "high"):
        assert found.set_index("class")[column]["LBBB"] == wanted.set_index("class")[column]["LBBB"]
    assert found["p"].isna().all() and (found["trainings"] == 1).all()


def test_keys_that_one_may_defend():
    cases = synthetic_cases(100, 2, seed=1000)
    af = cases.names_of_classes == "AF"
    both, longer = with_key(cases, KEYS[1]), with_key(cases, KEYS[2])
    np.testing.assert_array_equal(both.key[~af], cases.key[~af])
    np.testing.assert_array_equal(both.any_lead[af], (cases.any_lead | cases.qrs)[af])
    assert (cases.qrs[af] & ~cases.any_lead[af]).any()  # the f waves' key has no QRS
    # A block's key is its QRS complexes, of which a delineation counts the last sample in.
    block = cases.names_of_classes == "LBBB"
    inside, complexes = cases.any_lead[block], cases.qrs[block]
    np.testing.assert_array_equal(inside | np.roll(inside, 1, axis=1), complexes | np.roll(inside, 1, axis=1))
    np.testing.assert_array_equal(longer.any_lead, trials.tolerant(cases.any_lead, 10))
    with pytest.raises(ValueError, match="no key"):
        with_key(cases, "other")
    with pytest.raises(ValueError, match="not known"):
        with_key(cases._replace(qrs=None), KEYS[1])


def test_a_system_through_all_of_it(monkeypatch, tmp_path):
    """A network that was not trained: its scores by column are those of the maps, the tables are whole and kept."""
    system = by_name("CNN-GAP").of_profile("smoke")[0]
    monkeypatch.setattr(fair_trial, "TABLE", tmp_path / "explanations_trial.csv.gz")
    monkeypatch.setattr(fair_trial, "VERDICTS", tmp_path / "verdicts.csv")

    class Run:
        folder = tmp_path / "abc"

        def __init__(self):
            self.system = system

        def network(self):
            return system.network().eval()

    monkeypatch.setattr(fair_trial, "cases_of", lambda s, c: synthetic_cases(s.fs, 1, seed=1000))
    cases = fair_trial.cases_of(system, "synthetic")
    scores = fair_trial._scored(Run(), cases)
    cells = ceilings.cells_of(system, Run().network(), cases.inputs(system))
    wanted = ceilings.scores(with_key(cases, KEYS[1]), cells)
    for name in ("perfect map", "QRS detector", "signal energy"):
        found = scores[on_cells(name), "excess mass", KEYS[1]]
        np.testing.assert_array_equal(found, wanted[name, "excess mass"])
    found = [("abc", {"synthetic": scores}), ("def", {"synthetic": scores + 0.0})]
    fair_trial.keep("CNN-GAP", found)
    table, verdicts = fair_trial.table(), fair_trial.committed()
    assert set(table["trainings"]) == {2} and set(table["run"]) == {"abc def"}
    own = table[(table["method"] == "CAM") & (table["class"] == "I-AVB") & (table["trial"] == "excess mass")]
    assert (own["ceiling"] > own["floor"]).all() and len(own) == len(KEYS)
    fixed = fair_trial.rules()["questions"]
    assert set(verdicts["question"]) == {
        name for name, q in fixed.items() if (q["cohort"], q["trained"]) == ("synthetic", MANY)
    }
    before = fair_trial.TABLE.read_bytes()
    fair_trial.keep("CNN-GAP", found)  # again: in the place of the same rows
    assert fair_trial.TABLE.read_bytes() == before and len(fair_trial.committed()) == len(verdicts)


def test_a_system_of_fewer_trainings_than_planned_is_still_missing(monkeypatch):
    rows = [{"system": name, "trained": MANY, "trainings": number} for name, number in (("CNN-GAP", 5), ("BUTTeam", 4))]
    monkeypatch.setattr(fair_trial, "table", lambda: pd.DataFrame(rows))
    assert set(FairTrial().missing("trial", ["CNN-GAP", "BUTTeam", "xECGNet"])) == {"BUTTeam", "xECGNet"}


def test_networks_of_each_start_from_simulated_records_are_those_that_the_board_has():
    table, entries = fair_trial.table(), fair_trial.entries()
    assert len({fair_trial.named(entry) for entry in entries}) == len(entries)
    for start, trained in fair_trial.FINE_TUNED.items():
        (entry,) = (one for one in entries if one.endswith(start))
        name, said = fair_trial.named(entry)
        assert said == trained and name + start == entry
        (runs,) = table.loc[(table["system"] == name) & (table["trained"] == trained), "run"].unique()
        assert runs.split() == leaderboard.card_of("real", entry)["runs"]
