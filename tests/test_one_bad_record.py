"""One bad record stops nothing else: it is skipped, listed, and told without the folders of this machine."""

import errno
import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from typer.testing import CliRunner

from ecgstudy.book import build
from ecgstudy.cli import app
from ecgstudy.data import audit, beats, cohort, manifest
from ecgstudy.data.records import RecordError
from ecgstudy.explain.cases import ludb_at_hand, ludb_cases
from ecgstudy.paths import NOTEBOOKS, REPOSITORY, RESULTS
from ecgstudy.studies import explanations, realism
from tests.conftest import annotation

GEORGIA = Path("challenge-2021/training/georgia/g1")


def cut_signal(root):
    file = root / GEORGIA / "E00001.mat"
    file.write_bytes(file.read_bytes()[:-100])


def missing_annotation(root):
    (root / "ludb" / "data" / "1.avf").unlink()
    (root / "mitdb" / "100.atr").unlink()


def sparse_signal(root):
    with (root / GEORGIA / "E00001.mat").open("r+b") as file:
        file.truncate(2**31)
    header = root / GEORGIA / "E00001.hea"
    header.write_text(header.read_text().replace("E00001 12 500 5500", "E00001 12 500"))  # as long as the file


def sparse_files(root):
    for name in ("x.csv", "A0009.mat", "x.npy", "x.hea"):
        with (root / "cpsc-2018-original" / name).open("wb") as file:
            file.truncate(2**31)


def name_that_is_no_text(root):
    (root / GEORGIA / "E00001.hea").rename(root / GEORGIA / os.fsdecode(b"E00001\xff.hea"))
    for folder in ("ludb/data", "mitdb", "cpsc-2018-original", "."):
        for suffix in (b".hea", b".dat", b".csv", b""):
            (root / os.fsdecode(os.fsencode(folder) + b"/n\xfcame" + suffix)).touch()


def dangling_links(root):
    for folder in (GEORGIA, "ludb/data", "mitdb", "cpsc-2018-original", "ptb-xl", "."):
        for suffix in (".hea", ".dat", ".mat", ".csv", ".npy", ""):
            (root / folder / f"gone{suffix}").symlink_to(root / "nowhere" / "x")
    (root / "loop").symlink_to(root)
    (root / GEORGIA / "self").symlink_to("self")


def many_kinds(root):
    folder = root / GEORGIA
    (folder / "empty.mat").mkdir()
    (folder / "empty.hea").touch()
    (folder / "empty.npy").touch()
    (folder / "binary.hea").write_bytes(bytes(range(256)))
    (folder / "folder.hea").mkdir()
    (folder / "two.hea").write_text("two 2 500 10\ntwo.dat 16 200 16 0 0 0 0 I\ntwo.dat 16 200 16 0 0 0 0 II\n")
    (folder / "two.dat").write_bytes(bytes(40))
    (root / "ludb" / "data" / "1.i").write_bytes(b"\x00\xec")
    (root / "mitdb" / "101.dat").write_bytes(b"")
    (root / "mitdb" / "note.csv").write_text("I,II\n1,2\n")


def no_permission(root):
    """Not by chmod, which does not stop root: the system's answer is planted."""
    (root / GEORGIA / "locked").mkdir()
    return root / GEORGIA / "locked"


KINDS = [
    cut_signal,
    missing_annotation,
    sparse_signal,
    sparse_files,
    name_that_is_no_text,
    dangling_links,
    many_kinds,
    no_permission,
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def bad_data(request, small_data, monkeypatch):
    locked, scandir = request.param(small_data), os.scandir

    def guarded(folder="."):
        if locked and not isinstance(folder, int) and Path(folder) == locked:
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    return small_data


def test_the_rest_is_read_and_the_bad_is_listed(bad_data, request, tmp_path):
    kind = request.node.callspec.id
    table = audit.audit(cohort.read_all(cohort.record_paths(audit.SIGNALS)))
    read, failed = table[table["error"] == ""], table[table["error"] != ""]
    # Ten good ones: two of each data set.
    spoilt = {"cut_signal": {"E00001"}, "sparse_signal": {"E00001"}, "many_kinds": {"101"}}.get(kind, set())
    further = {"many_kinds": 1}.get(kind, 0)  # of two leads
    assert len(read) == 10 - len(spoilt) + further and not spoilt & set(read["name"]), failed["error"].tolist()
    assert (len(failed) > 0) == (kind not in ("missing_annotation",))
    if kind == "name_that_is_no_text":
        assert r"E00001\xff" in set(read["name"])
    table.to_csv(tmp_path / "audit.csv", index=False)
    assert "jane" not in (tmp_path / "audit.csv").read_text(encoding="utf-8")
    for error in failed["error"]:
        assert "; " in error or "no such record" in error or "is a folder" in error, error

    built = cohort.real_cohort(100)
    assert len(built) == 6 - (kind in ("cut_signal", "sparse_signal"))
    assert not built.left_out["detail"].str.contains("jane").any()
    assert all(name.isprintable() for name in built.left_out["name"])


def test_answer_keys_go_on(bad_data, request):
    kind, unread = request.node.callspec.id, []
    waves = audit.wave_counts(bad_data / "ludb", failed=unread)
    spoilt = kind in ("missing_annotation", "many_kinds")
    assert waves.loc[waves["wave"] == "QRS", "marked"].tolist() == [12 if spoilt else 24]
    counted = audit.beat_counts(bad_data / "mitdb", failed=unread).set_index("beats").loc["all"]
    missing = kind == "missing_annotation"
    assert counted[["N", "V"]].tolist() == ([10, 5] if missing else [20, 10])
    assert {"1", "100"} <= {row["name"] for row in unread} if missing else not (spoilt and not unread)
    assert "jane" not in str(unread)

    if kind in ("dangling_links", "missing_annotation"):
        told = []
        assert set(ludb_cases(100, failed=told).names) == ({"2"} if spoilt else {"1", "2"})
        assert ludb_at_hand([100, 50], None, told)[50].fs == 50
        assert {row["name"] for row in told} == ({"1"} if spoilt else {"gone"})
        assert len({row["error"] for row in told}) == len(told)  # each once, at however many rates
        assert "jane" not in str(told)
    unread = []
    found = beats.mitdb_beats(["100", "101"], failed=unread)
    gone = {"missing_annotation": {"100"}, "many_kinds": {"101"}}.get(kind, set())
    assert set(found.medians) == {"100", "101"} - gone == {"100", "101"} - {row["name"] for row in unread}


def test_the_books_state_is_told_and_follows_links(small_data, tmp_path):
    name_that_is_no_text(small_data)
    dangling_links(small_data)
    state = build._state()
    assert build._state() == state
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.hea").write_text("x")
    (small_data / "linked").symlink_to(elsewhere)
    linked = build._state()
    (elsewhere / "x.hea").unlink()
    assert state != linked != build._state()


def test_nothing_of_ludb_or_mitbih_is_told(small_data):
    for file in [*(small_data / "ludb").rglob("*.avf"), *(small_data / "mitdb").glob("*.atr")]:
        file.unlink()
    assert audit.wave_counts(small_data / "ludb").empty
    assert audit.beat_counts(small_data / "mitdb")[list("NSV")].to_numpy().sum() == 0
    for call in (lambda: ludb_cases(100), lambda: beats.mitdb_beats(["100", "101"])):
        with pytest.raises(manifest.DataError, match="fetch"):
            call()


def test_a_folder_in_a_records_place_is_listed(small_data):
    for file in ("ludb/data/1.hea", "mitdb/101.hea", f"{GEORGIA}/E00001.hea", "cpsc-2018-original/A0001.mat"):
        (small_data / file).unlink()
        (small_data / file).mkdir()
    table = audit.audit(cohort.read_all(cohort.record_paths(audit.SIGNALS)))
    failed = table[table["error"] != ""].set_index("name")["error"]
    assert len(table) == 10 and set(failed.index) == {"1", "101", "E00001", "A0001"}
    assert all("is a folder, not a record" in error for error in failed)


def test_no_committed_number_is_of_a_part(small_data):
    cut_signal(small_data)
    (small_data / "ludb" / "data" / "1.dat").unlink()
    with pytest.raises(
        manifest.DataError, match=r"^1 records cannot be read, and .*: ludb/data/1\.hea: its signal file"
    ):
        explanations.cases_by_cohort(100, "real", 2)
    with pytest.raises(manifest.DataError, match="1 records cannot be read"):
        realism.ludb_measures()


def test_a_real_cohort_says_what_it_lacks(small_data, capsys):
    settings = {"records": None, "balance": None, "seed": 0}
    assert len(cohort.named_cohort("real", 100, **settings)) == 6
    assert capsys.readouterr().out == ""
    for kind in (many_kinds, cut_signal, dangling_links):
        kind(small_data)
    made = cohort.named_cohort("real", 100, **settings)
    lacking = made.left_out.loc[made.left_out["reason"] == "unreadable", "detail"].tolist()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("It lacks what could not be read: ") and len(lacking) > 5
    assert all(detail in line for detail in lacking[:5]) and line.endswith(f"; and {len(lacking) - 5} more.")
    assert "jane" not in line and line.isprintable()


def test_rows_of_unreadable_records_belong_to_their_data_set(small_data, monkeypatch):
    cut_signal(small_data)
    missing = small_data / "ludb" / "data" / "1.dat"
    missing.unlink()
    whole = audit.audit(cohort.read_all(cohort.record_paths(audit.SIGNALS)))
    monkeypatch.setattr(audit, "committed", lambda: whole)
    for there, names in (
        (["ludb"], {"1", "2"}),
        (["mitdb"], {"100", "101"}),
        (["challenge-2021"], {"E00001", "E00002"}),
    ):
        again = audit.renewed(audit.audit(cohort.read_all(cohort.record_paths(there))), there)
        assert set(again["name"]) == set(whole["name"]) and len(again) == len(whole)
        assert audit.study_records(there[0]) == names


def test_no_header_puts_a_formula_into_the_table(small_data, tmp_path, monkeypatch):
    """A spreadsheet that opens audit.csv computes nothing that a header says."""
    folder = small_data / "challenge-2021" / "training" / "=1+1"
    folder.mkdir(parents=True)
    (folder / "x.mat").write_bytes((small_data / GEORGIA / "E00002.mat").read_bytes()[::-1])
    header = (small_data / GEORGIA / "E00002.hea").read_text().replace("E00002.mat", "x.mat").replace("E00002", "@x")
    (folder / "@x.hea").write_text(header.replace("#Dx: ", "#Dx: =HYPERLINK(1),"))
    (folder / "-y.hea").write_text("-y 1\n")
    results = tmp_path / "results"
    results.mkdir()
    monkeypatch.setattr(audit, "RESULTS", results)
    audit.write(audit.audit(cohort.read_all(cohort.record_paths(audit.SIGNALS))))
    table = pd.read_csv(results / "audit.csv", keep_default_na=False, dtype=str)
    texts = table.drop(columns=["low", "high"]).to_numpy().ravel()  # those are numbers, perhaps below 0
    assert not any(text.startswith(("=", "+", "-", "@")) for text in texts)
    assert {"'@x", "'-y"} <= set(table["name"]) and "'=1+1" in set(table["source"])
    assert table["codes"].str.startswith("'=HYPERLINK(1)").any()


def test_a_failing_disk_stops_no_audit_and_leaves_the_table(small_data, monkeypatch):
    read = cohort.read_record

    def fails(path):
        if path.stem in ("1", "E00001"):
            raise RecordError(f"{path}: cannot be read; run again") from OSError(errno.EIO, "Input/output error")
        return read(path)

    asked = []
    monkeypatch.setattr(cohort, "read_record", lambda path: asked.append(path.stem) or fails(path))
    before = (RESULTS / "audit.csv").read_bytes()
    result = CliRunner().invoke(app, ["data", "audit"])
    assert result.exit_code == 1 and (RESULTS / "audit.csv").read_bytes() == before
    assert len(set(asked)) == 10
    assert all(f"{name}.hea: cannot be read" in result.stderr for name in ("1", "E00001"))
    assert "nothing was written" in result.stderr


def test_marks_beyond_the_signal_cut_no_beats(small_data):
    (small_data / "mitdb" / "100.atr").write_bytes(annotation([(700, "N")] * 12))
    unread = []
    assert set(beats.mitdb_beats(["100", "101"], failed=unread).medians) == {"101"}
    assert unread == [
        {
            "name": "100",
            "error": "mitdb/100.atr: marks beats outside of the record's 7200 samples; fetch both again",
        }
    ]


def executed(name, **parameters):
    """Run the code of a notebook here; returns all that its cells showed, as text and as pages show it."""
    shell, shown = InteractiveShell(), []
    for cell in json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            given = parameters if "parameters" in cell["metadata"].get("tags", []) else {}
            with capture_output() as captured:
                result = shell.run_cell("".join(cell["source"]))
                shell.push(given)
                result.raise_error()
            plt.close("all")
            shown += [captured.stdout, captured.stderr, getattr(result.result, "_repr_html_", str)()]
            shown += [text for output in captured.outputs for text in (output.data or {}).values()]
    return [text for text in shown if isinstance(text, str)]


PLANTED = "<b>mark</b> \x1b[31m $\\frac{x"


@pytest.mark.filterwarnings("ignore:vert. bool was deprecated")  # seaborn's
def test_the_first_chapters_show_what_is_planted_as_text(small_data, monkeypatch):
    for kind in (cut_signal, missing_annotation, name_that_is_no_text, dangling_links, many_kinds):
        kind(small_data)
    folder = small_data / "challenge-2021" / "training" / "<i>folder" / "g1"
    folder.mkdir(parents=True)
    (folder / "x.mat").write_bytes((small_data / GEORGIA / "E00002.mat").read_bytes()[::-1])
    header = (small_data / GEORGIA / "E00002.hea").read_text().replace("E00002", "x").replace(" V6", f" {PLANTED}")
    (folder / "<u>$x.hea").write_text(header.replace("#Dx: ", f"#Dx: {PLANTED},").replace("Age: 70", "Age: <b>70"))
    shown = executed("01_data_audit", profile="smoke", synthetic_records=4, limit=None, require_real=True, seed=0)
    shown += executed("02_preprocessing", profile="smoke", seed=0)
    pages = [text for text in shown if "</table>" in text]
    assert len(pages) >= 8
    assert any("could not be read" in page for page in pages) and any("are not counted" in page for page in pages)
    assert "&lt;b&gt;mark&lt;/b&gt; \\x1b[31m" in "".join(pages) and "&lt;u&gt;$x" in "".join(pages)
    for text in shown:
        assert "jane" not in text and str(REPOSITORY) not in text
        assert "\x1b" not in text and "\udcff" not in text
    for page in pages:
        assert not any(mark in page for mark in ("<b>", "<u>", "<i>"))
