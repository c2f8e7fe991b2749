"""What the page on an ECG of one's own shows: two records explained, and tables of how well records are judged."""

from pathlib import Path

from ecgstudy.data.records import read_record
from ecgstudy.paths import REPOSITORY
from ecgstudy.reading.counterfactual import compare
from ecgstudy.reading.explanation import explain
from ecgstudy.reading.page import page

REAL = REPOSITORY / "book" / "records" / "ludb-96.hea"
FINDING, INDEX, SEED = "RBBB", 3, 1000  # of the simulated one


def write_reports(folder: Path) -> None:
    """Write the pages ``real.html`` and ``simulated.html``, as ``ecgstudy explain`` writes them, into a new folder."""
    folder.mkdir()
    (folder / "real.html").write_text(page(explain(read_record(REAL)), file=REAL.stem), encoding="utf-8")
    one = compare(FINDING, INDEX, SEED, labels=frozenset({FINDING}))
    text = page(one.answer, file=one.has.record.name, without=[one])
    (folder / "simulated.html").write_text(text, encoding="utf-8")
