"""Tables, figures and sentences of the chapter in which the maps are on trial, from committed rows and the rules."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from ecgstudy.book import plots, report
from ecgstudy.data.labels import CLASSES
from ecgstudy.explain import ceilings
from ecgstudy.explain.cases import Cases
from ecgstudy.explain.trials import GROUPS
from ecgstudy.studies import fair_trial, leaderboard
from ecgstudy.studies.fair_trial import MANY, SCORED, SEPARATOR
from ecgstudy.systems import catalogue

GROUP_TITLES = {"": "all but NSR", **{group: group for group in GROUPS if group}}
KEY_TITLES = {
    "as defined": "key of AF: f waves alone",
    "AF with the QRS complexes": "key of AF: f waves and QRS",
    "0.1 s longer": "every key 0.1 s longer",
}
BEST_CELL = fair_trial.on_cells(ceilings.CEILINGS[1])
VERDICTS = ("supported", "no difference", "undecided", "not supported", "not testable")
_WORDS = ("no training", "one training", "two trainings", "three trainings", "four trainings", "five trainings")
_ROW = 0.25  # inches


def own_maps() -> list[tuple[str, str]]:
    """System and map, of all that the systems draw themselves."""
    return [(cls.name, method) for cls in catalogue.with_chapter() for method in cls.own_maps]


def rows(
    table: pd.DataFrame,
    cohort: str,
    trained: str = MANY,
    *,
    key: str = "",
    maps: Sequence[tuple[str, str]] = (),
) -> pd.DataFrame:
    """Rows of ``fair_trial.table`` of some maps, the systems' own by default, in order.

    Parameters
    ----------
    key
        The one that decides, by default.

    Returns
    -------
    DataFrame
        The table's columns, ``map`` (system and method) and ``share``: where the value lies between floor (0) and
        ceiling (1); NaN where they are less apart than the smallest effect.
    """
    fixed = fair_trial.rules()
    metric, key = fixed["metric"], key or fixed["key"]
    chosen = (table["cohort"] == cohort) & (table["trained"] == trained)
    chosen &= (table["trial"] == metric) & (table["key"] == key)
    names = [SEPARATOR.join(one) for one in maps or own_maps()]
    found = table[chosen].assign(map=lambda t: t["system"] + SEPARATOR + t["method"])
    found = found[found["map"].isin(names)]
    room = found["ceiling"] - found["floor"]
    share = ((found["value"] - found["floor"]) / room).where(room >= fixed["smallest"][metric])
    return found.assign(share=share).sort_values("map", key=lambda m: m.map(names.index), kind="stable")


def between(
    found: pd.DataFrame,
    titles: Mapping[str, str],
    *,
    supported: Collection[tuple[str, str]] | None = None,
    columns: int = 0,
) -> Figure:
    """Draw each map's score between what is possible and what asks no network: a panel a class or group.

    Each map has a grey bar from floor (an upright line) to ceiling on its own cells, and a dot with its interval.

    Parameters
    ----------
    found
        Of ``rows``.
    titles
        Value of the column class → title of its panel.
    supported
        Map and class of the dots that are filled; by default those whose interval lies above the floor.
    columns
        Panels side by side; all of them, by default.
    """
    if supported is None:
        above = found[found["low"] > found["floor"]]
        supported = set(zip(above["map"], above["class"], strict=True))
    shown = {name: found[found["class"] == name] for name in titles}
    shown = {name: some for name, some in shown.items() if len(some)}
    names = list(dict.fromkeys(found["map"]))
    wide = min(columns or len(shown), len(shown))
    high = -(-len(shown) // wide)
    size = (8.6, 0.5 + high * (0.55 + _ROW * len(names)))
    figure, axes = plt.subplots(high, wide, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained")
    for ax, (name, some) in zip(axes.flat, shown.items(), strict=False):
        _between(ax, some.set_index("map").reindex(names), {one for one, group in supported if group == name})
        ax.set_title(titles[name], loc="left", fontsize=10)
    for ax in axes.flat[len(shown) :]:
        ax.set_visible(False)
    axes[0, 0].set_yticks(-np.arange(len(names)), [plots.plain(name.replace(SEPARATOR, ", ")) for name in names])
    axes[0, 0].set(ylim=(-len(names) + 0.4, 0.6), xlim=(-0.15, 1.07))
    figure.supxlabel(f"{fair_trial.rules()['metric']} (0 is chance, 1 is perfect)", fontsize=9)
    return figure


def _between(ax: Axes, some: pd.DataFrame, filled: Collection[str]) -> None:
    y = -np.arange(len(some))
    low, high = some["floor"].to_numpy(), some["ceiling"].to_numpy()
    ax.barh(y, high - low, left=low, height=0.62, color="0.87", zorder=1)
    ax.vlines(low, y - 0.31, y + 0.31, color="0.45", linewidth=1.2, zorder=2)
    ax.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    for place, row in zip(y, some.itertuples(), strict=True):
        ax.hlines(place, row.low, row.high, color=plots.INK, linewidth=1.4, zorder=3)
        face = plots.INK if row.Index in filled else "white"
        ax.scatter(row.value, place, s=24, facecolor=face, edgecolor=plots.INK, zorder=4)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="0.93")
    ax.set_axisbelow(True)


def supported(verdicts: pd.DataFrame, *asked: str) -> set[tuple[str, str]]:
    """Map and class of what some questions have for supported, as ``between`` fills it."""
    found = verdicts[verdicts["question"].isin(asked) & (verdicts["verdict"] == "supported")]
    return set(zip(found["system"] + SEPARATOR + found["method"], found["class"], strict=True))


def scores(found: pd.DataFrame, caption: str) -> Styler:
    """Table of ``rows``: a map and class or group a row, with ceiling, floor and share of what lies between."""
    told = pd.DataFrame(
        {
            "map": found["map"],
            "class": found["class"].replace({"": GROUP_TITLES[""]}),
            "score": report.intervals(found, digits=2),
            "floor": found["floor"],
            "ceiling": found["ceiling"],
            "share": found["share"],
            "explanations": found["n"].astype(int),
            "trainings": found["trainings"].astype(int),
        }
    )
    return report.table(told, caption, digits=2)


def questions(fixed: Mapping[str, Any]) -> Styler:
    """What is asked, of how many maps, and the level of each interval, as ``rules.yaml`` has it."""
    told = [
        {
            "question": name,
            "hypothesis": " ".join(asked["hypothesis"].split()),
            "answers": asked["m"],
            "level of each interval (%)": report.number(100 * (1 - (1 - fixed["level"]) / asked["m"]), 2),
        }
        for name, asked in fixed["questions"].items()
    ]
    return report.table(pd.DataFrame(told), "The questions, as they were written down before the first answer.")


def answers(verdicts: pd.DataFrame, question: str, caption: str) -> Styler:
    """Table of one question's answers: the difference that was asked for, its interval and what is read from it."""
    found = verdicts[verdicts["question"] == question]
    told = pd.DataFrame(
        {
            "map": found["system"] + SEPARATOR + found["method"],
            "classes": found["class"].map(GROUP_TITLES),
            "rival": found["against"],
            "difference": report.intervals(found, digits=3),
            "ceiling": found["ceiling"],
            "floor": found["floor"],
            "verdict": found["verdict"],
            f"by {fair_trial.rules()['second']}": found["second"],
            "another verdict under": [
                "; ".join(KEY_TITLES.get(key, key) for key in str(also).split("; ") if key)
                for also in found["also"].fillna("")
            ],
            "trainings": found["trainings"].astype(int),
        }
    )
    return report.table(told, caption, digits=2)


def said(verdicts: pd.DataFrame, *asked: str, group: str | None = None) -> Markdown:
    """List of what is supported and what is not, of some questions; ``group``: of that group of classes alone."""
    found = verdicts[verdicts["question"].isin(asked)]
    if group is not None:
        found = found[found["class"] == group]
    order = list(fair_trial.rules()["questions"][asked[0]]["maps"])
    place = (found["system"] + SEPARATOR + found["method"]).map(lambda name: order.index(name) if name in order else 0)
    found = found.loc[place.sort_values(kind="stable").index]
    lines = []
    for verdict in VERDICTS:
        some = found[found["verdict"] == verdict]
        names = dict.fromkeys(some["system"] + "'s " + some["method"])
        if names:
            lines.append(f"- **{verdict}**: {listed(list(names))}")
    return Markdown("\n".join(lines))


def listed(names: Sequence[str]) -> str:
    """Names as one writes them in a sentence."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def agreement(verdicts: pd.DataFrame) -> dict[str, str]:
    """How many answers there are, how many are the same by the second metric, or the opposite, and under every key."""
    first, second = verdicts["verdict"], verdicts["second"]
    clear = ("supported", "not supported")
    opposite = verdicts[first.isin(clear) & second.isin(clear) & (first != second)]
    return {
        "answers": str(len(verdicts)),
        "same_metric": str((first == second).sum()),
        "opposite": str(len(opposite)),
        "opposite_which": listed([_told(row) for row in opposite.to_dict("records")]) if len(opposite) else "none",
        "own_by_auc": ", ".join(verdicts[_main(verdicts)]["second"]),
        "same_keys": str((verdicts["also"].fillna("") == "").sum()),
    }


def _told(row: Mapping[str, Any]) -> str:
    group = f" for {row['class']}" if row["class"] else ""
    return f"{row['system']}'s {row['method']}{group}"


def _main(verdicts: pd.DataFrame) -> pd.Series:
    """Which answer is that of the study's own map on simulated records."""
    (own,) = (cls.name for cls in catalogue.with_chapter() if cls.kind == "own")
    return (verdicts["system"] == own) & (verdicts["question"] == "own maps, simulated")


def numbers(table: pd.DataFrame, verdicts: pd.DataFrame) -> dict[str, str]:
    """What the text of the chapter says of the rows."""
    fixed, found, real = fair_trial.rules(), rows(table, "synthetic"), rows(table, "LUDB")
    by_number = found.groupby("trainings")["system"].unique()
    each = [
        f"{_WORDS[int(number)]}{' each' if len(systems) > 1 else ''} of {listed(list(systems))}"
        for number, systems in by_number.items()
    ]
    first = leaderboard.committed("synthetic-large").query("metric == 'AUROC' and `class` == ''").set_index("system")
    known = [cls.name for cls in catalogue.with_chapter() if cls.name in first.index]
    number_of = real.drop_duplicates("class").set_index("class")["n"].astype(int)
    texts = {
        "trainings": " to ".join(str(int(n)) for n in dict.fromkeys([by_number.index[0], by_number.index[-1]])),
        "trainings_each": "; ".join(each),
        "aurocs": ", ".join(f"{name} {report.number(first.loc[name, 'value'], 2)}" for name in known),
        "smallest": report.number(fixed["smallest"][fixed["metric"]], 2),
        "many": f"{leaderboard.LARGE - leaderboard.SIMULATED['records']:,}",
        "n_simulated": str(int(found.loc[found["class"] == "", "n"].max())),
        "ludb_n": str(number_of[""]),
        "ludb_each": ", ".join(f"{name} {number_of[name]}" for name in CLASSES if name in number_of and name != "NSR"),
    }
    most = rows(table, "synthetic", maps=[(name, BEST_CELL) for name, _ in own_maps()]).set_index(["system", "class"])
    for about in found.to_dict("records"):
        name = f"{about['system']} {about['method']} {about['class']}".rstrip()
        texts[f"{name} score"] = report.interval(about["value"], about["low"], about["high"], digits=2)
        texts[f"{name} ceiling"] = report.number(about["ceiling"], 2)
        texts[f"{name} floor"] = report.number(about["floor"], 2)
        texts[f"{name} most"] = report.number(most.loc[(about["system"], about["class"]), "value"], 2)
        texts[name] = report.number(about["value"] - about["floor"], 2)
        if not np.isnan(about["share"]):
            texts[f"{name} share"] = f"{100 * about['share']:.0f} %"
    return texts | agreement(verdicts)


def spoilt(cases: Cases, cell: float) -> Styler:
    """What three metrics take off a perfect map that is blurred, lifted, or moved by a cell of ``cell`` seconds."""
    found = ceilings.sensitivity(cases, round(cell * cases.fs))
    known = cases.names_of_classes != "NSR"
    told = found[known].groupby(cases.names_of_classes[known]).mean().mean()
    shown = told.unstack("trial")[list(SCORED)]
    order = list(dict.fromkeys(found.columns.get_level_values("method")))
    return report.table(
        shown.loc[order].rename_axis(index="a perfect map,", columns=None).reset_index(),
        f"Scores of maps that we planted, means over eight classes; a cell is {cell:g} s here.",
        digits=2,
    )


def by_class(found: pd.DataFrame) -> Figure:
    """Draw ``between`` of every class, three panels side by side."""
    return between(found, {name: name for name in CLASSES}, columns=3)
