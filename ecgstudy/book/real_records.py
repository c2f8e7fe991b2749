"""Real ECGs that are committed with the book: what each is, whose, and what it shows (``book/records/records.yaml``).

``python -m ecgstudy.book.real_records [NAME ...]`` cuts them anew from the recordings under ``$ECGSTUDY_DATA``.
"""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ecgstudy.data.manifest import load_manifest
from ecgstudy.data.records import LEADS, Record, read_record
from ecgstudy.paths import REPOSITORY, data_root, told_if_broken
from ecgstudy.preprocessing import fill_gaps, resample
from ecgstudy.reading.chart import chart

FOLDER = REPOSITORY / "book" / "records"
FILE = FOLDER / "records.yaml"
SECONDS = 10.0


@dataclass(frozen=True)
class Committed:
    """A real ECG that comes with the book.

    Attributes
    ----------
    name
        Of its files in ``book/records``.
    data_set, path
        Where it is from: a key of the manifest, and the record's path below that data set's folder.
    start
        Second of the original at which it begins.
    fs
        Rate in Hz at which it is kept.
    codes
        What its header says after ``Dx:``.
    labels
        Those of the nine classes that they name.
    shows
        What to see in it.
    """

    name: str
    data_set: str
    path: str
    codes: tuple[str, ...]
    labels: tuple[str, ...]
    shows: str
    start: float = 0.0
    fs: float = 250.0

    @property
    def record(self) -> Record:
        """The record as it is committed."""
        return read_record(FOLDER / f"{self.name}.hea", source=self.data_set)

    @property
    def credit(self) -> str:
        """A line that names source, licence and what was changed."""
        one = load_manifest()[self.data_set]
        return (
            f"{one.title} {one.version}, record {self.path}, doi:{one.doi}, {one.licence}. "
            f"Changed: {SECONDS:g} s from second {self.start:g} on, at {self.fs:g} Hz, in whole microvolts"
        )

    def cut(self, original: Record) -> NDArray[np.int16]:
        """Take what is committed from the original: whole microvolts (12, samples)."""
        whole = resample(fill_gaps(original.signal), original.fs, self.fs)
        first = round(self.start * self.fs)
        return np.rint(1000 * whole[:, first : first + round(SECONDS * self.fs)]).astype(np.int16)

    def original(self) -> Record:
        """Read the original below ``$ECGSTUDY_DATA``."""
        return read_record(data_root() / self.data_set / f"{self.path}.hea")


@cache
def committed() -> dict[str, Committed]:
    """The committed ECGs by name, in the order of ``records.yaml``."""
    with told_if_broken(FILE):
        rows: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
        for row in rows.values():
            row |= {key: tuple(map(str, row[key])) for key in ("codes", "labels")}
        return {name: Committed(name, **row) for name, row in rows.items()}


def write(names: Sequence[str] = ()) -> None:
    """Cut ECGs (all, if none is named) from their originals and write them as WFDB, without age, sex or dates."""
    with warnings.catch_warnings():  # that wfdb 4.3 uses what pandas 3 deprecates is no concern of the reader's
        warnings.simplefilter("ignore", DeprecationWarning)
        import wfdb

        for one in (committed()[name] for name in names or committed()):
            wfdb.wrsamp(
                one.name,
                fs=one.fs,
                units=["mV"] * len(LEADS),
                sig_name=list(LEADS),
                d_signal=one.cut(one.original()).T.astype(np.int64),
                fmt=["16"] * len(LEADS),
                adc_gain=[1000] * len(LEADS),
                baseline=[0] * len(LEADS),
                comments=[one.credit, f"Dx: {','.join(one.codes)}"],
                write_dir=str(FOLDER),
            )


def table() -> str:
    """Markdown table of what the ECGs are, where they come from and under which licence."""
    lines = ["| ECG | labels | what it shows | from | licence |", "|---|---|---|---|---|"]
    for one in committed().values():
        data_set = load_manifest()[one.data_set]
        source = f"[{data_set.title}]({data_set.landing_page}) {data_set.version} {{cite}}`{data_set.citation}`"
        labels = ", ".join(one.labels) or "none of the nine"
        licence = f"[{data_set.licence}]({data_set.licence_url})"
        lines.append(f"| `{one.name}` | {labels} | {one.shows} | {source}, record `{one.path}` | {licence} |")
    return "\n".join(lines) + "\n"


def gallery() -> str:
    """The ECGs one below the other, as figures of a page of the book."""
    parts = []
    for one in committed().values():
        labels = ", ".join(one.labels) or "none of the nine labels"
        parts.append(
            f"```{{figure}} computed/real_{_file(one.name)}.svg\n:name: real-{_file(one.name).replace('_', '-')}\n"
            f":alt: A real 12-lead ECG on chart paper, labelled {labels}. {one.shows}\n:class: ecg-chart\n\n"
            f"`{one.name}`, labelled {labels}. {one.shows}\n```\n"
        )
    return "\n".join(parts)


def drawing(name: str) -> str:
    """One of the ECGs on chart paper, as SVG."""
    one = committed()[name]
    record, labels = one.record, ", ".join(one.labels) or "none of the nine labels"
    return str(chart(record.signal, record.fs, title=f"{name}, labelled {labels}", description=one.shows))


def drawings() -> dict[str, str]:
    """Name of each drawing → the ECG that it shows."""
    return {f"real_{_file(name)}": name for name in committed()}


def _file(name: str) -> str:
    return name.replace("-", "_")


if __name__ == "__main__":
    write(sys.argv[1:])
