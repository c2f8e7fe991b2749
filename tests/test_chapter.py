"""What the chapters of the systems share, against scikit-learn and against tables made by hand."""

import dataclasses
import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from sklearn.metrics import fbeta_score, roc_auc_score

from ecgstudy import metrics
from ecgstudy.book import chapter, diagrams, examples, report
from ecgstudy.data.labels import CLASSES
from ecgstudy.paths import REPOSITORY
from ecgstudy.systems import Arm
from ecgstudy.systems.catalogue import CATALOGUE
from ecgstudy.systems.cnn_gap import CNNGAPSystem
from ecgstudy.systems.small_gap import SmallGAPSystem
from ecgstudy.systems.xecgnet import XECGNetSystem

RECORDS = 90
TEST = np.arange(0, RECORDS, 2)
LABELS = np.eye(9, dtype=bool)[np.arange(RECORDS) // 2 % 9]  # five of each class in the test, one label each


class Member:
    """A run that was never trained: probabilities that know the labels a little."""

    def __init__(self, seed, threshold):
        rng = np.random.default_rng(seed)
        self.system = CNNGAPSystem()
        self.p = (0.2 * LABELS + 0.8 * rng.random(LABELS.shape)).astype(np.float32)
        self.card = {"thresholds": dict.fromkeys(CLASSES, threshold)}
        self.log = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "valid": [0.1, 0.2 + seed / 10, 0.15]})

    def probabilities(self, records):
        return self.p[records]


@pytest.fixture
def ours():
    table = pd.DataFrame({"patient_id": [f"p{i // 4}" for i in range(RECORDS)]})  # two of each are in the test
    cohort = SimpleNamespace(classes=CLASSES, own=False, labels=LABELS, table=table)
    runs = [Member(0, 0.4), Member(1, 0.6)]
    return chapter.Chapter(runs[0].system, cohort, "synthetic", TEST, runs, repeats=50)


def cells(styler):
    """Rows of a rendered table."""
    rows = re.findall(r"<tr>(.*?)</tr>", styler.to_html(), flags=re.DOTALL)
    heading, *rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in rows]
    return pd.DataFrame(rows, columns=["" if name == "&nbsp;" else name for name in heading])


def test_facts_are_of_the_network_here_and_of_the_published_one():
    told = chapter.facts(CNNGAPSystem(fs=125, width=1 / 16, dilation=0.5), members=3, cohort="real")
    expected = {
        "fs_here": "125", "width_here": "0.0625", "members_here": "3", "parameters_here": "122,281",
        "parameters_published": "4,217,033", "field_here": "9.0", "field_published": "9.0",
        "cell_here": "0.06", "cell_published": "0.03", "cells_here": "156",
    }  # fmt: skip
    assert expected.items() <= told.items()
    assert not {"loss_here", "cohort_here"} & told.keys()
    told = chapter.facts(XECGNetSystem(fs=125, seconds=10, width=1 / 16))
    assert told["cells_here"] == "6"  # its poolings keep the end: 1250 samples are 417, 139, 47, 16 and 6
    assert not {"relu_here", "field_here"} & told.keys()


def test_what_needs_the_key_says_so_where_classes_are_ones_own(monkeypatch):
    said, glued = [], {}
    monkeypatch.setattr(chapter, "display", said.append)
    monkeypatch.setattr(chapter.report, "glue_all", glued.update)

    @chapter.needs_key("mean", "p")
    def shown(ours, number, *, more=0):
        """Shown."""
        return number + more

    assert shown(SimpleNamespace(has_key=True), 2, more=3) == 5 and not said and not glued
    assert shown.__doc__ == "Shown."
    assert shown(SimpleNamespace(has_key=False), 2, more=3) is None
    assert glued == {"mean": "–", "p": "–"} and "answer key of simulated records" in said[0].data


def test_source_is_shown_as_code():
    shown = chapter.source(chapter.decided, SmallGAPSystem).data
    lines = shown.splitlines()
    code = lines[lines.index("```python") + 1 : lines.index("```")]
    said = f"Code: <code>decided</code>, <code>SmallGAPSystem</code>, {len(code)} lines"
    assert lines[0] == f'<details class="ecgstudy-fold"><summary>{said}</summary>' and lines[-1] == "</details>"
    assert code[0].startswith("def decided(") and not lines[1]  # without the empty line Markdown would see no code
    assert "\n\n\n@dataclass(frozen=True, kw_only=True)\nclass SmallGAPSystem(System):" in shown


def test_the_members_answer_together(ours):
    mean = (ours.runs[0].p + ours.runs[1].p)[TEST] / 2
    np.testing.assert_allclose(ours.answer[0], mean, rtol=1e-6)
    np.testing.assert_array_equal(ours.answer[1], ours.answer[0] >= 0.5)
    assert ours.each.shape == (2, 45, 9) and ours.thresholds[:, 0].tolist() == [0.4, 0.6]


def test_table_by_class_says_what_scikit_learn_says(ours):
    table = cells(ours.by_class("F2", "AUROC", more={"paper": [f"x{c}" for c in CLASSES]}))
    assert list(table.columns) == ["class", "test records", "AUROC", "F2", "paper"]
    assert table["class"].tolist() == list(CLASSES) and set(table["test records"]) == {"5"}
    assert table["paper"].tolist() == [f"x{c}" for c in CLASSES]
    p, called = ours.answer
    for c, row in table.iterrows():
        target = LABELS[TEST][:, c]
        assert row["AUROC"].startswith(f"{roc_auc_score(target, p[:, c]):.3f} (")
        assert row["F2"].startswith(f"{fbeta_score(target, called[:, c], beta=2):.3f} (")


def test_table_of_the_ensemble_names_its_means(ours):
    html = ours.overall("AUROC", "micro-F1", arm="γ = 1").to_html()
    assert "Ensemble of 2 with γ = 1 on the 45 test records of the synthetic cohort, 95 % intervals." in html
    table = cells(ours.overall("AUROC", "micro-F1"))
    assert table["metric"].tolist() == ["macro-AUROC", "micro-F1"]
    mean = roc_auc_score(LABELS[TEST], ours.answer[0], average="macro")
    assert table["value"][0] == f"{mean:.3f}"
    assert {"macro-G2", "Brier score", "exact match"} < set(cells(ours.overall())["metric"])


def test_calls_of_the_page_stand_beside_the_papers(ours):
    paper = [("the paper", "elsewhere", {"F2": 0.8165, "G2": metrics.Interval(0.5, 0.4, 0.6)})]
    rows = ours.beside_paper({"all right": LABELS[TEST], "nothing": ~LABELS[TEST]}, paper)
    table = report.wide(rows, ["answer", "data"], "metric")
    assert list(table.columns) == ["answer", "data", "F2", "G2", "geometric mean"]
    assert table["answer"].tolist() == ["this page, all right", "this page, nothing", "the paper"]
    assert table.iloc[0].tolist()[1:] == ["synthetic, 45 records", *["1.000 (1.000–1.000)"] * 3]
    assert table.iloc[1]["F2"] == "0.000 (0.000–0.000)"
    assert table.iloc[2].tolist()[1:] == ["elsewhere", "0.817", "0.500 (0.400–0.600)", ""]


def test_answers_may_be_told_by_other_names_than_their_metrics(ours):
    rows = chapter.compared({"a": ours.scores}, {"AUROC": "area", "micro-F1": "micro"})
    assert rows[["answer", "metric"]].to_numpy().tolist() == [["a", "area"], ["a", "micro"]]
    whole = ours.scores[ours.scores["class"] == ""].set_index("metric")
    assert rows["value"].tolist() == whole.loc[["AUROC", "micro-F1"], "value"].tolist()
    assert chapter.compared({"a": ours.scores}, ["AUROC"])["metric"].tolist() == ["AUROC"]


def test_classes_are_drawn_below_their_mean(ours):
    figure = ours.drawn_by_class("F2", "AUROC", more={"F2": list(np.arange(9) / 10)})
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["F2", "AUROC"]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["mean of classes", *CLASSES]
    page, paper = (c.get_offsets()[:, 0] for c in figure.axes[0].collections if isinstance(c, PathCollection))
    rows = ours.scores[ours.scores["metric"] == "F2"]
    np.testing.assert_allclose(page, rows["value"])
    np.testing.assert_allclose(paper, np.arange(9) / 10)
    plt.close(figure)


def test_differences_are_first_less_second(ours):
    right, wrong = LABELS[TEST], ~LABELS[TEST]
    rows = ours.differences(metrics.macro_f1, {"up": (right, wrong), "down": (wrong, right)})
    assert rows[["pair", "value", "low", "high"]].to_numpy().tolist() == [["up", 1, 1, 1], ["down", -1, -1, -1]]
    pair = ours.paired(metrics.macro_f1, {"right": right, "wrong": wrong}, "F1")
    assert pair["answer"].tolist() == ["right", "wrong", "right − wrong"]
    assert pair["metric"].tolist() == ["F1", "F1", "difference"] and pair["value"].tolist() == [1, 0, 1]
    assert pair["p"].isna().tolist() == [True, True, False] and pair["p"][2] == pytest.approx(2 / 51)


def test_a_difference_is_decided_by_its_interval():
    words = [chapter.decided(metrics.Difference(0, low, high, 0), "up", "down") for low, high in
             ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1))]  # fmt: skip
    assert words == ["up", "down", "undecided"]
    told = chapter.difference_facts("gain", metrics.Difference(0.25, 0.1, 0.4, 0.0125))
    assert told == {"gain": "0.250 (0.100–0.400)", "gain_p": "= 0.013"}


def test_what_chose_the_epoch_stands_beside_the_test(ours):
    rows = ours.chosen_and_tested(metrics.macro_f1).set_index(["records", "member"])
    chosen, tested = (rows.loc[f"{part} records"] for part in ("validation", "test"))
    assert list(chosen.index) == ["1", "2", "mean"] == list(tested.index)
    assert chosen["value"].tolist() == pytest.approx([0.2, 0.3, 0.25])
    values = [
        fbeta_score(LABELS[TEST], run.p[TEST] >= own, beta=1, average="macro")
        for run, own in zip(ours.runs, (0.4, 0.6), strict=True)
    ]
    assert tested["value"].tolist() == pytest.approx([*values, np.mean(values)])
    assert rows["low"].isna().tolist() == [True, True, True, False, False, True]


def test_pooled_thresholds_part_the_validation_records_of_all_members(ours):
    for run, high in zip(ours.runs, (0.3, 0.9), strict=True):
        records = np.arange(1, RECORDS, 2)
        frame = pd.DataFrame(np.where(LABELS[records], high, 0.1), columns=list(CLASSES))
        run.predictions = frame.assign(record=records, split="valid")
        # What was answered in the test is no part of it.
        run.predictions.loc[len(frame)] = [*[0.95] * 9, 0, "test"]
    assert ((ours.pooled_thresholds() > 0.1) & (ours.pooled_thresholds() <= 0.3)).all()


def test_records_that_only_one_of_two_has_right():
    targets = np.zeros((6, 9), dtype=bool)
    targets[[3, 4, 5], :2] = True
    a, b = targets.copy(), targets.copy()
    a[[0, 1, 3], 8] = True  # wrong in the records 0, 1 and 3
    b[[4], 8] = True
    patients = np.array(["p", "p", "q", "r", "s", "t"])  # of p only record 0 counts
    row = chapter.right_only(targets, patients, {"seed 0": (a, b)}, ("A", "B")).iloc[0].to_dict()
    assert row == {
        "": "seed 0",
        **{"all: records": 5, "all: only A": 1, "all: only B": 2, "all: p": "1.000"},
        **{"multi-label: records": 3, "multi-label: only A": 1, "multi-label: only B": 1, "multi-label: p": "1.000"},
    }


def test_learning_curves_show_every_member(ours):
    left, right = ours.learning_curves(loss="a loss", score="a score").axes
    assert left.get_ylabel() == "a loss" and right.get_ylabel() == "a score, validation records"
    assert [line.get_ydata().tolist() for line in left.lines] == [[3, 2, 1]] * 2


def test_a_chapter_is_trained_from_its_parameters():
    p = SimpleNamespace(cohort="synthetic", records=40, balance=1, members=2, repeats=20, seed=3)
    system = SmallGAPSystem(epochs=1, batch=16, seconds=4)
    ours = chapter.train(system, p)
    assert len(ours.runs) == 2 and ours.repeats == 20 and ours.source == "synthetic"
    rest = np.setdiff1d(np.arange(40), ours.test)
    assert not set(ours.patients) & set(ours.cohort.table["patient_id"].iloc[rest])
    assert 4 <= len(ours.test) <= 14 and ours.data == f"{len(ours.test)} test records of the synthetic cohort"
    assert ours.arms == {}


class WithArms(SmallGAPSystem):
    def arms(self, p):
        return {"slower": Arm(dataclasses.replace(self, rate=1e-5), p.members), "one": Arm(self, 1, renamed)}


def renamed(cohort, seed, balance):
    return dataclasses.replace(cohort, checksum=f"{cohort.checksum} {seed} {balance}")


def test_arms_are_the_same_members_but_for_one_thing():
    p = SimpleNamespace(cohort="synthetic", records=40, balance=1, members=2, repeats=20, seed=3)
    ours = chapter.train(WithArms(epochs=1, batch=16, seconds=4), p)
    assert list(ours.arms) == ["slower", "one"] and len(ours.arms["slower"].runs) == 2
    for before, after in zip(ours.runs, ours.arms["slower"].runs, strict=True):
        assert after.config == before.config | {"rate": 1e-5}
    (one,) = ours.arms["one"].runs
    assert one.config == ours.runs[0].config | {"cohort": f"{ours.cohort.checksum} 3 1"}
    assert ours.arms["slower"].system.rate == 1e-5 and ours.arms["slower"].data == ours.data


@pytest.mark.parametrize("helper", [chapter, diagrams, examples])
def test_helpers_know_no_system_by_name(helper):
    code = (REPOSITORY / helper.__file__).read_text()
    modules = {cls.__module__.rsplit(".", 1)[1] for cls in CATALOGUE.values()}
    known = {*CATALOGUE, *(cls.__name__ for cls in CATALOGUE.values()), *modules}
    assert not [name for name in known if name in code]
