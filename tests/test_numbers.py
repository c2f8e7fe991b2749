"""One number, one interval: what is written by hand is what the results files say, and all bootstraps are one."""

import ast
import functools
import importlib
import inspect
import json
import pkgutil
import re

import pandas as pd
import pytest
import torch
import yaml
from ecgdatakit.parsing.parsers import sierra_xml

import ecgstudy
from ecgstudy import metrics, windows, workers
from ecgstudy.book import live, real_records, report, trial_pages
from ecgstudy.data import audit, building
from ecgstudy.data.devices import common
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.simulator import synthetic
from ecgstudy.paths import NOTEBOOKS, REPOSITORY, RESULTS
from ecgstudy.reading.shipped import shipped
from ecgstudy.studies import (
    ablation_tables,
    ablations,
    beat_transfer,
    claims,
    costs,
    explanations,
    fair_trial,
    leaderboard,
    starts,
    transfer,
)
from ecgstudy.systems import catalogue
from ecgstudy.systems.catalogue import by_name
from tests.attack import mutations, runner

README = " ".join((REPOSITORY / "README.md").read_text().split())
# A paper that is new has no committed answers yet.
PAPERS = [cls.name for cls in catalogue.of_papers() if (leaderboard.FOLDER / "real" / f"{cls.name}.json").exists()]
ENDS = ["value", "low", "high"]
NUMBER = r"[−-]?\d?\.\d+"
INTERVAL = rf"{NUMBER} \({NUMBER}(?:–| to ){NUMBER}\)"


def short(value, digits=2):
    """A number as the README writes it: .867, −.02."""
    return report.number(value, digits).replace("0.", ".", 1)


def limits(row, digits=2, sign=1):
    """A number with its limits, or those of the negative number."""
    value, low, high = (short(sign * number, digits) for number in (row if sign > 0 else [row[0], row[2], row[1]]))
    return f"{value} ({low}{' to ' if low.startswith('−') else '–'}{high})"


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
    real = auroc("real")
    trees, best = (real.loc[name, ["value", "low", "high"]] for name in ("features and trees", "xECGNet"))
    alone = real.drop(index=["features and trees", "all together"])
    alone = alone[alone.index.map(leaderboard.saw_its_board_alone)]
    assert trees["value"] > alone["value"].max() and real.loc[PAPERS, "value"].idxmax() == "xECGNet"
    yield f"On {len(leaderboard.records_of('real'))} real records in five folds, "
    yield f"trees on measured features score a macro-AUROC of {limits(trees, 3)}"
    yield f"xECGNet with {limits(best, 3)}"
    yield f"The folder that a record came from is worth {short(real.loc['source alone', 'value'], 3)}"
    aside = leaderboard.pairs_within_sources("by-source", repeats=2).set_index("system")["value"]
    networks = aside[aside.index.map(leaderboard.saw_its_board_alone)].drop(["features and trees", "all together"])
    yield f"no network scores above {short(networks.max(), 3)}, "
    yield f"and the trees score {short(aside['features and trees'], 3)} "
    yield "(each record compared with others of its source)."
    own = "Local evidence, midway"
    records, answers = leaderboard.records_of("real"), leaderboard.answers_of("real")
    y, who = records[list(CLASSES)].to_numpy(dtype=bool), records["patient_id"].to_numpy()
    above = metrics.bootstrap_difference(metrics.macro_auroc, y, answers[own][0], answers["xECGNet"][0], who)
    yield f"it scores {limits(real.loc[own, ['value', 'low', 'high']], 3)}: {limits(above[:3], 3)} above xECGNet"
    few, many = (auroc(trial)["value"].map(lambda v: short(v, 3)) for trial in ("synthetic", "synthetic-large"))
    single = auroc("synthetic")["value"].drop(index=["features and trees", "all together"])
    single = single[[name for name in single.index if f"{name}, one" not in single.index]]
    learnt = round(2 / 3 * len(leaderboard.records_of("synthetic")), -2)
    yield f"Trained on {learnt:,.0f} simulated records, the trees score {few['features and trees']} and "
    yield f"the best single network {short(single.max(), 3)} ({single.idxmax()})."
    yield f"Trained on {leaderboard.LARGE - len(leaderboard.records_of('synthetic-large')):,}, "
    yield f"the trees score {many['features and trees']}, ECGMaster {many['ECGMaster']}, BUTTeam {many['BUTTeam']} "
    yield f"and xECGNet {many['xECGNet']}; CNN-GAP stays behind with {many['CNN-GAP']}."


def of_transfer():
    rows = transfer.tested().set_index(["reader", "seen", "measure", "class"])[ENDS]
    own, both_aside = "Local evidence", transfer.BOTH_ASIDE
    first = leaderboard.STARTS[leaderboard.VARIED]["records"]
    alone, less, midway, trees = (
        rows.loc[(own, seen, measure, "")].tolist()
        for seen, measure in (
            (transfer.SIMULATED, transfer.AUROC),
            (transfer.SIMULATED, transfer.LESS_REAL),
            (transfer.MIDWAY, transfer.AUROC),
            (transfer.MIDWAY, transfer.LESS_TREES),
        )
    )
    yield f"The study's own network saw {first:,} simulated ECGs and no real one, and scores {limits(alone, 3)} on "
    yield f"{len(transfer.held_out())} real records that are held out: {limits(less, 3)} more than after training on "
    yield "real records."
    yield f"Halfway between both trainings the network alone scores {limits(midway, 3)}, level with the trees."
    assert trees[1] < 0 < trees[2]
    several = starts.committed()
    several = several[(several["class"] == "") & (several["seen"] == transfer.MIDWAY)]
    several = several.set_index(["tested", "who", "measure"])[ENDS]
    five, less = (
        several.loc[(starts.ALL_RECORDS, starts.WITH_TREES, measure)].tolist()
        for measure in (transfer.AUROC, transfer.LESS_TREES)
    )
    yield f"the mean of five such networks and the trees scores {limits(five, 3)}, {limits(less, 3)} "
    yield "more than the trees, and is the best of the study."
    pair = several.loc[(starts.ALL_RECORDS, starts.ONE_WITH_TREES, transfer.AUROC)].tolist()
    yield f"One network and the trees score {limits(pair, 3)}; such a pair ships"
    without = starts.committed().set_index(["who", "tested", "measure", "class"])[ENDS].sort_index()
    without = without.loc[(starts.NONE_REAL, starts.HELD_OUT)]
    score, less = (without.loc[(measure, "")].tolist() for measure in (transfer.AUROC, transfer.LESS_TREES))
    assert less[1] < 0 < less[2]
    yield f"Five such networks and trees, none of which saw a real ECG, score {limits(score, 3)} on them, level with "
    yield "the trees that learned from real ones."
    rows_there = starts.committed().query("tested == @starts.ELSEWHERE")
    there = rows_there.set_index(["who", "seen", "measure", "class"])[ENDS].sort_index()
    there = there.loc[(starts.TOGETHER, transfer.SIMULATED)]
    score, less = (there.loc[(measure, "")].tolist() for measure in (transfer.AUROC, transfer.LESS_TREES))
    yield "(LUDB, 200 records, which once helped to adjust the simulator), five such networks that saw no real ECG "
    yield f"score {limits(score, 3)}, {limits(less, 3)} more than trees that learned from "
    yield f"{len(leaderboard.records_of('real'))} real ones."
    of_classes, n = there.loc[transfer.LESS_TREES], rows_there.groupby("class")["positives"].first()
    assert of_classes["value"].nlargest(2).index.tolist() == ["RBBB", "I-AVB"]
    assert of_classes.loc[["RBBB", "I-AVB"], "value"].sum() > of_classes["value"].drop("").clip(lower=0).sum() - 0.01
    yield f"The gain comes from RBBB ({n['RBBB']} records) and first-degree block ({n['I-AVB']})."
    new = [(own, transfer.SIMULATED), (transfer.TREES, transfer.ASIDE), (own, transfer.ASIDE), (own, both_aside)]
    new.append((own, transfer.MIDWAY_ASIDE))
    alone, *others = (rows.loc[(*who, transfer.WITHIN, "")].tolist() for who in new)
    assert all(limit[2] < alone[1] for limit in others[:2])
    yield f"compared within sources, it scores {limits(alone, 3)}, trees that learned from other sources "
    yield f"{limits(others[0], 3)}, itself after the other sources as well {limits(others[2], 3)}, and halfway back "
    yield f"{limits(others[3], 3)}."


def of_ablations():
    many, steps = "epochs of CNN-GAP", "epochs of xECGNet"
    for cohort, times in (("synthetic", "Thirteen times"), ("real", "nearly nine times")):
        few, more = (ablations.card_of(cohort, steps, arm)["config"]["epochs"] for arm in ("as the chapter", "130"))
        assert {"Thirteen times": more / few == 13, "nearly nine times": 8.5 < more / few < 9}[times]
    yield f"add {limits(ablation(steps, '130', 'AUROC', 'synthetic'), 3)} to xECGNet's AUROC."
    yield f"change it by {limits(ablation(steps, '130', 'AUROC', 'real'), 3)}, which settles nothing."
    for name, small, times in (("ECGMaster", "small", 12), ("xECGNet", "an eighth", 60)):
        sizes = [ablations.card_of("real", f"width of {name}", arm)["parameters"] for arm in (small, "as published")]
        assert round(sizes[1] / sizes[0]) == times
    wide = {name: limits(ablation(f"width of {name}", "as published", "AUROC", "real"), 3) for name in PAPERS[1::2]}
    yield f"with a twelfth of its parameters by {wide['ECGMaster']}, "
    yield f"xECGNet from one with a sixtieth by {wide['xECGNet']}."
    at_half, tuned = (ablation("loss of CNN-GAP", "macro-F2", m, "synthetic") for m in ("F2", "F2, tuned"))
    yield f"changes CNN-GAP's F2 by {limits(at_half)} at a threshold of 0.5, "
    yield f"but by {limits(tuned)} at tuned thresholds."
    curves = ablation_tables.validation_scores("synthetic", many)
    ahead = curves["macro-F2"] >= curves["cross-entropy"]
    assert len(ahead) == 100 and ahead.iloc[:40].mean() > 0.9 and not ahead.iloc[60:].any()
    yield f"ends {limits(ablation(many, 'macro-F2', 'AUROC', 'synthetic'), 2, -1)} of AUROC behind it."


@functools.cache
def trial_numbers():
    """What the README says of the trial of maps, from its rows."""
    table, verdicts = fair_trial.table(), fair_trial.committed()
    numbers = {name: text.replace("0.", ".") for name, text in trial_pages.numbers(table, verdicts).items()}
    found = trial_pages.rows(table, "synthetic").set_index(["map", "class"])
    asked = verdicts[verdicts["question"] == "own maps, simulated"]
    said = dict(zip(asked["system"] + " " + asked["method"], asked["verdict"], strict=True))

    assert said["ECGMaster contributions"] == said["Local evidence evidence"] == "supported"
    assert said["BUTTeam CAM"] == "supported" and said["xECGNet attention"] == "not testable"
    smallest = fair_trial.rules()["smallest"]["excess mass"]
    assert asked.set_index(["system", "method"]).loc[("BUTTeam", "CAM"), "high"] < smallest
    assert said["CNN-GAP CAM"] == "not supported"
    groups = verdicts[verdicts["question"] == "own maps, by group"]
    segments = groups[(groups["class"] == "segments") & (groups["verdict"] == "supported")]
    assert segments["system"].tolist() == ["Local evidence"]
    own = found.loc["Local evidence: evidence"]
    below = own.index[own["low"] <= own["floor"]].intersection(CLASSES).drop("NSR")
    assert sorted(below) == ["LBBB", "PAC", "RBBB"] and own["trainings"].unique().tolist() == [5]
    of_waves = groups[(groups["class"] == "waves") & (groups["system"] == "Local evidence")]["verdict"].item()
    waves = found.loc["BUTTeam: CAM"]
    assert waves.index[waves["low"] > waves["floor"]].intersection(CLASSES).tolist() == ["PVC"]
    real = verdicts[verdicts["question"].str.contains("LUDB")]
    assert (real["verdict"] != "supported").all()
    opposite = {"0": "none turn", "1": "one turns"}.get(numbers["opposite"], f"{numbers['opposite']} turn")
    return {
        "learned": f"The networks learned from {numbers['many']} simulated records, in {numbers['trainings']} "
        "trainings of each system.",
        "ecgmaster": f"Over eight classes (NSR apart, whose key holds every QRS) ECGMaster's contributions have "
        f"{numbers['ECGMaster contributions score']}, where a perfect map on their cells has "
        f"{numbers['ECGMaster contributions ceiling']} and the best of the three "
        f"{numbers['ECGMaster contributions floor']}.",
        "butt": f"BUTTeam's CAM has {numbers['BUTTeam CAM score']} where a perfect map has "
        f"{numbers['BUTTeam CAM ceiling']}: it finds PVC and little else. That is more than the best of the three "
        f"({numbers['BUTTeam CAM floor']}), by less than the {short(smallest)} that would matter to us.",
        "cnn_gap": f"CNN-GAP's CAM has {numbers['CNN-GAP CAM score']} on fine cells, where a perfect map has "
        f"{numbers['CNN-GAP CAM ceiling']} and the detector {numbers['CNN-GAP CAM floor']}; but its network "
        "tells the classes apart least.",
        "xecgnet": f"xECGNet's attention cannot be tested over eight classes: on cells of two seconds a perfect map "
        f"has {numbers['xECGNet attention ceiling']}.",
        "own": f"The own network's map has {numbers['Local evidence evidence score']}, where a perfect map has "
        f"{numbers['Local evidence evidence ceiling']} and the best of the three "
        f"{numbers['Local evidence evidence floor']}.",
        "classes": f"For LBBB and PAC it hangs on the training: {limits(own.loc['LBBB', ENDS])} and "
        f"{limits(own.loc['PAC', ENDS])} over five, so that its mean over the classes of waves is {of_waves}.",
        "by_auc": f"The lead of the own network's map is {numbers['own_by_auc']} by it.",
        "ludb": f"On waves that cardiologists marked (LUDB) no map passes: {numbers['ludb_n']} explanations are too "
        "few.",
        "metric": f"By the AUC, {numbers['same_metric']} of {numbers['answers']} answers stay as they are, and "
        f"{opposite} into the opposite.",
    }


def of_explanations():
    yield from trial_numbers().values()
    system, _ = by_name("xECGNet").of_profile("demo")
    cells = by_name("xECGNet").own_maps["attention"](system.network().eval(), torch.zeros(1, 12, system.samples))
    assert round(system.seconds / (cells.shape[-1] - 1)) == 2
    table = explanations.answers()
    std = leaderboard.answers_of("real")["CNN-GAP"][1][:, CLASSES.index("STD")].mean()
    board = leaderboard.committed("real").query("system == 'CNN-GAP' and metric == 'AUROC' and `class` == 'STD'")
    yield f"it calls STD in {100 * std:.0f} % of the real records, "
    yield f"and its AUROC for STD is {limits(board[['value', 'low', 'high']].to_numpy()[0])}."
    (claim,) = (
        c for c in claims.load() if c["measured"].startswith("The same; real records, the surest part of the ST")
    )
    assert claim["verdict"] == "not testable"
    value, low, high = explained("CNN-GAP", "CAM", explanations.ANSWER + "1, focus on ST", "real", "real", table)
    assert value == 0.2
    yield f"one in five of its maps focuses there ({short(low)}–{short(high)})."
    for trial, told_of in (("seeds", "own maps correlate by {} to {}"), ("folds", "between folds by {} to {}.")):
        own_maps = [explained(name, method, trial)[0] for name in PAPERS for method in by_name(name).own_maps]
        yield told_of.format(short(min(own_maps)), short(max(own_maps)))


def of_beats():
    table = pd.read_csv(RESULTS / "beats.csv", keep_default_na=False)
    table = table[(table["metric"] == "macro-F1") & (table["class"] == "")].set_index(["network", "split"])
    table = table[["value", "low", "high"]].astype(float)
    half, whole = "FCN, shape + rhythm + median beat", "FCN, the same: all channels, 360 Hz"
    met, unmet = (limits(table.loc[(half, split)]) for split in ("random beats", "DS1/DS2"))
    yield f"a network that has met the patients has a macro-F1 of {met}, and one that has not {unmet}."
    values = [short(table.loc[(name, "DS1/DS2"), "value"], 3) for name in (whole, half)]
    moved = beat_transfer.committed().query("metric == 'F1' and `class` == 'S'").set_index(["reader", "tested"])
    chosen = moved.xs(beat_transfer.VALIDATED, level="tested")["value"].idxmax()
    there, here = (
        limits(moved.loc[(chosen, half), ["value", "low", "high"]].astype(float))
        for half in (beat_transfer.VALIDATED, beat_transfer.TESTED)
    )
    assert len(beat_transfer.READERS) == 7
    best = "of seven readers, the one that finds premature atrial beats best in the patients on whom it was chosen"
    yield f"{best} has an F1 of {there} there, "
    yield f"and {here} in the other half, which it answered once."
    yield f"the whole FCN at 360 Hz has a macro-F1 of {values[0]}, and half of it at 120 Hz {values[1]}."


@functools.cache
def said(part):
    return list(part())


PARTS = (of_leaderboard, of_transfer, of_ablations, of_explanations, of_beats)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_the_readme_says_what_the_results_say(part):
    for text in said(part):
        assert text in README, text


def test_every_number_of_the_readmes_findings_is_one_of_these():
    findings = README[README.index("## What it has found") : README.index("## Use a part of it")]
    for text in (text for part in PARTS for text in said(part)):
        findings = findings.replace(text, "")
    known = "95 % intervals", "0 is chance, 1 is perfect"
    for text in known:
        findings = findings.replace(text, "")
    assert not re.findall(rf"(?<![\w-])(?:{NUMBER}|\d[\d,]*)", findings), findings


def of_protocol():
    for name in PAPERS:
        assert by_name(name).of_profile("real")[0].fs == 125
    yield "at 125 Hz."
    lengths = [by_name(name).of_profile("real")[0].seconds for name in PAPERS if name != "CNN-GAP"]
    assert (min(lengths), max(lengths)) == (10, 20)
    gain = ablation("epochs of xECGNet", "130", "AUROC", "synthetic")[0]
    yield f"thirteen times as many lift xECGNet's AUROC by {short(gain)}."
    yield f"[{leaderboard.LARGE - len(leaderboard.records_of('synthetic-large')):,} simulated ones"
    yield f"[{leaderboard.STARTS[leaderboard.VARIED]['records']:,} that differ more"


def of_rerun():
    yield "Python 3.11 or newer"
    bench = json.loads((RESULTS / "bench.json").read_text())
    quiet, busy = (round(bench[name]["ours"]) for name in ("book", "book_busy"))
    yield f"(AMX) took {quiet} minutes, and {busy} beside a program that kept one of them busy"
    yield f"memory: {workers._MEMORY >> 30} GiB each"
    yield f"this study reads, {len(audit.committed()):,} in all."
    yield f"Philips Sierra {min(sierra_xml._SUPPORTED_VERSIONS)} to {max(sierra_xml._SUPPORTED_VERSIONS)} "
    yield f"more than {common._OLDEST:g} years are told as {common.age_in_years(99, []):g}."
    whole, _ = by_name("xECGNet").of_profile("paper")
    assert whole.epochs == 1000
    yield f"see {whole.seconds:g} s at {whole.fs:g} Hz"
    card = json.loads((RESULTS / "leaderboard" / "synthetic-large" / "xECGNet.json").read_text())
    assert round(card["wall_seconds"] / 60) == 10  # as a listing says
    yield "a kernel of 8, 16 or 32 gives wrong numbers"
    first, *_ = (
        layer for layer in by_name("CNN-GAP").configured({}).network().modules() if isinstance(layer, torch.nn.Conv1d)
    )
    yield f"twelve leads and a kernel of {first.kernel_size[0]}."


def of_beyond():
    yield f"Trainings keep their inputs in memory up to {windows.IN_MEMORY >> 30} GiB of them."
    yield f"grows with its inputs until these have {windows.IN_MEMORY >> 30} GiB, "
    yield f"in shards of at most {building.RECORDS:,} records"
    yield f"of more than {building.RECORDS:,} records"
    point = costs.Point("training", "records")
    yield f"Records have {costs.SECONDS} s at {point.fs} Hz, "
    yield "1 is linear."
    assert costs.LARGE == 300_000
    yield f"Three hundred thousand records take {round(costs.LARGE * 12 * 1000 * 4 / 1e9)} GB of disk"
    table = costs.committed()
    large = table[(table["varied"] == "records") & (table["amount"] == costs.LARGE)].set_index("task")
    assert large.loc[["training", "training, noise"], "peak_mib"].max() < 4 * 1024
    yield "a training on them stays within 4 GiB of memory"
    yield f"Its memory is {workers._MEMORY >> 30} GiB and twice the inputs"
    records = len(leaderboard.records_of("real"))
    yield f"repeats some: {records} on two processes are {records + records % 2}."
    yield from ("The process of rank 0 runs it", "and leave with rank 0.", "come from rank 0.", "by rank 0 alone")
    yield "The beats of chapter 07 and all maps"


def of_reproducibility():
    yield f"[{leaderboard.LARGE - len(leaderboard.records_of('synthetic-large')):,} simulated records"
    yield "a probability above 1, "
    yield "with exit code 1 "
    yield "are in 95 of 100 cases"
    yield f"may take {runner.Kind.seconds:g} seconds "
    yield f"and {mutations.TIMES} times the file's size plus {mutations.MEMORY >> 20} MB."


def of_live_network():
    small, large = (shipped(name) for name in live.NETWORKS.values())
    fs = small.system.fs
    assert [round(8 * one.networks[0].receptive_field / fs) for one in (small, large)] == [2, 3]
    yield f"in steps of {1000 * small.networks[0].stride / fs:.0f} ms."
    yield "in the formats 16, 212, 24 or 32."


def of_criteria():
    yield f"in {100 * synthetic.DISAGREEMENT:g} % of the label sets"
    yield "a PR of 186 to 199 ms"
    yield "An incomplete block (QRS 108 to 118 ms, the same form)"
    yield "an unspecific delay (120 to 135 ms, a normal form)"


def of_claims():
    yield "The border is 0 unless"
    yield "with a 95 % interval;"
    yield "which are 95 % intervals one by one."
    level = claims.rules()["level"]
    yield f"one minus an m-th of {100 * (1 - level):.0f} %."


def of_index():
    yield "Numbers in brackets are 95 % intervals."


def of_primer_ecg():
    normal, late = (synthetic.CRITERIA[name].definition for name in ("NSR", "I-AVB"))
    wide = synthetic.CRITERIA["LBBB"].definition
    assert "PR 120 to 200 ms, QRS below 120 ms" in normal and "above 200 ms" in late and "at least 120 ms" in wide
    yield "120 to 200 ms in a healthy heart."
    yield "takes less than 120 ms."
    yield "the PR interval is above 200 ms."
    yield "QRS takes 120 ms or more."
    yield "A normal heart does this 60 to 100 times a minute"
    yield "40 milliseconds wide"


def of_primer_cnn():
    yield "eight in ten patients with a probability of 0.8"


def of_real_records():
    rates = {one.data_set: one.fs for one in real_records.committed().values()}
    assert rates.pop("ludb") == 500 and set(rates.values()) == {250}
    yield "brought to 250 samples a second (the one of LUDB has its own 500)"
    yield "CC BY 4.0 and ODC-By 1.0 let anyone"


def of_paper_of_xecgnet():
    yield f"Records have up to {by_name('xECGNet').configured({}).seconds:g} seconds"


def of_paper_of_ecgmaster():
    system = by_name("ECGMaster").configured({})
    assert system.seconds == 60
    yield f"one minute at {system.fs:g} Hz"


PAPER_PAGES = {"papers/xecgnet": of_paper_of_xecgnet, "papers/ecgmaster": of_paper_of_ecgmaster}
PAGES = {part.__name__.removeprefix("of_"): part for part in (of_protocol, of_rerun, of_reproducibility, of_beyond)}
PAGES |= {"criteria": of_criteria, "claims": of_claims, "index": of_index, "glossary": list, "ten_minutes": list}
PAGES |= {"primer_ecg": of_primer_ecg, "primer_cnn": of_primer_cnn, "real_records": of_real_records}
PAGES |= {f"papers/{name}": list for name in ("index", "cnn_gap", "butt", "beat_gradcam")} | PAPER_PAGES
PAGES |= {"live_network": of_live_network}


# Listings, code, addresses, directives and their options, and definitions, which a test of their own compares.
NOT_PROSE = r"```(sh|python|yaml)\n.*?```|`[^`]*`|\]\([^)]*\)|:{3,}[^\n]*|:\w+: [^\n]*|- \*\*Definition.*?\{|CPSC 2018"


@pytest.mark.parametrize("page", PAGES)
def test_every_number_of_a_page_of_prose_is_one_that_is_known(page):
    text = (REPOSITORY / "book" / f"{page}.md").read_text()
    text = re.sub(NOT_PROSE, "", text, flags=re.DOTALL)
    text = " ".join(text.split())
    for known in PAGES[page]():
        assert known in text, known
        text = text.replace(known, "")
    assert not re.findall(r"(?<![\w-])\.?\d[\d.,]*(?![\d-])", text), text


def told_in(path):
    """The prose of a notebook: its Markdown cells and the captions of its figures."""
    cells = json.loads(path.read_text())["cells"]
    captions = [c["metadata"].get("mystnb", {}).get("figure", {}).get("caption", "") for c in cells]
    return "\n".join(["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"] + captions)


def test_no_interval_is_written_by_hand_that_the_results_do_not_hold():
    book = REPOSITORY / "book"
    pages = {path.relative_to(book).as_posix(): path.read_text(encoding="utf-8") for path in book.rglob("*.md")}
    pages |= {path.name: told_in(path) for path in NOTEBOOKS.glob("*.ipynb")}
    pages["claims.yaml"] = "\n".join(c["measured"] for c in yaml.safe_load((RESULTS / "claims.yaml").read_text()))
    for name, text in pages.items():
        assert not re.findall(INTERVAL, " ".join(text.split())), name


def test_a_number_has_one_interval_on_every_page(monkeypatch):
    """The study's own network after simulated and real records, whose number once had three."""
    row = auroc("real").loc["Local evidence, midway"]
    shown = report.interval(*row[["value", "low", "high"]])
    records, answers = leaderboard.records_of("real"), leaderboard.answers_of("real")
    y, who = records[list(CLASSES)].to_numpy(dtype=bool), records["patient_id"].to_numpy()
    again = metrics.bootstrap_interval(metrics.macro_auroc, y, answers[row.name][0], who)
    assert report.interval(*again) == shown
    assert shown.replace("0.", ".") in README


def calls_of(path):
    """Every call in the code of a notebook."""
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            yield from (node for node in ast.walk(ast.parse("".join(cell["source"]))) if isinstance(node, ast.Call))


# Whose seed moves maps; their bootstraps have the seed of all.
OTHER_SEED = {"questions.by_lead", "single_beats.window_trial", "single_beats.correlation_trial"}


def test_no_page_has_a_bootstrap_of_its_own_seed():
    counted = 0
    for path in NOTEBOOKS.glob("*.ipynb"):
        for call in calls_of(path):
            given = [*call.args, *(keyword.value for keyword in call.keywords)]
            names = {node.attr for value in given for node in ast.walk(value) if isinstance(node, ast.Attribute)}
            own = [node for value in given for node in ast.walk(value) if isinstance(node, ast.Call)]
            if "repeats" in names and not any(isinstance(node.func, ast.Attribute) for node in own):
                assert "seed" not in names or ast.unparse(call.func) in OTHER_SEED, (path.name, ast.unparse(call))
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
