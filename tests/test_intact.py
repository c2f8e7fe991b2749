"""Damage done to copies of committed results, one at a time: each is a sentence that names the file and the remedy."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from ecgstudy import training
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.simulator import synthetic
from ecgstudy.paths import RESULTS, SEALS, written_table
from ecgstudy.studies import ablations, checks, claims, intact, leaderboard, verify
from ecgstudy.studies import catalogue as studies_catalogue
from ecgstudy.studies.catalogue import STUDIES, Ablations, Leaderboard

RUN, ENTRY, QUESTION, ARM = "3618aac82d8c", "Local evidence", "mask", "mask right"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A results folder with one run, the answer that it gave, one question on simulated records, and the tables."""
    for module in (checks, studies_catalogue, verify, training, claims):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    for module, name in ((leaderboard, "leaderboard"), (ablations, "ablations")):
        monkeypatch.setattr(module, "FOLDER", tmp_path / name)
    monkeypatch.setattr(claims, "FILE", tmp_path / "claims.yaml")
    shutil.copytree(RESULTS / "runs" / RUN, tmp_path / "runs" / RUN)
    for where in ("leaderboard/synthetic-large", "ablations/synthetic"):
        (tmp_path / where).mkdir(parents=True)
        shutil.copy(RESULTS / where / "records.parquet", tmp_path / where)
    for suffix in (".json", ".parquet"):
        shutil.copy(
            RESULTS / "leaderboard/synthetic-large" / f"{ENTRY}{suffix}", tmp_path / "leaderboard/synthetic-large"
        )
    shutil.copytree(RESULTS / "ablations/synthetic" / QUESTION, tmp_path / "ablations/synthetic" / QUESTION)
    for file in (*verify.CHECKED, *verify.OTHERS, *(study.file for study in STUDIES)):
        shutil.copy(RESULTS / file, tmp_path)
    return tmp_path


def of_run(folder):
    return intact.run_faults(folder / "runs" / RUN)


def of_ablation():
    return [wrong for of in intact.ablation_faults("synthetic").values() for wrong in of]


def of_table(folder, file):
    of = {"audit.csv": intact.audit_faults}.get(file, intact.table_faults)
    return intact.tried(folder / file, of, verify.not_recomputed()[file])


def faults(folder):
    """All that is found, without recomputing tables."""
    return intact.board_faults("synthetic-large") + of_ablation() + of_run(folder)


def altered(path, change):
    """Change a table, a card or weights in place."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        table = change(table) if (new := change(table)) is None else new
        table.to_parquet(path)
    elif path.suffix == ".json":
        card = json.loads(path.read_text())
        path.write_text(json.dumps(change(card)))
    elif path.suffix == ".csv":
        change(pd.read_csv(path)).to_csv(path, index=False)
    else:
        save_file(change(load_file(path)), path)


def put(column, row, value):
    """A change of one cell."""

    def change(table):
        table = table.copy()
        if isinstance(value, str):
            table[column] = table[column].astype(object)
        table.loc[row, column] = value
        return table

    return change


def with_(**values):
    return lambda card: card | values


def without(key):
    return lambda card: {k: v for k, v in card.items() if k != key}


def swapped(table):
    """Two rows in each other's place."""
    return table.iloc[[1, 0, *range(2, len(table))]].reset_index(drop=True)


def twice(table):
    return pd.concat([table, table.iloc[:1]], ignore_index=True)


TABLE_DAMAGE = {
    "NaN": put("AF", 3, np.nan),
    "infinity": put("AF", 3, np.inf),
    "above 1": put("AF", 3, 1.0001),
    "below 0": put("AF", 3, -0.5),
    "another number": put("AF", 3, 0.123),
    "all NaN": lambda table: table.assign(**dict.fromkeys(CLASSES, np.nan)),
    "a row twice": twice,
    "a row less": lambda table: table.iloc[1:].reset_index(drop=True),
    "rows in another order": swapped,
    "a column less": lambda table: table.drop(columns="AF"),
    "a column more": lambda table: table.assign(more=1.0),
    "text": lambda table: table.assign(AF="much"),
    "empty": lambda table: table.iloc[:0],
}
RUN_DAMAGE = {
    "another name": put("name", 3, "7-000004"),
    "another record": put("record", 3, 1),
    "a record that is not there": put("record", 3, 10**6),
    "another part": put("split", 3, "train"),
}
CARD_DAMAGE = {
    "parameters": with_(parameters=46181),
    "thresholds": lambda card: card | {"thresholds": card["thresholds"] | {"AF": 0.99}},
    "records": lambda card: card | {"records": card["records"] | {"train": 1}},
    "best epoch": lambda card: card | {"best_epoch": card["best_epoch"] - 1},
    "cohort": with_(cohort="0123456789abcdef"),
    "system": with_(system="CNN-GAP"),
    "seconds": with_(seconds=1.0),
    "seconds are text": with_(seconds="long"),
    "no hash": without("sha256"),
    "no thresholds": without("thresholds"),
    "not an object": lambda card: [card],
}


def test_what_is_whole_has_no_faults_whatever_a_system_leaves_beside_it(folder):
    assert faults(folder) == []
    for place in (
        "",
        "runs",
        f"runs/{RUN}",
        "leaderboard",
        "leaderboard/synthetic-large",
        f"ablations/synthetic/{QUESTION}",
    ):
        (folder / place / "._x.json").write_bytes(b"\0\5\x16\7")
        (folder / place / ".DS_Store").write_bytes(b"\0")
    assert faults(folder) == [] and not verify.check_runs().wrong
    assert not verify.check_files().wrong and not verify.check_simulated().wrong and not verify.check_settings().wrong


@pytest.mark.parametrize("damage", [*TABLE_DAMAGE, *RUN_DAMAGE])
def test_damaged_predictions_of_a_run(folder, damage):
    altered(folder / "runs" / RUN / "predictions.parquet", (TABLE_DAMAGE | RUN_DAMAGE)[damage])
    found = of_run(folder)
    assert found and all(wrong.startswith(f"runs/{RUN}") for wrong in found)
    assert all(f"`git checkout -- results/runs/{RUN}" in wrong for wrong in found)


@pytest.mark.parametrize("damage", CARD_DAMAGE)
def test_a_card_with_false_numbers(folder, damage):
    altered(folder / "runs" / RUN / "card.json", CARD_DAMAGE[damage])
    found = of_run(folder)
    assert found and all(wrong.startswith(f"runs/{RUN}") for wrong in found)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("weights.safetensors", lambda w: w | {"bias": w["bias"] * np.nan}),
        ("weights.safetensors", lambda w: w | {"bias": w["bias"] + 0.001}),
        ("weights.safetensors", without("bias")),
        ("log.csv", put("valid", 2, np.nan)),
        ("log.csv", put("valid", 2, 1.0)),
        ("log.csv", lambda log: log.iloc[1:]),
        ("log.csv", lambda log: log.drop(columns="valid")),
        ("metrics.json", with_(valid=0.99)),
        ("metrics.json", without("test")),
        ("metrics.json", with_(valid="good")),
        ("config.json", with_(seed=1)),
        ("config.json", with_(system="none")),
        ("config.json", without("split")),
    ],
)
def test_damage_to_the_rest_of_a_run(folder, file, change):
    altered(folder / "runs" / RUN / file, change)
    found = of_run(folder)
    assert found and all(wrong.startswith(f"runs/{RUN}") and "git checkout" in wrong for wrong in found)


def test_weights_and_predictions_are_tied_though_the_card_knows_both(folder):
    run = folder / "runs" / RUN
    altered(run / "weights.safetensors", lambda w: w | {"bias": w["bias"] + 0.1})
    print_of = training.fingerprint(load_file(run / "weights.safetensors"))
    altered(run / "card.json", lambda card: card | {"sha256": card["sha256"] | {"weights": print_of}})
    (wrong,) = of_run(folder)
    assert wrong.startswith(f"runs/{RUN}: its weights do not predict what it says of 7-")


@pytest.mark.parametrize("file", sorted(intact.RUN_FILES))
def test_files_of_a_run_that_are_missing_cut_or_too_many(folder, file):
    path = folder / "runs" / RUN / file
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"\xff\xfe" + bytes(40)):
        path.write_bytes(content)
        found = of_run(folder)
        assert found and all(wrong.startswith(f"runs/{RUN}") for wrong in found)
        assert any(file in wrong or "its" in wrong for wrong in found)
    path.unlink()
    (wrong,) = of_run(folder)
    assert wrong == f"runs/{RUN}/{file}: it is missing; restore it with `git checkout -- results/runs/{RUN}/{file}`"
    path.write_bytes(whole)
    (path.parent / "more.txt").write_text("")
    assert of_run(folder) == [f"runs/{RUN}/more.txt: it belongs to no run; delete it"]


@pytest.mark.parametrize("damage", [*TABLE_DAMAGE, "calls", "calls are numbers"])
def test_damaged_answers_of_the_leaderboard(folder, damage):
    path = folder / "leaderboard/synthetic-large" / f"{ENTRY}.parquet"
    calls = {"calls": put("called AF", 3, True), "calls are numbers": lambda t: t.assign(**{"called AF": 1.0})}
    if damage == "calls":  # whatever it was
        calls["calls"] = lambda table: table.assign(**{"called AF": ~table["called AF"]})
    altered(path, (TABLE_DAMAGE | calls)[damage])
    found = intact.board_faults("synthetic-large")
    assert found and all(f"leaderboard/synthetic-large/{ENTRY}.parquet" in wrong for wrong in found)
    check = Leaderboard().check()
    assert set(found) <= set(check.wrong)


@pytest.mark.parametrize(
    "change",
    [
        *(with_(parameters=1), with_(multiply_adds=1), with_(entry="CNN-GAP"), with_(runs=["a"]), with_(runs=None)),
        *(with_(config={"system": "CNN-GAP"}), with_(config={"system": "none"}), with_(wall_seconds="long")),
        *(without("config"), without("cohort"), without("sha256")),
    ],
)
def test_a_false_card_of_the_leaderboard(folder, change):
    path = folder / "leaderboard/synthetic-large" / f"{ENTRY}.json"
    altered(path, change)
    found = intact.board_faults("synthetic-large")
    assert found and all(f"leaderboard/synthetic-large/{ENTRY}" in wrong for wrong in found)


@pytest.mark.parametrize(
    "change",
    [
        *(put("name", 3, "7-000004"), put("patient_id", 0, "synthetic/7-9"), put("fold", 0, 1), put("fold", 0, np.nan)),
        *(swapped, twice, lambda t: t.iloc[:-1], lambda t: t.assign(AF=~t["AF"]), lambda t: t.assign(AF=t["AF"] * 1.0)),
    ],
)
@pytest.mark.parametrize("where", ["leaderboard/synthetic-large", "ablations/synthetic"])
def test_changed_records(folder, where, change):
    altered(folder / where / "records.parquet", change)
    found = of_ablation() if "ablations" in where else intact.board_faults("synthetic-large")
    assert found[0].startswith(f"{where}/records.parquet: ") and f"results/{where}/records.parquet`" in found[0]


@pytest.mark.parametrize("damage", [*TABLE_DAMAGE, "another record", "another part", "another run", "another fold"])
def test_damaged_answers_of_an_ablation(folder, damage):
    path = folder / "ablations/synthetic" / QUESTION / f"{ARM}.parquet"
    own = {
        "above 1": put("AF", 3, 40.0),
        "below 0": put("AF", 3, -np.inf),
        "another record": put("record", 3, 1),
        "another part": lambda table: table.assign(part="test"),
        "another run": lambda table: table.assign(run="0123456789ab"),
        "another fold": lambda table: table.assign(fold=np.int8(0)),
    }
    altered(path, (TABLE_DAMAGE | own)[damage])
    found = of_ablation()
    assert found and all(
        f"ablations/synthetic/{QUESTION}/{ARM}" in wrong and "git checkout" in wrong for wrong in found
    )
    assert set(found) <= set(Ablations().check().wrong)


@pytest.mark.parametrize(
    "change",
    [
        *(with_(parameters=1), with_(arm="none"), with_(question="gamma"), with_(cohort="0123"), with_(runs=[["a"]])),
        lambda card: card | {"runs": card["runs"][::-1]},
        lambda card: card | {"config": card["config"] | {"rate": 0.5}},
        lambda card: card | {"logs": {}},
        lambda card: (
            card | {"logs": {name: log | {"valid": [None] * len(log["valid"])} for name, log in card["logs"].items()}}
        ),
    ],
)
def test_a_false_card_of_an_ablation(folder, change):
    altered(folder / "ablations/synthetic" / QUESTION / f"{ARM}.json", change)
    found = of_ablation()
    assert found and all(f"ablations/synthetic/{QUESTION}/{ARM}" in wrong for wrong in found)


def test_files_of_answers_that_are_missing_cut_or_too_many(folder):
    trial = "leaderboard/synthetic-large", ENTRY, lambda: intact.board_faults("synthetic-large")
    for where, name, found in (trial, (f"ablations/synthetic/{QUESTION}", ARM, of_ablation)):
        for suffix in (".json", ".parquet"):
            path = folder / where / f"{name}{suffix}"
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
            assert any(wrong.startswith(f"{where}/{name}{suffix}: it cannot be read (") for wrong in found())
            path.unlink()
            assert f"{where}/{name}{suffix}: it is missing; {intact.restore(path)}" in found()
            path.write_bytes(whole)
        for more in ("notes.txt", "x.csv"):
            (folder / where / more).write_text("")
        assert [wrong.split(": ")[0] for wrong in found()] == [f"{where}/notes.txt", f"{where}/x.csv"]
    (folder / "leaderboard/synthetic-large/records.parquet").unlink()
    (folder / "ablations/synthetic/records.parquet").write_bytes(b"PAR1")
    assert "synthetic-large/records.parquet: it is missing" in intact.board_faults("synthetic-large")[0]
    assert "ablations/synthetic/records.parquet: it cannot be read" in of_ablation()[0]
    for check in (Leaderboard().check, Ablations().check, verify.check_runs, verify.check_settings):
        check()  # with complaints or without, none ends in an exception


TABLES = {
    "a row twice": lambda lines: [*lines, lines[1]],
    "no column": lambda lines: [line.partition(",")[2] for line in lines],
    "a row cut": lambda lines: [*lines[:-1], lines[-1][:7]],
    "nothing": lambda lines: [],
}


@pytest.mark.parametrize("file", [name for name in verify.not_recomputed() if name.endswith(".csv")])
@pytest.mark.parametrize("damage", TABLES)
def test_damaged_tables_of_recordings(folder, file, damage):
    (folder / SEALS).unlink()
    path = folder / file
    path.write_text("\n".join(TABLES[damage](path.read_text().splitlines())))
    found = of_table(folder, file)
    assert found and all(wrong.startswith(f"{file}: ") and f"results/{file}`" in wrong for wrong in found)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("explanations.csv.gz", put("value", 5, np.nan)),
        ("explanations.csv.gz", put("value", 5, 3.0)),
        ("explanations.csv.gz", put("low", 5, np.nan)),
        ("beats.csv", put("high", 5, -1.0)),
        ("beats.csv", put("value", 5, np.inf)),
        ("beats.csv", put("value", 5, "much")),
        ("realism.csv", put("value", 5, np.nan)),
        ("sanity.csv", put("value", 5, np.nan)),
        ("transfer.csv", put("value", 5, np.nan)),
        ("quality.csv", put("n", 5, np.nan)),
        ("unlike.csv", put("value", 5, np.nan)),
        ("audit.csv", put("fs", 5, "fast")),
        ("audit.csv", put("patient_id", 900, "someone")),
        ("audit.csv", lambda table: table[table["source"] != "georgia"]),
    ],
)
def test_a_table_of_recordings_that_cannot_be_so(folder, file, change):
    (folder / "leaderboard/real").mkdir()
    shutil.copy(RESULTS / "leaderboard/real/records.parquet", folder / "leaderboard/real")
    (folder / SEALS).unlink()  # by which every change is noticed
    change(
        pd.read_csv(folder / file, keep_default_na=False, na_values=dict.fromkeys(("value", "low", "high"), ""))
    ).to_csv(folder / file, index=False)
    found = of_table(folder, file)
    assert found and all(wrong.startswith(f"{file}: ") and verify.not_recomputed()[file] in wrong for wrong in found)


@pytest.mark.parametrize(
    "file",
    [
        "audit.csv",
        "beats.csv",
        "explanations.csv.gz",
        "explanations_trial.csv.gz",
        "sanity.csv",
        "transfer.csv",
        "realism.csv",
        "quality.csv",
        "unlike.csv",
        "costs.csv",
    ],
)
def test_rows_that_a_table_lacks_are_noticed(folder, file):
    """A table cut at the end of a line, or without the rows of one data set, is a table like any other."""
    assert of_table(folder, file) == []
    whole = pd.read_csv(folder / file, dtype=str, keep_default_na=False)
    for table in (whole[: len(whole) // 2], whole[5:], whole[::-1]):
        table.to_csv(folder / file, index=False)
        found = of_table(folder, file)
        assert found and all(verify.not_recomputed()[file] in wrong for wrong in found)
    with written_table(folder / file) as partial:
        whole[5:].to_csv(partial, index=False)
    assert not any("as its command wrote it" in wrong for wrong in of_table(folder, file))


ATTACK = {"tried": 2, "refused": 1, "read": 1, "failed": 0, "seconds": 1.0}


def test_other_files(folder):
    altered(folder / "attack.json", lambda attack: attack | {"kinds": {"changed": {**ATTACK, "read": 3}}})
    assert list(verify.check_others())[-1].wrong[0].startswith("attack.json: the counts of changed do not add up")
    altered(folder / "bench.json", lambda bench: bench | {"reading": bench["reading"] | {"ratio": 99}})
    assert list(verify.check_others())[-2].wrong[0].startswith("bench.json: ratio of reading is 99")
    (folder / "bench.json").write_text('{"reading": {"ours": NaN}}')
    assert list(verify.check_others())[-2].wrong[0].startswith("bench.json: reading has no positive numbers")
    for content in ("- claim: [", "- {claim: x}", "", "\0"):
        claims.FILE.write_text(content)
        assert verify.check_claims().wrong, content
    (folder / "claims.yaml").unlink()
    assert verify.check_claims().wrong == [
        "claims.yaml: it is missing; restore it with `git checkout -- results/claims.yaml`"
    ]
    (folder / "leaderboard.csv").write_bytes(b"\xff\xfe")
    assert Leaderboard().check().wrong[0].startswith("leaderboard.csv: it cannot be read")
    (folder / "provenance.yaml").write_text("settings: 3")
    assert verify.check_settings().wrong
    (folder / "more.csv").write_text("")
    (folder / "ablations.csv").unlink()
    assert [wrong.split(":")[0] for wrong in verify.check_files().wrong] == ["ablations.csv", "claims.yaml", "more.csv"]


def test_the_identity_of_a_simulated_record_is_that_of_the_record():
    for index in (0, 1, 2, 7):
        record = synthetic.simulate(index, 7, fs=100, seconds=6, balance=1).record
        assert synthetic.identity(index, 7, 1) == (record.name, record.patient_id, record.labels)


def test_a_fingerprint_is_of_what_is_held():
    table = pd.DataFrame({"x": [1.0, 2.0], "n": ["a", "b"]})
    same = [table.astype({"x": "float32"}), table.astype({"n": "category"}), table.astype({"n": "string"})]
    assert {training.fingerprint(other) for other in same} == {training.fingerprint(table)}
    others = [
        table[::-1],
        table.assign(x=[1.0, 2.1]),
        table.rename(columns={"x": "y"}),
        table[["x"]],
        table.assign(n=["ab", ""]),
    ]
    assert len({training.fingerprint(other) for other in [table, *others]}) == 6
    assert training.fingerprint(table, table) != training.fingerprint(table)
