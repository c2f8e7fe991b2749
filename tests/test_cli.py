import json

import pytest
from typer.testing import CliRunner

from ecgstudy import book
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
    assert "synthetic: CNN-GAP is missing, about 10 min" in lines
    result = call("train", "--trial", "reel")
    assert result.exit_code == 1 and "no trial 'reel'; there are real" in result.output
    result = call("train", "CNNGAP", "--trial", "real")
    assert result.exit_code == 1 and "real has no 'CNNGAP'" in result.output
