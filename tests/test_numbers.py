"""One number, one interval: what is written by hand is what the results files say, and all bootstraps are one."""

import ast
import importlib
import inspect
import json
import pkgutil
import re

import pandas as pd
import pytest
import yaml

import ecgstudy
from ecgstudy import metrics
from ecgstudy.book import computed, report
from ecgstudy.data.labels import CLASSES
from ecgstudy.paths import NOTEBOOKS, REPOSITORY, RESULTS
from ecgstudy.studies import ablation_tables, explanations, leaderboard
from ecgstudy.systems import catalogue
from ecgstudy.systems.catalogue import by_name

README = " ".join((REPOSITORY / "README.md").read_text().split())
PAPERS = [cls.name for cls in catalogue.of_papers()]
NUMBER = r"[−-]?\d?\.\d+"
INTERVAL = rf"{NUMBER} \({NUMBER}(?:–| to ){NUMBER}\)"


def short(value, digits=2):
    """A number as the README writes it: .867, −.02."""
    return report.number(value, digits).replace("0.", ".", 1)


def limits(row, digits=2, sign=1):
    """A number with its limits, or those of the negative number."""
    value, low, high = (short(sign * number, digits) for number in (row if sign > 0 else [row[0], row[2], row[1]]))
    return f"{value} ({low}–{high})"


def auroc(trial):
    table = leaderboard.committed(trial)
    return table[(table["metric"] == "AUROC") & (table["class"] == "")].set_index("system")


def ablation(question, arm, metric, cohort):
    table = ablation_tables.committed()
    for column, text in {"question": question, "arm": arm, "metric": metric, "cohort": cohort}.items():
        table = table[table[column] == text]
    return table[["difference", "difference_low", "difference_high"]].to_numpy()[0]


def explained(system, method, trial="excess mass", cohort="synthetic", trained="synthetic", table=None):
    table = explanations.committed() if table is None else table
    about = {"system": system, "method": method, "trial": trial, "cohort": cohort, "trained": trained, "class": ""}
    for column, text in about.items():
        table = table[table[column] == text]
    return table[["value", "low", "high"]].to_numpy(float)[0]


def of_leaderboard():
    real, source = auroc("real"), "The folder that a record came from is worth "
    trees, best = (real.loc[name, ["value", "low", "high"]] for name in ("features and trees", "xECGNet"))
    assert real.loc[PAPERS, "value"].idxmax() == "xECGNet"
    value, low, high = (short(number, 3) for number in trees)
    yield f"trees on measured features (macro-AUROC {value}, 95 % interval {low}–{high})"
    yield f"xECGNet with {limits(best, 3)}"
    yield source + short(real.loc["source alone", "value"], 3)
    own = "Local evidence, pre-trained"
    records, answers = leaderboard.records_of("real"), leaderboard.answers_of("real")
    y, who = records[list(CLASSES)].to_numpy(dtype=bool), records["patient_id"].to_numpy()
    above = metrics.bootstrap_difference(metrics.macro_auroc, y, answers[own][0], answers["xECGNet"][0], who)
    yield f"it has {limits(real.loc[own, ['value', 'low', 'high']], 3)}, above xECGNet by {limits(above[:3], 3)}"
    few, many = (auroc(trial)["value"].map(lambda v: short(v, 3)) for trial in ("synthetic", "synthetic-large"))
    one = {name: few.get(f"{name}, one", few.get(name)) for name in few.index}
    yield f"the trees ({few['features and trees']})"
    yield f"(xresnet1d101 {few['xresnet1d101']}, ECGMaster {one['ECGMaster']}, xECGNet {one['xECGNet']})"
    yield f"they have {many['features and trees']}, ECGMaster {many['ECGMaster']}, BUTTeam {many['BUTTeam']} and "
    yield f"BUTTeam {many['BUTTeam']} and xECGNet {many['xECGNet']}."
    before, after = auroc("synthetic").loc["BUTTeam, one", "value"], auroc("synthetic-large").loc["BUTTeam", "value"]
    yield f"BUTTeam's macro-AUROC rises from {short(before)} to {short(after)}"


def of_ablations():
    many, steps = "epochs of CNN-GAP", "epochs of xECGNet"
    yield f"few records give it {limits(ablation(steps, '130', 'AUROC', 'synthetic'), 3)}."
    yield f"as many give it nothing, {limits(ablation(steps, '130', 'AUROC', 'real'), 3)}."
    at_half, tuned, area = (ablation("loss of CNN-GAP", "macro-F2", m, "real")[0] for m in ("F2", "F2, tuned", "AUROC"))
    yield f"lifts CNN-GAP's F2 by {short(at_half)} at a threshold of 0.5, by {short(tuned)} at tuned thresholds"
    yield f"and lowers its AUROC by {short(-area)}."
    yield f"ends behind it by {limits(ablation(many, 'macro-F2', 'AUROC', 'synthetic'), 2, -1)} of AUROC"
    gentle = ablation(many, "macro-F2, rate 0.0003", "AUROC", "synthetic")
    yield f"at the best of four step sizes it is {limits(gentle, 2, -1)}"


def of_explanations():
    own, detector = ("Local evidence", "evidence"), ("Local evidence", "QRS detector")
    yield f"an excess mass of {limits(explained(*own))} on simulated"
    yield f"records, the detector's {short(explained(*detector)[0])},"
    yield f"and of {limits(explained(*own, cohort='LUDB'))} on LUDB, the detector's "
    yield f"on LUDB, the detector's {short(explained(*detector, cohort='LUDB')[0])}."
    real, many = (explained(*own, cohort="LUDB", trained=trained) for trained in ("real", explanations.MANY))
    yield f"when trained on real records, {limits(real)}; trained on 18,000 simulated ones it has {limits(many)}."
    assert real[1] < explained(*detector, cohort="LUDB")[0] < real[2]
    six = explanations.answers()
    few, many = (
        {who: explained(*who, trial=explanations.SIX, trained=trained, table=six) for who in (("BUTTeam", "CAM"), own)}
        for trained in ("synthetic", explanations.MANY)
    )
    yield f"excess mass from {short(few['BUTTeam', 'CAM'][0])} to {short(many['BUTTeam', 'CAM'][0])};"
    tried = six[(six["trained"] == explanations.MANY) & (six["trial"] == explanations.SIX)]["system"].unique()
    theirs = [(name, method) for name in PAPERS if name in tried for method in by_name(name).own_maps]
    best = max(
        (explained(*who, explanations.SIX, trained=explanations.MANY, table=six) for who in theirs),
        key=lambda row: row[0],
    )
    yield f"the best own map of the four papers has {limits(best)}."
    yield f"own network's map rises from {short(few[own][0])} to {short(many[own][0])}."
    _, low, high = explained("CNN-GAP", "CAM", explanations.ANSWER + "1, focus on ST", "real", "real", six)
    yield f"one activation map in five ({short(low)}–{short(high)}) focuses"
    for trial, told in (("seeds", "own maps correlate by {} to {}"), ("folds", "between folds by {} to {}.")):
        own_maps = [explained(name, method, trial)[0] for name in PAPERS for method in by_name(name).own_maps]
        yield told.format(short(min(own_maps)), short(max(own_maps)))


def of_beats():
    table = pd.read_csv(RESULTS / "beats.csv", keep_default_na=False)
    table = table[(table["metric"] == "macro-F1") & (table["class"] == "")].set_index(["network", "split"])["value"]
    met, unmet = (short(float(table["FCN, shape + rhythm + median beat", s])) for s in ("random beats", "DS1/DS2"))
    yield f"a network that has met the patients has a macro-F1 of {met}, and one that has not {unmet}."


SAID = {of.__name__: list(of()) for of in (of_leaderboard, of_ablations, of_explanations, of_beats)}


@pytest.mark.parametrize("of", SAID)
def test_the_readme_says_what_the_results_say(of):
    for text in SAID[of]:
        assert text in README, text


def test_no_interval_is_written_by_hand_that_the_results_do_not_hold():
    held = " ".join(text for of in SAID.values() for text in of)
    for interval in re.findall(INTERVAL, README):
        assert interval in held, interval
    pages = {path.name: path.read_text() for path in (REPOSITORY / "book").glob("*.md")}
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        pages[path.name] = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    pages["claims.yaml"] = "\n".join(c["measured"] for c in yaml.safe_load((RESULTS / "claims.yaml").read_text()))
    for name, text in pages.items():
        assert not re.findall(INTERVAL, " ".join(text.split())), name


def test_a_number_has_one_interval_on_every_page(monkeypatch):
    """The study's own pre-trained network, which had three."""
    row = auroc("real").loc["Local evidence, pre-trained"]
    shown = report.interval(*row[["value", "low", "high"]])
    assert shown == "0.901 (0.878–0.925)"
    records, answers = leaderboard.records_of("real"), leaderboard.answers_of("real")
    y, who = records[list(CLASSES)].to_numpy(dtype=bool), records["patient_id"].to_numpy()
    again = metrics.bootstrap_interval(metrics.macro_auroc, y, answers[row.name][0], who)
    assert report.interval(*again) == shown
    assert f"**{shown}**" in computed.claims_table()
    assert shown.replace("0.", ".") in README


def calls_of(path):
    """Every call in the code of a notebook."""
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            yield from (node for node in ast.walk(ast.parse("".join(cell["source"]))) if isinstance(node, ast.Call))


def test_no_page_has_a_bootstrap_of_its_own_seed():
    counted = 0
    for path in NOTEBOOKS.glob("*.ipynb"):
        for call in calls_of(path):
            given = [*call.args, *(keyword.value for keyword in call.keywords)]
            names = {node.attr for value in given for node in ast.walk(value) if isinstance(node, ast.Attribute)}
            own = [node for value in given for node in ast.walk(value) if isinstance(node, ast.Call)]
            if "repeats" in names and not any(isinstance(node.func, ast.Attribute) for node in own):
                assert "seed" not in names, (path.name, ast.unparse(call))
                counted += 1
    assert counted > 20


def test_every_bootstrap_of_the_package_has_the_same_seed():
    counted = 0
    for module in pkgutil.walk_packages(ecgstudy.__path__, "ecgstudy."):
        for _, function in inspect.getmembers(importlib.import_module(module.name), inspect.isfunction):
            given = inspect.signature(function).parameters
            if {"repeats", "seed"} <= set(given) and function.__module__ == module.name:
                assert given["seed"].default in (0, inspect.Parameter.empty), function
                counted += 1
    assert counted > 10


def test_no_p_is_formatted_but_by_the_one_that_knows_0():
    """A p-value in a page or in the package goes through ``report.p_value``."""
    bare = re.compile(r"(\bp(_\w+)?|\[\\?['\"]p\\?['\"]\](\.\w+\(\))?|\.p|pvalue):\.\df")
    sources = [*NOTEBOOKS.glob("*.ipynb"), *(REPOSITORY / "ecgstudy").rglob("*.py")]
    for form in ("{row['p']:.3f}", '{row[\\"p\\"]:.3f}', "{than['p'].min():.2f}", "{difference.p:.2f}", "{p_wf:.3f}"):
        assert bare.search(form), form
    for path in sources:
        assert not bare.search(path.read_text()), (path.name, bare.search(path.read_text()).group())
