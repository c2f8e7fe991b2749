import csv
import json
import re
import shlex
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from typer.testing import CliRunner

from ecgstudy import metrics, training
from ecgstudy.book import build, chapter, examples
from ecgstudy.cli import app
from ecgstudy.data import audit, own
from ecgstudy.data.cohort import build_cohort, named_cohort
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.manifest import DataError
from ecgstudy.data.records import read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain.cases import unkeyed_cases
from ecgstudy.losses import LOSSES
from ecgstudy.paths import REPOSITORY, own_cohorts
from ecgstudy.profiles import ProfileError, typed
from ecgstudy.studies import ablation_tables, ablations, leaderboard, own_scores
from ecgstudy.systems import catalogue
from ecgstudy.systems.cnn_gap import CNNGAPSystem

PAGE = REPOSITORY / "book" / "own_cohort.md"
WIDE, IRREGULAR = {"LBBB", "RBBB", "PVC"}, {"AF", "PAC", "PVC"}


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """30 simulated records under new names, without a code in their headers: the folder, and what they have."""
    plain, folder = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("home") / "recordings"
    made = [synthetic.simulate(i, 5, fs=125, balance=1) for i in range(30)]
    synthetic.write(made, plain)
    known = []
    for number, one in enumerate(made, 1):
        place = folder / ("ward" if number % 2 else "clinic")
        place.mkdir(parents=True, exist_ok=True)
        name, header = f"ecg{number:03}", (plain / f"{one.record.name}.hea").read_text()
        header = "".join(line for line in header.splitlines(keepends=True) if not line.startswith("#"))
        (place / f"{name}.hea").write_text(header.replace(one.record.name, name))
        (place / f"{name}.dat").write_bytes((plain / f"{one.record.name}.dat").read_bytes())
        known.append((f"{place.name}/{name}", one.record.patient_id, one.record.labels))
    return folder, known


@pytest.fixture
def folder(simulated, tmp_path, monkeypatch):
    """The folder, with no cohort added yet."""
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return simulated[0]


def own_labels(labels):
    return ["wide QRS"] * bool(labels & WIDE) + ["irregular"] * bool(labels & IRREGULAR)


@pytest.fixture
def tables(simulated, tmp_path):
    """Three tables: of own classes and of the nine in one text, of own classes in columns."""
    for name, of in (("labels.csv", own_labels), ("nine.csv", sorted)):
        with (tmp_path / name).open("w", newline="") as file:
            rows = [(record, patient, ";".join(of(labels))) for record, patient, labels in simulated[1]]
            csv.writer(file).writerows([("record", "patient", "labels"), *rows])
    with (tmp_path / "columns.csv").open("w", newline="") as file:
        rows = [
            (record, patient, *(int(c in own_labels(labels)) for c in ("wide QRS", "irregular")))
            for record, patient, labels in simulated[1]
        ]
        csv.writer(file).writerows([("record", "patient", "wide QRS", "irregular"), *rows])
    return tmp_path


def counts(checked):
    return dict(zip(checked.findings["finding"], checked.findings["number"], strict=True))


# What a cohort of one's own is


def test_labels_patients_and_classes_are_those_of_the_table(simulated, folder, tables):
    checked = own.add_cohort("mine", folder, labels=tables / "labels.csv")
    made = named_cohort("mine", 125, records=None, balance=None, seed=0, tell=False)
    assert made.classes == checked.own.classes == ("irregular", "wide QRS") and made.own
    given = {record: (patient, set(own_labels(labels))) for record, patient, labels in simulated[1]}
    found = {
        name: (patient.removeprefix("mine/"), {c for c, there in zip(made.classes, row, strict=True) if there})
        for name, patient, row in zip(made.table["name"], made.table["patient_id"], made.labels, strict=True)
    }
    assert found == given
    expected = Counter(c for _, labels in given.values() for c in labels)
    assert dict(zip(checked.classes["class"], checked.classes["records"], strict=True)) == expected
    assert counts(checked)["without any label: taken as none of the classes"] == sum(not v for _, v in given.values())
    for i, name in enumerate(made.table["name"]):
        np.testing.assert_array_equal(made[i], read_record(folder / name).signal)


def test_columns_of_0_and_1_say_the_same_as_one_text(folder, tables):
    own.add_cohort("a", folder, labels=tables / "labels.csv", classes=["wide QRS", "irregular"])
    own.add_cohort("b", folder, labels=tables / "columns.csv")
    a, b = (own.cohort_of(name, 125, tell=False) for name in "ab")
    assert a.classes == b.classes == ("wide QRS", "irregular")
    np.testing.assert_array_equal(a.labels, b.labels)
    assert a.checksum == b.checksum


def test_the_nine_are_the_nine_and_name_runs_as_ever(folder, tables):
    own.add_cohort("nine", folder, labels=tables / "nine.csv")
    made = own.cohort_of("nine", 125, tell=False)
    assert made.classes == CLASSES
    # Of the same signals and labels, whatever the cohort is called: the checksum that every cohort of them had before.
    again = build_cohort(list(own.read_all("nine")), fs=125, identity={"cohort": "test"})
    assert again.checksum == made.checksum and not again.own
    own.add_cohort("other", folder, labels=tables / "labels.csv")
    assert own.cohort_of("other", 125, tell=False).checksum != made.checksum


def test_codes_in_headers_need_no_table(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "cache"))
    made = [synthetic.simulate(i, 5, fs=125, seconds=6, balance=1) for i in range(6)]
    (tmp_path / "in").mkdir()
    synthetic.write(made, tmp_path / "in")
    checked = own.add_cohort("headers", tmp_path / "in")
    cohort = own.cohort_of("headers", 125, tell=False)
    assert cohort.classes == CLASSES and counts(checked)["patient unknown: each taken as a patient of its own"] == 6
    named = {one.record.name: one.record.labels for one in made}
    assert {
        n: {CLASSES[c] for c in np.flatnonzero(y)} for n, y in zip(cohort.table["name"], cohort.labels, strict=True)
    } == named


def test_a_mapping_joins_codes_ignores_some_and_tells_of_the_rest(simulated, folder, tables):
    lines = ["code,class", "PVC,wide", "lbbb,wide", "RBBB,wide", "AF,uneven", "NSR,", "elsewhere,uneven"]
    (tables / "map.csv").write_text("\n".join(lines))
    checked = own.add_cohort("mapped", folder, labels=tables / "nine.csv", mapping=tables / "map.csv")
    assert checked.own.classes == ("wide", "uneven")
    made = own.cohort_of("mapped", 125, tell=False)
    wide = {record for record, _, labels in simulated[1] if labels & WIDE}
    assert set(made.table["name"][made.labels[:, 0]]) == wide
    assert counts(checked)["codes without a class, on purpose"] == 1
    outside = {c for _, _, labels in simulated[1] for c in labels} - {"PVC", "LBBB", "RBBB", "AF", "NSR"}
    assert counts(checked)["codes that mean no class"] == len(outside)
    assert counts(checked)["codes of the mapping that no record has"] == 1


def test_a_name_with_a_comma_is_found_where_classes_or_mapping_name_it(simulated, folder, tables):
    text = re.sub(r",([^,\n]*wide QRS[^,\n]*)", r',"\1"', (tables / "labels.csv").read_text())
    (tables / "comma.csv").write_text(text.replace("wide QRS", "QRS, wide"))
    own.add_cohort("plain", folder, labels=tables / "labels.csv", classes=["wide QRS", "irregular"])
    given = ("--classes", '"QRS, wide", irregular')
    assert call("data", "add", "named", folder, "--labels", tables / "comma.csv", *given).exit_code == 0
    (tables / "map.csv").write_text('code,class\n"qrs, wide",wide\nirregular,irregular\n')
    own.add_cohort("mapped", folder, labels=tables / "comma.csv", mapping=tables / "map.csv")
    plain, named, mapped = (own.cohort_of(name, 125, tell=False) for name in ("plain", "named", "mapped"))
    assert named.classes == ("QRS, wide", "irregular") and mapped.classes == ("wide", "irregular")
    for made in (named, mapped):
        np.testing.assert_array_equal(made.labels, plain.labels)
    # Where nothing names it, a comma separates.
    checked = own.add_cohort("split", folder, labels=tables / "comma.csv")
    assert checked.own.classes == ("irregular", "QRS", "wide")


def test_known_names_keep_their_meaning_beside_others(folder, tables):
    text = (tables / "nine.csv").read_text().replace("PVC", "Flutter")
    (tables / "mixed.csv").write_text(text)
    checked = own.add_cohort("mixed", folder, labels=tables / "mixed.csv")
    assert checked.own.classes[-1] == "Flutter" and set(checked.own.classes[:-1]) == set(CLASSES) - {"PVC"}
    (tables / "snomed.csv").write_text(text.replace("Flutter", "164890007").replace("AF", "164889003"))
    checked = own.add_cohort("snomed", folder, labels=tables / "snomed.csv")
    assert checked.own.classes == CLASSES and counts(checked)["codes that mean no class"] == 1


def test_what_is_doubled_split_or_missing_is_said(simulated, folder, tables, tmp_path):
    copied = tmp_path / "copied"
    copied.mkdir()
    for record, _, _ in simulated[1][:10]:
        for suffix in (".hea", ".dat"):
            name = record.rpartition("/")[2]
            (copied / f"{name}{suffix}").write_bytes((folder / f"{record}{suffix}").read_bytes())
    np.save(copied / "twin.npy", read_record(copied / "ecg001").signal)
    (copied / "broken.hea").write_text("broken 12 125 1250\n")
    (copied / "extra.hea").write_text((copied / "ecg002.hea").read_text().replace("ecg002", "extra"))
    (copied / "extra.dat").write_bytes(bytes(24 * 1250))
    rows = [f"ecg{n:03},{'P1' if n < 4 else f'P{n}'},{n % 3 + 1},{'a' if n % 2 else 'b'}" for n in range(1, 11)]
    rows += ["twin,,3,b", "broken,P9,2,a", "ecg010,P10,2,b"]
    (copied / "labels.csv").write_text("\n".join(["record,patient,fold,labels", *rows]))
    checked = own.add_cohort("odd", copied, labels=copied / "labels.csv", fs=125)
    said = counts(checked)
    assert said["left out: cannot be read"] == 1 and said["left out: not in the table"] == 1
    assert said["the same, and the labels differ"] == 1 and said["records of the cohort"] == 10
    assert said["patients in several folds: all their records go to the highest"] == 1
    assert said["rows of the table that stand twice"] == 1
    assert any(w.startswith("There are 8 patients") for w in checked.warnings)
    assert any("Fewer patients than the 5 folds" in w and "a (4)" in w for w in checked.warnings)
    made = own.cohort_of("odd", 125, tell=False)
    fold = made.given_folds()
    first = {made.table["name"][i]: fold[i] for i in range(len(made))}
    # Folds 2, 3, 1 for records 1 to 3, which are of one patient: all go to 3, the highest, which is the first to test.
    assert [first[f"ecg{n:03}"] for n in (1, 2, 3)] == [0, 0, 0]
    assert first["ecg004"] == 1 and first["ecg006"] == 2 and set(made.test(0)) == set(np.flatnonzero(fold == 0))


def test_the_folds_of_the_nine_are_as_they_were(folder, tables):
    own.add_cohort("mine", folder, labels=tables / "labels.csv")
    made = own.cohort_of("mine", 125, tell=False)
    assert made.given_folds() is None
    np.testing.assert_array_equal(made.test(3), np.flatnonzero(made.folds(5, 3) == 0))


# How tables are written


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.replace(",", "\t").encode(),
        lambda text: ("\ufeff" + text.replace(",", ";")).encode(),
        lambda text: ("sep=;\r\n" + text.replace(",", ";").replace("\n", "\r\n")).encode(),
        lambda text: re.sub(r";([01])\b", r";\1,0", text.replace(",", ";")).encode(),
        lambda text: text.replace(",", "\t").encode("utf-16"),
        lambda text: text.replace("record,", "Record ,", 1).replace("patient", "Patient").encode(),
        lambda text: (text + "\n\n,,,\n").encode(),
        lambda text: text.replace("ward/", "ward\\").replace("clinic/", "./clinic/").encode(),
        lambda text: re.sub(r"(ward|clinic)/(\w+)", r"\2.hea", text).encode(),
    ],
    ids=["tabs", "semicolons, BOM", "sep=", "decimal commas", "UTF-16", "capitals", "empty", "Windows", "file names"],
)
def test_tables_are_read_however_a_spreadsheet_wrote_them(folder, tables, written):
    own.add_cohort("plain", folder, labels=tables / "columns.csv")
    text = (tables / "columns.csv").read_text().replace("\r", "")
    (tables / "odd.csv").write_bytes(written(text))
    own.add_cohort("odd", folder, labels=tables / "odd.csv")
    plain, odd = (own.cohort_of(name, 125, tell=False) for name in ("plain", "odd"))
    assert odd.classes == plain.classes and odd.checksum == plain.checksum
    assert (
        odd.table["patient_id"].str.partition("/")[2].tolist()
        == plain.table["patient_id"].str.partition("/")[2].tolist()
    )


BAD = {
    "no record": (
        "recrod,labels\necg001,a\n",
        r"labels.csv: has no column 'record', but recrod, labels; did you mean 'recrod'",
    ),
    "no labels": (
        "record,patient,note\necg001,P1,fine\n",
        "neither a column 'labels' nor columns of 0 and 1, but note",
    ),
    "twice": ("record,labels\necg001,a\necg001,b\n", "lines 2 and 3 say different things of ward/ecg001: keep one row"),
    "unknown": ("record,labels\necg001,a\necg0022,a\n", r"line 3: record 'ecg0022' is not in the folder; the nearest"),
    "zeros lost": ("record,labels\necg001,a\n7,a\n", "line 3: record '7' is not in the folder"),
    "empty": ("", "labels.csv: is empty"),
    "head alone": ("record,labels\n", "has no row below its first line"),
    "no name": ("record,labels\n,a\n", "line 2 names no record"),
    "all empty": ("record,labels\necg001,\necg002,\n", "no record has a label; fill the column of labels"),
    "all zero": ("record,a,b\necg001,0,0\necg002,0,0\n", "no record has a label of the classes a, b"),
    "case": (
        "record,labels\necg001,wide QRS\necg002,Wide QRS\n",
        "'Wide QRS' and 'wide QRS' differ only in case|and 'Wide QRS'",
    ),
    "two columns": ("record,labels,Labels\necg001,a,b\n", "its first line names 'labels' twice"),
    "unquoted": ("record,labels\necg001,a,b\n", "line 2 has 3 cells, its first line 2: put quotes"),
    "quote": ('record,labels\necg001,"a\n', "labels.csv: line 2: unexpected end of data; correct its quotes"),
    "none of 0 and 1": ("record,a\necg001,1\necg002,.5\n", r"labels.csv: has neither .*but a \(line 3: '.5'\)"),
    "two": ("record,a\necg001,1\necg002,2\necg003,0\n", "line 3: '2' in the column 'a' is neither 0 nor 1"),
    "fold": ("record,fold,labels\necg001,train,a\n", "line 2: fold 'train' is no whole number"),
    "reserved": ("record,labels\necg001,split\n", "a class called 'split' would be taken for another column"),
    "binary": (b"\0\1\2record", "is no text; save it as CSV"),
    "too many": (
        "record,labels\n" + "".join(f"ecg{n:03},{';'.join(f'c{n}-{k}' for k in range(5))}\n" for n in range(1, 31)),
        "150 different labels would be as many classes, and 100 are the most",
    ),
}


@pytest.mark.parametrize("table, error", BAD.values(), ids=BAD)
def test_a_table_that_cannot_be_meant_is_refused_in_a_sentence(folder, tmp_path, table, error):
    (tmp_path / "labels.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    result = call("data", "add", "bad", folder, "--labels", tmp_path / "labels.csv")
    assert result.exit_code == 1 and re.search(error, result.stderr), result.stderr
    assert result.stderr.startswith("ecgstudy: ") and result.stderr.count("\n") == 1
    assert not own_cohorts()


@pytest.mark.parametrize(
    "mapping, error",
    [
        ("code,class\nPVC,wide\nLBBB,Wide\n", "the class 'Wide' and 'wide' differ only in case: write it in one way"),
        ("code,class\nPVC,wide\nPVC,narrow\n", "line 3: 'PVC' is 'wide' above: give it one class"),
        ("code,label\nPVC,wide\n", "needs the columns code and class, and has code, label"),
        ("code,class\nPVC,\n", "maps no code to a class"),
        ("code,class\nnothing here,wide\n", "no record has a label of the classes wide. Its codes are"),
        ("code;class\n;wide\n", "line 2 names no code"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(folder, tables, mapping, error):
    (tables / "map.csv").write_text(mapping)
    with pytest.raises(DataError, match=re.escape(error)):
        own.add_cohort("bad", folder, labels=tables / "nine.csv", mapping=tables / "map.csv")
    assert not own_cohorts()


@pytest.mark.parametrize("name", ["real", "Synthetic", "by-source", "a/b", "../a", "", "a b", "é", "-x"])
def test_a_name_is_letters_and_none_of_the_studys(folder, name):
    with pytest.raises(DataError, match=r"cannot be a cohort's name|is a cohort of the study"):
        own.add_cohort(name, folder)
    assert not own_cohorts()


def test_folders_and_files_that_are_not_there(folder, tmp_path):
    for arguments in ((tmp_path / "none",), (folder, "--labels", "none.csv"), (folder, "--mapping", "none.csv")):
        result = call("data", "add", "mine", *arguments)
        assert result.exit_code == 1 and re.search(r"none(\.csv)?: no such (folder|file)", result.stderr)
    (tmp_path / "nothing").mkdir()
    assert "holds no records" in call("data", "add", "mine", tmp_path / "nothing").stderr


def test_records_of_one_name_in_two_folders_must_be_told_apart(simulated, tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "cache"))
    for place in ("a", "b"):
        (tmp_path / "in" / place).mkdir(parents=True)
        np.save(tmp_path / "in" / place / "1.npy", np.random.default_rng(len(place)).normal(size=(12, 1250)))
    (tmp_path / "labels.csv").write_text("record,labels\n1,x\n")
    with pytest.raises(DataError, match="record '1' may be any of a/1, b/1: write its path"):
        own.add_cohort("two", tmp_path / "in", labels=tmp_path / "labels.csv", fs=125)
    (tmp_path / "labels.csv").write_text("record,labels\na/1,x\nb/1,y\n")
    assert (
        counts(own.add_cohort("two", tmp_path / "in", labels=tmp_path / "labels.csv", fs=125))["records in the folder"]
        == 2
    )


# What becomes of it later


def test_a_cohort_is_listed_known_and_forgotten(folder, tables, monkeypatch):
    with pytest.raises(ProfileError, match="takes one of synthetic, real"):
        typed("cohort", "mine")
    own.add_cohort("mine", folder, labels=tables / "labels.csv")
    assert typed("cohort", "mine") == "mine"
    assert f"Your cohort mine: {folder}; 2 classes: irregular, wide QRS" in call("data", "list").stdout.replace(
        "\n", ""
    )
    assert "did you mean 'mine'" in call("data", "remove", "mien").stderr
    before = sorted(p.name for p in folder.rglob("*"))
    assert call("data", "remove", "mine").exit_code == 0 and not own_cohorts()
    assert sorted(p.name for p in folder.rglob("*")) == before and (tables / "labels.csv").exists()
    with pytest.raises(ProfileError):
        named_cohort("mine", 125, records=None, balance=None, seed=0)


@pytest.mark.parametrize("what", ["folder", "labels"])
def test_what_has_gone_is_named_with_the_remedy(simulated, tables, monkeypatch, tmp_path, what):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "cache"))
    moved = tmp_path / "moved"
    moved.symlink_to(simulated[0])
    table = tables / "labels.csv"
    own.add_cohort("mine", moved, labels=table)
    file = own_cohorts()["mine"]
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {what: str(tmp_path / "gone")}))
    with pytest.raises(
        DataError, match=rf"mine.json: the {what} of the cohort 'mine', .*gone, cannot be found.*remove mine"
    ):
        own.cohort_of("mine", 125)
    listed = call("data", "list")
    assert listed.exit_code == 0 and "cannot be found" in listed.stdout


def test_a_file_that_says_nothing_is_named(folder):
    file = own.Own("mine", folder, None, None, (), None, "").file
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(ValueError, match=re.escape(str(file))):
        own.cohort_of("mine", 125)


def test_changed_files_are_read_anew_and_told(folder, tables, capsys):
    table = tables / "labels.csv"
    own.add_cohort("mine", folder, labels=table)
    before, state = own.cohort_of("mine", 125), own.state("mine")
    assert "changed" not in capsys.readouterr().out
    first = before.table["name"][0]
    lines = [line if not line.startswith(first) else f"{first},,wide QRS" for line in table.read_text().splitlines()]
    assert lines != table.read_text().splitlines()
    table.write_text("\n".join(lines))
    after = own.cohort_of("mine", 125)
    assert "Files of the cohort 'mine' changed since it was added" in capsys.readouterr().out
    assert before.labels[0].tolist() == [True, False] and after.checksum != before.checksum
    assert after.labels[0].tolist() == [False, True] and own.state("mine") != state


def test_a_limit_takes_some_and_says_so(folder, tables, capsys):
    own.add_cohort("mine", folder, labels=tables / "labels.csv")
    some = named_cohort("mine", 125, records=10, balance=None, seed=0)
    assert len(some) == 10 and "Of its 30 records 10 are taken" in capsys.readouterr().out


# Networks, scores, maps


@pytest.mark.parametrize("name", [cls.name for cls in catalogue.CATALOGUE.values()])
@pytest.mark.parametrize("classes", [1, 2, 100])
def test_every_network_answers_any_number_of_classes(name, classes):
    system = catalogue.by_name(name).of_profile("smoke")[0]
    network = system.network(classes).eval()
    x = torch.from_numpy(
        system.windows(np.random.default_rng(0).normal(size=(12, system.samples)).astype(np.float32))[0]
    )
    with torch.inference_mode():
        assert network(x[None]).shape == (1, classes)
        for own_map in system.own_maps.values():
            assert own_map(network, x[None]).shape[:2] == (1, classes)


def test_a_network_learns_own_classes_and_its_run_knows_them(folder, tables):
    own.add_cohort("mine", folder, labels=tables / "labels.csv")
    made = own.cohort_of("mine", 125, tell=False)
    system = CNNGAPSystem(fs=125, width=0.03, epochs=1, batch=8)
    (run,) = training.train_members(system, made, made.test(0), members=1, quiet=True)
    assert run.classes == ("irregular", "wide QRS") == tuple(run.predictions.columns[3:])
    test = made.test(0)
    p = training.predict(system, run.network(), made, test)
    np.testing.assert_allclose(run.probabilities(test), p, atol=1e-5)
    assert ablation_tables.of_run(run, made.labels).probabilities.shape == (len(test), 2)
    grid = SimpleNamespace(cohort="mine", losses=["macro-F2", "challenge metric"])
    assert ablations.small_losses(grid) == ["macro-F2"]
    assert ablations.small_losses(SimpleNamespace(cohort="real", losses=grid.losses)) == grid.losses
    with pytest.raises(ValueError, match="other classes"):
        own.add_cohort("nine", folder, labels=tables / "nine.csv")
        nine = own.cohort_of("nine", 125, tell=False)
        training.train(system, nine, training.member_splits(system, nine, test, 1)[0], start=run)
    with pytest.raises(ValueError, match="'challenge metric' rewards the study's nine classes, and this cohort has 2"):
        LOSSES["challenge metric"](made.labels.sum(axis=0), len(made))
    cases = unkeyed_cases(made, np.arange(len(made)), per_class=3)
    assert set(cases.names_of_classes) == {"irregular", "wide QRS"} and not cases.key.any()
    assert all(
        made.labels[made.table["name"].tolist().index(n), c] for n, c in zip(cases.names, cases.classes, strict=True)
    )


def test_chapters_draw_maps_over_own_records_and_try_them_without_a_key(folder, tables, monkeypatch):
    own.add_cohort("mine", folder, labels=tables / "labels.csv")
    made = own.cohort_of("mine", 125, tell=False)
    fold, system = made.folds(3, 0), CNNGAPSystem(fs=125, width=0.03, epochs=1, batch=8)
    split = {part: np.flatnonzero(fold == f) for f, part in enumerate(("test", "valid", "train"))}
    run = training.train(system, made, split, quiet=True)
    ours = chapter.Chapter(system, made, "mine", split["test"], [run], 20)
    shown, drawn = [], []
    monkeypatch.setattr(chapter, "display", shown.append)
    monkeypatch.setattr(examples, "over_ecg", lambda x, fs, cells, stride, titles, **_: drawn.extend(titles))
    ours.on_own_records("CAM")
    assert not ours.has_key and ours.there(["F2", "challenge metric"]) == ["F2"]
    p = pd.DataFrame(
        run.probabilities(split["test"]), columns=made.classes, index=made.table["name"].iloc[split["test"]]
    )
    for c, name in enumerate(made.classes):
        surest = p[name][made.labels[split["test"], c]].idxmax()
        assert sum(title.startswith(f"{surest} (") and title.endswith(f": {name}") for title in drawn) == 1
    assert len(drawn) == 2 and "Nobody has marked" in shown[0].data
    table = shown[-1].data
    assert {"comprehensiveness", "infidelity", "random weights", "noise", "time shift"} <= set(table)
    assert not {"mass", "excess mass", "pointing", "wrong record"} & set(table)
    assert {"CAM", "input × gradient"} <= set(table["method"])
    built_in = replace(ours, cohort=replace(made, own=False))
    built_in.on_own_records("CAM")
    assert len(drawn) == 2
    # A figure of a class that the network does not know is left out in words.
    said = []
    monkeypatch.setattr(examples, "display", said.append)
    assert examples.class_map(examples.Example.simulated("PVC", fs=125), "PVC", run, "CAM") is None
    assert "a map of PVC" in said[0].data


def test_a_class_that_no_record_has_has_no_score_and_no_part_in_the_means(folder, tables):
    """Each is called, and what nobody has would have an F1 of 0."""
    own.add_cohort("nine", folder, labels=tables / "nine.csv")
    made = own.cohort_of("nine", 125, tell=False)
    labels = made.labels & ~np.isin(CLASSES, ["AF", "STE"])
    p = np.random.default_rng(0).random(labels.shape).astype(np.float32)
    answer, there = (p, p > 0.6), labels.any(axis=0)
    rows = own_scores._scored("x", replace(made, labels=labels), answer, CLASSES, range(9), 20)
    value = rows.set_index(["metric", "class"])["value"]
    for metric, expected in (
        ("F1", [f1_score(labels[:, c], answer[1][:, c]) for c in np.flatnonzero(there)]),
        ("AUROC", [roc_auc_score(labels[:, c], p[:, c]) for c in np.flatnonzero(there)]),
    ):
        assert value[metric, ""] == pytest.approx(np.mean(expected))
        assert value[metric, CLASSES[np.flatnonzero(there)[-1]]] == pytest.approx(expected[-1])
        assert np.isnan(value[metric, "AF"]) and np.isnan(value[metric, "STE"])
    # A false alarm of such a class is wrong all the same.
    assert value["exact match", ""] == (answer[1] == labels).all(axis=1).mean()
    assert value["micro-F1", ""] == pytest.approx(f1_score(labels, answer[1], average="micro"))
    columns = [CLASSES.index("AF"), CLASSES.index("STE")]
    absent = tuple(part[:, columns] for part in answer)
    with pytest.raises(DataError, match="no record of the cohort has AF or STE"):
        own_scores._scored("x", replace(made, labels=labels), absent, ["AF", "STE"], columns, 20)


def test_columns_of_something_else_are_said(folder, tables):
    text = (tables / "columns.csv").read_text().splitlines()
    lines = [f"{line},{'hospital,Age' if not n else f'H{n},{n % 2}'}" for n, line in enumerate(text)]
    (tables / "more.csv").write_text("\n".join(lines))
    checked = own.add_cohort("more", folder, labels=tables / "more.csv")
    assert checked.own.classes == ("wide QRS", "irregular")
    said = checked.findings.set_index("finding").loc["columns of the table that are not read"]
    assert said["number"] == 2 and said["which"] == "Age; hospital (line 2: 'H1')"


def test_one_class_is_enough(folder, tables):
    own.add_cohort("one", folder, labels=tables / "labels.csv", classes=["wide QRS"])
    made = own.cohort_of("one", 125, tell=False)
    assert made.labels.shape == (30, 1) and made.classes == ("wide QRS",)
    system, test = CNNGAPSystem(fs=125, width=0.03, epochs=1, batch=8), made.test(0)
    (run,) = training.train_members(system, made, test, members=1, quiet=True)
    p, called = training.ensemble([run], test)
    patients = made.table["patient_id"].iloc[test].to_numpy()
    rows = metrics.summary(made.labels[test], p, called, patients, made.classes, repeats=20)
    expected = roc_auc_score(made.labels[test, 0], p[:, 0])
    assert rows.set_index(["metric", "class"]).loc[("AUROC", "wide QRS"), "value"] == pytest.approx(expected)
    assert "challenge metric" not in set(rows["metric"])
    # No other class is there to ask for the map of.
    assert unkeyed_cases(made, test, per_class=3) is None


def test_the_audit_counts_own_classes(simulated, folder, tables):
    own.add_cohort("mine", folder, labels=tables / "labels.csv")
    table = audit.audit(own.read_all("mine"), own.classes("mine"))
    counted = audit.class_counts(table).loc["mine"]
    expected = Counter(c for _, _, labels in simulated[1] for c in own_labels(labels) or ["none"])
    assert {c: counted[c] for c in ("irregular", "wide QRS", "none")} == expected
    assert audit.cooccurrence(table).loc["irregular", "wide QRS"] == sum(
        "PVC" in y or bool(y & WIDE and y & IRREGULAR) for _, _, y in simulated[1]
    )
    assert own.class_of("real") is None and own.class_of("mine")("irregular") == "irregular"


def test_shipped_networks_answer_the_nine_as_they_are(folder, tables):
    own.add_cohort("nine", folder, labels=tables / "nine.csv")
    rows = own_scores.zero_shot("nine", ["ECGMaster"], repeats=20)
    (run,) = leaderboard.runs_of("synthetic-large", "ECGMaster")
    made = own.cohort_of("nine", run.system.fs, tell=False)
    network = run.network()
    with torch.inference_mode():
        p = np.array(
            [
                torch.sigmoid(network(torch.from_numpy(np.stack(run.system.windows(made[i]))))).mean(dim=0).numpy()
                for i in range(len(made))
            ]
        )
    there = [c for c in range(9) if made.labels[:, c].any()]
    expected = np.mean([roc_auc_score(made.labels[:, c], p[:, c]) for c in there])
    value = rows[(rows["metric"] == "AUROC") & (rows["class"] == "")]["value"].item()
    assert value == pytest.approx(expected, abs=1e-6)
    own.add_cohort("mine", folder, labels=tables / "labels.csv")
    with pytest.raises(DataError, match=r"know NSR, AF, .*'mine' has other classes .irregular, wide QRS"):
        own_scores.zero_shot("mine")
    with pytest.raises(ValueError, match="did you mean 'ECGMaster'"):
        own_scores.zero_shot("nine", ["ECGMastr"])


def test_trees_ship_too_alone_and_beside_a_network(folder, tables):
    own.add_cohort("nine", folder, labels=tables / "nine.csv")
    rows = own_scores.zero_shot("nine", [own_scores.BOTH, own_scores.TREES], repeats=20)
    assert list(rows["entry"].unique()) == [own_scores.BOTH, own_scores.TREES]
    runs = leaderboard.runs_of("real", own_scores.NETWORK)
    made, coarse = (own.cohort_of("nine", fs, tell=False) for fs in (runs[0].system.fs, 100))
    every = np.arange(len(made))
    network = np.mean([training.predict(run.system, run.network(), made, every) for run in runs], axis=0)
    trees = leaderboard.shipped_trees().predict(coarse, every)
    there = [c for c in range(9) if made.labels[:, c].any()]
    values = rows[rows["class"] == ""].set_index(["entry", "metric"])["value"]
    answers = {name: frame for name, (frame, _) in leaderboard.answers_of("real").items()}
    labels = leaderboard.records_of("real")[list(CLASSES)].to_numpy(dtype=bool)
    mean = (answers[own_scores.NETWORK] + answers[own_scores.TREES]) / 2
    for entry, p, answered in (
        (own_scores.TREES, trees, answers[own_scores.TREES]),
        (own_scores.BOTH, (network + trees) / 2, mean),
    ):
        expected = np.mean([roc_auc_score(made.labels[:, c], p[:, c]) for c in there])
        assert values[entry, "AUROC"] == pytest.approx(expected, abs=1e-6)
        # The thresholds are the best for what the folds of the real cohort answered: none near by has a higher F1.
        thresholds = own_scores.thresholds_of(entry)
        for c, threshold in enumerate(thresholds):
            best, *others = (
                f1_score(labels[:, c], answered[:, c] >= t) for t in (threshold, threshold - 0.05, threshold + 0.05)
            )
            assert best >= max(others)
        called = p >= thresholds
        expected = np.mean([f1_score(made.labels[:, c], called[:, c], zero_division=0) for c in there])
        assert values[entry, "F1"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_the_commands_of_the_page_run_as_they_stand(folder, tables, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "build_folder", lambda profile: tmp_path / "_build" / profile)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "recordings").symlink_to(folder)
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    said = {}
    for line in "".join(blocks).splitlines():
        program, *arguments = shlex.split(line)
        assert program == "ecgstudy"
        result = call(*arguments)
        assert result.exit_code == 0, (line, result.output, result.exception)
        said[line] = result.stdout
    assert "wide QRS" in said["ecgstudy data add mine recordings --labels labels.csv"]
    pages = {}
    for name in ("01_data_audit", "04_xecgnet"):
        notebook = nbformat.read(tmp_path / "_build" / "smoke" / "notebooks" / f"{name}.ipynb", as_version=4)
        outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
        pages[name] = "".join(o["data"].get("text/html", "") for o in outputs if "data" in o)
        assert "wide QRS" in pages[name] and "irregular" in pages[name]
    assert ">PVC<" not in pages["04_xecgnet"]
    assert re.search(r"ECGMaster\s+mean of classes\s+30", said["ecgstudy score nine"])
    assert re.search(r"midway, and trees\s+mean of classes\s+30", said["ecgstudy score nine"])
    assert "wide QRS" in said['ecgstudy score mine --train "features and trees"']
    assert list(own_cohorts()) == ["nine"]


def test_the_python_of_the_page_runs_as_it_stands(folder, tables, tmp_path):
    (tmp_path / "recordings").symlink_to(folder)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    space = {}
    exec(code, space)
    assert space["cohort"].labels.shape == (30, 2) and not space["checked"].findings.empty


@pytest.mark.slow
def test_real_records_renamed_are_the_records_they_were(real_data, tables, tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ECGSTUDY_DATA", str(real_data))
    found = sorted((real_data / "challenge-2021").rglob("*.hea"))
    chosen, rows = found[:: len(found) // 30][:30], []
    (tmp_path / "real").mkdir()
    for number, path in enumerate(chosen):
        name = f"r{number}"
        (tmp_path / "real" / f"{name}.npy").write_bytes(b"")
        record = read_record(path)
        np.save(tmp_path / "real" / f"{name}.npy", record.signal)
        rows.append((name, record, f"{name},{';'.join(sorted(record.labels))},{record.fs:g}"))
    (tmp_path / "labels.csv").write_text("\n".join(["record,labels,rate", *(row for *_, row in rows)]))
    rates = Counter(record.fs for _, record, _ in rows)
    own.add_cohort("renamed", tmp_path / "real", labels=tmp_path / "labels.csv", fs=max(rates, key=rates.get))
    made = own.cohort_of("renamed", 125, tell=False)
    named = {name: record for name, record, _ in rows}
    for name, hashed, y in zip(made.table["name"], made.table["signal_hash"], made.labels, strict=True):
        if named[name].fs == max(rates, key=rates.get):
            assert hashed == named[name].signal_hash
        assert {CLASSES[c] for c in np.flatnonzero(y)} == named[name].labels
    rows = own_scores.zero_shot("renamed", ["xECGNet"], repeats=20)
    assert rows[(rows["metric"] == "exact match") & (rows["class"] == "")]["n"].item() == len(made)
