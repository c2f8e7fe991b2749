import json

import pytest
from typer.testing import CliRunner

from ecgstudy import book, cli
from ecgstudy.cli import app
from ecgstudy.data.formats import wfdb
from ecgstudy.data.records import read_record
from ecgstudy.data.synthetic import simulate


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_list_says_what_is_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    result = call("data", "list")
    assert result.exit_code == 0
    for name in ("ludb", "mitdb", "ptb-xl", "challenge-2021", "cpsc-2018-original"):
        assert name in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--profile", "dmo"), "no profile 'dmo'; did you mean 'demo'"),
        (("run", "-p", "epochs"), "write it as NAME=VALUE"),
        (("run", "-p", "epoks=3"), "no notebook has a parameter 'epoks'"),
        (("run", "04_none"), "no notebook '04_none'"),
        (("book", "--profile", "x"), "no profile 'x'"),
        (("data", "fetch", "lubd"), "no data set 'lubd'"),
        (("data", "verify", "lubd"), "no data set 'lubd'"),
    ],
)
def test_what_does_not_exist_is_told(arguments, message):
    result = call(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr.replace("\n", " ")


def test_serve_without_a_book_says_how_to_build_it(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "build_folder", lambda profile: tmp_path / profile)
    result = call("serve")
    assert result.exit_code == 1
    assert "make book PROFILE=demo" in result.stderr


def test_simulated_records_are_wfdb_records_with_their_answer_key(tmp_path):
    out = tmp_path / "cohort"
    assert call("data", "simulate", "--records", 3, "--seed", 5, "--out", out, "--balance", 0.5).exit_code == 0
    headers = sorted(out.glob("*.hea"))
    assert len(headers) == 3
    for index, header in enumerate(headers):
        expected = simulate(index, 5, balance=0.5)
        read = read_record(header)
        assert abs(read.signal - expected.record.signal).max() <= 5.1e-4  # whole microvolts
        assert read.labels == expected.record.labels
        assert wfdb.rdrecord(str(header.with_suffix(""))).sig_name == list(expected.record.leads)
    assert len((out / "evidence.csv").read_text().splitlines()) > 3
    parameters = json.loads((out / "parameters.json").read_text())
    assert parameters[headers[0].stem] == json.loads(json.dumps(simulate(0, 5, balance=0.5).parameters))
    again = call("data", "simulate", "--records", 3, "--out", out)
    assert again.exit_code == 1 and "is not empty" in again.stderr


def test_train_lists_what_the_leaderboard_lacks(tmp_path, monkeypatch):
    from ecgstudy import leaderboard

    monkeypatch.setattr(leaderboard, "FOLDER", tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "CNN-GAP.json").write_text('{"wall_seconds": 600}')
    result = call("train", "--dry", "--trial", "real", "--trial", "synthetic")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert "real: BUTTeam is missing" in lines and not any(line.startswith("real: CNN-GAP is") for line in lines)
    assert "synthetic: CNN-GAP is missing, about 6 min" in lines  # 0.6 of what real's 15 runs go through
    result = call("train", "--trial", "reel")
    assert result.exit_code == 1 and "no trial 'reel'; there are real" in result.output
    result = call("train", "CNNGAP", "--trial", "real")
    assert result.exit_code == 1 and "real has no 'CNNGAP'" in result.output


@pytest.mark.parametrize(
    ("seconds", "said"), [(20, "0 min"), (600, "10 min"), (7200, "2 h"), (100_000, "28 h"), (86_400_000, "1,000 days")]
)
def test_durations_are_said_in_a_unit_that_fits(seconds, said):
    assert cli._duration(seconds) == said


def test_train_lists_what_the_ablations_lack_and_paper_only_when_asked(tmp_path, monkeypatch):
    from ecgstudy import ablations, leaderboard

    monkeypatch.setattr(leaderboard, "FOLDER", tmp_path / "leaderboard")
    monkeypatch.setattr(ablations, "FOLDER", tmp_path / "ablations")
    (tmp_path / "ablations" / "real" / "mask").mkdir(parents=True)
    for suffix in (".json", ".parquet"):
        ablations.path("real", "mask", "mask right", suffix).write_text(
            '{"seconds": 300, "runs": [["a"], ["b"], ["c"], ["d"], ["e"]]}'
        )
    lines = call("train", "--dry", "--trial", "ablations real").output.splitlines()
    # The published mask has padding convolved, as far as the network reaches: half as many cells again.
    assert "ablations real: mask: mask as published is missing, about 7 min" in lines
    assert "ablations real: denoising: denoising is missing" in lines
    assert not any("mask right" in line for line in lines) and all(line.startswith("ablations real") for line in lines)
    lines = call("train", "--dry").output.splitlines()
    trials = {line.partition(":")[0] for line in lines}
    assert trials == {"real", "by-source", "synthetic", "synthetic-large", "ablations real", "ablations synthetic"}
    assert call("train", "--dry", "--trial", "paper").output.startswith("paper: CNN-GAP is missing")
    # Without a trial, those that know what is asked for.
    lines = call("train", "--dry", "mask").output.splitlines()
    assert {line.partition(":")[0] for line in lines} == {"ablations real", "ablations synthetic"}
    lines = call("train", "--dry", "mask", "--trial", "ablations real", "--again").output.splitlines()
    assert sorted(line.split(": ")[2].partition(" is")[0] for line in lines) == ["mask as published", "mask right"]
    result = call("train", "masc", "--trial", "ablations real")
    assert result.exit_code == 1 and "ablations real has no 'masc'; it has gamma" in result.output


def test_train_trains_what_is_missing_and_writes_the_tables(tmp_path, monkeypatch):
    from ecgstudy import ablation_tables, ablations, claims, leaderboard

    done = []

    def answer_all(trial, missing, jobs):
        done.append((trial, missing, jobs))
        yield "it", 60.0

    monkeypatch.setattr(ablations, "FOLDER", tmp_path)
    monkeypatch.setattr(ablations, "answer_all", answer_all)
    for module in (leaderboard, ablation_tables):
        monkeypatch.setattr(module, "write_table", lambda name=module.__name__: name)
    monkeypatch.setattr(claims, "write", lambda: "claims")
    result = call("train", "denoising", "--trial", "ablations synthetic", "--jobs", 1)
    assert result.exit_code == 0
    assert done == [("synthetic", [("denoising", "no denoising"), ("denoising", "denoising")], 1)]
    expected = [
        "ablations synthetic: it done after 1.0 min",
        "ecgstudy.leaderboard",
        "ecgstudy.ablation_tables",
        "claims",
    ]
    assert result.output.splitlines()[-4:] == expected


def test_verify_results_fails_where_something_does_not_agree(monkeypatch):
    import pandas as pd

    from ecgstudy import verify

    right = verify.Check("a.csv", 1200, 4e-5, [])
    monkeypatch.setattr(verify, "checks", lambda: iter([right]))
    result = call("verify-results")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "results/a.csv: 1,200 values, largest difference 4.0e-05"
    assert "results/realism.csv: not from committed answers; made by `python -m ecgstudy.realism`" in lines
    wrong = verify.Check("b.csv", 20, 0.1, [f"row {i}" for i in range(12)])
    monkeypatch.setattr(verify, "checks", lambda: iter([right, wrong]))
    result = call("verify-results")
    assert result.exit_code == 1 and "  row 9\n  and 2 more\n" in result.output

    monkeypatch.setattr(verify, "checks", lambda: iter([right]))
    for again, code in ((0.79, 0), (0.5, 1)):
        scores = pd.DataFrame({"committed": [0.8], "again": [again], "tolerance": [0.1]}, index=["AUROC"])
        monkeypatch.setattr(verify, "train_again", lambda name, scores=scores: verify.Again(0.2, scores, 30.0))
        result = call("verify-results", "--retrain", "smallest")
        assert result.exit_code == code and f"AUROC: committed 0.8000, again {again:.4f}" in result.output
        assert "not the same to rounding" in result.output
    monkeypatch.undo()
    monkeypatch.setattr(verify, "checks", lambda: iter([]))
    result = call("verify-results", "--retrain", "real/none/x/0")
    assert result.exit_code == 1 and "no run 'real/none/x/0'" in result.stderr
