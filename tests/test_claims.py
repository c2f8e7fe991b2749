import math
import re
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from scipy.stats import t as students_t

from ecgstudy import metrics
from ecgstudy.book import computed, report
from ecgstudy.paths import NOTEBOOKS, REPOSITORY
from ecgstudy.studies import ablation_tables, ablations, claims, explanations, fair_trial
from ecgstudy.systems import catalogue
from ecgstudy.systems.catalogue import by_name


def a_claim(**changes):
    """A claim whose number is the row of ``table.csv`` with metric ``x``."""
    claim = {
        "system": "s", "claim": "It is so", "cite": None, "paper": None, "measured": "How",
        "source": {"file": "table.csv", "value": "value", "row": {"metric": "x"}}, "border": 0, "expected": "above",
        **dict.fromkeys(claims.COMPUTED), "verdict": "not measured", "page": "notebooks/00_none",
    }  # fmt: skip
    return claim | changes


RULES = """
level: 0.95
families: {s: 1, t: 5}
smallest: {x: 0.05, y: 0.05, "answer 1, focus": 0.1, excess mass: 0.05}
training: {}
perfect: {file: perfect.csv, row: {class: "", trained: l, key: k}}
testable:
  "answer 1, focus": {AUROC above: 0.7, classes: [STD, STE]}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A results folder of its own, with one table, and rules for two systems."""
    monkeypatch.setattr(claims, "RESULTS", tmp_path)
    monkeypatch.setattr(claims, "FILE", tmp_path / "claims.yaml")
    monkeypatch.setattr(claims, "RULES", tmp_path / "rules.yaml")
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "table.csv").write_text(
        "metric,value,low,high,difference,difference_low,difference_high\n"
        "x,0.6,0.2,0.9,0.3,-0.1,0.7\n"
        "y,0.6,0.5,0.8,-0.3,-0.5,-0.1\n"
        "y,0.5,,,,,\n"
    )
    return tmp_path


def test_the_committed_file_is_as_it_is_written():
    assert claims.dump(claims.load()) == claims.FILE.read_text()


def test_committed_numbers_and_verdicts_follow_from_the_committed_rows():
    for claim in claims.load():
        assert {name: claim[name] for name in claims.COMPUTED} == claims.recompute(claim), claim["claim"]


def test_committed_claims_say_who_what_and_where():
    keys = set(re.findall(r"^@\w+\{(\w+),", (REPOSITORY / "book" / "references.bib").read_text(), re.MULTILINE))
    known = {path.stem for path in NOTEBOOKS.glob("*.ipynb")} | {"08_ablations", "12_local_evidence"}
    for claim in claims.load():
        assert set(claim) == set(a_claim())
        assert claim["cite"] is None or claim["cite"] in keys
        assert claim["page"].removeprefix("notebooks/") in known
        assert claim["measured"] and claim["expected"] in ("above", "below")
        if claim["verdict"] in ("not measured", "not comparable", "not testable") or claim["low"] is None:
            assert claim["why"]
        source = claim["source"]
        if source and source["file"] == "ablations.csv":
            row = source["row"]
            question = ablations.QUESTIONS[row["question"]]
            assert row["arm"] in question.arms and row["metric"] in ablation_tables.METRICS
            assert row["cohort"] in ablations.COHORTS
            assert source["value"] == "value" or row["arm"] != question.control


@pytest.mark.parametrize(
    ("low", "high", "border", "expected", "said"),
    [
        (0.1, 0.2, 0, "above", "supported"),
        (-0.2, -0.1, 0, "above", "not supported"),
        (-0.1, 0.1, 0, "above", "undecided"),
        (0.0, 0.1, 0, "above", "undecided"),
        (0.4, 0.45, 0.5, "above", "not supported"),
        (0.4, 0.45, 0.5, "below", "supported"),
        (0.6, 0.7, 0.5, "below", "not supported"),
        (math.nan, math.nan, 0, "above", "undecided"),
        (-0.01, 0.04, 0, "below", "no difference"),
        (0.46, 0.54, 0.5, "above", "no difference"),
        (-0.01, 0.06, 0, "above", "undecided"),
    ],
)
def test_an_interval_decides_by_the_side_it_is_on(low, high, border, expected, said):
    assert claims.verdict(a_claim(border=border, expected=expected), low, high, 0.05) == said
    if expected == "above":
        assert metrics.verdict(low, high, border, 0.05) == said


def test_the_rules_know_every_measurement():
    fixed, tested = claims.rules(), [claim for claim in claims.load() if claim["border"] is not None]
    assert Counter(claim["system"] for claim in tested) == fixed["families"]
    assert {claims._metric(claim["source"]) for claim in tested} == set(fixed["smallest"])
    trial = fair_trial.rules()
    assert fixed["smallest"]["excess mass"] == trial["smallest"]["excess mass"] and fixed["level"] == trial["level"]
    assert claims.NETWORKS[-1] == "five each" and ablations.FOLDS == 5


def limits_of(text):
    """Limits of the interval with which a text ends."""
    low, high = re.search(r"\(([−\d.]+)(?:–| to )([−\d.]+)\)\*\*$", text).groups()
    return float(low.replace("−", "-")), float(high.replace("−", "-"))


def test_every_verdict_is_read_from_the_interval_that_is_shown_beside_it():
    rows = [
        line.strip("| ").split(" | ") for line in computed.claims_table().splitlines() if re.match(r"\|.*\*\*", line)
    ]
    tested = [claim for claim in claims.load() if claim["value"] is not None]
    assert len(rows) == len(tested)
    read = 0
    for (*_, measured, _, shown), claim in zip(rows, tested, strict=True):
        said = re.match(r"\[(.+?)\]", shown).group(1)
        assert said == claim["verdict"]
        if said not in claims.TESTED:
            continue
        low, high = limits_of(measured) if claim["low"] is not None else (math.nan, math.nan)
        sign = 1 if claim["expected"] == "above" else -1
        low, high = sorted(sign * (end - claim["border"]) for end in (low, high))
        assert metrics.verdict(low, high, 0, claim["smallest"]) == said, measured
        read += 1
    assert read > 45


def by_the_rule_before(claim):
    """Side of the border by a corrected p, or by a 95 % interval of the row alone; 0 where neither decides."""
    source = claim["source"]
    table = pd.read_csv(claims.RESULTS / source["file"], keep_default_na=False, na_values={"p": ""})

    def row(wanted):
        found = table
        for column, text in wanted.items():
            found = found[found[column] == text]
        return found.iloc[0]

    own, border = row(source["row"]), claim["border"]
    if source["value"] == "difference":
        return np.sign(float(own["difference"]) - border) * (own["p"] < 0.05)
    if against := source.get("against"):
        border += against.get("times", 1) * float(row(source["row"] | against["row"])["value"])
    return (float(own["low"]) > border) - (float(own["high"]) < border)


def test_the_rules_only_take_away():
    decided = [claim for claim in claims.load() if claim["verdict"] in ("supported", "not supported")]
    for claim in decided:
        side = (1 if claim["expected"] == "above" else -1) * (1 if claim["verdict"] == "supported" else -1)
        assert by_the_rule_before(claim) == side, claim["measured"]
    assert len(decided) > 10


@pytest.mark.slow
def test_an_ablations_interval_is_that_of_its_folds_at_the_level_of_the_family():
    checked = 0
    for claim in claims.load():
        source = claim["source"]
        if source["file"] != "ablations.csv" or claim["border"] is None:
            continue
        row, level = source["row"], 1 - 0.05 / claims.rules()["families"][claim["system"]]
        folds = {
            arm: ablation_tables.folds_of(row["cohort"], row["question"], arm)
            for arm in (ablations.QUESTIONS[row["question"]].control, row["arm"])
        }
        scores = ablation_tables.scores_by_fold(folds)
        control, own = (scores[arm][row["metric"]].to_numpy() for arm in folds)
        values = own if source["value"] == "value" else own - control
        expected = ablation_tables.corrected_t(values, level=level)[:3]
        found = [claim[end] for end in claims.ENDS]
        if found[1] is None:
            assert expected == (0, 0, 0)
        else:
            # What the table rounds at six decimals is rounded before it is widened.
            assert found == pytest.approx(expected, abs=5e-6)
        checked += 1
    assert checked > 25


def test_a_family_of_widened_intervals_holds_as_a_whole():
    m, families = 14, 4000
    level, rng = 1 - 0.05 / m, np.random.default_rng(0)
    folds = rng.normal(size=(families, m, ablations.FOLDS))
    mean, error = folds.mean(axis=-1), folds.std(axis=-1, ddof=1) / np.sqrt(ablations.FOLDS)
    half = students_t.ppf(0.975, ablations.FOLDS - 1) * error
    assert (abs(mean) > half).any(axis=1).mean() > 0.4  # one by one they do not
    _, low, high = claims.widened((0.0, -1.0, 1.0), level, "t")
    wrong = (abs(mean) > high * half).any(axis=1).mean()
    assert -low == high and 0.04 < wrong < 0.06
    _, low, high = claims.widened((0.0, -1.0, 2.0), level, "normal")
    drawn = abs(rng.normal(size=(families, m)))
    assert high == -2 * low and 0.04 < (drawn > -low * norm.ppf(0.975)).any(axis=1).mean() < 0.06


def test_a_share_is_widened_as_wilson_has_it_and_folds_that_do_not_differ_tell_nothing():
    value, low, high = claims.widened((0.2, 0.1124, 0.3304), 0.99, "wilson", n=50)
    z, n = norm.ppf(0.995), 50  # Wilson (1927)
    centre, half = value + z**2 / (2 * n), z * np.sqrt(value * (1 - value) / n + z**2 / (4 * n**2))
    assert (low, high) == pytest.approx(((centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)))
    assert claims.widened((0.2, 0.1124, 0.3304), 0.95, "wilson", n=50)[1:] == pytest.approx((0.1124, 0.3304), abs=5e-5)
    assert np.isnan(claims.widened((0.0, 0.0, 0.0), 0.99, "t")[1:]).all()


def test_a_border_that_is_an_estimate_brings_its_own_uncertainty():
    assert claims.less((0.9, 0.6, 1.2), (0.5, 0.1, 0.9)) == pytest.approx((0.4, -0.1, 0.9))  # 3, 4 and 5
    assert claims.less((0.9, 0.6, 1.2), (0.2, 0.0, 0.4), 2) == pytest.approx((0.5, 0.0, 1.0))
    # Skewed: what lies above the border lowers the difference.
    assert claims.less((0.5, 0.5, 0.5), (0.2, 0.1, 0.5)) == pytest.approx((0.3, 0.0, 0.4))
    rng, spread = np.random.default_rng(1), norm.ppf(0.975)
    a, b = rng.normal(1, 0.3, 4000), rng.normal(0.5, 0.2, 4000)
    found = [claims.less((x, x - 0.3 * spread, x + 0.3 * spread), (y, y - 0.2 * spread, y + 0.2 * spread), 2)
             for x, y in zip(a, b, strict=True)]  # fmt: skip
    held = np.mean([low <= 0 <= high for _, low, high in found])
    assert 0.94 < held < 0.96


def test_a_paired_difference_is_that_of_the_two_rows():
    board = pd.read_csv(claims.RESULTS / "leaderboard.csv", keep_default_na=False)
    board = board[(board["metric"] == "AUROC") & (board["class"] == "")].set_index(["cohort", "system"])["value"]
    paired = [claim for claim in claims.load() if claim["source"]["value"] == "paired"]
    for claim in paired:
        row = claim["source"]["row"]
        other = claim["source"]["against"]["row"]["system"]
        own, best = (board[row["cohort"], name] for name in (row["system"], other))
        assert claim["value"] == pytest.approx(own - best, abs=2e-6)
    assert len(paired) == 3


def test_a_claim_takes_the_row_that_its_source_names(folder):
    found = claims.recompute(a_claim())
    numbers = {"value": 0.6, "low": 0.2, "high": 0.9, "level": 0.95, "smallest": 0.05}
    assert found == numbers | {"trainings": "one each", "verdict": "supported", "why": None}
    difference = {"file": "table.csv", "value": "difference", "row": {"metric": "x"}}
    found = claims.recompute(a_claim(source=difference))
    assert (found["value"], found["low"], found["high"], found["verdict"]) == (0.3, -0.1, 0.7, "undecided")
    other = claims.recompute(a_claim(source=difference | {"row": {"metric": "y", "value": "0.6"}}))
    assert (other["value"], other["verdict"]) == (-0.3, "not supported")
    against = {"file": "table.csv", "value": "value", "row": {"metric": "x"}}
    against["against"] = {"row": {"metric": "y", "value": "0.6"}, "times": 0.5}
    found = claims.recompute(a_claim(source=against))
    half = [np.hypot(0.4, 0.1), np.hypot(0.3, 0.05)]
    assert [found[end] for end in claims.ENDS] == pytest.approx([0.3, 0.3 - half[0], 0.3 + half[1]], abs=1e-6)


def test_a_larger_family_wants_more(folder):
    (folder / "table.csv").write_text("metric,value,low,high\nx,0.6,0.1,1.1\ny,0.001,-0.02,0.022\n")
    assert claims.recompute(a_claim())["verdict"] == "supported"
    found = claims.recompute(a_claim(system="t"))
    assert found["verdict"] == "undecided" and found["level"] == 0.99
    assert found["low"] == pytest.approx(0.6 - 0.5 * norm.ppf(0.995) / norm.ppf(0.975), abs=1e-6)
    of_y = {"file": "table.csv", "value": "value", "row": {"metric": "y"}}
    assert claims.recompute(a_claim(system="t", source=of_y))["verdict"] == "no difference"


def test_a_question_that_presupposes_an_answer_is_asked_of_networks_that_can_tell_the_class(folder):
    (folder / "table.csv").write_text(
        'system,cohort,trial,value,low,high,n,run\nq,real,"answer 1, focus",0.2,0.1,0.3,50,r\n'
    )
    about = {"system": "q", "cohort": "real", "trial": "answer 1, focus"}
    claim = a_claim(source={"file": "table.csv", "value": "value", "row": about}, border=0.5, expected="below")
    for low, said in ((0.69, "not testable"), (0.71, "supported")):
        rows = f'"q, one",real,AUROC,STD,0.8,{low},0.9\n"q, one",real,AUROC,STE,0.8,0.75,0.9\n'
        (folder / "leaderboard.csv").write_text("system,cohort,metric,class,value,low,high\n" + rows)
        found = claims.recompute(claim)
        assert found["verdict"] == said and found["value"] == 0.2
        assert (found["why"] or "").endswith("" if said == "supported" else "or less: STD 0.80 (0.69–0.90)")
    (folder / "leaderboard.csv").unlink()
    assert claims.recompute(claim)["verdict"] == "not testable"


def test_what_has_no_row_is_not_measured(folder):
    absent = {"file": "table.csv", "value": "value", "row": {"metric": "z"}}
    nowhere = {"file": "none.csv", "value": "value", "row": {"metric": "x"}}
    for source, why in ((absent, "results/table.csv has"), (nowhere, "results/none.csv has"), (None, "because")):
        found = claims.recompute(a_claim(source=source, why="because", value=0.3))
        assert found["verdict"] == "not measured" and found["value"] is None and found["why"].startswith(why)
    with pytest.raises(ValueError, match=r"table\.csv has 2 rows for"):
        claims.recompute(a_claim(source={"file": "table.csv", "value": "value", "row": {"metric": "y"}}))


def test_writing_refreshes_and_a_second_time_changes_nothing(folder):
    claims.FILE.write_text(
        claims.dump([a_claim(value=9.0, verdict="undecided"), a_claim(border=None, why="other data")])
    )
    claims.write()
    first, second = claims.load()
    assert (first["value"], first["verdict"]) == (0.6, "supported")
    assert (second["value"], second["verdict"], second["why"]) == (0.6, "not comparable", "other data")
    text = claims.FILE.read_text()
    claims.write()
    assert claims.FILE.read_text() == text


def test_what_the_own_network_is_to_exceed_is_the_best_of_the_others_as_committed():
    trials = explanations.committed()
    trials = trials[(trials["trial"] == "excess mass") & (trials["class"] == "") & (trials["trained"] == "synthetic")]
    board = pd.read_csv(claims.RESULTS / "leaderboard.csv", keep_default_na=False)
    board = board[(board["metric"] == "AUROC") & (board["class"] == "")]
    four = [cls.name for cls in catalogue.of_papers()]
    own = [(s, m) for s in four for m in by_name(s).own_maps]
    compared: dict[str, Any] = {
        "the best own map of the other four": (own, 2, 0),
        "what knows no network": ([("Local evidence", m) for m in ("random", "signal energy", "QRS detector")], 1, 0),
        "the best gradient × input of the other four": ([(s, "input × gradient") for s in four], 1, 0),
        "below the best of the four": (four, 1, -0.01),
    }
    checked = 0
    for claim in claims.load():
        if claim["system"] != "Local evidence":
            continue
        ((others, times, border),) = (value for words, value in compared.items() if claim["claim"].endswith(words))
        table, by = (board, "system") if border else (trials, ["system", "method"])
        values = table[table["cohort"] == claim["source"]["row"]["cohort"]].set_index(by)["value"]
        best = values[[other for other in others if other in values.index]].astype(float)
        row, against = claim["source"]["row"], claim["source"]["against"]
        taken = row | against["row"]
        assert (taken["system"] if border else (taken["system"], taken["method"])) == best.idxmax()
        assert (against.get("times", 1), claim["border"]) == (times, border), claim["measured"]
        if not claim["measured"].startswith("The same"):
            assert f"{report.number(best.max())} of " in claim["measured"]
            assert any(part in claim["measured"] for part in np.atleast_1d(best.idxmax()))
        checked += 1
    assert checked >= 10


def test_the_table_shows_each_measurement_once_and_links_to_pages_that_are_there(folder):
    two = [
        a_claim(paper=0.087, cite="lin2020cnngap"),
        a_claim(measured="Otherwise", source=None, why="no data"),
        a_claim(system="t", claim="Else", page="notebooks/03_cnn_gap"),
    ]
    claims.FILE.write_text(claims.dump(two))
    claims.write()
    text = computed.claims_table()
    assert "## s\n" in text and "## t\n" in text and "claim {cite}`lin2020cnngap`" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") == 5 for line in rows)
    assert rows[2] == "| It is so (the paper: 0.087) | How: **0.600 (0.200–0.900)** | one each | supported |"
    assert rows[3] == "|  | Otherwise |  | not measured |"
    assert rows[-1].endswith("| [supported](../notebooks/03_cnn_gap.ipynb) |")
    assert computed.claims_summary() == (
        "1 measurements put 1 claims of the papers to the test. Supported: 1. Not supported: 0. No difference: 0. "
        "Undecided: 0.\n\n"
        "1 measurements put 1 claims of the study about its own system to the same test. Supported: 1. "
        "Not supported: 0. No difference: 0. Undecided: 0. Not measured yet: 1.\n"
    )


def test_the_front_page_counts_the_papers_claims_apart():
    paper, own = computed.claims_summary().split("\n\n")
    of_papers = [claim for claim in claims.load() if claim["system"] != "Local evidence"]
    tested = [claim["verdict"] for claim in of_papers if claim["verdict"] in claims.TESTED]
    assert paper.startswith(f"{len(tested)} measurements put ") and " claims of the papers to the test." in paper
    assert f"Supported: {tested.count('supported')}. " in paper
    of_own = [c for c in claims.load() if c["system"] == "Local evidence" and c["verdict"] in claims.TESTED]
    assert own.startswith(f"{len(of_own)} measurements put ")


def test_another_training_of_either_network_widens_a_paired_difference():
    """Two planted networks whose scores move by a known spread: their difference is inside as often as it should be."""
    rng = np.random.default_rng(0)
    spread, tested, level = 0.011, 0.02, 0.99
    error = rng.normal(0, tested, 20_000) + rng.normal(0, spread, 20_000) - rng.normal(0, spread, 20_000)
    half = norm.ppf((1 + level) / 2) * tested
    _, low, high = claims.trained_again((0.0, -half, half), level, spread)
    assert np.mean((error > low) & (error < high)) == pytest.approx(level, abs=0.003)
    assert np.mean(abs(error) < half) < 0.97


def test_a_map_is_not_held_against_cells_on_which_a_perfect_one_would_lose(folder):
    (folder / "maps.csv").write_text(
        "system,method,trial,cohort,value,low,high\ns,own,excess mass,c,0.5,0.4,0.6\nt,map,excess mass,c,0.1,0,0.2\n"
    )
    fine, coarse = (
        f"class,trained,key,system,method,trial,cohort,ceiling\n,l,k,t,map,excess mass,c,{c}\n" for c in (0.3, 0.2)
    )
    source = {
        "file": "maps.csv",
        "value": "value",
        "row": {"system": "s", "method": "own", "trial": "excess mass", "cohort": "c"},
    }
    source["against"] = {"row": {"system": "t", "method": "map"}, "times": 2}
    for table, verdict in ((fine, "supported"), (coarse, "not testable")):
        (folder / "perfect.csv").write_text(table)
        found = claims.recompute(a_claim(source=source))
        assert found["verdict"] == verdict and (verdict == "supported" or "cells of t has 0.20" in found["why"])


def test_more_decimals_where_rounding_would_hide_what_decided(folder):
    (folder / "table.csv").write_text("metric,value,low,high\nx,0.6,0.0004,0.9\n")
    claims.FILE.write_text(claims.dump([a_claim()]))
    claims.write()
    assert "**0.6000 (0.0004–0.9000)** | one each | supported |" in computed.claims_table()


def test_pages_include_what_is_computed_and_nothing_else():
    pages = [page.read_text(encoding="utf-8") for page in (REPOSITORY / "book").rglob("*.md")]
    included = {name for page in pages for name in re.findall(r"\{include\} (?:\.\./)?computed/(\w+)\.md", page)}
    texts = {name: write() for name, write in computed.COMPUTED.items()}
    assert included == set(texts)
    assert all(text.endswith("\n") and text.strip() for text in texts.values())
    shown = {name for text in (*pages, *texts.values()) for name in re.findall(r"\{figure\} computed/(\w+)\.svg", text)}
    assert shown == set(computed.DRAWINGS)


def test_the_answers_of_chapter_09_and_the_trials_keep_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(explanations, "FILE", tmp_path / "explanations.csv.gz")
    columns = list(explanations.COLUMNS)
    trials = pd.DataFrame([("s", "m", "mass", "synthetic", "real", "", 0.12345, 0.1, np.nan, 9, "a")], columns=columns)
    answer = trials.assign(trial="answer 1, x", value=0.5, low=0.4, high=0.6, n=7, run="b c")
    explanations.write(trials, answer)
    assert explanations.committed()["trial"].tolist() == ["mass"] and explanations.answers()["run"].tolist() == ["b c"]
    content = explanations.FILE.read_bytes()
    assert content[4:8] == bytes(4)  # gzip's time (RFC 1952): none
    explanations.write(explanations.committed(), explanations.answers())
    assert explanations.FILE.read_bytes() == content
    other = answer.assign(trial="answer 2, y")
    again = pd.concat([answer.assign(value=0.7), other, other.assign(trial="answer 3, z", value=np.nan)])
    for rows in (other, again):
        explanations.keep(rows[columns[::-1]])
        assert explanations.answers()["trial"].tolist() == ["answer 1, x", "answer 2, y"]
    assert explanations.answers()["value"].tolist() == [0.7, 0.5] and len(explanations.committed()) == 1
    explanations.put(pd.concat([trials.assign(value=0.2), trials.assign(cohort="LUDB")]))
    assert explanations.committed()["value"].tolist() == [0.2, 0.1235] and len(explanations.answers()) == 2
    explanations.put(trials.assign(trained="x"))
    assert explanations.committed()["trained"].tolist() == ["real", "real", "x"]
    explanations.write(explanations.committed().iloc[:1], answer.iloc[:0])
    assert explanations.answers().empty and len(explanations.committed()) == 1
