"""The chapter in which the maps are on trial: what it draws and says are the rows and the rules."""

import io
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import PathCollection
from matplotlib.patches import Rectangle

from ecgstudy.book import explanation_tables as tables
from ecgstudy.book import trial_pages as pages
from ecgstudy.explain.cases import synthetic_cases
from ecgstudy.paths import NOTEBOOKS, REPOSITORY
from ecgstudy.studies import explanations, fair_trial, leaderboard, questions
from ecgstudy.studies.fair_trial import MANY, RULES, SEPARATOR, VERDICTS
from ecgstudy.systems import catalogue

FIXED = fair_trial.rules()


@pytest.fixture
def table():
    """Rows of two maps in two groups: one far above its floor, one whose ceiling is no higher than its floor."""
    rows = [
        {"system": system, "method": method, "class": group, "value": value, "low": value - 0.1, "high": value + 0.1,
         "ceiling": ceiling, "floor": 0.2, "trial": FIXED["metric"], "key": FIXED["key"], "cohort": "synthetic",
         "trained": MANY, "n": 60, "trainings": trainings, "run": "a"}
        for group in ("", "waves")
        for system, method, value, ceiling, trainings in (
            ("ECGMaster", "contributions", 0.5, 0.8, 5), ("CNN-GAP", "CAM", 0.21, 0.22, 3),
        )
    ]  # fmt: skip
    other = [row | {"key": "as defined", "value": -1} for row in rows]
    return pd.DataFrame(rows + other)


def test_rows_are_those_that_decide_in_the_order_of_the_systems(table):
    found = pages.rows(table, "synthetic")
    assert found["map"].tolist() == ["CNN-GAP: CAM"] * 2 + ["ECGMaster: contributions"] * 2
    assert found["share"].tolist()[2:] == pytest.approx([0.5, 0.5])
    assert np.isnan(found["share"].tolist()[:2]).all()  # nothing could pass there
    assert pages.rows(table, "LUDB").empty
    assert set(pages.rows(table, "synthetic", key="as defined")["value"]) == {-1}


def test_a_bar_goes_from_floor_to_ceiling_and_a_filled_dot_is_above_the_floor(table):
    figure = pages.between(pages.rows(table, "synthetic"), pages.GROUP_TITLES)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in shown] == ["all but NSR", "waves"]  # no panel without rows
    bars = [(b.get_x(), b.get_x() + b.get_width()) for b in shown[0].patches if isinstance(b, Rectangle)]
    np.testing.assert_allclose(bars, [(0.2, 0.22), (0.2, 0.8)])
    dots = [one for one in shown[0].collections if isinstance(one, PathCollection)]
    assert [dot.get_offsets()[0, 0] for dot in dots] == [0.21, 0.5]
    assert filled(dots) == [False, True]
    plt.close(figure)
    figure = pages.between(pages.rows(table, "synthetic"), {"": "all"}, supported={("CNN-GAP: CAM", ""), ("x", "")})
    assert filled([one for one in figure.axes[0].collections if isinstance(one, PathCollection)]) == [True, False]
    plt.close(figure)


def filled(dots):
    return [dot.get_facecolor()[0, :3].mean() < 0.5 for dot in dots]


def answered(**changes):
    row = {"question": "own maps, simulated", "system": "ECGMaster", "method": "contributions", "class": "",
           "against": "QRS detector on the cells", "value": 0.3, "low": 0.2, "high": 0.4, "ceiling": 0.8, "floor": 0.2,
           "verdict": "supported", "second": "supported", "also": "", "n": 60, "trainings": 5}  # fmt: skip
    return row | changes


def test_every_answer_is_said_once_under_its_verdict():
    verdicts = pd.DataFrame(
        [
            answered(),
            answered(system="CNN-GAP", method="CAM", verdict="no difference", also="as defined; 0.1 s longer"),
            answered(system="xECGNet", method="attention", verdict="not testable", second="undecided"),
            answered(system="BUTTeam", method="CAM", verdict="no difference", also=np.nan),
            answered(question="other", system="BUTTeam", method="max CAM"),
            answered(question="other", second="not supported"),
        ]
    )
    said = pages.said(verdicts, "own maps, simulated").data.splitlines()
    assert said == [
        "- **supported**: ECGMaster's contributions",
        "- **no difference**: CNN-GAP's CAM and BUTTeam's CAM",
        "- **not testable**: xECGNet's attention",
    ]
    assert pages.said(verdicts, "own maps, simulated", group="waves").data == ""
    assert pages.supported(verdicts, "own maps, simulated") == {("ECGMaster: contributions", "")}
    assert pages.agreement(verdicts) == {
        "answers": "6",
        "same_metric": "2",
        "opposite": "1",
        "opposite_which": "ECGMaster's contributions",
        "own_by_auc": "",
        "same_keys": "5",
    }
    shown = pages.answers(verdicts, "own maps, simulated", "caption").data
    longer = f"{pages.KEY_TITLES['as defined']}; every key 0.1 s longer"
    assert shown["another verdict under"].tolist() == ["", longer, "", ""]
    assert shown["difference"].tolist()[0] == "0.300 (0.200–0.400)"
    assert shown["verdict"].tolist() == verdicts["verdict"].tolist()[:4]


def test_levels_of_the_questions_are_those_of_their_families():
    shown = pages.questions(FIXED).data.set_index("question")
    assert shown.loc["own maps, simulated", "level of each interval (%)"] == "99.29"
    assert shown.loc["fine-tuned, LUDB", "level of each interval (%)"] == "95.00"


def test_a_perfect_map_is_perfect_and_spoilt_ones_lose():
    shown = pages.spoilt(synthetic_cases(125, 1, seed=1000), 0.064).data.set_index("a perfect map,")
    assert shown.loc["perfect"].tolist() == [1, 1, 1]
    assert (shown.loc["blurred by 0.2 s"] < 1).all() and (shown.loc["moved by one cell", "excess mass"] < 1)
    assert shown.loc["plus a constant", "AUC"] == 1 > shown.loc["plus a constant", "excess mass"]


def test_what_the_text_says_is_in_the_committed_rows():
    texts = pages.numbers(fair_trial.table(), fair_trial.committed())
    page = (NOTEBOOKS / "13_trial.ipynb").read_text(encoding="utf-8")
    texts |= tables.few_and_many_texts(
        questions.few_and_many(explanations.answers()),
        leaderboard.more_records(repeats=20),
        {cls.name: tuple(cls.own_maps) for cls in catalogue.with_chapter()},
    )
    wanted = set(re.findall(r"\{glue:text\}`([^`]+)`", page))
    assert wanted - {"few"} <= set(texts)
    assert set(pages.VERDICTS) >= set(fair_trial.committed()["verdict"])


def test_every_map_of_the_rules_has_its_answer():
    verdicts = fair_trial.committed()
    for name, asked in FIXED["questions"].items():
        found = verdicts[verdicts["question"] == name]
        assert set(found["system"] + SEPARATOR + found["method"]) == set(asked["maps"]), name
        assert len(found) == asked["m"], name


def test_the_rules_are_older_than_the_answers():
    def first(path):
        found = subprocess.run(
            ["git", "log", "--reverse", "--format=%h %ct", "--", path.relative_to(REPOSITORY)],
            cwd=REPOSITORY, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return found.stdout.split()[:2]

    rules, answers = first(RULES), first(VERDICTS)
    if not rules or not answers:
        pytest.skip("no history of the repository here")
    assert int(rules[1]) < int(answers[1])
    page = (NOTEBOOKS / "13_trial.ipynb").read_text(encoding="utf-8")
    assert rules[0][:7] in page


def test_what_more_trainings_changed_is_what_the_page_says():
    """Against the verdicts of three trainings, which the page names by their commit."""
    asked = ["git", "show", f"40dd6f0:{VERDICTS.relative_to(REPOSITORY)}"]
    found = subprocess.run(asked, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("no history of the repository here")
    keys = ["question", "system", "method", "class"]
    # The fine-tuned network had five before.
    three = pd.read_csv(io.StringIO(found.stdout), keep_default_na=False).set_index(keys).sort_index()
    five = pd.read_csv(VERDICTS, keep_default_na=False).set_index(keys).sort_index()
    assert set(five["trainings"]) == {5} and three["trainings"].value_counts().to_dict() == {3: len(five) - 1, 5: 1}
    assert five.index.equals(three.index)
    changed = five["verdict"][five["verdict"] != three["verdict"]]
    assert changed.value_counts().to_dict() == {"supported": 6, "undecided": 1}
    for name in ("CAM", "max CAM"):
        waves = "own maps, by group", "BUTTeam", name, "waves"
        assert [verdicts["verdict"].to_dict()[waves] for verdicts in (three, five)] == ["undecided", "supported"]
    page = (NOTEBOOKS / "13_trial.ipynb").read_text(encoding="utf-8")
    for text in ("`40dd6f0`", "seven answers changed: six became *supported*, one *undecided*", "undecided over three"):
        assert text in page, text
