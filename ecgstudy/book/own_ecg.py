"""What the page on an ECG of one's own shows: two records explained, and tables of how well records are judged."""

from pathlib import Path

import pandas as pd

from ecgstudy.data.quality import CHECKS
from ecgstudy.data.records import read_record
from ecgstudy.paths import REPOSITORY
from ecgstudy.reading.counterfactual import compare
from ecgstudy.reading.explanation import explain
from ecgstudy.reading.page import page
from ecgstudy.studies import read_committed

REAL = REPOSITORY / "book" / "records" / "ludb-96.hea"
FINDING, INDEX, SEED = "RBBB", 3, 1000  # of the simulated one


def write_reports(folder: Path) -> None:
    """Write the pages ``real.html`` and ``simulated.html``, as ``ecgstudy explain`` writes them, into a new folder."""
    folder.mkdir()
    (folder / "real.html").write_text(page(explain(read_record(REAL)), file=REAL.stem), encoding="utf-8")
    one = compare(FINDING, INDEX, SEED, labels=frozenset({FINDING}))
    text = page(one.answer, file=one.has.record.name, without=[one])
    (folder / "simulated.html").write_text(text, encoding="utf-8")


def _quality() -> pd.DataFrame:
    return read_committed("quality.csv", ("strength", "n", "noted", "unfit", "value", "changed"))


def checks_table() -> str:
    """What each check says of real records as they are, in the book's Markdown."""
    rows = _quality().query("question == 'real' and source == 'all'")
    lines = [
        f"| check | what is measured | noted, of {rows['n'].iloc[0]:,} real records | unfit |",
        "|---|---|---|---|",
    ]
    for row in rows.itertuples():
        name, how = (row.check, CHECKS[row.check].how) if row.check in CHECKS else ("any of them", "")
        lines.append(f"| {name} | {how} | {_percent(row.noted)} | {_percent(row.unfit)} |")
    return "\n".join(lines) + "\n"


def faults_table() -> str:
    """From which strength planted faults are noted, and make a record unfit, in 90 % of real records."""
    rows = _quality().query("question == 'planted' and source == 'real'")
    lines = [f"| fault, planted in {rows['n'].iloc[0]} real records | noted from | unfit from |", "|---|---|---|"]
    for fault, of_fault in rows.groupby("fault", sort=False):
        lines.append(f"| {fault} | {_from(of_fault, 'noted')} | {_from(of_fault, 'unfit')} |")
    return "\n".join(lines) + "\n"


def _from(rows: pd.DataFrame, column: str) -> str:
    """The first strength at which 90 % are found; the share, for a fault of one strength or where none is."""
    found = rows[rows[column] >= 0.9]
    if len(rows) == 1 or found.empty:
        best = rows.loc[rows[column].idxmax()]
        at = "" if len(rows) == 1 else f" at {best['strength']:g} {best['unit']}"
        return "never" if best[column] == 0 else f"{_percent(best[column])}{at}"
    strength, unit = found["strength"].iloc[0], found["unit"].iloc[0]
    return f"{strength:g} {unit.removesuffix('s') if strength == 1 and len(unit) > 1 else unit}"


def unlike_table() -> str:
    """How many records are called unlike the training data, in the book's Markdown."""
    rows = read_committed("unlike.csv", ("n", "value")).query("distance == 'Mahalanobis'")
    titles = {
        "test": "real records that the network had not seen, {}",
        "others": "{}",
        "source left out": "{}, left out of what the distance knows",
        "found, test": "held-out records made strange: {}",
    }
    lines = ["| records | how many | called unlike |", "|---|---|---|"]
    for question, title in titles.items():
        for row in rows[rows["question"] == question].itertuples():
            lines.append(f"| {title.format(row.group)} | {row.n} | {_percent(row.value)} |")
    return "\n".join(lines) + "\n"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"
