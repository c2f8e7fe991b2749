"""What the ablations say: every number and verdict, computed from the committed answers alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from ecgstudy import metrics, training
from ecgstudy.data.labels import CLASSES
from ecgstudy.paths import read_table
from ecgstudy.studies import DECIMALS, ablations, read_committed
from ecgstudy.studies.leaderboard import name_of_all

METRICS: tuple[str, ...] = ("AUROC", "F1", "F1, tuned", "F2", "F2, tuned", "F2, tuned less at 0.5")
METRICS += ("exact match", "exact match, multi-label", "epochs")
COLUMNS: tuple[str, ...] = ("question", "arm", "system", "cohort", "metric", "value", "low", "high")
COLUMNS += ("difference", "difference_low", "difference_high", "p", "seeds", "run")
NUMBERS = ("value", "low", "high", "difference", "difference_low", "difference_high", "p")  # that may be empty
# Records tested for each that was trained on: of what a fold does not test, a fifth chooses the epoch.
RATIO = 1 / ((ablations.FOLDS - 1) * 0.8)


@dataclass(frozen=True)
class Fold:
    """What an arm's network, or ensemble, answered on the test records of one fold.

    Parameters
    ----------
    targets, probabilities
        (records, 9).
    called, tuned
        Calls at 0.5, and at thresholds that were chosen on validation records for F1 and for F2: (records, 9).
    logs
        Training log of each member.
    """

    targets: NDArray[np.bool_]
    probabilities: NDArray[np.float64]
    called: NDArray[np.bool_]
    tuned: dict[str, NDArray[np.bool_]]
    logs: list[pd.DataFrame]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Records (records,) of which every label is called right at 0.5."""
        return (self.called == self.targets).all(axis=1)


_TUNED: dict[str, Callable[[metrics.Counts], NDArray]] = {"F1": metrics.f_beta, "F2": partial(metrics.f_beta, beta=2)}


def joined(
    members: Sequence[pd.DataFrame],
    labels: NDArray[np.bool_],
    logs: Sequence[pd.DataFrame],
    classes: Sequence[str] = CLASSES,
) -> Fold:
    """Join what the members of an ensemble (or one network) answered: mean probability, majority of tuned calls.

    Parameters
    ----------
    members
        For each member a row a record outside training: record, part (``valid`` or ``test``), a probability a class.
        The test records are the same, in the same order, for all.
    labels
        (records, classes), of the whole cohort.
    logs
        Training log of each member.
    classes
        Names of the columns.
    """
    scores: list[NDArray[np.float64]] = []
    tuned: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in _TUNED}
    for rows in members:
        test, p = (rows["part"] == "test").to_numpy(), rows[list(classes)].to_numpy(dtype=np.float64)
        targets = labels[rows["record"]]
        for name, metric in _TUNED.items():
            thresholds = metrics.best_thresholds(targets[~test], p[~test], metric)
            tuned[name].append(p[test] >= thresholds)
        scores.append(p[test])
    mean = np.mean(scores, axis=0)
    calls = {name: np.mean(votes, axis=0) > 0.5 for name, votes in tuned.items()}
    return Fold(targets[test], mean, mean >= 0.5, calls, list(logs))


def folds_of(cohort: str, question: str, arm: str) -> list[Fold]:
    """Committed answers of an arm, fold by fold."""
    labels = ablations.records_of(cohort)[list(CLASSES)].to_numpy(dtype=bool)
    card = ablations.card_of(cohort, question, arm)
    frame = read_table(ablations.path(cohort, question, arm, ".parquet"))
    frame[list(CLASSES)] = expit(frame[list(CLASSES)].astype(np.float64))
    found = []
    for number, of_fold in frame.groupby("fold"):
        logs = [pd.DataFrame(card["logs"][name]) for name in card["runs"][number]]
        found.append(joined([rows for _, rows in of_fold.groupby("member")], labels, logs))
    return found


def validation_scores(cohort: str, question: str) -> pd.DataFrame:
    """Mean validation score of a question's arms (columns) after each epoch (rows, from 1), over all runs of an arm."""
    scores = {}
    for arm in ablations.arms_of(cohort, question):
        logs = ablations.card_of(cohort, question, arm)["logs"].values()
        scores[arm] = pd.DataFrame([log["valid"] for log in logs]).mean()
    frame = pd.DataFrame(scores)
    return frame.set_axis(frame.index + 1)


def scores_of(fold: Fold, control: Fold) -> dict[str, float]:
    """Every metric of ``METRICS`` on one fold; means are over the classes that the fold has.

    ``epochs`` is the first whose validation score reaches 0.9 of the control's best in the same fold, one more than
    there are when none does (the mean over the members of an ensemble).
    """
    there = fold.targets.any(axis=0)
    t, p, called = (values[:, there] for values in (fold.targets, fold.probabilities, fold.called))
    f_1, f_2 = (metrics.counts(t, fold.tuned[name][:, there]) for name in _TUNED)
    at_half, tuned = (float(metrics.f_beta(cells, 2).mean()) for cells in (metrics.counts(t, called), f_2))
    level = 0.9 * np.mean([log["valid"].max() for log in control.logs])
    reached = [(log["valid"] >= level).to_numpy() for log in fold.logs]
    return {
        "AUROC": float(metrics.macro_auroc(t, p)),
        "F1": float(metrics.f_beta(metrics.counts(t, called)).mean()),
        "F1, tuned": float(metrics.f_beta(f_1).mean()),
        "F2": at_half,
        "F2, tuned": tuned,
        "F2, tuned less at 0.5": tuned - at_half,
        "exact match": float(fold.right.mean()),
        "exact match, multi-label": float(metrics.exact_match(fold.targets, fold.called, None, "multi")),
        "epochs": float(np.mean([r.argmax() + 1 if r.any() else len(r) + 1 for r in reached])),
    }


def corrected_t(
    values: NDArray[np.float64], ratio: float = RATIO, level: float = 0.95
) -> tuple[float, float, float, float]:
    """Mean over the folds of a cross-validation, its limits, and the p-value of a mean of 0.

    The t-test that allows for training sets that overlap (Nadeau and Bengio 2003): the variance of the mean is
    s²·(1/k + n_test/n_train). Folds without a value (no record with several labels, say) are left out.

    Parameters
    ----------
    values
        (folds,).
    ratio
        n_test / n_train.
    """
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return (float(values.mean()) if len(values) else np.nan), np.nan, np.nan, np.nan
    mean = float(values.mean())
    error = float(values.std(ddof=1)) * np.sqrt(1 / len(values) + ratio)
    reach = stats.t.ppf((1 + level) / 2, len(values) - 1) * error
    p = float(2 * stats.t.sf(abs(mean) / error, len(values) - 1)) if error else float(mean == 0)
    return mean, mean - reach, mean + reach, p


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """p-values corrected for their number (Holm 1979); NaN stays and does not count."""
    corrected = np.full(len(p), np.nan)
    order = np.argsort(p)[: (~np.isnan(p)).sum()]
    corrected[order] = np.minimum(1, np.maximum.accumulate(np.arange(len(order), 0, -1) * p[order]))
    return corrected


def table(cohort: str, question: str) -> pd.DataFrame:
    """Every metric of every committed arm of a question, and its difference to the control's on the same folds.

    ``p`` is corrected over the arms of the question, for each metric (``holm``). Empty without the control.
    """
    arms, control = ablations.arms_of(cohort, question), ablations.QUESTIONS[question].control
    if control not in arms:
        return pd.DataFrame(columns=list(COLUMNS))
    folds = {arm: folds_of(cohort, question, arm) for arm in arms}
    scores = {arm: pd.DataFrame(map(scores_of, own, folds[control])) for arm, own in folds.items()}
    runs = {arm: list(chain(*ablations.card_of(cohort, question, arm)["runs"])) for arm in arms}
    tables = []
    for metric in METRICS:
        values = {arm: own[metric].to_numpy() for arm, own in scores.items()}
        rows = pd.DataFrame([corrected_t(own)[:3] for own in values.values()], columns=["value", "low", "high"])
        tests = [corrected_t(own - values[control]) if arm != control else (np.nan,) * 4 for arm, own in values.items()]
        rows[["difference", "difference_low", "difference_high", "p"]] = tests
        tables.append(rows.assign(arm=arms, metric=metric, p=holm(rows["p"].to_numpy())))
    frame = pd.concat(tables, ignore_index=True)
    frame["seeds"], frame["run"] = (
        frame["arm"].map({a: tell(r) for a, r in runs.items()}) for tell in (len, name_of_all)
    )
    frame["question"], frame["system"], frame["cohort"] = question, ablations.QUESTIONS[question].system, cohort
    return frame[list(COLUMNS)]


def committed() -> pd.DataFrame:
    """``results/ablations.csv``: what every page shows."""
    return read_committed("ablations.csv", NUMBERS)


def multi_label_matches(cohort: str, arm: str, question: str = "gamma") -> pd.DataFrame:
    """Exact McNemar tests of an arm against the control on records with several labels: seed by seed, and all.

    Returns
    -------
    DataFrame
        seed, records, right_control, right, only_control, only_arm, p. The last seed is ``all``: every record is tested
        once, so that the seeds' counts add up.
    """
    control = ablations.QUESTIONS[question].control
    right = []
    for a, b in zip(folds_of(cohort, question, control), folds_of(cohort, question, arm), strict=True):
        several = a.targets.sum(axis=1) > 1
        right.append((a.right[several], b.right[several]))
    all_control, all_arm = (np.concatenate(side) for side in zip(*right, strict=True))
    right.append((all_control, all_arm))
    rows = []
    for seed, (a, b) in zip([*map(str, range(len(right) - 1)), "all"], right, strict=True):
        only_control, only_arm, p = metrics.mcnemar(a, b)
        rows.append((seed, len(a), int(a.sum()), int(b.sum()), only_control, only_arm, p))
    return pd.DataFrame(rows, columns=["seed", "records", "right_control", "right", "only_control", "only_arm", "p"])


def verdict(rows: pd.DataFrame, question: str) -> str:
    """Answer to a question by ``table``'s rows of one cohort: *undecided* unless the corrected p is below .05."""
    arm, metric = ablations.QUESTIONS[question].verdict
    row = rows[(rows["question"] == question) & (rows["arm"] == arm) & (rows["metric"] == metric)].iloc[0]
    if not round(row["p"], DECIMALS) < 0.05:  # as the committed table has it, from which claims are decided
        return "undecided"
    return metrics.verdict(row["difference"], row["difference"])


def multi_label_tests(cohort: str, question: str = "gamma") -> pd.DataFrame:
    """``multi_label_matches`` over all seeds of each arm: ``cohort``, ``arm``, and p ``corrected`` for their number."""
    others = [arm for arm in ablations.arms_of(cohort, question) if arm != ablations.QUESTIONS[question].control]
    whole = pd.concat([multi_label_matches(cohort, arm, question).tail(1) for arm in others], ignore_index=True)
    return whole.assign(cohort=cohort, arm=others, corrected=holm(whole["p"].to_numpy()))


def of_run(run: training.Run, labels: NDArray[np.bool_]) -> Fold:
    """What one network answered on its test records, of a cohort with ``labels`` (records, classes)."""
    return joined([run.predictions.rename(columns={"split": "part"})], labels, [run.log], run.classes)


def scores_by_fold(folds: Mapping[str, Sequence[Fold]]) -> dict[str, pd.DataFrame]:
    """Scores of each arm, a row a fold and a column a metric (``scores_of``). The first arm is the control."""
    control = next(iter(folds.values()))
    return {arm: pd.DataFrame(map(scores_of, its_folds, control)) for arm, its_folds in folds.items()}


def share_above(cohort: str, question: str, arm: str, probability: float) -> float:
    """Share of all probabilities (of test records and classes) of an arm that are above one."""
    folds = folds_of(cohort, question, arm)
    return float(np.mean(np.concatenate([fold.probabilities for fold in folds]) > probability))


def lead(scores: pd.DataFrame, arm: str, control: str) -> tuple[int, int]:
    """Last epoch of the lead with which an arm's validation scores begin, and the last at which it is ahead at all.

    ``scores`` are those of ``validation_scores``. An arm that is as good is ahead.
    """
    ahead = scores[arm] >= scores[control]
    first = ahead.index[-1] if ahead.all() else ahead.idxmin() - 1
    return int(first), int(ahead[ahead].index.max())
