"""What the checks of a record say of real records, and of planted faults; and what those do to the network's answer.

``ecgstudy train --part fitness --again`` fits the model of beats (``data/placement.csv``) and writes
``results/quality.csv``, on the real recordings at hand.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ecgstudy import training
from ecgstudy.data import placement, qrs
from ecgstudy.data.cohort import REAL_SOURCES, read_all, record_paths, refuse_unread
from ecgstudy.data.leads import LEADS
from ecgstudy.data.quality import CHECKS, Quality, coarser, quality
from ecgstudy.data.records import Record
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain.unlike import windows_of
from ecgstudy.paths import RESULTS, written_table
from ecgstudy.preprocessing import fill_gaps
from ecgstudy.studies import leaderboard
from ecgstudy.studies.planted import FAULTS, Fault

TABLE = RESULTS / "quality.csv"
COLUMNS = ["question", "source", "check", "fault", "strength", "unit", "n", "noted", "unfit", "value", "changed"]
ENTRY = f"Local evidence{leaderboard.MIDWAY}"
SEED = 5_000  # no cohort of the study is simulated from it
_PACED = {"10370003", "251266004", "PACE"}  # SNOMED CT: pacing rhythm, paced; PTB-XL: normal functioning pacemaker


def real_records() -> list[Record]:
    """Every distinct 12-lead record of LUDB and of the real cohort's sources."""
    found: dict[str, Record] = {}
    failed: list[dict[str, str]] = []
    for record in read_all(record_paths(("ludb", *REAL_SOURCES))):
        if isinstance(record, tuple):
            failed.append({"name": record[0], "error": str(record[1])})
        elif record.leads == LEADS:
            found.setdefault(record.signal_hash, record)
    refuse_unread(failed)
    return list(found.values())


def two_leads(seconds: float = 10) -> list[Record]:
    """The first seconds of MIT-BIH's records."""
    read = read_all(record_paths(("mitdb",)))
    return [replace(r, signal=r.signal[:, : round(seconds * r.fs)]) for r in read if not isinstance(r, tuple)]


def beat_of(record: Record) -> NDArray[np.floating] | None:
    """Parts of the median beat in I, II and V1 to V6 (8, 11); None where a lead is flat or beats are too few."""
    x = fill_gaps(record.signal)[list(placement.EIGHT)]
    if (np.ptp(x, axis=1) == 0).any():
        return None
    coarse, fs = coarser(x, record.fs)
    return placement.beat_parts(coarse, qrs.ROBUST.find(coarse, fs), fs)


class Models(NamedTuple):
    """The model of beats fitted to all records, and for each fifth of the patients to the records of the others."""

    whole: placement.Model
    held_out: list[placement.Model]
    fold: Mapping[str, int]  # of each patient

    def unseen(self, record: Record) -> placement.Model:
        """The one that was not fitted to this patient."""
        return self.held_out[self.fold[record.patient_id]] if record.patient_id in self.fold else self.whole


def models(records: Sequence[Record], folds: int = 5) -> Models:
    """Fit the model of beats."""
    found = [(record.patient_id, beat) for record in records if (beat := beat_of(record)) is not None]
    patients = np.array([patient for patient, _ in found])
    beats = np.stack([beat for _, beat in found])
    names = np.unique(patients)
    fold = dict(zip(names.tolist(), np.random.default_rng(0).permutation(len(names)) % folds, strict=True))
    folds_of = np.array([fold[patient] for patient in patients])
    return Models(placement.fitted(beats), [placement.fitted(beats[folds_of != f]) for f in range(folds)], fold)


def _row(question: str, source: str, check: str, found: Sequence[Quality], **more: float | str) -> dict:
    """Shares of records that a check (``any``: any check) notes or finds unfit, and the median of what it measured."""
    if check == "any":
        noted = [any(one.verdict != "ok" for one in q.findings) for q in found]
        unfit, values = [not q.fit for q in found], np.array([np.nan])
    else:
        noted, unfit = ([q[check].verdict in verdicts for q in found] for verdicts in (("note", "unfit"), ("unfit",)))
        values = np.array([q[check].value for q in found])
    known = values[np.isfinite(values)]
    return {
        "question": question, "source": source, "check": check, "fault": "", "strength": "", "unit": "",
        "n": len(found), "noted": float(np.mean(noted)), "unfit": float(np.mean(unfit)),
        "value": float(np.median(known)) if len(known) else np.nan, "changed": np.nan, **more,
    }  # fmt: skip


def alarms(records: Sequence[Record], fitted: Models) -> pd.DataFrame:
    """What each check says of real records, by source: as good as all of them are sound, so these are false alarms.

    And of those that their labels call paced: a recorder's filter takes the spikes of most of them away.
    """
    judged: dict[str, list[Quality]] = {"all": []}
    for record in records:
        found = quality(record, model=fitted.unseen(record))
        judged["all"].append(found)
        judged.setdefault(record.source, []).append(found)
        if _PACED & set(record.codes):
            judged.setdefault("labelled as paced", []).append(found)
    judged["MIT-BIH"] = [quality(record) for record in two_leads()]
    return pd.DataFrame(
        [_row("real", source, check, found) for source, found in judged.items() for check in (*CHECKS, "any")]
    )


class Answering(NamedTuple):
    """Real records with the run that was tested on each: it has seen neither record nor patient."""

    records: list[Record]
    runs: list[training.Run]  # of each record

    def probabilities(self, records: Sequence[Record]) -> NDArray[np.float32]:
        """(records, 9) of records that stand for ``self.records``, one by one."""
        found = np.zeros((len(records), 9), dtype=np.float32)
        for run in dict.fromkeys(self.runs):
            rows = [row for row, own in enumerate(self.runs) if own is run]
            found[rows] = answered(run, [records[row] for row in rows])
        return found

    def called(self, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Classes that the runs' thresholds call."""
        return probabilities >= np.array([list(run.card["thresholds"].values()) for run in self.runs])


def answered(run: training.Run, records: Sequence[Record]) -> NDArray[np.float32]:
    """What a run says of records: probabilities (records, 9), mean over the windows of each."""
    windows = [windows_of(run.system, record) for record in records]
    owner = np.repeat(np.arange(len(records)), [len(some) for some in windows])
    network, flat = run.network(), [window for some in windows for window in some]
    with torch.inference_mode():
        p = np.concatenate(
            [
                torch.sigmoid(network(torch.from_numpy(np.stack(flat[k : k + 32]))).float()).numpy()
                for k in range(0, len(flat), 32)
            ]
        )
    return np.stack([p[owner == row].mean(axis=0) for row in range(len(records))])


def answering(records: Sequence[Record], number: int) -> Answering:
    """Sound records of the real cohort, evenly from all of them, with the run that was tested on each."""
    runs = leaderboard.runs_of("real", ENTRY)
    tested: dict[str, training.Run] = {}
    for run in runs:
        rows = run.predictions[run.predictions["split"] == "test"]
        tested |= dict.fromkeys(rows["name"], run)
    sound = [
        record
        for record in records
        if record.source != "LUDB"
        and record.name in tested
        and all(f.verdict == "ok" for f in quality(record).findings)
    ]
    chosen = [sound[k] for k in np.linspace(0, len(sound) - 1, number).round().astype(int)]
    return Answering(chosen, [tested[record.name] for record in chosen])


def another_training() -> tuple[float, int]:
    """Share of calls in which two trainings differ on records that neither saw, and how many records these are."""
    runs = leaderboard.runs_of("real", ENTRY)
    calls = []
    for run in runs:
        rows = run.predictions.set_index("record")
        p = rows[list(run.card["thresholds"])]
        calls.append((rows["split"], p >= np.array(list(run.card["thresholds"].values()))))
    differ = []
    for split, called in calls:
        for other_split, other in calls:
            both = split.index[split == "test"].intersection(other_split.index[other_split == "valid"])
            differ.append((called.loc[both].to_numpy() != other.loc[both].to_numpy()).mean(axis=1))
    return float(np.concatenate(differ).mean()), sum(map(len, differ))


def planted(
    sound: Answering, simulated: Sequence[Record], fitted: Models, faults: Sequence[Fault] = FAULTS
) -> Iterator[dict]:
    """Plant every fault at every strength: who finds it, and how many calls of the network it changes."""
    before = sound.called(sound.probabilities(sound.records))
    for fault in faults:
        for strength in fault.strengths:
            about: dict[str, float | str] = {"fault": fault.name, "strength": strength, "unit": fault.unit}
            for source, records in (("real", sound.records), ("simulated", simulated)):
                changed = [fault(r, strength, np.random.default_rng([SEED, k])) for k, r in enumerate(records)]
                found = [quality(r, model=fitted.unseen(old)) for r, old in zip(changed, records, strict=True)]
                row = _row("planted", source, fault.check, found, **about)
                row["unfit"] = float(np.mean([not q.fit for q in found]))
                if source == "real":
                    row["changed"] = float((sound.called(sound.probabilities(changed)) != before).mean())
                yield row


def compute(number: int = 80, faults: Sequence[Fault] = FAULTS) -> tuple[pd.DataFrame, placement.Model]:
    """Measure everything: the table, and the model of beats fitted to all records."""
    records = real_records()
    fitted = models(records)
    simulated = [synthetic.simulate(3 * k, SEED).record for k in range(number // 2)]
    simulated = [record for record in simulated if all(f.verdict == "ok" for f in quality(record).findings)]
    differ, n = another_training()
    rows = list(planted(answering(records, number), simulated, fitted, faults))
    same = {"question": "another training", "source": "real", "check": "any", "n": n, "changed": differ}
    table = pd.concat([alarms(records, fitted), pd.DataFrame(rows), pd.DataFrame([same])], ignore_index=True)
    return table[COLUMNS].fillna({"fault": "", "strength": "", "unit": ""}), fitted.whole


def write(table: pd.DataFrame, model: placement.Model) -> None:
    """Commit the table and the model of beats."""
    placement.write(model)
    with written_table(TABLE) as partial:
        table.to_csv(partial, index=False, float_format="%.4g")
