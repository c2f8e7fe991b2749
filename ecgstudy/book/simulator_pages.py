"""Tables and figures of the chapter on the simulator."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from ecgstudy.book import plots, report
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS, Record
from ecgstudy.data.simulator.synthetic import SimulatedRecord
from ecgstudy.studies import realism

_BOX = ("whislo", "q1", "med", "q3", "whishi")  # matplotlib's names of what ``realism.PERCENTILES`` are
_BY_LEAD = ", (?:I|V|aV)"  # what is measured in each lead has the lead's name at its end
_ARMS = ("simulated alone", "real alone", "simulated, then real")


def row_of(measured: pd.DataFrame, **where: str | int) -> pd.Series:
    """The one row of ``results/realism.csv``, or of another table, with these values in these columns.

    Raises
    ------
    ValueError
        when there is none, or more than one.
    """
    rows = measured
    for column, value in where.items():
        rows = rows[rows[column] == value]
    if len(rows) != 1:
        raise ValueError(f"{len(rows)} rows have {where}")
    return rows.iloc[0]


def number_of(measured: pd.DataFrame, digits: int = 3, **where: str | int) -> str:
    """The value of that row, as the book writes it."""
    return report.number(row_of(measured, **where)["value"], digits)


def interval_of(measured: pd.DataFrame, digits: int = 3, **where: str | int) -> str:
    """The value of that row with its interval."""
    value, low, high = row_of(measured, **where)[["value", "low", "high"]]
    return report.interval(value, low, high, digits=digits)


def drawn_quantities(records: Sequence[SimulatedRecord]) -> pd.DataFrame:
    """What the simulator drew for each record: PR and QRS (ms), the variation of RR, and the findings they belong to.

    There is no PR in atrial fibrillation. The findings are those of the heart, whatever the label says.
    """
    rows = []
    for one in records:
        heart, truth = one.parameters["heart"], set(one.parameters["truth"])
        rr = np.diff(one.parameters["beats"]["onset"])
        rows.append(
            {
                "PR (ms)": np.nan if "AF" in truth else 1000 * heart["pr"],
                "QRS (ms)": 1000 * heart["qrs_duration"],
                "variation of RR": rr.std() / rr.mean(),
                "I-AVB": "I-AVB" in truth,
                "LBBB or RBBB": bool(truth & {"LBBB", "RBBB"}),
                "AF": "AF" in truth,
                "ectopic": bool(truth & {"PAC", "PVC"}),
            }
        )
    return pd.DataFrame(rows)


def borderline(drawn: pd.DataFrame) -> Figure:
    """Cumulative shares of ``drawn_quantities`` with and without their findings; dashed: a definition's limit."""
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.8))
    regular = drawn[~drawn["ectopic"]]
    for ax, rows, quantity, finding, others, limit in (
        (axes[0], drawn, "PR (ms)", "I-AVB", "others", 200),
        (axes[1], drawn, "QRS (ms)", "LBBB or RBBB", "others", 120),
        (axes[2], regular, "variation of RR", "AF", "sinus, no ectopic beat", None),
    ):
        for (there, name), look in zip(((False, others), (True, finding)), plots.looks("ab").values(), strict=True):
            sns.ecdfplot(rows.loc[rows[finding] == there, quantity], ax=ax, label=name, **look)
        if limit is not None:
            ax.axvline(limit, color="0.3", linestyle="dashed", linewidth=0.8)
        plots.legend_above(ax, fontsize=8)
        ax.set_ylabel("share of records")
    figure.tight_layout()
    return figure


def disputed(records: Sequence[SimulatedRecord], caption: str, most: int = 8) -> Styler:
    """Count the records whose label is not what their heart has, the commonest pairs first."""
    pairs = [
        ("+".join(one.parameters["truth"]), "+".join(one.record.codes))
        for one in records
        if list(one.record.codes) != one.parameters["truth"]
    ]
    counts = pd.DataFrame(pairs, columns=["the heart has", "the label says"])
    return report.table(counts.value_counts().reset_index(name="records").head(most), caption)


def side_by_side(distribution: pd.DataFrame, group: str) -> pd.DataFrame:
    """One row a quantity of a data set: medians with the 5 to 95 % of real and simulated records, KS with its interval.

    ``distribution`` has the rows of ``realism.distributions``.
    """
    rows = distribution[distribution["group"] == group]
    ks = rows[rows["statistic"] == "KS"].set_index("quantity")
    wide = rows.pivot_table(index="quantity", columns="statistic", values="value", sort=False).loc[ks.index]
    found = pd.DataFrame({"records": ks["n"]})
    for side in ("real", "simulated"):
        points = wide[[f"{side} p{q}" for q in (50, 5, 95)]].to_numpy()
        found[side] = [f"{middle:.4g} ({low:.4g} to {high:.4g})" for middle, low, high in points]
    found["KS"] = report.intervals(ks, digits=2)
    return found.reset_index()


def ks_in_words(distribution: pd.DataFrame) -> dict[str, str]:
    """What all KS come to: their median and number, the worst and of what, how many intervals lie above 0.1."""
    ks = distribution[distribution["statistic"] == "KS"]
    worst = ks.loc[ks["value"].idxmax()]
    return {
        "ks_median": report.number(ks["value"].median(), 2),
        "ks_worst": report.number(worst["value"], 2),
        "ks_worst_what": f"{worst['quantity']} in {worst['group']}",
        "ks_clear": str((ks["low"] > 0.1).sum()),
        "ks_all": str(len(ks)),
    }


def medians(distribution: pd.DataFrame, group: str, *, digits: int = 2, **quantities: str) -> dict[str, str]:
    """Medians of quantities (name=quantity) in a data set and its twins: ``<name>_real`` and ``<name>_simulated``."""
    return {
        f"{name}_{side}": number_of(distribution, digits, group=group, quantity=quantity, statistic=f"{side} p50")
        for name, quantity in quantities.items()
        for side in ("real", "simulated")
    }


def ranges(distribution: pd.DataFrame, group: str, **quantities: str) -> dict[str, str]:
    """The 5th to the 95th percentile of quantities, named as those of ``medians``."""
    told = {}
    for name, quantity in quantities.items():
        for side in ("real", "simulated"):
            low, high = (
                row_of(distribution, group=group, quantity=quantity, statistic=f"{side} p{q}")["value"] for q in (5, 95)
            )
            told[f"{name}_{side}"] = f"{low:.3g} to {high:.3g}"
    return told


def once_a_record(distribution: pd.DataFrame, groups: Sequence[str]) -> pd.DataFrame:
    """``side_by_side`` of several data sets, without what is measured in each lead."""
    both = pd.concat([side_by_side(distribution, group).assign(**{"data set": group}) for group in groups])
    whole = both[~both["quantity"].str.contains(_BY_LEAD, regex=True)]
    return whole[["data set", "quantity", "records", "real", "simulated", "KS"]]


def ks_once_a_record(distribution: pd.DataFrame, groups: Sequence[str]) -> Figure:
    """Draw KS with its interval of what is measured once a record, a panel a data set."""
    ks = distribution[distribution["statistic"] == "KS"]
    rows = pd.concat([ks[ks["group"] == group] for group in groups])
    rows = rows[~rows["quantity"].str.contains(_BY_LEAD, regex=True)]
    options: dict[str, Any] = {"names": "quantity", "panels": "group", "reference": 0.1, "said": "0.1"}
    return plots.forest(rows, xlabel="KS: 0 where distributions are the same", **options)


def boxes_by_lead(distribution: pd.DataFrame, group: str, quantities: Sequence[str]) -> Figure:
    """Paired boxes over the leads, real (plain) beside simulated (hatched): quartiles, whiskers from 5 to 95 %."""
    figure, axes = plt.subplots(len(quantities), 1, figsize=(9, 2 * len(quantities)), sharex=True)
    values = distribution[distribution["group"] == group].set_index(["quantity", "statistic"])["value"]
    for ax, quantity in zip(axes, quantities, strict=True):
        for side, shift, colour, hatch in (("real", -0.17, "0.35", ""), ("simulated", 0.17, plots.BLUE, "///")):
            boxes = []
            for lead in LEADS:
                points = [values[f"{quantity}, {lead}", f"{side} p{q}"] for q in realism.PERCENTILES]
                boxes.append(dict(zip(_BOX, points, strict=True)) | {"label": lead})
            drawn = ax.bxp(
                boxes,
                positions=np.arange(len(LEADS)) + shift,
                widths=0.28,
                showfliers=False,
                patch_artist=True,
                boxprops={"facecolor": colour, "alpha": 0.5, "hatch": hatch},
                medianprops={"color": "black"},
            )
            if ax is axes[0]:
                drawn["boxes"][0].set_label(side)
        ax.set_ylabel(quantity)
        ax.set_xticks(range(len(LEADS)), LEADS)
    plots.legend_above(axes[0], handlelength=1.5)
    figure.tight_layout()
    return figure


def ks_by_lead(distribution: pd.DataFrame, groups: Sequence[str]) -> Figure:
    """Heat maps of KS (in hundredths), one a data set: measures down, leads across."""
    rows = distribution[(distribution["statistic"] == "KS") & distribution["quantity"].str.contains(", ")].copy()
    rows[["measure", "lead"]] = rows["quantity"].str.split(", ", n=1, expand=True)
    rows = rows[rows["lead"].isin(LEADS)]
    figure, axes = plt.subplots(1, len(groups), figsize=(5 * len(groups), 3.4), sharey=True)
    for ax, group in zip(axes, groups, strict=True):
        square = rows[rows["group"] == group].pivot_table(index="measure", columns="lead", values="value", sort=False)
        square = square[list(LEADS)]
        look = {"vmin": 0, "vmax": 0.6, "cmap": "Greys", "cbar": False, "annot_kws": {"fontsize": 7}}
        sns.heatmap(square, annot=100 * square, fmt=".0f", ax=ax, **look)
        ax.set(title=group, xlabel="", ylabel="")
    figure.tight_layout()
    return figure


def strips(records: Sequence[Record]) -> Figure:
    """Numbered strips to guess at: leads II and V2, five seconds, a line each 0.2 s, each strip at its own scale."""
    figure, axes = plt.subplots(len(records), 2, figsize=(10, 1.3 * len(records)), squeeze=False)
    for number, (record, row) in enumerate(zip(records, axes, strict=True), start=1):
        for ax, lead in zip(row, ("II", "V2"), strict=True):
            y = record.signal[LEADS.index(lead), : round(5 * record.fs)]
            ax.plot(np.arange(len(y)) / record.fs, y - np.median(y), color=plots.INK, lw=0.7)
            ax.set(xlim=(0, 5), yticks=[], xticks=[])
            plots.strip_paper(ax)
            ax.set_ylabel(f"{number}  {lead}", rotation=0, ha="right", va="center")
    figure.tight_layout()
    return figure


def solution(strips: Sequence[tuple[Record, bool]]) -> str:
    """HTML that tells of each of ``realism.strips``, when it is opened, what it was, with source and licence."""
    told = []
    for number, (record, real) in enumerate(strips, start=1):
        publisher = "" if record.source == "PTB-XL" else ", PhysioNet/CinC Challenge 2021"
        source = f"real ({record.source}{publisher}, CC BY 4.0, record {record.name})" if real else "simulated"
        labels = ", ".join(name for name in CLASSES if name in record.labels)
        told.append(f"<details><summary>Strip {number}</summary>{source}: {labels}</details>")
    if not any(real for _, real in strips):
        told.append(
            "<p>All are simulated: no real recordings are at hand on the machine that made"
            " this page. <code>ecgstudy data fetch ptb-xl</code> brings some.</p>"
        )
    return "".join(told)


def apart(measured: pd.DataFrame) -> pd.DataFrame:
    """How well each classifier tells real from simulated records, from the rows of ``results/realism.csv``."""
    return measured[measured["question"] == "real or simulated"].assign(metric="AUROC")


def gives_away(lost: pd.Series) -> Figure:
    """Bars of the AUROC that is lost when a feature (the index) is shuffled, the first on top."""
    return plots.bars(lost, xlabel="AUROC lost when this feature is shuffled", digits=3)


def transfer_over_folds(measured: pd.DataFrame) -> pd.DataFrame:
    """Mean macro-AUROC over folds of each arm of ``realism.transfer``, and its difference to real records alone."""
    shown = ("AUROC, mean of folds", "AUROC above real alone")
    rows = measured[(measured["quantity"] == "macro") & measured["statistic"].isin(shown)]
    rows = rows[rows["group"].isin(_ARMS)].sort_values("group", key=lambda g: g.map(_ARMS.index), kind="stable")
    return pd.concat([rows[rows["statistic"] == statistic] for statistic in shown], ignore_index=True)


def drawn_by_class(measured: pd.DataFrame) -> Figure:
    """Draw the AUROC on real records of each class, a mark an arm of ``realism.transfer``."""
    rows = measured[(measured["statistic"] == "AUROC") & (measured["quantity"] != "macro")]
    rows = pd.concat([rows[rows["group"] == arm] for arm in _ARMS])
    options: dict[str, Any] = {"names": "quantity", "series": "group", "reference": 0.5, "said": "chance"}
    return plots.forest(rows, xlabel="AUROC, real records", **options)


def transfer_by_class(measured: pd.DataFrame, caption: str) -> Styler:
    """AUROC of each class and arm of ``realism.transfer``, and the number of real records of the class."""
    rows = measured[(measured["statistic"] == "AUROC") & (measured["quantity"] != "macro")]
    shown = _wide(rows, "quantity", "group").loc[list(CLASSES), ["simulated alone, on simulated", *_ARMS]]
    shown.insert(0, "real records", rows[rows["group"] == "real alone"].set_index("quantity")["n"])
    return report.table(shown.reset_index().rename(columns={"quantity": "class"}), caption)


def real_records(measured: pd.DataFrame, **classes: str) -> dict[str, str]:
    """Number of real records of classes (name=class), or of all (``macro``), that ``realism.transfer`` scored."""
    return {
        name: str(row_of(measured, group="real alone", quantity=quantity, statistic="AUROC")["n"])
        for name, quantity in classes.items()
    }


def _wide(rows: pd.DataFrame, index: str, columns: str) -> pd.DataFrame:
    """Numbers with their intervals as a table."""
    rows = rows.assign(cell=report.intervals(rows))
    return rows.pivot_table(index=index, columns=columns, values="cell", aggfunc="first", sort=False)
