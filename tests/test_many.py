"""Many records: a page each, a table, what is kept, what one bad file does, and what the exit code tells."""

import csv
import dataclasses
import html.parser
import shutil
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from ecgstudy.cli import app
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import RecordError, read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.reading import explanation, many
from ecgstudy.reading.explanation import explain
from ecgstudy.reading.many import Settings, exit_code, read_many, summary, targets
from ecgstudy.reading.shipped import ENTRIES, OWN

ONE = Settings((OWN,))


@pytest.fixture
def folder(tmp_path):
    """Three simulated records, one of them in a folder of its own, and a file that is none."""
    inside = tmp_path / "ecgs"
    (inside / "more").mkdir(parents=True)
    synthetic.write([synthetic.simulate(i, 3, labels=frozenset({"PVC"})) for i in (0, 1)], inside)
    synthetic.write([synthetic.simulate(2, 3, labels=frozenset({"NSR"}))], inside / "more")
    (inside / "bad.hea").write_text("garbage\n")
    return inside


def links(text):
    found = []
    parser = html.parser.HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.append((tag, dict(attrs)))
    parser.feed(text)
    return found


def test_a_page_each_and_a_table_of_all(folder, tmp_path):
    table = read_many([folder], tmp_path / "out", ONE)
    assert table["file"].tolist() == ["3-000000.hea", "3-000001.hea", "bad.hea", "more/3-000002.hea"]
    assert table["page"].tolist() == ["3-000000.html", "3-000001.html", "", "more/3-000002.html"]
    assert exit_code(table) == 1
    assert summary(table) == "4 ECGs: 3 answered, 1 could not be read."
    with (tmp_path / "out" / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    e = explain(read_record(folder / "3-000001.hea"))
    assert [float(rows[1][name]) for name in CLASSES] == [round(float(p), 4) for p in e.probabilities]
    assert rows[1]["called"] == " ".join(name for name, yes in zip(CLASSES, e.called, strict=True) if yes)
    assert rows[2]["error"] == table["error"][2] and "record line" in rows[2]["error"] and not rows[2]["NSR"]
    index = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    pages = [unquote(attrs["href"]) for tag, attrs in links(index) if tag == "a"]
    assert pages == ["table.csv", "3-000000.html", "3-000001.html", "more/3-000002.html"]
    assert all((tmp_path / "out" / page).is_file() for page in pages)
    # The simulator's own records are also shown without each of their findings.
    assert "What if the heart did not have it?" in (tmp_path / "out" / "3-000000.html").read_text(encoding="utf-8")


def test_what_is_there_is_kept_until_file_or_settings_change(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    before = read_many([folder], out, ONE)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("3-*.html")}
    asked = []
    monkeypatch.setattr(
        many, "explain", lambda record, **options: asked.append(record.name) or explain(record, **options)
    )
    again = read_many([folder], out, ONE)
    pd.testing.assert_frame_equal(before, again)
    assert not asked and stamps == {path: path.stat().st_mtime_ns for path in out.rglob("3-*.html")}
    (out / "3-000001.html").write_text((out / "3-000001.html").read_text(encoding="utf-8")[:-300], encoding="utf-8")
    signal = np.fromfile(folder / "3-000000.dat", "<i2")
    signal[5] += 1
    signal.tofile(folder / "3-000000.dat")
    read_many([folder], out, ONE)
    assert asked == ["3-000000", "3-000001"]
    asked.clear()
    read_many([folder], out, Settings((OWN,), classes=("AF",)))
    assert asked == ["3-000000", "3-000001", "3-000002"]


@pytest.mark.slow
def test_several_processes_give_the_same(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(many, "_CHUNK", 2)
    one = read_many([folder], tmp_path / "one", ONE)
    monkeypatch.setattr(many, "_SHARE", 1)
    two = read_many([folder], tmp_path / "two", ONE, jobs=2)
    pd.testing.assert_frame_equal(one, two)


def test_every_system_has_its_own_page(folder, tmp_path):
    table = read_many([folder / "3-000000.hea"], tmp_path / "out", Settings(tuple(ENTRIES)))
    assert table["page"].tolist() == [f"3-000000 ({name}).html" for name in ENTRIES]
    assert table["system"].tolist() == list(ENTRIES) and exit_code(table) == 0
    assert summary(table) == f"1 ECG by {len(ENTRIES)} systems: {len(ENTRIES)} answered."
    assert "<h1>1 ECG read</h1>" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_a_record_that_is_named_in_several_ways_has_one_page(folder, monkeypatch):
    monkeypatch.chdir(folder)
    np.save("array.npy", np.zeros((12, 10)))
    names = ["3-000000", "3-000000.hea", "3-000000.dat", folder / "3-000000", "more/../3-000000.hea", ".", "array"]
    named = targets(map(Path, names), (OWN,))
    assert [(target.file, target.path.name) for target in named] == [
        (name, name.split("/")[-1])
        for name in ("3-000000.hea", "3-000001.hea", "array.npy", "bad.hea", "more/3-000002.hea")
    ]
    assert [target.file for target in targets([Path("nobody"), Path("array")], (OWN,))] == ["nobody", "array.npy"]


def test_names_of_pages_are_unlike_and_stay_in_the_folder(tmp_path):
    for name in ("a/x.npy", "b/x.npy", "b/x.mat", "b/index.npy", "b/<b>&'\"\x1b.npy", "b/=1+1.npy", "b/a..b.npy"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    named = targets([tmp_path / "a", tmp_path / "b", tmp_path / "a" / "x.npy"], (OWN,))
    pages = [page for target in named for page in target.pages]
    assert len(pages) == len({page.casefold() for page in pages}) == 7
    assert {"x.html", "x 2.html", "x 3.html", "index 2.html"} <= set(pages)
    for page in pages:
        assert ".." not in page.split("/") and not set(page) & set("<>&'\"\x1b=:\\")


def test_names_are_no_markup_and_no_formula(tmp_path):
    signal = synthetic.simulate(0, 1, fs=125).record.signal
    for name in ("=cmd()", "<img src=x onerror=alert(1)>"):
        np.save(tmp_path / f"{name}.npy", signal)
    table = read_many([tmp_path], tmp_path / "out", ONE)  # which says no rate
    assert (table["error"] != "").all()
    tags = links((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert not [tag for tag, attrs in tags if tag in ("img", "script") or "onerror" in attrs]
    assert "\n'=cmd()" in (tmp_path / "out" / "table.csv").read_text(encoding="utf-8")


def test_arrays_are_read_at_the_rate_that_is_named_and_other_files_at_their_own(folder, tmp_path):
    (folder / "bad.hea").unlink()
    record = read_record(folder / "3-000000.hea")
    np.save(folder / "array.npy", record.signal)
    command = ["explain", str(folder), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1 and "array.npy: states no sampling rate; pass fs= in Python or --fs" in result.output
    result = CliRunner().invoke(app, [*command, "--fs", str(2 * record.fs)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out" / "table.csv")
    first = table["seconds"][table["file"] == "3-000000.hea"].item()
    assert table["seconds"][table["file"] == "array.npy"].item() == first / 2 == record.seconds / 2


def test_the_tables_say_which_networks_have_learned_from_a_record(tmp_path):
    ecgs, others = tmp_path / "ecgs", tmp_path / "others"
    for folder in (ecgs, others):
        folder.mkdir()
    synthetic.write([synthetic.simulate(index, 7, balance=1) for index in (0, 2500)], ecgs)
    synthetic.write([synthetic.simulate(2500, 7, labels=frozenset({"PVC"}))], others)  # another heart of that name
    settings = Settings(("CNN-GAP",), even_if_unfit=True)
    table = read_many([ecgs, others / "7-002500.hea"], tmp_path / "out", settings)
    assert table["seen"].tolist() == ["0 of 1", "1 of 1", "0 of 1"]
    index = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert index.count("<td>0 of 1</td>") == 2 and index.count("<td>1 of 1</td>") == 1
    assert read_many([ecgs / "7-002500.hea"], tmp_path / "own", ONE)["seen"].tolist() == ["0 of 5"]
    synthetic.write([synthetic.simulate(5, 1, fs=250, balance=1, variety="all")], others)
    table = read_many([others / "1-000005.hea"], tmp_path / "own", dataclasses.replace(ONE, even_if_unfit=True))
    assert table["seen"].tolist() == ["5 of 5"]


def test_an_unfit_record_is_told_and_not_answered(folder, tmp_path, monkeypatch):
    def quality(record):
        return SimpleNamespace(fit=record.name != "3-000000", sentence="Judged.", findings=())

    monkeypatch.setattr(explanation, "quality", quality)
    (folder / "bad.hea").unlink()
    table = read_many([folder], tmp_path / "out", ONE)
    assert table["fit"].tolist() == ["no", "yes", "yes"] and exit_code(table) == 3
    assert np.isnan(table["NSR"][0]) and not table["NSR"][1:].isna().any()
    assert summary(table) == "3 ECGs: 2 answered, 1 unfit and not answered."
    table = read_many([folder], tmp_path / "out", Settings((OWN,), even_if_unfit=True))
    assert not table["NSR"].isna().any() and exit_code(table) == 0


def test_whose_they_are_stays_off_every_file_and_message(small_data, tmp_path):
    for path in small_data.glob("ludb/data/*.hea"):
        path.write_text(path.read_text() + "#<age>: 77\n#<name>: SMITH^JANE\n")
    (small_data / "ludb" / "data" / "9.hea").write_text("9 12 500 5500 SMITH^JANE\n")
    result = CliRunner().invoke(app, ["explain", str(small_data / "ludb"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1, result.output
    said = result.output + "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "out").rglob("*.*"))
    assert "SMITH" not in said and "jane.doe" not in said.replace(str(small_data), "")
    assert "data/9.hea: " in result.output


def test_the_command(folder, tmp_path):
    run = CliRunner().invoke
    result = run(app, ["explain", str(folder / "3-000000.hea"), "--class", "PVC", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "1 ECG: 1 answered." in result.output and (tmp_path / "out" / "index.html").as_uri() in result.output
    for arguments, told in (
        (
            ["--system", "CNNGAP"],
            "no system 'CNNGAP'; there are 'Local evidence', 'Local evidence, simulated', '",
        ),
        (["--class", "VT"], "no finding 'VT'; there are NSR, AF"),
    ):
        result = run(app, ["explain", str(folder), "--out", str(tmp_path / "none"), *arguments])
        assert result.exit_code == 1 and told in result.output and not (tmp_path / "none").exists()
    shutil.rmtree(folder)
    folder.mkdir()
    result = run(app, ["explain", str(folder), "--out", str(tmp_path / "none")])
    assert result.exit_code == 1 and "holds no ECG that can be read" in result.output
    with pytest.raises(RecordError, match="holds no ECG"):
        read_many([folder], tmp_path / "none", ONE)
    result = run(app, ["explain", str(folder / "nobody.hea"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1 and "no such record" in result.output
