"""What the chapters of the systems share: a system trained on its cohort, what is told of it, how well it does.

A chapter makes its system from the parameters of the notebook, trains it and asks for tables::

    system = SomeSystem.configured(vars(p))
    report.glue_all(chapter.facts(system))
    ours = chapter.train(system, p)
    ours.overall()
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, wraps
from types import SimpleNamespace
from typing import Any, Self, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pandas.io.formats.style import Styler

from ecgstudy import metrics, training
from ecgstudy.book import examples, explanation_tables, plots, report
from ecgstudy.data import own
from ecgstudy.data.cohort import Cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.explain import evaluation, trials
from ecgstudy.explain.cases import unkeyed_cases
from ecgstudy.studies import explanations
from ecgstudy.studies.trainings import Ensemble, together_by_name
from ecgstudy.systems import System, parameter_count

T = TypeVar("T")

CHALLENGE = ("F2", "G2", "geometric mean")
# What a mean over classes is called where it stands beside metrics of whole records.
MACRO = {name: f"macro-{name}" for name in ("AUROC", "AUPRC", "F1", "F2", "G2")}

# Trials that say nothing where nobody has marked the evidence.
_NEED_KEY = (*trials.FAMILIES["localisation"], "mass", "wrong record")

# Of whom, on which data, name of a metric → value, alone or with its interval.
Reported = tuple[str, str, Mapping[str, float | metrics.Interval]]


def source(*things: Any) -> Markdown:
    """Show the source code of classes or functions, folded behind a line with their names."""
    code = "\n\n".join(inspect.getsource(thing) for thing in things)
    names = ", ".join(f"<code>{thing.__name__}</code>" for thing in things)
    said = f"Code: {names}, {len(code.splitlines())} lines"
    return Markdown(f'<details class="ecgstudy-fold"><summary>{said}</summary>\n\n```python\n{code}```\n\n</details>')


def facts(system: System, *, cohort: str = "", **others: Any) -> dict[str, str]:
    """Tell of a system, as trained here and as published, in texts for ``report.glue_all``.

    Parameters
    ----------
    system
        As the chapter trains it. As published is what its class makes of its defaults.
    cohort
        Name of the cohort that it is trained on, whose classes it answers.
    others
        More numbers of the chapter, each told as ``<name>_here``.

    Returns
    -------
    dict
        ``<field>_here`` for each number among the fields of the system: ``fs_here``, ``epochs_here`` and so on.
        ``cells_here``, of the feature map of an input. And of both, as ``<name>_here`` and ``<name>_published``:
        ``parameters``; ``cell``, the seconds from one cell to the next; and ``field``, the seconds that a cell sees, if
        the network tells its receptive field.
    """
    numbers = {field.name: getattr(system, field.name) for field in fields(system)} | others
    kept = {k: v for k, v in numbers.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    told = {f"{name}_here": f"{number:g}" for name, number in kept.items()} | {"cells_here": f"{_cells(system)}"}
    for which, one in (("here", system), ("published", type(system).configured({}))):
        network: Any = one.network(len(own.classes(cohort)) if which == "here" else len(CLASSES))
        told[f"parameters_{which}"] = f"{parameter_count(network):,}"
        told[f"cell_{which}"] = f"{network.stride / one.fs:.2f}"
        if hasattr(network, "receptive_field"):
            told[f"field_{which}"] = f"{network.receptive_field / one.fs:.1f}"
    return told


def _cells(system: System) -> int:
    """Cells of the feature map of an input that a record fills."""
    made: list[int] = []
    network = system.network().eval()
    layer = network.get_submodule(system.feature_layer)
    layer.register_forward_hook(lambda *given: made.append(given[-1].shape[-1]))
    ramp = np.linspace(-1, 1, system.samples, dtype=np.float32)
    with torch.inference_mode():
        network(torch.from_numpy(system.windows(np.tile(ramp, (12, 1)))[0])[None])
    return made[-1]


def needs_key(*glued: str) -> Callable[[Callable[..., T]], Callable[..., T | None]]:
    """Decorate what shows something by the answer key of simulated records, which is of the study's nine classes.

    Where its first argument, a ``Chapter`` or what has ``has_key`` from one, has classes of one's own, it shows instead
    that it is left out, and gives None. ``glued`` are the numbers that it glues for the prose.
    """

    def decorated(show: Callable[..., T]) -> Callable[..., T | None]:
        @wraps(show)
        def shown(ours: Any, *args: Any, **options: Any) -> T | None:
            if ours.has_key:
                return show(ours, *args, **options)
            report.glue_all(dict.fromkeys(glued, "–"))
            display(
                Markdown(
                    "*Left out: this needs the answer key of simulated records, which is of the study's nine classes, "
                    "and this cohort has classes of its own.*"
                )
            )
            return None

        return shown

    return decorated


def difference_facts(name: str, difference: metrics.Difference) -> dict[str, str]:
    """Tell of a difference in texts for ``report.glue_all``: ``<name>`` with its interval, and ``<name>_p``."""
    value, low, high, p = difference
    return {name: report.interval(value, low, high), f"{name}_p": report.p_value(p, sign=True)}


def decided(difference: metrics.Difference, above: str, below: str) -> str:
    """Word what a difference decides by its interval: ``above`` or ``below`` 0, else it is undecided."""
    verdict = metrics.verdict(difference.low, difference.high)
    return {"supported": above, "not supported": below}.get(verdict, verdict)


@dataclass(frozen=True, eq=False)
class Chapter:
    """A system trained on the cohort of its chapter, and how well it does on the test records.

    Attributes
    ----------
    system
        The recipe.
    cohort, source
        The records, and what they are: ``synthetic``, ``real``, or the name of a cohort of one's own.
    test
        Records of the cohort that no member has seen.
    runs
        The members of the ensemble.
    repeats
        Of the bootstrap over patients.
    arms
        What was trained besides, by the names that ``System.arms`` gives: on the same records, splits and seeds.
    """

    system: System
    cohort: Cohort
    source: str
    test: NDArray[np.intp]
    runs: list[training.Run]
    repeats: int
    arms: Mapping[str, Self] = field(default_factory=dict)

    @property
    def has_key(self) -> bool:
        """Whether the answer key of simulated records is of this cohort's classes, which are then the study's nine."""
        return self.cohort.classes == CLASSES

    # What is known and what was answered, of the test records.

    @property
    def data(self) -> str:
        """What the members are tested on, as captions say it."""
        return f"{len(self.test)} test records of the {self.source} cohort"

    @property
    def targets(self) -> NDArray[np.bool_]:
        """Labels (records, classes)."""
        return self.cohort.labels[self.test]

    @property
    def patients(self) -> NDArray:
        """Patient of each record."""
        return self.cohort.table["patient_id"].iloc[self.test].to_numpy()

    @cached_property
    def each(self) -> NDArray[np.float32]:
        """Probabilities (members, records, classes)."""
        return np.stack([run.probabilities(self.test) for run in self.runs])

    @cached_property
    def thresholds(self) -> NDArray[np.float64]:
        """Thresholds (members, classes) that each member chose on its validation records."""
        return np.array([list(run.card["thresholds"].values()) for run in self.runs])

    @cached_property
    def answer(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Probabilities and calls (records, classes) of the members together, as their system joins them."""
        return training.ensemble(self.runs, self.test)

    def pooled_thresholds(self, metric: Any = metrics.f2_g2) -> NDArray[np.float64]:
        """Threshold of each class (classes,) that is best on the validation records of all members together."""
        held_out = pd.concat([run.predictions.query("split == 'valid'") for run in self.runs])
        labels = self.cohort.labels[held_out["record"]]
        return metrics.best_thresholds(labels, held_out[list(self.cohort.classes)].to_numpy(), metric)

    # How well it does.

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Every metric of the ensemble: ``metrics.summary``."""
        return self.scored(self.answer[1])

    def scored(self, calls: NDArray[np.bool_]) -> pd.DataFrame:
        """Every metric of other calls (records, classes) from the same probabilities."""
        return metrics.summary(
            self.targets, self.answer[0], calls, self.patients, self.cohort.classes, repeats=self.repeats
        )

    def interval(self, metric: metrics.Metric, answer: NDArray) -> metrics.Interval:
        """A metric of an answer (records, classes) with its bootstrap interval over patients."""
        return metrics.bootstrap_interval(metric, self.targets, answer, self.patients, self.repeats)

    def difference(self, metric: metrics.Metric, a: NDArray, b: NDArray) -> metrics.Difference:
        """A metric of one answer (records, classes) less that of another: a paired bootstrap over patients."""
        return metrics.bootstrap_difference(metric, self.targets, a, b, self.patients, self.repeats)

    # Figures and tables.

    def learning_curves(self, *, loss: str, score: str = "macro-F1") -> Figure:
        """Training loss and validation score of each member by epoch."""
        return plots.learning_curves([run.log for run in self.runs], loss=loss, score=score)

    def overall(self, *shown: str, arm: str = "") -> Styler:
        """Table of the metrics of the ensemble.

        Parameters
        ----------
        shown
            Names in ``metrics.summary``; none shows them all.
        arm
            What the caption says of the ensemble: with which setting it was trained.
        """
        table = self.scores[self.scores["class"] == ""].drop(columns="class")
        table = table[table["metric"].isin(shown or table["metric"])].replace({"metric": MACRO})
        ensemble = f"Ensemble of {len(self.runs)}{f' with {arm}' if arm else ''}"
        return report.table(table, f"{ensemble} on the {self.data}, 95 % intervals.")

    def by_class(
        self,
        *shown: str,
        caption: str = "By class, 95 % intervals.",
        more: Mapping[str, Sequence] | None = None,
    ) -> Styler:
        """Table of some metrics by class with intervals, and how many test records carry it.

        Parameters
        ----------
        shown
            Metrics of ``metrics.summary`` that have a value for each class.
        more
            Further columns, with a value for each of the nine classes; left out where the cohort has others.
        """
        table = {"class": self.cohort.classes, "test records": self.targets.sum(axis=0)}
        for metric in sorted(shown):
            rows = self.scores[self.scores["metric"] == metric].set_index("class").loc[list(self.cohort.classes)]
            table[metric] = report.intervals(rows)
        if more and not self.has_key:
            return report.table(pd.DataFrame(table), "By class, 95 % intervals.")
        return report.table(pd.DataFrame(table | dict(more or {})), caption)

    def drawn_by_class(self, *shown: str, more: Mapping[str, Sequence[float]] | None = None) -> Figure:
        """Draw some metrics of the mean of the classes and of each class, a panel a metric; chance is a line.

        Parameters
        ----------
        more
            Of some metrics a paper's value for each of the nine classes; left out where the cohort has others.
        """
        names = ["mean of classes", *self.cohort.classes]
        tables = [self.scores[self.scores["metric"] == metric] for metric in shown]
        rows = pd.concat(tables).replace({"class": {"": names[0]}}).assign(whose="this page")
        for metric, values in (more or {}).items() if self.has_key else ():
            rows = pd.concat([rows, _reported(names[1:], values, name="class", metric=metric, whose="the paper")])
        return plots.forest(
            rows, names="class", panels="metric", series="whose", reference={"AUROC": 0.5}, said="chance"
        )

    def there(self, names: Sequence[str]) -> list[str]:
        """Those of some metrics that are defined here: the challenge's own metric is not for classes of one's own."""
        known = set(self.scores["metric"])
        return [name for name in names if name in known]

    def on_own_records(self, own_map: str, *, stepped: bool = False, unit: float = 1, most: int = 3) -> None:
        """Of a cohort of one's own: draw maps over test records and show the trials that need no answer key.

        Of each of the ``most`` commonest classes the test record is drawn that the first member is surest of. Of a
        cohort of the study nothing is shown, for the chapter has shown it.

        Parameters
        ----------
        own_map
            Its name in ``System.own_maps``.
        stepped, unit
            As for ``examples.over_ecg``.
        """
        if not self.cohort.own:
            return
        run = self.runs[0]
        probabilities, positives = self.each[0], self.targets.sum(axis=0)
        common = [int(c) for c in np.argsort(-positives, kind="stable")[:most] if positives[c]]
        display(
            Markdown(
                "*The maps of the first network over test records of your own. Nobody has marked there where the "
                "evidence is, so that no map can be called right or wrong.*"
            )
        )
        for c in common:
            row = int(np.where(self.targets[:, c], probabilities[:, c], -1).argmax())
            labels = tuple(np.array(self.cohort.classes)[self.targets[row]])
            name = self.cohort.table["name"].iloc[self.test[row]]
            title = f"{name} ({', '.join(labels)}), p = {report.number(probabilities[row, c], 2)}"
            example = examples.Example(self.cohort[int(self.test[row])], self.cohort.fs, title, labels)
            figure = examples.class_map(example, self.cohort.classes[c], run, own_map, stepped=stepped, unit=unit)
            display(figure)
            plt.close(figure)
        cases = unkeyed_cases(self.cohort, self.test, per_class=5)
        if cases is None or len(set(cases.patients)) < 2:
            display(
                Markdown("*Trials left out: they need records of two patients that have a class and lack another.*")
            )
            return
        tried = evaluation.evaluate(self.system, run.network(), cases, [own_map, "input × gradient"])
        rows = explanations.tidy(tried, cases, run, self.source, repeats=self.repeats)
        rows = rows[(rows["class"] == "") & ~rows["trial"].isin(_NEED_KEY)]
        shown = list(dict.fromkeys(rows["trial"]))
        display(
            explanation_tables.trials(
                rows,
                shown,
                f"The trials that need no answer key, on {len(cases.classes)} maps of test records of the "
                f"{self.source} cohort, means over classes with 95 % intervals.",
            )
        )

    def beside_paper(self, calls: Mapping[str, NDArray[np.bool_]], paper: Sequence[Reported]) -> pd.DataFrame:
        """``beside`` of the challenge's first metrics: calls of this page by name, then what the paper reports."""
        return self.beside({name: self.scored(c) for name, c in calls.items()}, CHALLENGE, paper)

    def beside(
        self, scores: Mapping[str, pd.DataFrame], names: Sequence[str] | Mapping[str, str], paper: Sequence[Reported]
    ) -> pd.DataFrame:
        """Join summaries of this page and what a paper reports: rows for ``plots.forest`` and ``report.wide``.

        Parameters
        ----------
        scores, names
            As for ``compared``.
        paper
            What is reported.

        Returns
        -------
        DataFrame
            answer, data, metric, value, low, high; what is reported without an interval has no limits.
        """
        ours = compared({f"this page, {name}": table for name, table in scores.items()}, names)
        tables = [ours.assign(data=f"{self.source}, {len(self.test)} records")]
        for whose, data, values in paper:
            tables.append(_reported(list(values), list(values.values()), answer=whose, data=data))
        return pd.concat(tables, ignore_index=True)

    def differences(self, metric: metrics.Metric, pairs: Mapping[str, tuple[NDArray, NDArray]]) -> pd.DataFrame:
        """A row for each pair of answers: a metric of the first less that of the second: pair, value, low, high, p."""
        return pd.DataFrame(
            [{"pair": name, **self.difference(metric, *pair)._asdict()} for name, pair in pairs.items()]
        )

    def paired(self, metric: metrics.Metric, pair: Mapping[str, NDArray], column: str) -> pd.DataFrame:
        """A row for a metric of each of two answers (records, classes) by name, and one for their difference.

        Returns
        -------
        DataFrame
            answer, metric (``column``, or ``difference``), value, low, high, p.
        """
        a, b = pair
        each = [{"answer": n, "metric": column, **self.interval(metric, x)._asdict()} for n, x in pair.items()]
        last = self.differences(metric, {f"{a} − {b}": (pair[a], pair[b])}).rename(columns={"pair": "answer"})
        return pd.concat([pd.DataFrame(each), last.assign(metric="difference")], ignore_index=True)

    def chosen_and_tested(self, metric: metrics.Metric) -> pd.DataFrame:
        """Validation score of each member, which chose its epoch, and a metric of the test: rows for ``plots.forest``.

        The metric takes calls from the member's own thresholds. Where it is the score of the validation, the difference
        is how much choosing flatters.

        Returns
        -------
        DataFrame
            member (and ``mean``), records (``validation records`` or ``test records``), value, low, high.
        """
        names = [*(f"{m + 1}" for m in range(len(self.runs))), "mean"]
        tested = [self.interval(metric, calls) for calls in self.each >= self.thresholds[:, None]]
        mean = metrics.Interval(np.mean([score.value for score in tested]), np.nan, np.nan)
        chosen = [run.log["valid"].max() for run in self.runs]
        return pd.concat(
            [
                _reported(names, [*chosen, np.mean(chosen)], name="member", records="validation records"),
                _reported(names, [*tested, mean], name="member", records="test records"),
            ],
            ignore_index=True,
        )


def train(system: System, p: SimpleNamespace) -> Chapter:
    """Train the members of a chapter and its arms, or open them; a fifth of the patients is the test.

    Parameters
    ----------
    system
        The recipe; its rate is the cohort's.
    p
        Parameters of the notebook: ``cohort``, ``records``, ``balance``, ``members``, ``repeats`` and ``seed``.
    """
    ensemble = Ensemble.of_chapter(system, p)
    runs = together_by_name(ensemble.all_tasks(p))
    cohort = ensemble.cohort(tell=True)
    test = ensemble.test(cohort)
    ours = Chapter(system, cohort, p.cohort, test, runs[""], p.repeats)
    return replace(
        ours, arms={name: replace(ours, system=arm.system, runs=runs[name]) for name, arm in system.arms(p).items()}
    )


def compared(scores: Mapping[str, pd.DataFrame], names: Sequence[str] | Mapping[str, str]) -> pd.DataFrame:
    """Join summaries of several answers.

    Parameters
    ----------
    scores
        Name of an answer → its ``metrics.summary``.
    names
        Metrics, or metric → what it is called.

    Returns
    -------
    DataFrame
        answer, metric, value, low, high: a row an answer and metric.
    """
    titles = names if isinstance(names, Mapping) else dict(zip(names, names, strict=True))
    tables = []
    for answer, table in scores.items():
        whole = table[table["class"] == ""].set_index("metric").loc[list(titles), ["value", "low", "high"]]
        tables.append(whole.rename(index=titles).reset_index().assign(answer=answer))
    return pd.concat(tables, ignore_index=True)[["answer", "metric", "value", "low", "high"]]


def _reported(
    names: Sequence[str], values: Sequence[float | metrics.Interval], *, name: str = "metric", **about: str
) -> pd.DataFrame:
    """Rows of numbers, alone or with their intervals, that ``name`` tells apart."""
    limits = [v if isinstance(v, tuple) else (v, np.nan, np.nan) for v in values]
    ends = pd.DataFrame(limits, columns=["value", "low", "high"], dtype=float)
    return ends.assign(**about, **{name: list(names)})


def right_only(
    targets: NDArray[np.bool_],
    patients: NDArray,
    pairs: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    names: tuple[str, str],
) -> pd.DataFrame:
    """Compare pairs of answers by the records that only one of them has right, all classes counted.

    Parameters
    ----------
    targets, patients
        Labels (records, classes) and patient of each record, of which the first record counts.
    pairs
        Name of a row → calls (records, classes) of both.
    names
        Of the two that each pair compares.

    Returns
    -------
    DataFrame
        A row a pair; for all records and for those with several labels, how many there are, how many only one and only
        the other has right, and McNemar's exact p as a text.
    """
    alone = ~pd.Series(patients).duplicated().to_numpy()
    parts = {"all": alone, "multi-label": alone & (targets.sum(axis=1) > 1)}
    rows = []
    for name, pair in pairs.items():
        right = [(calls == targets).all(axis=1) for calls in pair]
        row: dict[str, Any] = {"": name}
        for part, chosen in parts.items():
            only_a, only_b, p = metrics.mcnemar(*(r[chosen] for r in right))
            row[f"{part}: records"] = chosen.sum()
            row |= {f"{part}: only {names[0]}": only_a, f"{part}: only {names[1]}": only_b}
            row[f"{part}: p"] = report.p_value(p)
        rows.append(row)
    return pd.DataFrame(rows)
