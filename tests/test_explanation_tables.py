import html
import re

import numpy as np
import pandas as pd

from ecgstudy.book import explanation_tables as tables
from ecgstudy.studies.questions import FIRST_BLOCK, Answer

ENDS = ["value", "low", "high"]


def frame(columns, *rows):
    """Rows with value, from which low is a tenth down and high a tenth up."""
    table = pd.DataFrame(rows, columns=[*columns.split(), "value"])
    return table.assign(low=table["value"] - 0.1, high=table["value"] + 0.1)


def shown(styler):
    """What a reader sees: headings and cells as texts, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", styler.to_html(), re.DOTALL)
    return [[html.unescape(cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


RESULTS = frame(
    "system method trial class",
    ("t", "CAM", "excess mass", "", 0.3),
    ("t", "CAM", "deletion", "", 0.5),
    ("t", "CAM", "excess mass", "AF", 0.9),
    ("s", "CAM", "excess mass", "", 0.6),
    ("s", "signal energy", "excess mass", "", 0.2),
)


def test_intervals_are_of_the_columns_asked_for():
    found = frame("system", ("s", 0.5))
    assert tables.intervals(found) == ["0.50 (0.40–0.60)"]
    assert tables.intervals(found.rename(columns={end: f"mass {end}" for end in ENDS}), "mass") == ["0.50 (0.40–0.60)"]


def test_the_networks_are_shown_with_two_digits():
    found = pd.DataFrame([("s", 0.876, 0.032, 0.31, "CAM")], columns=["system", "AUROC", "cell", "field", "maps"])
    styler = tables.networks(found, 54)
    assert shown(styler)[1] == ["s", "0.88", "0.03", "0.31", "CAM"] and "54 explanations" in styler.caption


def test_trials_stand_in_the_order_asked_for_systems_in_that_of_the_table():
    styler = tables.trials(RESULTS, ["deletion", "noise", "excess mass"], "All of them")
    assert shown(styler) == [
        ["system", "method", "deletion", "excess mass"],
        ["t", "CAM", "0.50 (0.40–0.60)", "0.30 (0.20–0.40)"],
        ["s", "CAM", "", "0.60 (0.50–0.70)"],
        ["s", "signal energy", "", "0.20 (0.10–0.30)"],
    ]
    assert styler.caption == "All of them"


def test_what_is_low_at_best_is_listed():
    chosen = ["deletion", "insertion", "sufficiency", "Gini", "infidelity"]
    assert tables.low_is_good(chosen) == "Low is good for deletion, sufficiency and infidelity."
    assert tables.low_is_good(["AUC", "deletion"]) == "Low is good for deletion."


def test_the_text_on_localisation_names_who_beats_the_blind_maps():
    found = frame("system method", ("t", "saliency", 0.3), ("t", "CAM", 0.4), ("s", "CAM", 0.6), ("s", "LRP", 0.1))
    found["beats"] = [True, True, True, False]
    assert tables.localisation_texts(found, RESULTS) == {
        "tried": "4",
        "beat": "3",
        "beat_which": "t: CAM, saliency; s: CAM",
        "best": "CAM of s",
        "best_value": "0.60 (0.50–0.70)",
        "energy_value": "0.20 (0.10–0.30)",
    }
    assert tables.localisation_texts(found.assign(beats=False), RESULTS)["beat_which"] == "none"


def test_leads_have_a_column_a_class_and_the_mean():
    names = {"LBBB": 0.1, "RBBB": 0.2, "STD": 0.3, "STE": 0.4, "": 0.25}
    found = frame("system map class", *(("s", "moved", name, value) for name, value in names.items()))
    assert shown(tables.by_lead(found)) == [
        ["system", "map", "LBBB", "RBBB", "STD", "STE", "mean"],
        ["s", "moved", *(f"{v:.2f} ({v - 0.1:.2f}–{v + 0.1:.2f})" for v in names.values())],
    ]


def known(*rows):
    """What is known of systems and classes: system, class, asked, and an AUROC with a tenth on either side."""
    table = pd.DataFrame(rows, columns=["system", "class", "asked", "AUROC value"])
    table = table.assign(**{"AUROC low": table["AUROC value"] - 0.1, "AUROC high": table["AUROC value"] + 0.1})
    for what in ("recall", "precision"):
        table = table.assign(**{f"{what} {end}": v for end, v in zip(ENDS, (0.5, 0.4, 0.6), strict=True)})
    return table.assign(n=7, absent=30)


def test_focus_shows_shares_and_masses_of_true_positives_and_who_is_not_asked():
    found = pd.DataFrame({"system": ["s"], "method": ["CAM"], "class": ["STD"], "n": [7]})
    found = found.assign(**{f"focus {end}": v for end, v in zip(ENDS, (0.2, 0.1, 0.4), strict=True)})
    found = found.assign(**{f"mass {end}": v for end, v in zip(ENDS, (0, -0.1, 0.1), strict=True)})
    of_both = known(("s", "STD", True, 0.9), ("t", "STD", False, 0.55))
    rows = shown(tables.focus(found, of_both))
    assert rows[1] == ["s", "CAM", "STD", "7", "0.20 (0.10–0.40)", "0.00 (−0.10 to 0.10)"]
    assert rows[2] == ["t", "", "STD", "", "not asked: AUROC 0.55 (0.45–0.65)", ""] and len(rows) == 3
    assert len(shown(tables.focus(found.iloc[:0], of_both))) == 2
    real = found.rename(columns={f"focus {end}": end for end in ENDS})
    real = pd.concat([real, real.assign(system="t")])
    rows = shown(tables.real_focus(real, of_both))
    assert rows[1] == ["s", "CAM", "7", "0.20 (0.10–0.40)", "yes"]
    assert rows[2] == ["t", "CAM", "7", "0.20 (0.10–0.40)", "no: AUROC of STD 0.55 (0.45–0.65)"]


def test_how_well_a_network_tells_a_class_stands_beside_what_is_possible():
    of_both = known(("s", "STD", True, 0.9), ("s", "STE", False, 0.55))
    rows = shown(tables.recognition(of_both.assign(ceiling=[1, 0.3]), "Who tells them"))
    assert rows[0][-2:] == ["a perfect map, blurred", "asked"]
    half = "0.50 (0.40–0.60)"
    assert rows[1] == ["s", "STD", "7", "30", "0.90 (0.80–1.00)", half, half, "1.00", "yes"]
    assert rows[2][-2:] == ["0.30", "no"]
    assert "a perfect map, blurred" not in shown(tables.recognition(of_both, "Real"))[0]
    texts = tables.recognition_texts(of_both, "s", "1")
    assert texts == {"q1_knows": "STD 0.90 (0.80–1.00) and STE 0.55 (0.45–0.65)"}


def test_all_classes_counts_records_and_networks():
    styler = tables.all_classes(frame("arm method n", ("γ = 0", "attention", 30, 0.6)), 2)
    assert shown(styler)[1] == ["γ = 0", "attention", "0.60 (0.50–0.70)"]
    assert styler.caption == "30 records with several classes, mean over 2 networks an arm."


def test_what_is_not_defined_is_an_empty_cell_of_own_minus_other():
    rows = [("s", "CAM", 5, 0.1, 0, 0.2, np.nan, np.nan, np.nan), ("answer key", "", 5, 0.3, 0.2, 0.4, *[np.nan] * 3)]
    ends = [f"{what} {end}" for what in ("overlap", "apart") for end in ENDS]
    styler = tables.apart(pd.DataFrame(rows, columns=["system", "method", "n", *ends]))
    assert shown(styler)[1:] == [
        ["s", "CAM", "0.10 (0.00–0.20)", ""],
        ["answer key", "", "0.30 (0.20–0.40)", ""],
    ]
    assert styler.caption.startswith("5 pairs")


def test_the_best_method_of_a_system_comes_first():
    index = pd.MultiIndex.from_tuples([("t", "a"), ("t", "b"), ("s", "a")], names=["system", "method"])
    ranks = pd.DataFrame({"sanity": [3.0, 1.0, 2.0], "stability": [2.0, 2.0, 1.0]}, index=index)
    assert shown(tables.families(ranks)) == [
        ["system", "method", "sanity", "stability", "all"],
        ["t", "b", "1.0", "2.0", "1.5"],
        ["t", "a", "3.0", "2.0", "2.5"],
        ["s", "a", "2.0", "1.0", "1.5"],
    ]


def test_small_networks_have_their_scale_and_three_maps():
    methods = ("input × gradient", FIRST_BLOCK, "CAM")
    excess = frame("network method", *(("short", m, 0.2 + 0.1 * i) for i, m in enumerate(methods)))
    columns = ["network", "cell", "field", "effective", "AUROC"]
    scales = pd.DataFrame([("short", 0.064, 0.5, 0.25, 0.875)], columns=columns)
    head, row = shown(tables.small(scales, excess))
    assert head[-3:] == ["CAM", FIRST_BLOCK, "input × gradient"]
    assert row == ["short", "0.06", "0.50", "0.25", "0.88", "0.40 (0.30–0.50)", "0.30 (0.20–0.40)", "0.20 (0.10–0.30)"]
    assert shown(tables.shuffled(excess)) == [
        ["trained with", "CAM", "input × gradient"],
        ["short", "0.40 (0.30–0.50)", "0.20 (0.10–0.30)"],
    ]


def test_what_networks_have_learnt_from_stands_side_by_side():
    ludb = frame(
        "system method trained trial class cohort",
        ("s", "random", "real", "excess mass", "", "LUDB", 0.1),
        ("s", "CAM", "real", "excess mass", "", "LUDB", 0.3),
        ("s", "CAM", "synthetic", "excess mass", "", "LUDB", 0.5),
        ("s", "CAM", "synthetic", "excess mass", "", "synthetic", 0.9),
        ("s", "CAM", "synthetic", "AUC", "", "LUDB", 0.9),
        ("s", "saliency", "real", "excess mass", "", "LUDB", 0.9),
    )
    titles = {"synthetic": "on simulated", "many": "on many", "real": "on real"}
    # Saliency is neither an own map nor a baseline.
    assert shown(tables.by_training(ludb, titles, {"s": ["CAM"]})) == [
        ["system", "method", "on simulated", "on real"],
        ["s", "CAM", "0.50 (0.40–0.60)", "0.30 (0.20–0.40)"],
        ["s", "random", "", "0.10 (0.00–0.20)"],
    ]


def test_the_text_on_stability_is_of_own_maps_alone():
    rows = [
        ("s", "CAM", "seeds", 0.3),
        ("s", "CAM", "folds", 0.2),
        ("t", "map", "seeds", 0.75),
        ("t", "map", "folds", 0),
    ]
    table = frame("system method trial", *rows, ("s", "saliency", "seeds", 0.99), ("s", "CAM", "AUC", 0.01))
    found = tables.stability_texts(table, {"s": ["CAM"], "t": ["map"]})
    assert found == {"stable_seeds": "0.30 to 0.75", "stable_folds": "0.00 to 0.20"}


def test_beats_have_a_column_a_trial_and_class():
    rows = frame("system method trial class cohort", ("FCN", "Grad-CAM", "mass", "V", "MIT-BIH", 0.5))
    assert shown(tables.beats(rows)) == [["system", "method", "mass, V"], ["FCN", "Grad-CAM", "0.50 (0.40–0.60)"]]


SIX = frame(
    "system method cohort network",
    ("A b", "CAM", "synthetic", "few", 0.2),
    ("A b", "CAM", "synthetic", "many", 0.5),
    ("A b", "CAM", "synthetic", "many less few", 0.3),
    ("A b", "QRS detector", "synthetic", "many", 0.4),
    ("C", "map", "synthetic", "few", 0.2),
    ("C", "map", "synthetic", "many", 0.2),
    ("C", "map", "synthetic", "many less few", 0.0),
    ("C", "QRS detector", "synthetic", "many", 0.42),
).assign(n=9)
AUROC = pd.DataFrame([("A b", 0.8, 0.95), ("C", 0.7, 0.75)], columns=["system", "few", "many"])


def test_few_and_many_records_and_once_what_knows_no_network():
    assert shown(tables.few_and_many(SIX, AUROC, "Both")) == [
        ["system", "method", "macro-AUROC", "few", "many", "many less few"],
        ["A b", "CAM", "0.80 → 0.95", "0.20 (0.10–0.30)", "0.50 (0.40–0.60)", "0.30 (0.20–0.40)"],
        ["C", "map", "0.70 → 0.75", "0.20 (0.10–0.30)", "0.20 (0.10–0.30)", "0.00 (−0.10 to 0.10)"],
        ["", "QRS detector", "", "0.40 (0.30–0.50)", "0.40 (0.30–0.50)", ""],
    ]
    texts = tables.few_and_many_texts(SIX, AUROC, {"A b": ["CAM"]})
    assert texts == {
        "q6_n_synthetic": "9",
        "q6_a_b_cam_few": "0.20",
        "q6_a_b_cam_few_interval": "0.20 (0.10–0.30)",
        "q6_a_b_cam_many": "0.50",
        "q6_a_b_cam_many_interval": "0.50 (0.40–0.60)",
        "q6_a_b_auroc_few": "0.80",
        "q6_a_b_auroc_many": "0.95",
    }


def test_answers_as_the_text_and_the_tables_say_them():
    asked = [
        Answer("1: so?", "a share", (0.3, 0.2, 0.4), border=0.5, above=False),
        Answer("4: and?", "agreement", (0.1, -0.1, 0.2), shown=0.55),
        Answer("5b: at all?", "nothing"),
        Answer("6: who?", "nobody", testable=False),
    ]
    assert tables.answer_texts(asked[0]) == {"q1_value": "0.30 (0.20–0.40)", "q1_verdict": "supported"}
    assert shown(tables.verdicts(asked))[1:] == [
        ["1: so?", "a share", "0.30 (0.20–0.40)", "supported"],
        ["4: and?", "agreement", "0.55", "undecided"],
        ["5b: at all?", "nothing", "not measured", "undecided"],
        ["6: who?", "nobody", "not asked", "not testable"],
    ]
    kept = frame("system method n trial", ("s", "CAM", 12, "answer 1, focus", 0.3))
    assert shown(tables.kept(kept, "answer "))[1] == ["1, focus", "s", "CAM", "12", "0.30 (0.20–0.40)"]
