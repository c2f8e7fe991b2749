import dataclasses
import json
import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ecgstudy import studies, training
from ecgstudy.data.cohort import synthetic_cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.paths import listed
from ecgstudy.studies import ablation_tables, ablations, catalogue, checks, intact, leaderboard, verify
from ecgstudy.studies.ablations import Question
from ecgstudy.studies.catalogue import STUDIES, Ablations, Leaderboard
from ecgstudy.systems import System
from ecgstudy.systems.cnn_gap import CNNGAPSystem


def a_table(**changes):
    """A computed table of three rows."""
    rows = {"kind": "k", "name": ["a", "b", "c"], "value": [0.12344, 1.0, np.nan], "n": [5, 6, 7]}
    return pd.DataFrame(rows | changes)


def as_committed(table, path):
    """The table as a results file, read as text."""
    table.to_csv(path, index=False, float_format="%.4f")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": [0.12353, 1.0, np.nan]}, "('k', 'a'): value 0.1235, expected 0.123440"),
        ({"value": [0.12344, 1.0, 0.5]}, "('k', 'c'): value 0.5"),
        ({"value": [np.nan, 1.0, np.nan]}, "('k', 'a'): value nan"),
        ({"n": [5, 6, 8]}, "('k', 'c'): n 8, expected 7"),
        ({"name": ["a", "b", "d"]}, "('k', 'd') is not computed any more"),
        ({"name": ["a", "b", "b"]}, "('k', 'b') is there twice"),
        ({"name": ["b", "a", "c"], "value": [1.0, 0.12344, np.nan], "n": [6, 5, 7]}, "the rows are in another order"),
    ],
)
def test_what_was_changed_by_hand_is_found(tmp_path, changes, message):
    table = a_table()
    check = checks.compare("x.csv", as_committed(table, tmp_path / "x.csv"), table, ["kind", "name"])
    assert not check.wrong and check.values == 2 + 3
    assert check.largest == pytest.approx(4e-5)
    check = checks.compare("x.csv", as_committed(a_table(**changes), tmp_path / "x.csv"), table, ["kind", "name"])
    assert any(wrong.startswith(message) for wrong in check.wrong), check.wrong
    check = checks.compare("x.csv", as_committed(table, tmp_path / "x.csv").iloc[:2], table, ["kind", "name"])
    assert check.wrong == ["('k', 'c') is missing"]


@pytest.mark.parametrize("cell", ["nan", "NaN", "inf", "much"])
def test_what_is_no_number_is_wrong_even_where_none_is_defined(tmp_path, cell):
    table = a_table()
    for row in range(3):
        committed = as_committed(table, tmp_path / "x.csv")
        committed.loc[row, "value"] = cell
        (wrong, *_) = checks.compare("x.csv", committed, table, ["kind", "name"]).wrong
        assert wrong == f"('k', '{'abc'[row]}'): value {cell}, expected a number or nothing"
    infinite = a_table(value=[np.inf, 1.0, np.nan])
    assert checks.compare("x.csv", as_committed(infinite, tmp_path / "x.csv"), infinite, ["kind", "name"]).wrong


def test_more_decimals_are_held_to_what_they_show(tmp_path):
    table = a_table()
    committed = as_committed(table, tmp_path / "x.csv").assign(value=["0.123441", "1.000000", ""])
    (wrong,) = checks.compare("x.csv", committed, table, ["kind", "name"]).wrong
    assert wrong == "('k', 'a'): value 0.123441, expected 0.123440"


def test_whatever_damage_no_check_thought_of_is_told(monkeypatch):
    def broken(trial):
        raise ZeroDivisionError("what now")

    monkeypatch.setattr(intact, "board_faults", broken)
    (wrong,) = Leaderboard().check().wrong
    assert wrong.startswith("leaderboard.csv cannot be checked (ZeroDivisionError: what now): restore")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A question of two arms put to 60 short simulated records in two folds, its answers committed elsewhere."""
    data = synthetic_cohort(60, 100, seconds=6, balance=1)
    arms = {"plain": {"loss": "cross-entropy"}, "macro": {}}
    question = Question(asks="Does it?", system="CNN-GAP", arms=arms, verdict=("macro", "F2"))
    monkeypatch.setattr(ablations, "FOLDER", tmp_path / "ablations")
    monkeypatch.setattr(ablations, "FOLDS", 2)
    monkeypatch.setattr(ablations, "QUESTIONS", {"loss": question})
    for module in (studies, checks, verify):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(leaderboard, "cohort_of", lambda cohort, fs: data)
    system = CNNGAPSystem(fs=100, seconds=6, width=0.03, epochs=2, batch=16)
    monkeypatch.setattr(System, "of_profile", lambda profile: (system, 1))
    for arm in arms:
        ablations.keep("real", "loss", arm)
    return tmp_path


def test_a_table_follows_from_its_answers_until_either_is_changed(small):
    assert Ablations().check().wrong and not checks.as_text("ablations.csv").size
    Ablations().write()
    check = Ablations().check()
    assert not check.wrong and check.values > 50 and 0 < check.largest <= checks.ROUNDING
    path = ablations.path("real", "loss", "macro", ".parquet")
    answers = pd.read_parquet(path)
    answers.loc[answers["part"] == "test", list(CLASSES)] *= -1
    answers.to_parquet(path)
    wrong = Ablations().check().wrong
    assert wrong and all("'macro'" in line for line in wrong)
    (small / "ablations.csv").unlink()
    shutil.rmtree(small / "ablations" / "real" / "loss")
    assert Ablations().check() == checks.Check("ablations.csv", 0, 0.0, [])


def test_answers_of_an_earlier_simulator_are_found(small, monkeypatch):
    monkeypatch.setattr(leaderboard, "FOLDER", small / "leaderboard")
    monkeypatch.setattr(leaderboard, "simulated", lambda trial: {"records": 60, "seconds": 6, "balance": 1})
    ablations.keep("synthetic", "loss", "macro")
    check = verify.check_simulated()
    assert check.values == 1 and not check.wrong
    path = ablations.path("synthetic", "loss", "macro", ".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cohort": "0123"}))
    (wrong,) = verify.check_simulated().wrong
    assert wrong.startswith("ablations/synthetic/loss/macro.json: of cohort 0123")


def test_a_committed_run_is_what_it_is_named_and_what_was_answered(small, monkeypatch):
    monkeypatch.setattr(leaderboard, "FOLDER", small / "leaderboard")
    monkeypatch.setattr(leaderboard, "simulated", lambda trial: {"records": 40})
    monkeypatch.setattr(training, "RESULTS", small)
    assert verify.check_runs() == checks.Check("runs", 0, 0.0, [])
    leaderboard.answer("synthetic-large", "CNN-GAP", quiet=True)
    (run,) = leaderboard.runs_of("synthetic-large", "CNN-GAP")
    folder = small / "runs" / run.folder.name
    shutil.copytree(run.folder, folder)
    assert leaderboard.runs_of("synthetic-large", "CNN-GAP")[0].folder == folder
    assert verify.check_runs() == checks.Check("runs", 1 + 40 * 9, 0.0, [])
    other = run.predictions.assign(AF=lambda table: 1 - table["AF"])
    other.to_parquet(folder / "predictions.parquet")
    (wrong,) = verify.check_runs().wrong
    assert wrong.startswith(f"runs/{folder.name}/predictions.parquet: they are not those that the card was written for")
    known = run.card["sha256"] | {"predictions": training.fingerprint(other)}
    (folder / "card.json").write_text(json.dumps(run.card | {"sha256": known}))
    (wrong,) = verify.check_runs().wrong
    assert wrong.startswith("leaderboard/synthetic-large/CNN-GAP: fold 0 is not what")
    (folder / "config.json").write_text(json.dumps(run.config | {"seed": 1}))
    assert verify.check_runs().wrong[0].startswith(f"runs/{folder.name}: its configuration is that of")


def test_a_run_that_is_trained_again_is_the_same(small):
    again = verify.train_again("real/loss/macro/1")
    assert again.largest <= verify.SAME and again.right
    assert list(again.scores.columns) == ["committed", "again", "tolerance"]
    log = pd.DataFrame(ablations.card_of("real", "loss", "macro")["logs"].popitem()[1])
    fold = ablation_tables.folds_of("real", "loss", "macro")[1]
    expected = ablation_tables.scores_of(dataclasses.replace(fold, logs=[log]), fold)
    for metric, committed in again.scores["committed"].items():
        assert committed == pytest.approx(expected[metric])


def test_another_network_in_a_runs_place_is_noticed(small):
    plain, macro = (ablations.path("real", "loss", arm, ".parquet") for arm in ("plain", "macro"))
    macro.write_bytes(plain.read_bytes())
    assert verify.train_again("real/loss/macro/0").largest > 10 * verify.SAME


def test_a_score_too_far_from_the_committed_one_is_not_right():
    rows = {"committed": [0.8, 0.5], "again": [0.75, 0.5], "tolerance": [0.06, 0.0]}
    again = verify.Again(0.3, pd.DataFrame(rows, index=["AUROC", "F1"]), 1.0)
    assert again.right
    again.scores.loc["AUROC", "again"] = 0.73
    assert not again.right
    again.scores.loc["AUROC", "again"] = np.nan
    assert not again.right


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("real/loss/macro", "write COHORT/QUESTION/ARM/FOLD"),
        ("unreal/loss/macro/0", "no run 'unreal/loss/macro/0'"),
        ("real/loss/micro/0", "there are plain, macro"),
        ("real/loss/macro/2", "no fold '2': folds are numbered from 0 to 1"),
    ],
)
def test_a_run_that_is_not_there_is_told(small, name, message):
    with pytest.raises(ValueError, match=message):
        verify.train_again(name)


def test_a_run_of_other_data_or_settings_is_not_compared(small):
    path = ablations.path("real", "loss", "macro", ".json")
    card = json.loads(path.read_text())
    for changed, message in (
        (card | {"runs": [["a"], ["b"]]}, "the run b: its settings make"),
        (card | {"cohort": "0123"}, "its cohort 0123 is now"),
    ):
        path.write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=message):
            verify.train_again("real/loss/macro/1")


def test_every_committed_setting_that_is_not_the_papers_has_a_reason():
    check = verify.check_settings()
    assert not check.wrong, "\n".join(check.wrong)
    assert check.values > 100


def test_every_reason_is_of_a_known_kind_and_says_what_it_must():
    for system, entries in verify.provenance()["settings"].items():
        default = verify.published(system)
        for setting, entry in entries.items():
            assert set(entry) <= {"values", "why", "note", "data", "exception"}, (system, setting)
            assert entry["why"] in ("cost", "resolution", "tuned")
            assert setting in default and default[setting] not in entry["values"]
            for data in entry.get("data", ()):
                assert set(data) == {"cohort", "part"} | ({"seed"} if data["cohort"] == "synthetic" else set())


def test_a_setting_without_a_reason_or_tuned_on_its_test_records_is_found(monkeypatch):
    tuned: dict[str, Any] = {
        "values": [0.002],
        "why": "tuned",
        "data": [{"cohort": "synthetic", "seed": 7, "part": "validation"}],
    }
    known = {"rate": tuned, "width": {"values": [0.5], "why": "cost"}}
    monkeypatch.setattr(verify, "provenance", lambda: {"settings": {"CNN-GAP": known}})
    config = {**CNNGAPSystem(width=0.5).config, "width": 0.5}
    assert verify.settings_of("here", "real", {}, config) == (1, [])
    assert verify.settings_of("here", "real", {}, config | {"width": 0.25})[1][0].startswith(
        "here: width = 0.25 differs"
    )
    assert verify.settings_of("here", "real", {}, config | {"dropout": 0.9})[1][0].startswith("here: dropout = 0.9")
    # What an arm changes is named by its question, with its value.
    assert verify.settings_of("here", "real", {"dropout": 0.9}, config | {"dropout": 0.9}) == (2, [])
    assert verify.settings_of("here", "real", {"dropout": 0.8}, config | {"dropout": 0.9})[1]
    # Tuned on the simulated cohort of seed 7, which is the one that the trial of simulated records tests on.
    assert leaderboard.SIMULATED["seed"] == 7
    assert verify.settings_of("here", "real", {}, config | {"rate": 0.002}) == (2, [])
    assert "tuned on the records" in verify.settings_of("here", "synthetic", {}, config | {"rate": 0.002})[1][0]
    tuned["data"][0]["seed"] = 0
    assert verify.settings_of("here", "synthetic", {}, config | {"rate": 0.002}) == (2, [])
    tuned["data"].append({"cohort": "real", "part": "validation"})
    assert "tuned on the records" in verify.settings_of("here", "by-source", {}, config | {"rate": 0.002})[1][0]
    tuned["exception"] = True
    assert verify.settings_of("here", "by-source", {}, config | {"rate": 0.002}) == (2, [])
    del tuned["data"]
    assert "does not say on what" in verify.settings_of("here", "real", {}, config | {"rate": 0.002})[1][0]


def test_every_results_file_is_checked_or_says_what_makes_it():
    checked = {*verify.CHECKED, *(study.file for study in STUDIES)} - verify.not_recomputed().keys()
    there = {path.name for path in verify.RESULTS.iterdir() if path.is_file()}
    assert there - checked == verify.not_recomputed().keys() & there
    text = (verify.RESULTS.parent / "book" / "reproducibility.md").read_text()
    assert all(f"`{name}`" in text for name in there)


# The studies that take long, and where their answers are.
FOLDERS = {
    study: folder
    for study in STUDIES
    for cls, folder in ((Leaderboard, leaderboard.FOLDER), (Ablations, ablations.FOLDER))
    if isinstance(study, cls)
}


def hold(check):
    assert not check.wrong, (check.file, check.wrong[:5])
    assert check.largest <= checks.ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "cohort"),
    [(study, path.name) for study, folder in FOLDERS.items() for path in listed(folder)],
    ids=lambda given: given if isinstance(given, str) else given.file,
)
def test_a_committed_table_is_what_its_committed_answers_say(study, cohort, monkeypatch):
    """A cohort at a time, so that processes can share them."""
    whole = checks.as_text(study.file)
    monkeypatch.setattr(catalogue, "as_text", lambda file: whole[whole["cohort"] == cohort])
    monkeypatch.setattr(catalogue, "listed", lambda folder: [folder / cohort])
    check = study.check()
    hold(check)
    assert check.values > 100


@pytest.mark.parametrize("study", FOLDERS, ids=lambda study: study.file)
def test_no_committed_row_is_of_a_cohort_without_answers(study):
    committed = checks.as_text(study.file)["cohort"]
    assert set(committed) == {path.name for path in listed(FOLDERS[study])}


@pytest.mark.slow
def test_all_other_committed_results_hold(monkeypatch):
    for study in FOLDERS:
        monkeypatch.setattr(type(study), "check", lambda self: checks.Check(self.file, 0, 0.0, []))
    for check in verify.checks():
        hold(check)
