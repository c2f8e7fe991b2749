"""The study in short: five findings for the front page, and six figures for the page "in ten minutes".

Every number is a committed row, or is computed from committed answers.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecgstudy.book import hearts, local_evidence_pages, plots, trial_pages
from ecgstudy.book.report import interval, number
from ecgstudy.explain import blind
from ecgstudy.paths import REPOSITORY
from ecgstudy.studies import explanations, fair_trial, leaderboard
from ecgstudy.systems import System, catalogue

ENDS = ["value", "low", "high"]
RECORD = "PVC"  # class of the record that is explained
TREES, SOURCE, _ = leaderboard.BASELINES
# Marks of the figures, so that no colour is needed to tell them apart.
PAPER, OWN, OTHER, NONE = "o", "s", "D", "^"


def _areas(board: str) -> pd.DataFrame:
    """Macro-AUROC of each entry of a board, with its interval."""
    rows = leaderboard.committed(board).query("metric == 'AUROC' and `class` == ''")
    return rows.set_index("system")[ENDS].astype(float)


def _said(row: pd.Series, digits: int = 3) -> str:
    return interval(*row[ENDS], digits=digits)


def own() -> type[System]:
    """The study's own system."""
    (found,) = (cls for cls in catalogue.with_chapter() if cls.kind == "own")
    return found


def _papers(names: Iterable[str]) -> list[str]:
    """Those of some names that are systems of papers, in the order of the catalogue."""
    there = set(names)
    return [cls.name for cls in catalogue.of_papers() if cls.name in there]


@lru_cache
def _excess() -> pd.DataFrame:
    """Committed excess mass, mean of the classes, indexed by system, method, cohort, trained."""
    rows = explanations.committed()
    rows = rows[(rows["trial"] == "excess mass") & (rows["class"] == "")]
    return rows.set_index(["system", "method", "cohort", "trained"])[[*ENDS, "n"]].sort_index()


def own_maps(names: Iterable[str]) -> list[tuple[str, str]]:
    """System and name of each own map of some systems."""
    return [(name, m) for name in names for m in catalogue.by_name(name).own_maps]


def _window(cls: type[System]) -> float:
    """Seconds that a cell of the own system's map sees."""
    system, _ = cls.of_profile("real")
    network: Any = system.network()
    return network.receptive_field / system.fs


def _cells() -> dict[str, float]:
    """Seconds of a cell of each system's map, as the demo's chapters make them."""
    found = {}
    for cls in catalogue.with_chapter():
        system, _ = cls.of_profile("demo")
        network: Any = system.network()
        found[cls.name] = network.stride / system.fs
    return found


def measurements_first() -> str:
    """Finding: who reads few real records best."""
    areas = _areas("real")
    papers = _papers(areas.index)
    best = areas.loc[papers, "value"].idxmax()
    alone = [n for n in areas.index if leaderboard.saw_its_board_alone(n) and n not in leaderboard.BASELINES]
    assert areas.loc[TREES, "value"] > areas.loc[alone, "value"].max(), "the finding no longer holds: rewrite it"
    return (
        f"**On few real records, measured intervals beat networks.** On {len(leaderboard.records_of('real'))} real "
        "records, decision trees that are given what a reader measures (intervals, amplitudes, ST levels) reach a "
        f"macro-AUROC of {_said(areas.loc[TREES])}; 0.5 is guessing, 1 is perfect. The best of the four published "
        f"systems that read the same 12 leads, {best}, reaches {_said(areas.loc[best])}. ([The "
        "leaderboard](../notebooks/10_leaderboard.ipynb))"
    )


def new_source() -> str:
    """Finding: what a source that was never seen costs."""
    rows, areas = aside(), _areas("real")
    best = rows.drop(index=TREES)["sources"].idxmax()
    whose = "the study's own" if best == own().name else best
    new = leaderboard.pairs_within_sources("by-source", [best, TREES]).set_index("system")
    alone = leaderboard.pairs_within_sources("real", [best + leaderboard.ALONE]).iloc[0]
    records = leaderboard.STARTS[leaderboard.VARIED]["records"]
    return (
        "**A new hospital is harder than a new patient.** Where a whole source of records is left out of the "
        f"training, the best network, {whose}, falls from {number(rows.loc[best, 'patients'])} to "
        f"{_said(new.loc[best])}, and the trees from {number(rows.loc[TREES, 'patients'])} to {_said(new.loc[TREES])}; "
        "records are compared within their source alone. Who knows nothing of a record but the collection that it came "
        f"from scores {_said(areas.loc[SOURCE])} over all records, since the findings are spread unevenly over the "
        f"collections. When the best network has learned from {records:,} simulated ECGs and has seen no real one, it "
        f"has {_said(alone)}. ([How far a simulated heart goes](../notebooks/14_transfer.ipynb))"
    )


def published_maps() -> str:
    """Finding: how much of what their cells allow the papers' own maps reach."""
    found = trial_pages.rows(fair_trial.table(), "synthetic")
    found = found[(found["class"] == "") & found["system"].isin(_papers(found["system"]))]
    nearest, finest = (found.loc[found[column].idxmax()] for column in ("share", "ceiling"))
    coarsest = found.loc[found["ceiling"].idxmin()]
    assert finest["value"] < finest["floor"], "the finest cells are not wasted: rewrite it"
    return (
        "**The copies' maps mark little of the evidence, and most of them cannot mark much.** *Excess mass* is the "
        "share of a map on the evidence beyond chance: 0 is chance, 1 is perfect. A map is as fine as its cells. On "
        f"those of {coarsest['system']}, of {number(_cells()[coarsest['system']], 1)} s each, a perfect map would have "
        f"{number(coarsest['ceiling'], 2)}. On {int(nearest['n'])} simulated cases {nearest['system']}'s "
        f"{nearest['method']} come nearest to a perfect map on their cells: {_said(nearest, 2)} of "
        f"{number(nearest['ceiling'], 2)}, where the best of three maps that ask no network has "
        f"{number(nearest['floor'], 2)}. The cells are those of our small copies: {coarsest['system']}'s last longer "
        f"than the paper's. {finest['system']} has the finest cells: a perfect map has "
        f"{number(finest['ceiling'], 2)} there, and its own {_said(finest, 2)}. ([The maps on "
        "trial](../notebooks/13_trial.ipynb))"
    )


def computed_map() -> str:
    """Finding: what the own system's map and answers are worth."""
    rows, name = _excess(), own().name
    (method,) = own().own_maps
    simulated, more, real, more_real = (
        rows.loc[(name, method, cohort, trained)]
        for cohort in ("synthetic", "LUDB")
        for trained in ("synthetic", explanations.MANY)
    )
    detector = rows.loc[(name, blind.BASELINES[-1], "LUDB", "synthetic")]
    areas = _areas("real").drop(index=[TREES])
    midway = areas.loc[name + leaderboard.MIDWAY]
    assert midway["value"] == areas["value"].max(), "another network leads on real records: rewrite it"
    return (
        "**A map can be the computation itself.** The study's own network scores windows of "
        f"{number(_window(own()), 2)} s or less, and the intervals between beats, and adds up the scores; the map is "
        f"the list of the terms. With {_learned()[0]:,} records to learn from its excess mass is "
        f"{_said(simulated, 2)}, with {_learned()[1]:,} {_said(more, 2)}. On real records with waves that "
        f"cardiologists marked it is {_said(real, 2)} and {_said(more_real, 2)}, where a QRS detector has "
        f"{_said(detector, 2)}, and as much as the map once the key of AF holds the QRS complexes; these records are "
        "no independent test, since they helped to adjust the simulator. Such a map need not cost accuracy: halfway "
        f"between simulated and real records, the network has a macro-AUROC of {_said(midway)} on real ones, more than "
        f"any other network here. ([The sixth system](../notebooks/{own().chapter}.ipynb))"
    )


def two_trainings() -> str:
    """Finding: how much of a map changes when the network is trained once more."""
    values = _stability().query("trial == 'seeds' and cohort == 'synthetic'")
    values = values[values["system"].isin(_papers(values["system"]))]["value"]
    return (
        "**Train again, and the map changes.** Two trainings of one system on the same records, from other random "
        f"numbers, draw maps of the same ECG that correlate by {number(values.min(), 2)} to "
        f"{number(values.max(), 2)}, where 1 would be the same map. One map of one network is one of many. ([The "
        "trials](../notebooks/09_cam_analysis.ipynb))"
    )


FINDINGS = (measurements_first, new_source, published_maps, computed_map, two_trainings)


def findings() -> str:
    """The findings of the front page, a numbered list in the book's Markdown."""
    return "\n".join(f"{place}. {said()}" for place, said in enumerate(FINDINGS, start=1)) + "\n"


def clone() -> str:
    """The repository's address with the line that clones it, of ``CITATION.cff``; what to do where it names none."""
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    address = cited.get("repository-code")
    if not address:
        return "This copy of the study names no public address. In the folder that it was built from:\n\n" + _lines("")
    return f"The study is at [{address}]({address}):\n\n" + _lines(f"git clone {address} ecgstudy && cd ecgstudy\n")


def _lines(first: str) -> str:
    return f"```sh\n{first}make book     # runs the study on simulated records and renders this book\n```\n"


@lru_cache
def _runs() -> dict[str, Any]:
    """A committed network of each system with a chapter: the one that was trained on many simulated records."""
    board = explanations.MANY
    names = [cls.name for cls in catalogue.with_chapter() if not leaderboard.missing(board, [cls.name])]
    return {name: leaderboard.runs_of(board, name)[0] for name in names}


def one_record() -> Figure:
    """A record, the answer key, and the first own map of each system that reads 12 leads."""
    return local_evidence_pages.own_map_of_each(_runs(), [RECORD], hearts.FS)


def record_figure() -> str:
    """``one_record`` as a figure of a page."""
    runs = _runs()
    papers = ("no", "one", "two", "three", "four", "five")[len(_papers(runs))]
    return (
        "```{figure} computed/one_record.svg\n:name: fig-one-record\n"
        ":alt: A simulated ECG with a premature ventricular beat, which is shaded. Below it the maps of five networks: "
        "those of the papers' systems are broad or silent, that of the study's own lies on the beat alone\n\n"
        "One simulated record with a premature ventricular beat, the answer key (shaded), and what the systems of "
        f"{papers} papers and the study's own, in the last row, mark as evidence for it. The number is the share of "
        "the map inside the key; a coarse map covers the beat together with what surrounds it, and a *silent* one "
        f"marks nothing, although its network may answer right. The networks have each learned from {_learned()[1]:,} "
        "simulated records, not from this one, which was chosen for its clear beat and not for its maps. The fifth "
        "paper reads single beats and has no row.\n```\n"
    )


def _source(file: str) -> str:
    return f"`results/{file}`"


# ---- in ten minutes


def key_figure() -> Figure:
    """Three leads of the record with its evidence."""
    s = hearts.shown(RECORD)
    start = min(hearts.STRIPS[RECORD][1], 5.0)
    return plots.strip_ecg(s.signal, s.fs, ("II", "V2", "V5"), start=start, seconds=5, evidence=s.key, scale=1.3)


def minute_key() -> str:
    """The question, and what can answer it."""
    return _figure(
        "key",
        "Three leads of a simulated ECG with two kinds of beats; the broad early ones are marked in every lead",
        "Five seconds of a simulated ECG with premature ventricular contractions (PVC): green is the evidence in each "
        "lead, as the page on [what each label means](criteria.md) defines it.",
    )


def readers() -> pd.DataFrame:
    """Entries of the real board that are drawn: name, mark, value, low, high; the best first."""
    areas = _areas("real")
    rows = []
    for name in areas.index:
        whole = next((name.removesuffix(end) for end in _SIMULATED if name.endswith(end)), name)
        if name.endswith((", one", leaderboard.PRETRAINED, leaderboard.VARIED)) or name == leaderboard.TOGETHER:
            continue
        if whole not in (name, own().name):
            continue
        kind = catalogue.by_name(whole).kind if whole in catalogue.CATALOGUE else ""
        mark = {"paper": PAPER, "own": OWN, "benchmark": OTHER}.get(kind, NONE)
        rows.append({"name": _plain(name), "mark": mark, **areas.loc[name].to_dict()})
    return pd.DataFrame(rows).sort_values("value", ascending=False, ignore_index=True)


def _plain(name: str) -> str:
    """An entry as a figure calls it."""
    texts = {TREES: "decision trees on features", SOURCE: "the source alone", own().name: "own network"}
    texts |= {own().name + end: f"own network, {said}" for end, said in _SIMULATED.items()}
    return texts.get(name, name)


_SIMULATED = {leaderboard.MIDWAY: "simulated and real records", leaderboard.ALONE: "simulated records alone"}


_KINDS = {PAPER: "a paper's", OWN: "the study's own", OTHER: "of a benchmark", NONE: "no network"}
_COLOURS = {PAPER: plots.BLUE, OWN: plots.RED, OTHER: "#888888", NONE: plots.INK}


def readers_figure() -> Figure:
    """Macro-AUROC on real records, a row an entry."""
    rows = readers()
    plots.style()
    figure, ax = plt.subplots(figsize=(7, 0.9 + 0.34 * len(rows)), layout="constrained")
    _dots(ax, rows, [f"{number(v, 2)}" for v in rows["value"]])
    ax.axvline(0.5, color="0.6", linestyle="--", linewidth=1)
    ax.text(0.502, -0.75, "guessing", fontsize=9, color="0.35")
    ax.set(xlim=(0.48, 1.0), xlabel="macro-AUROC on real records, with 95 % intervals")
    _legend(ax, rows["mark"])
    return figure


def _dots(ax: Axes, rows: pd.DataFrame, texts: Sequence[str]) -> None:
    """Values with intervals, a row each from the top, and a text at the end of each."""
    for place, (row, text) in enumerate(zip(rows.itertuples(), texts, strict=True)):
        colour = _COLOURS[row.mark]
        ax.plot([row.low, row.high], [place, place], color=colour, linewidth=2)
        ax.plot(row.value, place, row.mark, color=colour, markersize=6.5)
        ax.text(row.high + 0.008, place, text, va="center", fontsize=9, color=plots.INK)
    ax.set_yticks(range(len(rows)), rows["name"])
    ax.set_ylim(len(rows) - 0.4, -1.1)
    ax.grid(axis="x", color="0.92")
    ax.tick_params(axis="y", length=0)


def _legend(ax: Axes, marks: Iterable[str]) -> None:
    for mark in dict.fromkeys(marks):
        ax.plot([], [], mark, color=_COLOURS[mark], label=_KINDS[mark])
    ax.legend(frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(-0.3, 1), fontsize=9, handletextpad=0.2)


def minute_readers() -> str:
    """Who reads the real records best."""
    rows = readers().set_index("name")
    trees, midway = _plain(TREES), _plain(own().name + leaderboard.MIDWAY)
    assert {*rows.index[:2]} == {trees, midway}, "others lead: rewrite it"
    return _figure(
        "readers",
        "Macro-AUROC on real records with intervals, a row an entry: the decision trees and the study's own network "
        "with simulated and real records lead, level with each other, and the papers' systems follow",
        f"Each entry answered the same {len(leaderboard.records_of('real'))} real records, each record by networks "
        "that had learned from other patients; a paper's system and the study's own are several networks that answer "
        "together. *Simulated records alone* is one network of the study's own that saw "
        f"{leaderboard.STARTS[leaderboard.VARIED]['records']:,} simulated ECGs and nothing else, *simulated and real "
        "records* is [halfway](../notebooks/14_transfer.ipynb) between that network and what real ones make of it. "
        "Networks *of a benchmark* "
        "(resnet1d_wang, xresnet1d101) are two that others have measured on PTB-XL; *the source alone* knows only "
        f"which collection a record came from ({_source('leaderboard.csv')}).",
    ) + (
        f"\nTwo are level at the top: the {trees} with {_said(rows.loc[trees])}, and the {midway} with "
        f"{_said(rows.loc[midway])}. The networks are small copies, and each has learned "
        f"from about {round(4 / 5 * len(leaderboard.records_of('real')), -1):,.0f} real records at most. So this says "
        "what each idea is worth at that size, and not what the published systems can do with the records that they "
        "had; [the protocol](protocol.md) says what is smaller here. But a study without such a baseline cannot say "
        "what its network is worth.\n\n"
        f"{_below(rows)}The labels are those that [each collection](../notebooks/01_data_audit.ipynb) came "
        "with. How a cardiologist would score against them was not measured.\n"
    )


def _below(rows: pd.DataFrame) -> str:
    """What it means that the source alone beats some system, if it does."""
    lost = [name for name in rows.index if rows.loc[name, "value"] < rows.loc[_plain(SOURCE), "value"]]
    if not lost:
        return ""
    return (
        f"The source alone beats {' and '.join(lost)}: the findings are spread unevenly over the collections. A "
        "network may use that as well, so that a part of any score here may be the collection's.\n\n"
    )


def more() -> pd.DataFrame:
    """Macro-AUROC on the same simulated records of one network that learned from few and from many: few, many."""
    few, many = _areas("synthetic"), _areas(explanations.MANY)
    names = [name for name in many.index if name != leaderboard.TOGETHER]
    pairs = {n: (few.loc[f"{n}, one" if f"{n}, one" in few.index else n, "value"], many.loc[n, "value"]) for n in names}
    return pd.DataFrame(pairs, index=["few", "many"]).T.sort_values("many", ascending=False)


def more_figure() -> Figure:
    """A line a system from few training records to many."""
    rows = more()
    plots.style()
    figure, ax = plt.subplots(figsize=(7.6, 4.2), layout="constrained")
    low, high = rows.min(axis=None) - 0.03, rows.max(axis=None) + 0.03
    away = {end: plots.apart((rows[end] - low) / (high - low), 0.017 / (high - low)) for end in rows}
    ends = {end: low + (high - low) * np.array(places) for end, places in away.items()}
    for place, (name, row) in enumerate(rows.iterrows()):
        mark = _mark(str(name))
        ax.plot([0, 1], row, mark + "-", color=_COLOURS[mark], linewidth=1.6, markersize=6)
        ax.text(1.04, ends["many"][place], f"{_plain(str(name))} {number(row['many'], 2)}", va="center", fontsize=9.5)
        few = f"{_plain(str(name))} {number(row['few'], 2)}"
        ax.text(-0.04, ends["few"][place], few, va="center", ha="right", fontsize=9.5)
    learned = _learned()
    ax.set(xlim=(-1.4, 2.2), ylabel=f"macro-AUROC on {len(leaderboard.records_of('synthetic')):,} unseen records")
    ax.set_xticks([0, 1], [f"trained on {learned[0]:,}", f"on {learned[1]:,} records"])
    ax.spines["bottom"].set_visible(False)
    return figure


def _mark(name: str) -> str:
    kind = catalogue.by_name(name).kind if name in catalogue.CATALOGUE else ""
    return {"paper": PAPER, "own": OWN, "benchmark": OTHER}.get(kind, NONE)


def _learned() -> tuple[int, int]:
    """Simulated records that networks learned from: of the small cohort two thirds, of the large one the rest."""
    few = len(leaderboard.records_of("synthetic"))
    return 100 * round(2 / 3 * few / 100), leaderboard.LARGE - len(leaderboard.records_of(explanations.MANY))


def minute_more() -> str:
    """What more records do."""
    rows, learned = more(), _learned()
    gains = rows["many"] - rows["few"]
    assert rows["few"].idxmax() == TREES == gains.idxmin(), "the trees no longer lead with few records: rewrite it"
    networks = [name for name in rows.index if name != TREES and rows.loc[name, "many"] > rows.loc[TREES, "many"]]
    return _figure(
        "more",
        f"Lines from {learned[0]:,} training records to {learned[1]:,}: most networks rise steeply and end above the "
        "decision trees, which gain little",
        f"Each system with {learned[0]:,} and with {learned[1]:,} simulated records to learn from; both times it is "
        f"scored on records that it has not seen ({_source('leaderboard.csv')}; [the "
        "leaderboard](../notebooks/10_leaderboard.ipynb) has the intervals).",
    ) + (
        f"\nWith few records the trees lead. With many they have gained least, and {len(networks)} of the "
        f"{len(rows) - 1} networks have passed them. So which system is best depends on how much each was given to "
        "learn from. These are simulated records: that the order changes is the finding. Neither the scores nor the "
        "new order need hold for real ones.\n"
    )


@lru_cache
def _within(board: str) -> pd.Series:
    """Macro-AUROC of a board's entries, records compared within their source alone."""
    return leaderboard.pairs_within_sources(board, repeats=2).set_index("system")["value"]


def aside() -> pd.DataFrame:
    """Macro-AUROC within sources, of one network in folds of patients and of sources: patients, sources; best first.

    In folds of sources each source is answered by another network; pooled, their levels would be compared, too.
    """
    real, sources = _within("real"), _within("by-source")
    names = [n for n in sources.index if leaderboard.saw_its_board_alone(n) and n != leaderboard.TOGETHER]
    pairs = {n: (real[f"{n}, one" if f"{n}, one" in real.index else n], sources[n]) for n in names}
    return pd.DataFrame(pairs, index=["patients", "sources"]).T.sort_values("sources", ascending=False)


def aside_figure() -> Figure:
    """A row a system: a new source, and new patients."""
    plots.style()
    titles = {"sources": "a new source", "patients": "new patients"}
    rows = aside()[list(titles)].rename(columns=titles, index=_plain)
    return plots.pairs(rows, xlabel="macro-AUROC on real records, each compared with others of its source")


def minute_aside() -> str:
    """What a new source costs."""
    rows = aside()
    lost = (rows["patients"] - rows["sources"]).drop(index=TREES)
    return _figure(
        "aside",
        f"Two dots a system: with new patients scores lie between {number(rows['patients'].min(), 2)} and "
        f"{number(rows['patients'].max(), 2)}, with a new source between {number(rows['sources'].min(), 2)} and "
        f"{number(rows['sources'].max(), 2)}",
        "Decision trees, and one network of each system, tested on patients that they had not seen (filled) and on a "
        "whole source that they had not seen (open). Records are compared within their source alone, so that the "
        "collection tells nothing. Several networks together, as above, score higher "
        "([the leaderboard](../notebooks/10_leaderboard.ipynb) has the intervals).",
    ) + (
        f"\nEvery system loses, the networks between {number(lost.min(), 2)} and {number(lost.max(), 2)}. Sources "
        "differ in their machines, their patients, and in [what their labels mean](../notebooks/01_data_audit.ipynb); "
        "which of these costs how much, the study cannot tell. A score within the own sources says how well a system "
        "knows these sources, and no more.\n"
    )


def map_rows(cohort: str) -> pd.DataFrame:
    """Excess mass of own maps on a cohort, learned from few records and from many, then of blind maps."""
    rows = _excess()
    there = dict.fromkeys(rows.index.get_level_values("system"))
    names = [cls.name for cls in catalogue.with_chapter() if cls.name in there]
    found = []
    for name, method in own_maps(names):
        for trained in ("synthetic", explanations.MANY):
            if (key := (name, method, cohort, trained)) in rows.index:
                about = {"name": f"{_plain(name)}: {method}", "trained": trained, "mark": _mark(name)}
                found.append(about | rows.loc[key].to_dict())
    for method in blind.BASELINES[1:]:
        row = rows.loc[(names[0], method, cohort, "synthetic")]
        found.append({"name": method, "trained": "", "mark": NONE} | row.to_dict())
    return pd.DataFrame(found)


def maps_figure() -> Figure:
    """Excess mass of the own maps: left simulated records, right LUDB."""
    plots.style()
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.6), sharey=True, layout="constrained")
    titles = {"synthetic": "simulated records", "LUDB": "real records (LUDB)"}
    for ax, (cohort, title) in zip(axes, titles.items(), strict=True):
        rows = map_rows(cohort)
        places = {name: place for place, name in enumerate(dict.fromkeys(rows["name"]))}
        for row in rows.itertuples():
            colour, many = _COLOURS[row.mark], row.trained == explanations.MANY
            at = places[row.name] + {"synthetic": -0.16, explanations.MANY: 0.16}.get(row.trained, 0)
            fill = colour if many or not row.trained else "white"
            ax.plot([row.low, row.high], [at, at], color=colour, linewidth=1.6)
            ax.plot(row.value, at, row.mark, color=colour, markerfacecolor=fill, markersize=6)
        ax.axvline(0, color="0.6", linestyle="--", linewidth=1)
        ax.set(title=title, xlim=(-0.15, 0.85), xlabel="excess mass (0 is chance, 1 is perfect)")
        ax.set_yticks(list(places.values()), list(places))
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x", color="0.92")
    axes[0].set_ylim(len(places) - 0.4, -0.6)
    few, many = _learned()
    axes[1].plot([], [], "o", color="0.2", markerfacecolor="white", label=f"learned from {few:,} records")
    axes[1].plot([], [], "o", color="0.2", label=f"from {many:,}")
    axes[1].legend(frameon=False, fontsize=8.5, loc="upper right")
    return figure


def minute_maps() -> str:
    """Where the maps lie."""
    rows, real = (map_rows(cohort) for cohort in ("synthetic", "LUDB"))
    papers = rows[(rows["mark"] == PAPER) & (rows["trained"] == explanations.MANY)]
    best = papers.loc[papers["value"].idxmax()]
    system, _, method = best["name"].partition(": ")
    there = real[(real["name"] == best["name"]) & (real["trained"] == explanations.MANY)].iloc[0]
    own_here, own_there = (t[(t["mark"] == OWN) & (t["trained"] == explanations.MANY)].iloc[0] for t in (rows, real))
    few, many = _learned()
    return _figure(
        "maps",
        "Excess mass of each map with its interval, on simulated and on real records: the papers' maps lie near "
        "zero or a little above, the study's own network far above, signal energy and a QRS detector between them",
        f"How much of each system's map lies on the evidence, beyond chance, with 95 % intervals: {int(best['n'])} "
        f"explanations of simulated records, {int(there['n'])} of real ones from LUDB, where cardiologists marked the "
        "waves. The names after the systems are those of their papers' maps. Two rows ask no network: *signal energy* "
        "marks where the ECG moves most, the *QRS detector* marks every beat "
        f"({_source('explanations.csv.gz')}).",
    ) + (
        f"\nThe numbers here are those of networks that learned from {many:,} records; the front page has those of "
        f"{few:,} as well. Among the papers' maps, that of {system} called *{method}* scores highest: {_said(best, 2)} "
        f"on simulated and {_said(there, 2)} on real records. The own network's map scores {_said(own_here, 2)} and "
        f"{_said(own_there, 2)}.\n\n"
        "Two things are mixed in such a score: where a network finds its evidence, and how finely its map can say so. "
        "A map whose cells last two seconds cannot single out a wave of a tenth of a second, however well its network "
        "looks. [The maps on trial](../notebooks/13_trial.ipynb) set each map beside what is possible on its own "
        "cells, and go through the nine findings one by one: for some of them the evidence is in every beat, and "
        "marking all beats is already a good answer.\n\n"
        "Nor is the contest even. The authors of this study built the simulator, its answer key, and one of the "
        "networks. That network was built to point finely, so its lead here is no surprise. A network may "
        "also rightly use what the key leaves out, such as the pause after an early beat: the key says what makes "
        "the diagnosis by its definition, not everything that goes with it.\n"
    )


@lru_cache
def _stability() -> pd.DataFrame:
    """Committed correlations between the own maps of two trainings: rows with system, method, cohort, trial, n."""
    rows = explanations.committed()
    rows = rows[rows["trial"].isin(("seeds", "folds")) & (rows["class"] == "") & (rows["trained"] == "synthetic")]
    pairs = pd.MultiIndex.from_tuples(own_maps(dict.fromkeys(rows["system"])))
    return rows[pd.MultiIndex.from_frame(rows[["system", "method"]]).isin(pairs)]


def twice_figure() -> Figure:
    """Correlation of the maps of two trainings, a row a map: another seed, other records."""
    rows = _stability().query("cohort == 'synthetic'")
    order = [pair for pair in own_maps(cls.name for cls in catalogue.with_chapter()) if pair[0] in set(rows["system"])]
    plots.style()
    figure, ax = plt.subplots(figsize=(7, 0.9 + 0.44 * len(order)), layout="constrained")
    for place, (name, method) in enumerate(order):
        of_map = rows[(rows["system"] == name) & (rows["method"] == method)].set_index("trial")
        for trial, shift, fill in (("seeds", -0.14, None), ("folds", 0.14, "white")):
            row, colour = of_map.loc[trial], _COLOURS[_mark(name)]
            ax.plot([row["low"], row["high"]], [place + shift] * 2, color=colour, linewidth=1.6)
            ax.plot(
                row["value"], place + shift, _mark(name), color=colour, markerfacecolor=fill or colour, markersize=6
            )
    ax.axvline(1, color="0.6", linestyle="--", linewidth=1)
    ax.text(0.99, -0.72, "the same map", ha="right", fontsize=9, color="0.35")
    ax.axvline(0, color="0.6", linestyle="--", linewidth=1)
    ax.text(0.01, -0.72, "nothing in common", fontsize=9, color="0.35")
    ax.plot([], [], "o", color="0.2", label="same records, another seed")
    ax.plot([], [], "o", color="0.2", markerfacecolor="white", label="other records")
    ax.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(-0.2, 1), fontsize=9)
    ax.set_yticks(range(len(order)), [f"{_plain(name)}: {method}" for name, method in order])
    ax.set(xlim=(-0.2, 1.05), ylim=(len(order) - 0.5, -1), xlabel="correlation of the maps of two trainings")
    ax.tick_params(axis="y", length=0)
    return figure


def minute_twice() -> str:
    """How much of a map another training changes."""
    rows = _stability().query("cohort == 'synthetic'").groupby("trial")["value"].agg(["min", "max"])
    seeds, folds = (" to ".join(number(v, 2) for v in rows.loc[trial]) for trial in ("seeds", "folds"))
    ours = _stability().query("cohort == 'synthetic' and system == @own().name").sort_values("trial")["value"]
    return _figure(
        "twice",
        "Correlations between the maps of two trainings of each system, with intervals: all lie between nothing in "
        "common and the same map, none near the latter",
        "How alike the maps of two trainings of one system are, for the same records and findings: 1 is the same map, "
        "0 is nothing in common. *Another seed*: the training began with other random numbers. *Other records*: it "
        "also had other records to learn from. Each mark compares one pair of trainings "
        f"({_source('explanations.csv.gz')}).",
    ) + (
        f"\nWith another seed the maps correlate by {seeds}, with other training records by {folds}, the own network's "
        f"by {' and '.join(number(v, 2) for v in ours)}. With one pair each, which of the two differs more cannot be "
        "said. A map shows what one network did. Only what the maps of several trainings share can tell about the "
        "ECG.\n"
    )


def _figure(name: str, alt: str, caption: str) -> str:
    return f"```{{figure}} computed/{name}.svg\n:name: fig-{name}\n:alt: {alt}\n\n{caption}\n```\n"


MINUTES: dict[str, Callable[[], str]] = {
    "minute_key": minute_key,
    "minute_readers": minute_readers,
    "minute_more": minute_more,
    "minute_aside": minute_aside,
    "minute_maps": minute_maps,
    "minute_twice": minute_twice,
}
DRAWN: dict[str, Callable[[], Figure]] = {
    "one_record": one_record,
    "key": key_figure,
    "readers": readers_figure,
    "more": more_figure,
    "aside": aside_figure,
    "maps": maps_figure,
    "twice": twice_figure,
}
