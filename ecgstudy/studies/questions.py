"""What chapter 09 measures beside the trials, and the answers to its six questions.

A ``Subject`` is a system on trial, an ``Answer`` a number with its interval and verdict. Functions of several systems
take cases by rate, because each explains the same records at a rate of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import binomtest
from torch import nn

from ecgstudy import maps, metrics, training
from ecgstudy.data.cohort import Cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.explain import blind, ceilings, evaluation, methods, trials
from ecgstudy.explain.blind import BASELINES
from ecgstudy.explain.cases import Cases
from ecgstudy.profiles import profile_values
from ecgstudy.studies import claims, leaderboard
from ecgstudy.studies.trainings import Records, Task, together
from ecgstudy.systems import System
from ecgstudy.systems.catalogue import by_name
from ecgstudy.systems.small_gap import SmallGAPSystem
from ecgstudy.training import Run

ST = ("STD", "STE")
SOME_LEADS = ("LBBB", "RBBB", "STD", "STE")  # classes whose evidence is in some leads only
ENDS = ("value", "low", "high")
SHUFFLED = "shuffled labels"
INPUT_GRADIENT, FIRST_BLOCK = "input × gradient", "HiRes-CAM, first block"
ANSWER = "answer "  # begins the trial of every answer in results/explanations.csv.gz
FOCUS = ANSWER + "1, focus on ST"
SIX = ANSWER + "6, excess mass"
BLUR = 0.1  # seconds, of a Gaussian's standard deviation

ByRate = Mapping[float, Cases]  # rate in Hz → the same records in the same order at that rate


@dataclass(frozen=True)
class Subject:
    """A system on trial: the members of its ensemble as they were trained, of which the first is explained."""

    runs: Sequence[Run]

    @property
    def system(self) -> System:
        """The recipe."""
        return self.runs[0].system

    @property
    def fs(self) -> float:
        """Rate of the records that its maps are of, in Hz."""
        return self.system.fs

    @cached_property
    def networks(self) -> list[nn.Module]:
        """The trained networks, in evaluation mode."""
        return [run.network() for run in self.runs]

    @property
    def names(self) -> str:
        """Names of the runs."""
        return " ".join(run.folder.name for run in self.runs)

    @property
    def own(self) -> tuple[str, ...]:
        """Names of the system's own maps."""
        return tuple(self.system.own_maps)

    def chosen(self, general: Sequence[str]) -> list[str]:
        """The system's own maps, then those of the general methods that explain it."""
        return chosen(self.system, general)

    def maps(self, method: str, cases: Cases) -> NDArray[np.floating]:
        """Maps (rows, n) by a method, or by a baseline, of cases at the system's rate."""
        return evaluation.make_maps(method, self.system, self.networks[0], cases)


def chosen(system: System, general: Sequence[str]) -> list[str]:
    """Names of a system's own maps, then of those general methods that explain it."""
    return [*system.own_maps, *(method for method in general if method in methods.methods(system))]


@dataclass(frozen=True)
class Answer:
    """One question's answer: a number, its 95 % interval, and by these a verdict.

    Parameters
    ----------
    question
        As the table of verdicts has it, its number first: ``5a: a CAM is finer where a cell sees less``.
    measured
        What was measured, and where the border is.
    interval
        Value, low and high; NaN where nothing could be measured.
    border
        That the interval must lie above for a yes, or below with ``above=False``.
    shown
        A value that the page shows in place of the interval.
    testable
        Whether it could be asked at all.
    trial, system, method, n, run
        What the row of ``results/explanations.csv.gz`` says; without a trial there is none.
    """

    question: str
    measured: str
    interval: Sequence[float] = (np.nan, np.nan, np.nan)
    border: float = 0
    above: bool = True
    shown: float | None = None
    testable: bool = True
    trial: str = ""
    system: str = ""
    method: str = ""
    n: int = 0
    run: str = ""

    @property
    def number(self) -> str:
        """Of the question: ``5a``."""
        return self.question.split(":")[0]

    @property
    def verdict(self) -> str:
        """Supported, not supported, or undecided; or that it is not testable."""
        _, low, high = self.interval
        if not self.testable:
            return "not testable"
        return metrics.verdict(low, high, self.border) if self.above else metrics.verdict(-high, -low, -self.border)

    def row(self, trained: str) -> dict[str, str | float]:
        """Row of ``results/explanations.csv.gz``; ``trained`` is the cohort that the networks have learnt from."""
        about = {"system": self.system, "method": self.method, "trial": ANSWER + self.trial, "cohort": "synthetic"}
        limits = dict(zip(ENDS, map(float, self.interval), strict=True))
        return about | {"trained": trained, "class": ""} | limits | {"n": self.n, "run": self.run}


def measured(found: pd.DataFrame, what: str = "", **wanted: str) -> dict[str, Any]:
    """What an ``Answer`` says of the row of a table that has the wanted values; nothing, where there is none.

    Parameters
    ----------
    found
        Columns system, method, n, run (those that are there), and ``{what} value``, low, high (without ``what``:
        value, low, high).
    wanted
        Column → value.
    """
    for column, value in wanted.items():
        found = found[found[column] == value]
    if found.empty:
        return {}
    row = found.iloc[0]
    about = {name: row[name] for name in ("system", "method", "n", "run") if name in row}
    return about | {"interval": tuple(float(row[f"{what} {end}".strip()]) for end in ENDS)}


def rows(answers: Sequence[Answer], trained: str) -> pd.DataFrame:
    """Rows of ``results/explanations.csv.gz`` of the answers that have one."""
    return pd.DataFrame([answer.row(trained) for answer in answers if answer.trial])


# --- localisation -----------------------------------------------------------------------------------------------------


def networks(subjects: Mapping[str, Subject], by_rate: ByRate) -> pd.DataFrame:
    """How well the explained networks tell classes apart, and how coarse their maps are.

    Returns
    -------
    DataFrame
        system, AUROC (macro, on the cases' records), cell and field (seconds between cells of the feature map, seconds
        that one of them sees: computed, or measured by the gradient of four records), maps (the system's own).
    """
    rows = []
    for name, subject in subjects.items():
        cases = by_rate[subject.fs]
        network: Any = subject.networks[0]
        x = cases.inputs(subject.system)
        with torch.inference_mode():
            auroc = metrics.macro_auroc(cases.labels, torch.sigmoid(network(x)).numpy())
        field = getattr(network, "receptive_field", None)
        if field is None:
            field = maps.scale(network, subject.system.feature_layer, x[:4]).field
        rows.append((name, auroc, network.stride / subject.fs, field / subject.fs, ", ".join(subject.own)))
    return pd.DataFrame(rows, columns=["system", "AUROC", "cell", "field", "maps"])


def evidence_share(cases: Cases) -> pd.Series:
    """Share of the time in which the evidence of a class stands, by class: what a map has inside by chance."""
    return pd.Series(cases.any_lead.mean(axis=1)).groupby(cases.names_of_classes).mean()


def localisation(table: pd.DataFrame) -> pd.DataFrame:
    """Excess mass of every method that asks the network, and whether it beats the three maps that ask none.

    Parameters
    ----------
    table
        Of ``explanations.tidy``, several systems.

    Returns
    -------
    DataFrame
        system, method, value, low, high, and ``beats``: low is above the best value of the system's baselines.
    """
    excess = table[(table["class"] == "") & (table["trial"] == "excess mass")]
    blindly = excess["method"].isin(BASELINES)
    best = excess[blindly].groupby("system")["value"].max()
    found = excess.loc[~blindly, ["system", "method", *ENDS]]
    return found.assign(beats=found["low"] > found["system"].map(best)).reset_index(drop=True)


def by_lead(subject: Subject, cases: Cases, *, repeats: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Excess mass over leads and samples: input × gradient, the same map moved, and the energy of each lead.

    Only cases of the classes whose evidence is in some leads (``SOME_LEADS``) count.

    Returns
    -------
    DataFrame
        map, class (empty: the mean of the classes), value, low, high, n.
    """
    cases = cases.take(np.flatnonzero(np.isin(cases.names_of_classes, SOME_LEADS)))
    x, classes = cases.inputs(subject.system), torch.from_numpy(cases.classes)
    m = methods.explain(subject.system, INPUT_GRADIENT, subject.networks[0], x, classes, by_lead=True)
    energy = [blind.energy_maps(cases.signals[:, [lead]], cases.fs) for lead in range(len(LEADS))]
    made = {
        INPUT_GRADIENT: m,
        "the same, moved": blind.random_maps(m, np.random.default_rng(seed)),
        "signal energy": np.stack(energy, axis=1),
    }
    scores = pd.DataFrame({name: trials.localisation(one, cases.key)["excess mass"] for name, one in made.items()})
    scores = scores.rename_axis(columns="map")
    return trials.summary(scores, cases.names_of_classes, cases.patients, repeats=repeats)


def on_waves(subject: Subject, cases: Cases) -> pd.DataFrame:
    """Where a system's own maps, input × gradient and the baselines lie: one row a case, columns (method, trial).

    ``ST`` is the excess mass on the ST segments, whatever the class.
    """
    columns: dict[tuple[str, str], NDArray] = {}
    for method in (*subject.own, INPUT_GRADIENT, *BASELINES):
        m = subject.maps(method, cases)
        found = trials.localisation(m, cases.any_lead)
        columns |= {(method, trial): found[trial] for trial in ("excess mass", "pointing", "AUC")}
        columns[method, "ST"] = trials.localisation(m, cases.st)["excess mass"]
    return pd.DataFrame(columns).rename_axis(columns=["method", "trial"])


# --- 1: maps of STD and STE -------------------------------------------------------------------------------------------


def recognition(
    targets: NDArray[np.bool_],
    probabilities: NDArray[np.floating],
    called: NDArray[np.bool_],
    patients: NDArray[np.str_],
    *,
    repeats: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """How well a network tells one class, with 95 % intervals over patients; is it worth asking where it looks?

    Parameters
    ----------
    targets, probabilities, called, patients
        (records,): is the class there, its probability, does the network call it, and of whom the record is.

    Returns
    -------
    dict
        n and absent (records with the class, and without), value, low and high of ``AUROC``, ``recall`` and
        ``precision``, and ``asked``: the lower end of the AUROC is above that of ``claim_rules.yaml``.
    """

    def every(
        t: NDArray[np.bool_], scores: NDArray[np.floating], weights: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        cells = metrics.counts(t, scores[:, 1:] == 1, weights)
        # With beta 0 only false positives count, and with both errors in each other's place only misses.
        recalled = metrics.f_beta(cells._replace(fp=cells.fn, fn=cells.fp), 0)
        return np.concatenate([metrics.auroc(t, scores[:, :1], weights), recalled, metrics.f_beta(cells, 0)], axis=-1)

    scores = np.column_stack([probabilities, called]).astype(float)
    found = metrics.bootstrap_interval(every, targets[:, None], scores, patients, repeats, seed)
    ends = {
        f"{what} {end}": float(getattr(found, end)[place])
        for place, what in enumerate(("AUROC", "recall", "precision"))
        for end in ENDS
    }
    about = {"n": int(targets.sum()), "absent": int((~targets).sum())}
    return about | ends | {"asked": ends["AUROC low"] > claims.rules()["testable"][FOCUS]["AUROC above"]}


def recognition_of_st(
    subjects: Mapping[str, Subject], with_st: ByRate, others: ByRate, *, repeats: int = 1000
) -> pd.DataFrame:
    """``recognition`` of STD and of STE by the explained networks, and how well a map on their cells can focus at all.

    Parameters
    ----------
    with_st
        Cases of the two classes, which the networks have not seen.
    others
        Cases of all classes, of whose records those without the class are what it is to be told from.

    Returns
    -------
    DataFrame
        One row a system and class: system, class, those of ``recognition``, and ``ceiling``: the share of all cases of
        the class of which a perfect map on the network's cells, blurred, focuses.
    """
    rows = []
    for name, subject in subjects.items():
        cases, rest = with_st[subject.fs], others[subject.fs]
        thresholds, network = np.array(list(subject.runs[0].card["thresholds"].values())), subject.networks[0]
        once = rest.take(np.unique(rest.names, return_index=True)[1])
        for c in map(CLASSES.index, ST):
            present, absent = (
                cases.take(np.flatnonzero(cases.classes == c)),
                once.take(np.flatnonzero(~once.labels[:, c])),
            )
            with torch.inference_mode():
                logits = [network(part.inputs(subject.system))[:, c] for part in (present, absent)]
            probability = torch.sigmoid(torch.cat(logits)).numpy()
            target = np.arange(len(probability)) < len(present.classes)
            patients = np.concatenate([present.patients, absent.patients])
            found = recognition(target, probability, probability >= thresholds[c], patients, repeats=repeats)
            can_focus = focuses(blurred_perfect(subject.system, network, present), present.any_lead)
            rows.append({"system": name, "class": CLASSES[c], **found, "ceiling": can_focus.mean()})
    return pd.DataFrame(rows)


def recognition_on_board(names: Iterable[str], board: str = "real", *, repeats: int = 1000) -> pd.DataFrame:
    """``recognition`` of STD and of STE on all records of a board by one network a fold, from the committed answers.

    Returns
    -------
    DataFrame
        One row a system and class: system, class, and those of ``recognition``.
    """
    records, answers = leaderboard.records_of(board), leaderboard.answers_of(board)
    patients, rows = records["patient_id"].to_numpy(), []
    for name in names:
        probabilities, called = answers.get(f"{name}, one") or answers[name]
        for c in map(CLASSES.index, ST):
            target = records[CLASSES[c]].to_numpy(dtype=bool)
            found = recognition(target, probabilities[:, c], called[:, c], patients, repeats=repeats)
            rows.append({"system": name, "class": CLASSES[c], **found})
    return pd.DataFrame(rows)


def asked_of(known: pd.DataFrame, system: str) -> bool:
    """Whether a system tells both classes well enough, by the rows of ``recognition_of_st`` or ``…_on_board``."""
    return bool(known.loc[known["system"] == system, "asked"].all())


def focuses(m: NDArray[np.floating], key: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Does a map (rows, samples) have more of its mass in the key than 95 % of its own shifts in time: (rows,)."""
    return trials.rank_among_shifts(m, key) >= 0.95


def blurred_perfect(system: System, network: nn.Module, cases: Cases) -> NDArray[np.floating]:
    """The key itself on the cells of a system's own maps, blurred by ``BLUR``: (rows, samples).

    No map of the system can be expected to do better: its cells are what they are, and nobody marks an ST segment to
    the tenth of a second.
    """
    cells = ceilings.cells_of(system, network, cases.inputs(system))
    perfect = cells.placed(cells.averaged(cases.any_lead))
    return ndimage.gaussian_filter1d(perfect, BLUR * cases.fs, axis=-1)


def focus_on_st(
    system: System,
    parts: Sequence[tuple[nn.Module, NDArray[np.floating], Cases]],
    *,
    repeats: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Do a system's own maps lie on the ST segments, where STD or STE is called right?

    A map focuses on them when more of its mass lies in the key than in 95 % of its own shifts in time.

    Parameters
    ----------
    parts
        A network, the thresholds (9,) from which it calls a class, and cases with STD and with STE that it has not
        seen; several where each fold has a network of its own.

    Returns
    -------
    DataFrame
        method, class (STD, STE, or both), n (true positives), and value, low and high of ``focus`` (the share that
        focuses, Wilson's interval: a bootstrap knows no uncertainty when none or all do) and of ``mass`` (excess mass,
        bootstrapped over patients). A class with true positives of one patient alone has no row.
    """
    right: list[tuple[nn.Module, Cases]] = []
    for network, thresholds, cases in parts:
        with torch.inference_mode():
            probability = torch.sigmoid(network(cases.inputs(system))).numpy()
        called = (probability >= thresholds)[np.arange(len(cases.classes)), cases.classes]
        if called.any():
            right.append((network, cases.take(np.flatnonzero(called))))
    columns = ["method", "class", "n", *(f"{what} {end}" for what in ("focus", "mass") for end in ENDS)]
    rows: list[tuple] = []
    if right:
        every = ("any_lead", "names_of_classes", "patients")
        key, classes, patients = (np.concatenate([getattr(cases, name) for _, cases in right]) for name in every)
    for method in system.own_maps if right else ():
        m = np.concatenate([evaluation.make_maps(method, system, network, cases) for network, cases in right])
        focus = focuses(m, key)
        mass = trials.localisation(m, key)["excess mass"]
        for label, names in (*((c, [c]) for c in ST), (" or ".join(ST), ST)):
            chosen = np.flatnonzero(np.isin(classes, names))
            if len(set(patients[chosen])) > 1:
                found, n = int(focus[chosen].sum()), len(chosen)
                wilson = binomtest(found, n).proportion_ci(method="wilson")
                interval = trials.mean_interval(mass[chosen, None], patients[chosen], repeats=repeats, seed=seed)
                rows.append((method, label, n, found / n, wilson.low, wilson.high, *np.ravel(interval)))
    return pd.DataFrame(rows, columns=columns)


def focus_of_systems(
    subjects: Mapping[str, Subject], by_rate: ByRate, known: pd.DataFrame, *, repeats: int = 1000
) -> pd.DataFrame:
    """``focus_on_st`` of several systems, with their names (``system``) and runs (``run``).

    Parameters
    ----------
    known
        Of ``recognition_of_st``: a system has rows of the classes that it is asked about, and one of both where it is
        asked about both.
    """
    tables = []
    for name, subject in subjects.items():
        thresholds, cases = np.array(list(subject.runs[0].card["thresholds"].values())), by_rate[subject.fs]
        asked = known.loc[(known["system"] == name) & known["asked"], "class"].tolist()
        cases = cases.take(np.flatnonzero(np.isin(cases.names_of_classes, asked)))
        parts = [(subject.networks[0], thresholds, cases)] if asked else []
        found = focus_on_st(subject.system, parts, repeats=repeats)
        found = found if len(asked) == len(ST) else found[found["class"].isin(asked)]
        tables.append(found.assign(system=name, run=subject.runs[0].folder.name))
    there = [table for table in tables if len(table)]
    return pd.concat(there, ignore_index=True) if there else tables[0]


# --- 2: one map, all classes of a record ------------------------------------------------------------------------------


def on_all_classes(
    system: System, arms: dict[str, Sequence[nn.Module]], cases: Cases, *, repeats: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """AUC of a system's own maps in the evidence of all classes of a record, mean over an arm's networks.

    Of a method with a map for each class, those of the record's classes are summed.

    Parameters
    ----------
    arms
        Name → networks; there are two, of which the last row gives the difference.
    cases
        One row a record.

    Returns
    -------
    DataFrame
        arm, method, value, low, high, system, n (records): the arms' own maps, then the attention moved at random, the
        signal's energy, and the difference of the first arm's attention from the second's.
    """
    found: dict[tuple[str, str], NDArray[np.floating]] = {}
    for arm, trained in arms.items():
        for method in system.own_maps:
            every = [
                [
                    evaluation.make_maps(method, system, network, cases, classes=np.full(len(cases.names), c))
                    for c in range(len(CLASSES))
                ]
                for network in trained
            ]
            m = (np.array(every) * cases.labels.T[None, :, :, None]).sum(axis=1)
            found[arm, method] = np.mean([trials.localisation(one, cases.any_class)["AUC"] for one in m], axis=0)
    moved = blind.random_maps(m[0], np.random.default_rng(seed))
    found["random", "attention, moved"] = trials.localisation(moved, cases.any_class)["AUC"]
    energy = blind.energy_maps(cases.signals, system.fs)
    found["", "signal energy"] = trials.localisation(energy, cases.any_class)["AUC"]
    first, second = (found[arm, "attention"] for arm in arms)
    found["difference", "attention"] = first - second
    interval = trials.mean_interval(np.column_stack(list(found.values())), cases.patients, repeats=repeats, seed=seed)
    about = pd.DataFrame(list(found), columns=["arm", "method"])
    return about.assign(**dict(zip(ENDS, interval, strict=True)), system=system.name, n=len(cases.names))


# --- 3: two classes, two maps -----------------------------------------------------------------------------------------


def couples(cases: Cases) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of the first and of the second class, for every pair of classes of one record."""
    found = []
    for name in dict.fromkeys(cases.names):
        rows = np.flatnonzero(cases.names == name)
        found += [(a, b) for i, a in enumerate(rows) for b in rows[i + 1 :]]
    a, b = np.array(found, dtype=np.intp).reshape(-1, 2).T
    return a, b


def own_minus_other(
    maps: NDArray[np.floating], cases: Cases, a: NDArray[np.intp], b: NDArray[np.intp]
) -> NDArray[np.floating]:
    """AUC of a map in its class's key less that of the other class's map there, mean of both ways: (couples,).

    Parameters
    ----------
    maps
        (rows, n), of the cases.
    a, b
        As ``couples`` gives them.
    """
    own_a, other_a, own_b, other_b = (
        trials.localisation(maps[x], cases.any_lead[y])["AUC"] for x, y in ((a, a), (b, a), (b, b), (a, b))
    )
    return (own_a - other_a + own_b - other_b) / 2


def apart(subjects: Mapping[str, Subject], by_rate: ByRate, *, repeats: int = 1000) -> pd.DataFrame:
    """Two classes of one record: do a system's own maps of them differ, and each lie on its own evidence?

    Returns
    -------
    DataFrame
        system, method, n (pairs of classes), run, and value, low and high of ``overlap`` (correlation of the two maps)
        and of ``apart`` (``own_minus_other``). The last row is the answer key's, whose overlap is that of the evidence.
    """
    columns = ["system", "method", "n", "run", *(f"{what} {end}" for what in ("overlap", "apart") for end in ENDS)]
    rows: list[tuple] = []
    for name, subject in subjects.items():
        cases = by_rate[subject.fs]
        a, b = couples(cases)
        for method in subject.own:
            m = subject.maps(method, cases)
            values = np.column_stack([trials.agreement(m[a], m[b]), own_minus_other(m, cases, a, b)])
            interval = trials.mean_interval(values, cases.patients[a], repeats=repeats)
            rows.append((name, method, len(a), subject.runs[0].folder.name, *np.transpose(interval).ravel()))
    cases = by_rate[next(iter(subjects.values())).fs]
    a, b = couples(cases)
    key = cases.any_lead.astype(float)
    interval = trials.mean_interval(trials.agreement(key[a], key[b])[:, None], cases.patients[a], repeats=repeats)
    rows.append(("answer key", "", len(a), "", *np.ravel(interval), *[np.nan] * 3))
    return pd.DataFrame(rows, columns=columns)


# --- 4: trials and methods that agree ---------------------------------------------------------------------------------


def families(ranks: pd.DataFrame) -> pd.DataFrame:
    """Mean rank of each system's methods in each family of trials, of ``explanations.ranks``."""
    return pd.DataFrame(
        {family: ranks[[t for t in chosen if t in ranks]].mean(axis=1) for family, chosen in trials.FAMILIES.items()}
    )


def agreement(ranked: pd.DataFrame) -> NDArray[np.floating]:
    """Rank correlation of the families over a system's methods, mean over the systems: (families, families)."""
    each = [one.corr(method="spearman").to_numpy() for _, one in ranked.groupby("system")]
    return np.mean(np.nan_to_num(each), axis=0)


def mean_agreement(ranked: pd.DataFrame, *, repeats: int = 200, seed: int = 0) -> tuple[float, NDArray[np.floating]]:
    """Mean of ``agreement`` over the pairs of families; the same of ranks shuffled within each system, (repeats,)."""
    off = np.triu_indices(len(ranked.columns), 1)
    rng = np.random.default_rng(seed)
    shuffled = [
        agreement(ranked.groupby("system").transform(lambda c: rng.permutation(c)))[off].mean() for _ in range(repeats)
    ]
    return float(agreement(ranked)[off].mean()), np.array(shuffled)


def likeness(subject: Subject, cases: Cases, chosen: Sequence[str]) -> pd.DataFrame:
    """Correlation between the maps of any two methods, mean over the cases: (methods, methods)."""
    made = [subject.maps(method, cases) for method in chosen]
    alike = [[np.nanmean(trials.agreement(a, b)) for b in made] for a in made]
    return pd.DataFrame(alike, index=chosen, columns=chosen)


# --- 5: small networks ------------------------------------------------------------------------------------------------


def small_arms(profile: str) -> dict[str, dict[str, Any]]:
    """Fields of the small networks of a profile by name: receptive fields differ, or the distance of cells."""
    arms: dict[str, dict[str, Any]] = {
        "short": {"dilations": (1, 1, 1), "pools": 3},
        "deep": {"dilations": (1,) * 6, "pools": 3},
        "dilated": {"dilations": (1, 1, 1, 2, 4, 8), "pools": 3},
    }
    if profile in ("real", "paper"):
        arms["pooled"] = {"dilations": (1,) * 5, "pools": 5}
        arms["deep, maximum"] = {"dilations": (1,) * 6, "pools": 3, "pooling": "max"}
    return arms | {SHUFFLED: arms["short"]}


def small_records(p: SimpleNamespace) -> Records:
    """Records that the small networks of chapter 09 learn from, at the rate of the first system that it explains."""
    fs = profile_values(p.profile, by_name(p.systems[0]).chapter)["fs"]
    return Records("synthetic", fs, p.small_records, 1, p.seed)


def small_tasks(p: SimpleNamespace) -> dict[str, Task]:
    """Trainings of the small networks of chapter 09 by name."""
    records = small_records(p)
    return {
        arm: Task(
            f"small network, {arm}",
            train_small,
            (SmallGAPSystem(fs=records.fs, epochs=p.small_epochs, **options), records, arm == SHUFFLED),
            (records.task,),
        )
        for arm, options in small_arms(p.profile).items()
    }


def small_networks(p: SimpleNamespace) -> dict[str, Subject]:
    """Train the small networks of chapter 09, side by side, or open them: arm → network."""
    tasks = small_tasks(p)
    return {arm: Subject([run]) for arm, run in zip(tasks, together(list(tasks.values())), strict=True)}


def train_small(
    system: SmallGAPSystem, records: Records, shuffled: bool = False, *, only_open: bool = False
) -> Run | None:
    """Train a small network on four of a cohort's five folds, or open it.

    ``shuffled``: the records' labels change places first, so that there is nothing to learn; the folds stay.
    """
    cohort, seed = records.made(), records.seed
    (split,) = training.member_splits(system, cohort, small_test(cohort, seed), 1, seed)
    if shuffled:
        order = np.random.default_rng(seed).permutation(len(cohort))
        checksum = f"{cohort.checksum}, labels shuffled by {seed}"
        cohort = replace(cohort, labels=cohort.labels[order], checksum=checksum)
    if only_open:
        return training.trained(system, cohort, split, seed=seed)
    return training.train(system, cohort, split, seed=seed, note=SHUFFLED if shuffled else system.name)


def small_test(cohort: Cohort, seed: int = 0) -> NDArray[np.intp]:
    """Records that ``train_small`` leaves for testing."""
    return np.flatnonzero(cohort.folds(5, seed) == 0)


def small_scales(subjects: Mapping[str, Subject], cases: Cases, cohort: Cohort, seed: int = 0) -> pd.DataFrame:
    """How far a cell of each small network sees, and how well it tells the classes of the tested records apart.

    Returns
    -------
    DataFrame
        network, cell, field and effective (seconds: between cells, that a cell sees, that hold 90 % of its gradient),
        AUROC.
    """
    rows, test = [], small_test(cohort, seed)
    for arm, subject in subjects.items():
        network = subject.networks[0]
        scale = maps.scale(network, subject.system.feature_layer, cases.inputs(subject.system)[:16])
        auroc = metrics.macro_auroc(cohort.labels[test], subject.runs[0].probabilities(test))
        seconds = np.array([network.stride, network.receptive_field, scale.effective]) / subject.fs
        rows.append((arm, *seconds, auroc))
    return pd.DataFrame(rows, columns=["network", "cell", "field", "effective", "AUROC"])


def small_excess(subjects: Mapping[str, Subject], cases: Cases) -> pd.DataFrame:
    """Excess mass of three maps of each small network: one row a case, columns (network, method).

    The maps are of the last layer (CAM), of the first block (HiRes-CAM) and of the samples.
    """
    found, classes = {}, torch.from_numpy(cases.classes)
    for arm, subject in subjects.items():
        x = cases.inputs(subject.system)
        early = maps.on_record(maps.hires_cam(subject.networks[0], "blocks.3", x, classes), 2, x)
        made = {
            "CAM": subject.maps("CAM", cases),
            FIRST_BLOCK: np.stack(early),
            INPUT_GRADIENT: subject.maps(INPUT_GRADIENT, cases),
        }
        for method, m in made.items():
            found[arm, method] = trials.localisation(m, cases.any_lead)["excess mass"]
    return pd.DataFrame(found).rename_axis(columns=["network", "method"])


def mean_of_classes(scores: pd.DataFrame, cases: Cases, *, repeats: int = 1000) -> pd.DataFrame:
    """Mean of the classes' means of scores, one row a case: the levels of their columns, value, low, high, n."""
    found = trials.summary(scores, cases.names_of_classes, cases.patients, repeats=repeats)
    return found[found["class"] == ""].drop(columns="class")


def difference(
    excess: pd.DataFrame, first: tuple[str, str], second: tuple[str, str], cases: Cases, *, repeats: int = 1000
) -> tuple[float, float, float]:
    """Value, low and high of what the first column of ``small_excess`` has more than the second, case by case."""
    less = (excess[first] - excess[second]).to_frame("difference")
    value, low, high = mean_of_classes(less, cases, repeats=repeats)[[*ENDS]].iloc[0]
    return value, low, high


# --- 6: few records and many ------------------------------------------------------------------------------------------


def excess_of_two(
    system: System,
    networks: dict[str, nn.Module],
    cases: Cases,
    chosen: Sequence[str],
    *,
    repeats: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Excess mass of two networks' maps of the same explanations, and what the second has more than the first.

    Parameters
    ----------
    networks
        Name → network; there are two.
    chosen
        Methods, or maps that know nothing of a network.

    Returns
    -------
    DataFrame
        method, network (a name, or ``difference``), value, low, high (mean of the classes' means), n.
    """
    found: dict[tuple[str, str], NDArray[np.floating]] = {}
    for method in chosen:
        first, second = (
            trials.localisation(evaluation.make_maps(method, system, network, cases), cases.any_lead)["excess mass"]
            for network in networks.values()
        )
        found |= dict(zip(((method, name) for name in networks), (first, second), strict=True))
        found[method, "difference"] = second - first
    scores = pd.DataFrame(found).rename_axis(columns=["method", "network"])
    table = trials.summary(scores, cases.names_of_classes, cases.patients, repeats=repeats, seed=seed)
    return table.loc[table["class"] == "", ["method", "network", *ENDS, "n"]].reset_index(drop=True)


def few_and_many(answers: pd.DataFrame) -> pd.DataFrame:
    """Rows of the sixth question, with the ``network`` that each is of: few records, many, or many less few.

    Parameters
    ----------
    answers
        Of ``explanations.answers``.
    """
    six = answers[answers["trial"].str.startswith(SIX)]
    trained = np.where(six["trained"] == "synthetic", "few", "many")
    differs = six["trial"].str.endswith("many less few")
    numbers = dict.fromkeys(ENDS, float) | {"n": int}
    return six.assign(network=np.where(differs, "many less few", trained)).astype(numbers)
