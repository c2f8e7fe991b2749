import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ecgstudy import metrics
from ecgstudy.book import computed, report
from ecgstudy.paths import NOTEBOOKS, REPOSITORY
from ecgstudy.studies import ablation_tables, ablations, claims, explanations
from ecgstudy.systems import catalogue
from ecgstudy.systems.catalogue import by_name


def a_claim(**changes):
    """A claim whose number is the row of ``table.csv`` with kind ``x``."""
    claim = {
        "system": "s", "claim": "It is so", "cite": None, "paper": None, "measured": "How",
        "source": {"file": "table.csv", "value": "value", "row": {"kind": "x"}}, "border": 0, "expected": "above",
        **dict.fromkeys(claims.COMPUTED), "verdict": "not measured", "page": "notebooks/00_none",
    }  # fmt: skip
    return claim | changes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A results folder of its own, with one table."""
    monkeypatch.setattr(claims, "RESULTS", tmp_path)
    monkeypatch.setattr(claims, "FILE", tmp_path / "claims.yaml")
    (tmp_path / "table.csv").write_text(
        "kind,value,low,high,difference,difference_low,difference_high,p\n"
        "x,0.6,0.2,0.9,0.3,-0.1,0.7,0.0400\n"
        "y,0.6,,,-0.3,-0.5,-0.1,0.0600\n"
        "y,0.5,,,,,,\n"
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
        if claim["verdict"] in ("not measured", "not comparable"):
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
        (0.1, 0.2, None, "above", "not comparable"),
    ],
)
def test_an_interval_decides_by_the_side_it_is_on(low, high, border, expected, said):
    assert claims.verdict(a_claim(border=border, expected=expected), (low + high) / 2, low, high) == said
    if border is not None and expected == "above" and not math.isnan(low):
        assert metrics.verdict(low, high, border) == said


def test_an_ablation_is_decided_as_the_ablations_decide_it():
    question = "gamma"
    arm, metric = ablations.QUESTIONS[question].verdict
    rng = np.random.default_rng(0)
    for difference, p in [*zip(rng.normal(size=20), rng.random(20) / 8, strict=True), (0.2, math.nan), (0.2, 0.05)]:
        rows = pd.DataFrame([{"question": question, "arm": arm, "metric": metric, "difference": difference, "p": p}])
        said = claims.verdict(a_claim(), difference, difference - 1, difference + 1, p)
        assert said == ablation_tables.verdict(rows, question)
        opposite = {"supported": "not supported", "not supported": "supported", "undecided": "undecided"}
        assert claims.verdict(a_claim(expected="below"), difference, math.nan, math.nan, p) == opposite[said]


def test_a_claim_takes_the_row_that_its_source_names(folder):
    found = claims.recompute(a_claim())
    assert found == {"value": 0.6, "low": 0.2, "high": 0.9, "p": None, "verdict": "supported", "why": None}
    difference = {"file": "table.csv", "value": "difference", "row": {"kind": "x"}}
    found = claims.recompute(a_claim(source=difference))
    # The interval holds 0, the corrected p decides.
    assert found == {"value": 0.3, "low": -0.1, "high": 0.7, "p": 0.04, "verdict": "supported", "why": None}
    found = claims.recompute(a_claim(source=difference | {"row": {"kind": "y", "value": "0.6"}}))
    assert (found["value"], found["p"], found["verdict"]) == (-0.3, 0.06, "undecided")


def test_what_has_no_row_is_not_measured(folder):
    absent = {"file": "table.csv", "value": "value", "row": {"kind": "z"}}
    nowhere = {"file": "none.csv", "value": "value", "row": {"kind": "x"}}
    for source, why in ((absent, "results/table.csv has"), (nowhere, "results/none.csv has"), (None, "because")):
        found = claims.recompute(a_claim(source=source, why="because", value=0.3))
        assert found["verdict"] == "not measured" and found["value"] is None and found["why"].startswith(why)
    with pytest.raises(ValueError, match=r"table\.csv has 2 rows for"):
        claims.recompute(a_claim(source={"file": "table.csv", "value": "value", "row": {"kind": "y"}}))


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
        "the best own map of the other four": (own, 2.0, 0.0),
        "what knows no network": ([("CNN-GAP", m) for m in ("random", "signal energy", "QRS detector")], 1.0, 0.0),
        "the best gradient × input of the other four": ([(s, "input × gradient") for s in four], 1.0, 0.0),
        "below the best of the four": (four, 1.0, -0.01),
    }
    checked = 0
    for claim in claims.load():
        if claim["system"] != "Local evidence":
            continue
        ((others, times, more),) = (value for words, value in compared.items() if claim["claim"].endswith(words))
        table, by = (board, "system") if more else (trials, ["system", "method"])
        values = table[table["cohort"] == claim["source"]["row"]["cohort"]].set_index(by)["value"]
        best = values[[other for other in others if other in values.index]].astype(float)
        assert claim["border"] == pytest.approx(times * best.max() + more, abs=5e-5), claim["measured"]
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
    assert all(line.count("|") == 4 for line in rows)
    assert rows[2] == "| It is so (the paper: 0.087) | How: **0.600 (0.200–0.900)** | supported |"
    assert rows[3] == "|  | Otherwise | not measured |"
    assert rows[-1].endswith("| [supported](../notebooks/03_cnn_gap.ipynb) |")
    assert computed.claims_summary() == (
        "1 measurements put 1 claims of the papers to the test. Supported: 1. Not supported: 0. Undecided: 0.\n\n"
        "1 measurements put 1 claims of the study about its own system to the same test. Supported: 1. "
        "Not supported: 0. Undecided: 0. Not measured yet: 1.\n"
    )


def test_the_front_page_counts_the_papers_claims_apart():
    paper, own = computed.claims_summary().split("\n\n")
    of_papers = [claim for claim in claims.load() if claim["system"] != "Local evidence"]
    tested = [claim["verdict"] for claim in of_papers if claim["verdict"] in claims.TESTED]
    assert paper.startswith(f"{len(tested)} measurements put ") and " claims of the papers to the test." in paper
    assert f"Supported: {tested.count('supported')}. " in paper
    assert own.startswith(f"{sum(c['system'] == 'Local evidence' for c in claims.load())} measurements put ")


def test_no_claim_has_a_p_of_0(folder):
    (folder / "table.csv").write_text(
        "kind,value,low,high,difference,difference_low,difference_high,p\nx,0.6,0.2,0.9,0.3,0.1,0.7,0.0000\n"
    )
    difference = {"file": "table.csv", "value": "difference", "row": {"kind": "x"}}
    claims.FILE.write_text(claims.dump([a_claim(source=difference)]))
    claims.write()
    assert "**0.300 (0.100–0.700)**, p < 0.001 |" in computed.claims_table()
    assert "p = 0.000" not in computed.claims_table()


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
