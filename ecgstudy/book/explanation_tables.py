"""Tables of the chapter on explanations, and what its text says of them."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from ecgstudy.book import report
from ecgstudy.explain.blind import BASELINES
from ecgstudy.explain.trials import TRIALS
from ecgstudy.studies.questions import ENDS, FIRST_BLOCK, INPUT_GRADIENT, SOME_LEADS, Answer

KNOW_NOTHING = BASELINES[1:]  # the same for every system; the first, the system's own map moved, is not


def intervals(frame: pd.DataFrame, what: str = "") -> list[str]:
    """Texts of a frame's intervals of two digits, from the columns value, low, high, or ``{what} value`` and so on."""
    ends = [f"{what} {end}".strip() for end in ENDS]
    return report.intervals(frame, ends, digits=2)


def _wide(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row a system and method, in the frame's order, one column each value of ``column``, cells with intervals."""
    order = list(dict.fromkeys(zip(frame["system"], frame["method"], strict=True)))
    cells = frame.assign(text=intervals(frame)).pivot(index=["system", "method"], columns=column, values="text")
    return cells.loc[order]


def networks(found: pd.DataFrame, explanations: int) -> Styler:
    """Table of ``questions.networks``."""
    titles = {
        "AUROC": "macro-AUROC on these records",
        "cell": "cell (s)",
        "field": "a cell sees (s)",
        "maps": "own maps",
    }
    return report.table(
        found.rename(columns=titles),
        f"The networks whose maps are tried, {explanations} explanations. A cell is the map's smallest unit; what it "
        "sees is its receptive field (computed, or measured by gradient).",
        digits=2,
    )


def trials(table: pd.DataFrame, chosen: Sequence[str], caption: str) -> Styler:
    """Mean of the classes in some trials: one row a system and method, one column a trial that the table has.

    Parameters
    ----------
    table
        Of ``explanations.tidy``, one cohort and training.
    """
    shown = _wide(table[(table["class"] == "") & table["trial"].isin(chosen)], "trial")
    return report.table(shown[[trial for trial in chosen if trial in shown]].reset_index(), caption)


def low_is_good(names: Iterable[str]) -> str:
    """A sentence on the trials in which less is better: ``Low is good for deletion and infidelity.``"""
    *most, last = [name for name in names if TRIALS[name].higher_is_better is False]
    return f"Low is good for {', '.join(most)}{' and ' if most else ''}{last}."


def localisation_texts(found: pd.DataFrame, table: pd.DataFrame) -> dict[str, str]:
    """What the text says of ``questions.localisation``: how many methods beat the blind maps, which, and the best."""
    winners = found[found["beats"]].sort_values("method", kind="stable").groupby("system", sort=False)["method"]
    lists = {system: ", ".join(methods) for system, methods in winners}
    best = found.loc[[found["value"].idxmax()]]
    whole = table[(table["class"] == "") & (table["trial"] == "excess mass")]
    return {
        "tried": str(len(found)),
        "beat": str(found["beats"].sum()),
        "beat_which": "; ".join(f"{s}: {lists[s]}" for s in dict.fromkeys(found["system"]) if s in lists) or "none",
        "best": f"{best['method'].item()} of {best['system'].item()}",
        "best_value": intervals(best)[0],
        "energy_value": intervals(whole[whole["method"] == "signal energy"])[0],
    }


def by_lead(found: pd.DataFrame) -> Styler:
    """Table of ``questions.by_lead`` of several systems (``system``): a column for each class, and their mean."""
    found = found.assign(method=found["map"], classes=found["class"].replace("", "mean"))
    shown = _wide(found, "classes")[[*SOME_LEADS, "mean"]].rename_axis(index={"method": "map"})
    return report.table(
        shown.reset_index(), "The right time and lead: excess mass over leads and samples, 95 % intervals."
    )


def recognition(known: pd.DataFrame, caption: str) -> Styler:
    """Table of ``questions.recognition_of_st`` or ``recognition_on_board``: how well each network tells each class."""
    counts = {"n": "records with", "absent": "without"}
    shown = known[["system", "class", *counts]].rename(columns=counts)
    for what in ("AUROC", "recall", "precision"):
        shown[what] = intervals(known, what)
    if "ceiling" in known:
        shown["a perfect map, blurred"] = [report.number(share, 2) for share in known["ceiling"]]
    return report.table(shown.assign(asked=np.where(known["asked"], "yes", "no")), caption)


def focus(found: pd.DataFrame, known: pd.DataFrame) -> Styler:
    """Table of ``questions.focus_of_systems``, and of the classes that ``recognition_of_st`` leaves out."""
    columns = ["system", "method", "class", "true positives", "share that focus on ST", "excess mass on ST"]
    about = (found[column] for column in ("system", "method", "class", "n"))
    rows = [*zip(*about, intervals(found, "focus"), intervals(found, "mass"), strict=True)]
    left = known[~known["asked"]]
    told = [f"not asked: AUROC {said}" for said in intervals(left, "AUROC")]
    rows += [(name, "", c, "", said, "") for name, c, said in zip(left["system"], left["class"], told, strict=True)]
    return report.table(
        pd.DataFrame(rows, columns=columns).astype(str),
        "Own maps of true positives on the ST segments of the answer key, 95 % intervals. One map in twenty focuses by "
        "chance.",
    )


def real_focus(rows: pd.DataFrame, known: pd.DataFrame) -> Styler:
    """Table of the committed answers to the first question on real records, and what ``known`` says of them."""
    left = known[~known["asked"]].assign(said=lambda part: intervals(part, "AUROC"))
    why = {
        name: "; ".join(f"{c} {said}" for c, said in zip(part["class"], part["said"], strict=True))
        for name, part in left.groupby("system")
    }
    shown = rows[["system", "method", "n"]].rename(columns={"n": "true positives"})
    asked = [f"no: AUROC of {why[name]}" if name in why else "yes" for name in rows["system"]]
    return report.table(
        shown.assign(**{"share that focus on ST": intervals(rows), "asked": asked}),
        "Own maps of true positives among real records with STD or STE, 95 % intervals by Wilson "
        "(results/explanations.csv.gz). One map in twenty focuses by chance. The rows are of both classes together, so "
        "that a network must tell both.",
    )


def all_classes(found: pd.DataFrame, networks: int) -> Styler:
    """Table of ``questions.on_all_classes``; ``networks`` is how many an arm has."""
    shown = found[["arm", "method"]].rename(columns={"method": "map"})
    shown = shown.assign(**{"AUC in the evidence of all classes": intervals(found)})
    records = found["n"].iloc[0]
    return report.table(shown, f"{records} records with several classes, mean over {networks} networks an arm.")


def apart(found: pd.DataFrame) -> Styler:
    """Table of ``questions.apart``."""
    shown = found[["system", "method"]].rename(columns={"method": "map"})
    shown["overlap of two classes' maps"] = intervals(found, "overlap")
    shown["own minus other"] = intervals(found, "apart")
    # The answer key has no map that could lie on the other class's evidence.
    shown.loc[found["apart value"].isna() & (found["method"] == ""), "own minus other"] = ""
    return report.table(
        shown, f"{found['n'].iloc[0]} pairs of classes of one record, 95 % intervals. Overlap is a correlation."
    )


def families(ranks: pd.DataFrame) -> Styler:
    """Table of ``questions.families``, a system's best method first; systems in the order of the frame."""
    shown = ranks.assign(all=ranks.mean(axis=1)).reset_index()
    place = {system: number for number, system in enumerate(dict.fromkeys(shown["system"]))}
    shown = shown.sort_values(["system", "all"], key=lambda c: c.map(place) if c.name == "system" else c)
    return report.table(shown, "Mean rank of each method among its system's, by family of trials; 1 is best.", digits=1)


def small(scales: pd.DataFrame, excess: pd.DataFrame) -> Styler:
    """Table of ``questions.small_scales`` and of the means of ``questions.small_excess``."""
    cells = excess.assign(text=intervals(excess)).pivot(index="network", columns="method", values="text")
    titles = {"cell": "cell (s)", "field": "sees (s)", "effective": "of it 90 % (s)", "AUROC": "macro-AUROC"}
    shown = scales.rename(columns=titles).join(cells[["CAM", FIRST_BLOCK, INPUT_GRADIENT]], on="network")
    return report.table(
        shown,
        "Small networks: excess mass of three methods against how far a cell sees, mean of classes, 95 % intervals. "
        "The last three columns are maps of the last layer, of the first block and of the samples.",
        digits=2,
    )


def shuffled(excess: pd.DataFrame) -> Styler:
    """Table of a network that learnt from the true labels and of one that learnt from shuffled ones."""
    excess = excess[excess["method"] != FIRST_BLOCK]
    cells = excess.assign(text=intervals(excess)).pivot(index="network", columns="method", values="text")
    return report.table(
        cells.rename_axis("trained with").reset_index(),
        "Excess mass of the short network, trained with the true labels and with shuffled ones, 95 % intervals.",
    )


def by_training(committed: pd.DataFrame, titles: Mapping[str, str], own: Mapping[str, Iterable[str]]) -> Styler:
    """Excess mass on LUDB by what the networks have learnt from: one column for each of ``titles`` that is there.

    Parameters
    ----------
    committed
        Of ``explanations.committed``.
    titles
        Value of ``trained`` → heading.
    own
        System → its own maps; input × gradient and the baselines follow.
    """
    rows = committed[
        (committed["cohort"] == "LUDB") & (committed["class"] == "") & (committed["trial"] == "excess mass")
    ]
    cells = _wide(rows, "trained")
    wanted = [(system, m) for system, maps in own.items() for m in (*maps, INPUT_GRADIENT, *BASELINES)]
    cells = cells.loc[[row for row in wanted if row in cells.index], [t for t in titles if t in cells]]
    return report.table(
        cells.rename(columns=titles).reset_index(),
        "Excess mass on LUDB of networks trained on simulated and on real records, 95 % intervals "
        "(results/explanations.csv.gz).",
    )


def stability_texts(table: pd.DataFrame, own: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """How alike the own maps of two trainings are, lowest to highest: ``stable_seeds`` and ``stable_folds``."""
    pairs = pd.MultiIndex.from_tuples([(system, m) for system, maps in own.items() for m in maps])
    values = table[pd.MultiIndex.from_frame(table[["system", "method"]]).isin(pairs)].groupby("trial")["value"]
    ends = values.agg(["min", "max"])
    return {
        f"stable_{trial}": " to ".join(report.number(v, 2) for v in ends.loc[trial]) for trial in ("seeds", "folds")
    }


def beats(committed: pd.DataFrame) -> Styler:
    """Table of the trials of maps of single beats."""
    rows = committed[committed["cohort"] == "MIT-BIH"]
    rows = rows.assign(text=intervals(rows), column=rows["trial"] + ", " + rows["class"])
    return report.table(
        rows.pivot(index=["system", "method"], columns="column", values="text").fillna("").reset_index(),
        "Grad-CAM of beats of DS2, 95 % intervals over patients: share of the map in the class's window, the same "
        "above chance, and Spearman's correlation over segments with the map of shuffled weights and of another seed.",
    )


def few_and_many(six: pd.DataFrame, auroc: pd.DataFrame, caption: str) -> Styler:
    """Excess mass of every method with few records, with many, and the difference.

    Parameters
    ----------
    six
        Of ``questions.few_and_many``, one cohort.
    auroc
        Of ``leaderboard.more_records``.
    """
    cells = _wide(six, "network")[["few", "many", "many less few"]].fillna("").reset_index()
    nothing = cells["method"].isin(KNOW_NOTHING)
    # What knows nothing of a network is the same for all of them, and has neither few records nor a system.
    shown = pd.concat([cells[~nothing], cells[nothing].drop_duplicates("method")], ignore_index=True)
    nothing = shown["method"].isin(KNOW_NOTHING)
    shown["few"] = shown["few"].mask(nothing, shown["many"])
    ends = auroc.set_index("system")[["few", "many"]].loc[shown["system"]].to_numpy()
    shown.insert(2, "macro-AUROC", [" → ".join(report.number(v, 2) for v in row) for row in ends])
    shown.loc[nothing, ["system", "macro-AUROC"]] = ""
    return report.table(shown, caption)


def few_and_many_texts(six: pd.DataFrame, auroc: pd.DataFrame, own: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Numbers of the text on each system's own maps (``own``), their names in lower case and without spaces.

    ``q6_butteam_cam_few`` is the excess mass of a map on simulated records, ``q6_butteam_cam_few_interval`` the same
    with its interval, ``q6_butteam_auroc_few`` the macro-AUROC of the network, ``q6_n_ludb`` the number of
    explanations.
    """
    texts = {f"q6_n_{cohort}": f"{n}" for cohort, n in six.groupby("cohort")["n"].max().items()}
    rows = six[(six["cohort"] == "synthetic") & (six["network"] != "many less few")]
    for row, text in zip(rows.itertuples(), intervals(rows), strict=True):
        if row.method in own.get(row.system, ()):
            name = f"q6_{row.system}_{row.method}_{row.network}"
            texts |= {name: report.number(row.value, 2), f"{name}_interval": text}
    for row in auroc[auroc["system"].isin(own)].itertuples():
        texts |= {f"q6_{row.system}_auroc_{end}": report.number(getattr(row, end), 2) for end in ("few", "many")}
    return {name.lower().replace(" ", "_"): text for name, text in texts.items()}


def recognition_texts(known: pd.DataFrame, system: str, number: str) -> dict[str, str]:
    """AUROC of both classes by a system, as the text has it: ``q1_knows``."""
    own = known[known["system"] == system]
    said = [f"{c} {text}" for c, text in zip(own["class"], intervals(own, "AUROC"), strict=True)]
    return {f"q{number}_knows": " and ".join(said)}


def answer_texts(answer: Answer) -> dict[str, str]:
    """Number and verdict of an answer, as the text has them: ``q5a_value``, ``q5a_verdict``."""
    return {f"q{answer.number}_value": _value(answer), f"q{answer.number}_verdict": answer.verdict}


def _value(answer: Answer) -> str:
    if answer.shown is not None:
        return report.number(answer.shown, 2)
    value, low, high = answer.interval
    if not answer.testable and pd.isna(value):
        return "not asked"
    return "not measured" if pd.isna(value) else report.interval(value, low, high, digits=2)


def verdicts(answers: Sequence[Answer]) -> Styler:
    """Table of a page's answers."""
    rows = [(a.question, a.measured, _value(a), a.verdict) for a in answers]
    return report.table(
        pd.DataFrame(rows, columns=["question", "measured", "value", "verdict"]),
        "The questions. Borders are stated with what was measured.",
    )


def kept(rows: pd.DataFrame, prefix: str) -> Styler:
    """Table of committed answers; ``prefix`` is left out of their trials."""
    shown = rows[["system", "method", "n"]].assign(value=intervals(rows))
    shown.insert(0, "answer", rows["trial"].str.removeprefix(prefix))
    return report.table(
        shown,
        "The committed answers but the sixth's, which has tables of its own (results/explanations.csv.gz), "
        "95 % intervals.",
    )
