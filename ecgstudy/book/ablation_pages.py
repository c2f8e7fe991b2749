"""Tables, figures and numbers of the chapter on ablations."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pandas.io.formats.style import Styler

from ecgstudy.book import plots, report
from ecgstudy.losses import LOSSES
from ecgstudy.studies import ablation_tables, ablations

COHORTS = {"real": "real cohort", "synthetic": "simulated cohort"}
_ENDS = ["value", "low", "high"]
_DIFFERENCE = ["difference", "difference_low", "difference_high"]
_MATCHES = {
    "records": "records",
    "right_control": "right without",
    "right": "right with",
    "only_control": "only without",
    "only_arm": "only with",
    "p": "p",
    "corrected": "corrected p",
}


@dataclass(frozen=True)
class Answers:
    """What the committed table of ablations says of one cohort, written as the book writes it.

    Parameters
    ----------
    table
        Rows of ``ablation_tables.committed``, of all cohorts.
    cohort
        The one that is meant.
    """

    table: pd.DataFrame
    cohort: str

    def rows(self, *questions: str) -> pd.DataFrame:
        """Rows of some questions in this cohort."""
        return self.table[(self.table["cohort"] == self.cohort) & self.table["question"].isin(questions)]

    def row(self, question: str, arm: str, metric: str) -> pd.Series:
        """The one row of an arm and a metric."""
        rows = self.rows(question)
        return rows[(rows["arm"] == arm) & (rows["metric"] == metric)].iloc[0]

    def difference(self, question: str, arm: str, metric: str) -> str:
        """Difference of an arm to its control, with its interval."""
        return difference(self.row(question, arm, metric))

    def differences(self, question: str, arm: str, **metrics: str) -> dict[str, str]:
        """Several of an arm's differences by the names that the text of a page has for them: name=metric."""
        return {name: self.difference(question, arm, metric) for name, metric in metrics.items()}

    def p_values(self, question: str, arm: str, **metrics: str) -> dict[str, str]:
        """Corrected p-values of differences, with their sign, in the same way."""
        return {name: self.p(question, arm, metric) for name, metric in metrics.items()}

    def shortfall(self, question: str, arm: str, metric: str) -> str:
        """By how much an arm is behind its control, with the interval."""
        value, low, high = self.row(question, arm, metric)[_DIFFERENCE]
        return report.interval(-value, -high, -low)

    def comparisons(self, question: str) -> str:
        """Number of arms that are compared with the control."""
        return str(self.rows(question)["arm"].nunique() - 1)

    def p(self, question: str, arm: str, metric: str) -> str:
        """Corrected p-value of that difference, with its sign."""
        return report.p_value(self.row(question, arm, metric)["p"], sign=True)

    def value(self, question: str, arm: str, metric: str, digits: int = 2) -> str:
        """Mean of a metric over the folds."""
        return report.number(self.row(question, arm, metric)["value"], digits)

    def percent(self, question: str, arm: str, metric: str) -> str:
        """The same of a metric that is a share, in per cent."""
        return f"{100 * self.row(question, arm, metric)['value']:.0f} %"

    def balance_and_focus(self, question: str) -> pd.DataFrame:
        """Rows of the weighted focal loss, with its balance ``b`` and its focus ``r`` as columns."""
        arms = ablations.QUESTIONS[question].arms
        rows = self.rows(question)
        rows = rows[[{"b", "r"} <= arms[arm].keys() for arm in rows["arm"]]]
        return rows.assign(**{name: [arms[arm][name] for arm in rows["arm"]] for name in ("b", "r")})


def difference(row: pd.Series) -> str:
    """Difference of a row of the committed table to its control's, with its interval."""
    return report.interval(*row[_DIFFERENCE])


def losses_of_constants(probabilities: NDArray[np.float64], losses: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Draw each loss of a constant answer, scaled to run from 0 to 1, with a dot where it is least.

    Parameters
    ----------
    probabilities
        (answers,), the same for every record.
    losses
        Name of a loss → its values (answers,).
    """
    figure, ax = plt.subplots(figsize=(7.5, 3))
    for (name, look), values in zip(plots.looks(losses, LOSSES).items(), losses.values(), strict=True):
        scaled = (values - values.min()) / np.ptp(values)
        ax.plot(probabilities, scaled, label=name, linewidth=1.4, **look)
        least = scaled.argmin()
        ax.plot(probabilities[least], scaled[least], "o", color=look["color"], clip_on=False)
    ax.set(xlabel="the same probability for every record", ylabel="loss, scaled")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), handlelength=3.5)
    return figure


def small_grid(scores: Mapping[str, pd.DataFrame], metrics: Sequence[str], caption: str) -> Styler:
    """Mean and interval of each metric over the folds, a row a loss; no interval of one fold.

    Parameters
    ----------
    scores
        Loss → its scores: a row a fold, a column a metric.
    """
    rows = []
    for loss, folds in scores.items():
        cells = {}
        for metric in metrics:
            mean, low, high, _ = ablation_tables.corrected_t(folds[metric].to_numpy())
            cells[metric] = report.number(mean, 2) if np.isnan(low) else report.interval(mean, low, high, digits=2)
        rows.append({"loss": loss} | cells)
    return report.table(pd.DataFrame(rows), caption)


def differences(
    answers: Sequence[Answers], question: str, metrics: Sequence[str], arms: Sequence[str] | None = None
) -> Figure:
    """Draw the arms of a question (or some) less their control, a panel a metric and a mark a cohort."""
    control, rows = ablations.QUESTIONS[question].control, _differences(answers, [question], metrics)
    rows = rows if arms is None else rows[rows["arm"].isin(arms)]
    return _drawn(rows, names="arm", xlabel=f"difference to {control}")


def parts(answers: Sequence[Answers], questions: Sequence[str], metrics: Sequence[str]) -> Figure:
    """Draw the arms of several questions, each less its own control, in the same way, with a heading a question."""
    rows = _differences(answers, questions, metrics)
    controls = rows["question"].map(lambda question: ablations.QUESTIONS[question].control)
    rows = rows.assign(arm=rows["arm"] + ", less " + controls, asked=rows["system"] + ": " + rows["question"])
    return _drawn(rows, names="arm", groups="asked", xlabel="difference to the control")


def _differences(answers: Sequence[Answers], questions: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Rows of differences as ``plots.forest`` takes them, with the cohort's name as ``where``; no control's."""
    tables = [one.rows(*questions).assign(where=COHORTS[one.cohort]) for one in answers]
    rows = pd.concat(tables).dropna(subset="difference")
    place = {question: number for number, question in enumerate(questions)}
    rows = rows[rows["metric"].isin(metrics)].sort_values("question", key=lambda q: q.map(place), kind="stable")
    rows = rows.sort_values("metric", key=lambda names: names.map(list(metrics).index), kind="stable")
    return rows.assign(**{end: rows[column] for end, column in zip(_ENDS, _DIFFERENCE, strict=True)})


def _drawn(rows: pd.DataFrame, **options: Any) -> Figure:
    return plots.forest(rows, panels="metric", series="where", reference=0, said="no difference", **options)


def thresholds(rows: pd.DataFrame) -> Figure:
    """Draw the F2 of each arm at a threshold of 0.5 (open dot) and at tuned ones (filled)."""
    wide = rows.pivot(index=["system", "arm"], columns="metric", values="value")
    wide = wide.loc[list(dict.fromkeys(zip(rows["system"], rows["arm"], strict=True))), ["F2", "F2, tuned"]]
    wide.index = [f"{system}: {arm}" for system, arm in wide.index]
    return plots.pairs(wide, xlabel="macro-F2, test records")


def arms(answers: Answers, question: str, metrics: Sequence[str], caption: str) -> Styler:
    """Values of every arm of a question with their intervals, the control first."""
    rows = answers.rows(question)
    rows = rows[rows["metric"].isin(metrics)]
    shown = rows.assign(cell=report.intervals(rows, digits=2)).pivot(index="arm", columns="metric", values="cell")
    order = [arm for arm in ablations.QUESTIONS[question].arms if arm in shown.index]
    return report.table(shown.loc[order, list(metrics)].reset_index(), caption)


def validation(scores: pd.DataFrame, stop: int | None = None) -> Figure:
    """Draw validation scores by epoch (rows), one line an arm (columns), with an upright line at the epoch ``stop``."""
    figure, ax = plt.subplots(figsize=(7.5, 3))
    for name, look in plots.looks(scores.columns, LOSSES).items():
        ax.plot(scores.index, scores[name], label=name, linewidth=1.3, **look)
    ax.set(xlabel="epoch", ylabel="macro-F1, validation records")
    if stop is not None:
        ax.axvline(stop, color="0.6", linewidth=0.8)
    plots.label_ends(ax)
    return figure


def heat(grids: Mapping[str, pd.DataFrame]) -> Figure:
    """Heat maps of three metrics over ``Answers.balance_and_focus``: b across and r down, a row of them a grid."""
    figure, axes = plt.subplots(
        len(grids), 3, figsize=(9.5, 0.5 + 1.6 * len(grids)), sharex=True, squeeze=False, layout="constrained"
    )
    for number, (row, (name, grid)) in enumerate(zip(axes, grids.items(), strict=True), start=1):
        for ax, metric in zip(row, ["AUROC", "F2", "F2, tuned"], strict=True):
            square = grid[grid["metric"] == metric].pivot(index="r", columns="b", values="value")
            sns.heatmap(square, annot=True, fmt=".2f", cmap="Greys", cbar=False, ax=ax, linewidths=0.5)
            ax.set(xlabel="b" if number == len(grids) else "", ylabel="r" if ax is row[0] else "")
            ax.set_title(f"{name}: {metric}", loc="left", fontsize=9)
    return figure


def without_focus(grid: pd.DataFrame, metric: str) -> str:
    """Values of a metric where r is 0, from the smallest b to the largest."""
    row = grid[(grid["metric"] == metric) & (grid["r"] == 0)].sort_values("b")
    return ", ".join(report.number(value, 2) for value in row["value"])


def smallest_to_largest(grid: pd.DataFrame, metric: str) -> str:
    """Range of a metric over all pairs of b and r."""
    values = grid.loc[grid["metric"] == metric, "value"]
    return f"{report.number(values.min(), 2)} to {report.number(values.max(), 2)}"


def reach(grid: pd.DataFrame, metric: str) -> dict[str, str]:
    """How much a metric changes with b at one r (``over_b``, at least) and with r at one b (``over_r``, at most)."""
    values = grid[grid["metric"] == metric].pivot(index="r", columns="b", values="value").to_numpy()
    return {
        "over_b": report.number(np.ptp(values, axis=1).min(), 2),
        "over_r": report.number(np.ptp(values, axis=0).max(), 2),
    }


def best_pair(grid: pd.DataFrame, metric: str) -> dict[str, str]:
    """The pair with the highest value (``top``), its difference to the control (``top_difference``) and ``top_p``."""
    top = grid[grid["metric"] == metric].sort_values("value").iloc[-1]
    return {
        "top": f"b = {top['b']:g}, r = {top['r']}",
        "top_difference": difference(top),
        "top_p": report.p_value(top["p"]),
    }


def above_control(grid: pd.DataFrame, metric: str, name: str) -> dict[str, str]:
    """How many pairs are above the control (``<name>_above``), and the lowest corrected p (``<name>_least_p``)."""
    than = grid.loc[grid["metric"] == metric, ["difference", "p"]].dropna()
    return {f"{name}_above": str((than["difference"] > 0).sum()), f"{name}_least_p": report.p_value(than["p"].min())}


def spreads(rows: pd.DataFrame, metrics: Sequence[str]) -> dict[str, str]:
    """Largest less smallest value over the arms: ``spread <system> <metric>``."""
    values = rows[rows["metric"].isin(metrics)].groupby(["system", "metric"])["value"]
    spread = values.max() - values.min()
    return {f"spread {system} {metric}": report.number(value, 2) for (system, metric), value in spread.items()}


def typical_half_width(answers: Answers, metric: str) -> str:
    """Half the width of the interval of a difference, the median over all arms of all questions."""
    rows = answers.table[(answers.table["cohort"] == answers.cohort) & (answers.table["metric"] == metric)]
    return report.number(((rows["difference_high"] - rows["difference_low"]) / 2).median(), 2)


def all_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """One row a question and cohort: the difference that decides it, its corrected p, the verdict.

    Returns
    -------
    DataFrame
        question, asked (in short: its arm and metric), cohort, metric, value, low, high, p, verdict.
    """
    rows = []
    for question, about in ablations.QUESTIONS.items():
        arm, metric = about.verdict
        for cohort, group in table[table["question"] == question].groupby("cohort"):
            if arm not in set(group["arm"]):
                continue
            row = Answers(table, cohort).row(question, arm, metric)
            rows.append(
                {
                    "question": about.asks,
                    "asked": f"{question}: {arm} ({metric})",
                    "cohort": COHORTS[cohort],
                    "metric": metric,
                    **dict(zip(_ENDS, row[_DIFFERENCE], strict=True)),
                    "p": row["p"],
                    "verdict": ablation_tables.verdict(group, question),
                }
            )
    return pd.DataFrame(rows)


def verdict_figure(found: pd.DataFrame) -> Figure:
    """Draw ``all_verdicts``, a row a question and a mark a cohort: filled where it is decided."""
    rows = found.assign(decided=found["verdict"] != "undecided")
    options: dict[str, Any] = {
        "names": "asked",
        "series": "cohort",
        "sure": "decided",
        "reference": 0,
        "said": "no difference",
    }
    return plots.forest(rows, xlabel="difference to the control, 95 % interval", **options)


def verdict_table(found: pd.DataFrame, caption: str) -> Styler:
    """``all_verdicts`` as the book writes them."""
    shown = found[["question", "cohort"]].assign(difference=report.intervals(found))
    shown["in"] = found["metric"]
    shown["corrected p"] = found["p"].map(report.p_value)
    return report.table(shown.assign(verdict=found["verdict"]), caption)


def matches(tests: pd.DataFrame, about: Iterable[str], caption: str) -> Styler:
    """Show McNemar tests of records with several labels.

    Parameters
    ----------
    tests
        As ``ablation_tables.multi_label_matches`` has them, with ``corrected`` p-values or without.
    about
        Columns that tell the rows apart, shown first.
    """
    shown = [column for column in _MATCHES if column in tests]
    written = tests.assign(**{name: tests[name].map(report.p_value) for name in ("p", "corrected") if name in tests})
    return report.table(written[[*about, *shown]].rename(columns=_MATCHES), caption)
