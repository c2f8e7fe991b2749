import json
import os
import shutil
import socket
import tomllib

import pytest
from typer.testing import CliRunner

import ecgstudy
from ecgstudy import cli
from ecgstudy.book import build
from ecgstudy.cli import app
from ecgstudy.data import audit, manifest
from ecgstudy.data.fetch import record_names
from ecgstudy.data.formats import wfdb
from ecgstudy.data.manifest import DataError
from ecgstudy.data.records import read_record
from ecgstudy.data.simulator.synthetic import simulate
from ecgstudy.paths import REPOSITORY, RESULTS, BrokenError
from ecgstudy.studies import verify
from ecgstudy.text import printable


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_list_says_what_is_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    result = call("data", "list")
    assert result.exit_code == 0
    for name in ("ludb", "mitdb", "ptb-xl", "challenge-2021", "cpsc-2018-original"):
        assert name in result.stdout


def test_names_of_files_move_no_cursor(small_data):
    (small_data / "ludb" / "data" / "\x1b[2J\u202e.txt").touch()
    result = call("data", "verify", "ludb")
    assert r"data/\x1b[2J\u202e.txt" in result.stdout and "\x1b" not in result.stdout


def test_list_goes_on_where_a_folder_cannot_be_listed(small_data, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    scandir = os.scandir

    def guarded(folder="."):
        if not isinstance(folder, int) and os.fspath(folder).endswith("ludb/data"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    rows = {line.split()[0]: line.split()[-1] for line in call("data", "list").stdout.splitlines() if line.strip()}
    assert (rows["ludb"], rows["mitdb"], rows["cpsc-2018-original"]) == ("unreadable", "2", "2")
    assert manifest.at_hand(["ludb", "mitdb"]).keys() == {"mitdb"}
    shown = audit.data_sets(["mitdb"]).set_index("data set")["at hand"]
    assert shown[manifest.data_set("ludb").title] == "ludb/ cannot be listed (Permission denied)"
    assert set(shown) == {"ludb/ cannot be listed (Permission denied)", "yes", "no"}
    result = call("data", "verify", "ludb")
    assert result.exit_code == 1 and "data/ (Permission denied)" in result.stdout


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


ODD = "[/b]{x}[bold]\x1b"  # markup, a format and a control character: none of them means anything here
ODD_CALLS = [
    (("run", "-p", "epoch=3"), 1, "no notebook has a parameter 'epoch'; did you mean 'epochs'?"),
    (("run", "03_cnn_gap", "-p", "epoch=3"), 1, "03_cnn_gap has no parameter 'epoch'; did you mean 'epochs'?"),
    (("run", "02_preprocessing", "-p", "epochs=3"), 1, "02_preprocessing has no parameter 'epochs'. There are seed."),
    (("run", "01_data_audit", "10_leaderboard", "-p", "epochs=3"), 1, "none of 01_data_audit, 10_leaderboard has a"),
    (("run", "-p", "width=abc"), 1, "parameter 'width' takes a number (float), above 0; it was given 'abc'"),
    (("run", "-p", "cohort=mine"), 1, "parameter 'cohort' takes one of synthetic, real (text); it was given 'mine'"),
    (("run", "-p", "=3"), 1, "no notebook has a parameter ''"),
    (("run", "-p", ODD), 1, "write it as NAME=VALUE"),
    (("run", "-p", f"{ODD}=1"), 1, "no notebook has a parameter '[/b]{x}[bold]"),
    (("run", "-p", f"seed={ODD}"), 1, "parameter 'seed' takes a whole number"),
    (("run", "03_cnn_gap.ipynb"), 1, "did you mean '03_cnn_gap'?"),
    (("run", ODD), 1, "no notebook '[/b]{x}[bold]"),
    (("run", "--profile", ODD), 1, "no profile '[/b]{x}[bold]"),
    (("run", "--profile", "../smoke"), 1, "no profile '../smoke'"),
    (("book", "--profile", ""), 1, "no profile ''"),
    (("book", "-p", "seed=x"), 1, "parameter 'seed' takes a whole number"),
    (("train", "CNNGAP", "--dry"), 1, "no part has 'CNNGAP'; did you mean 'CNN-GAP'?"),
    (("train", "cnn-gap", "--dry"), 1, "did you mean 'CNN-GAP'?"),
    (("train", "CNN-GAP", "gama", "--dry"), 1, "no part has 'gama'; did you mean 'gamma'?"),
    (("train", "gamma", "--part", "real", "--dry"), 1, "real has no 'gamma'; it has 'CNN-GAP'"),
    (("train", ODD, "--dry"), 1, "no part has '[/b]{x}[bold]"),
    (("train", "--part", ODD), 1, "no part '[/b]{x}[bold]"),
    (("train", "--part", "Real"), 1, "did you mean 'real'?"),
    (("train", "--jobs", "0"), 2, "--jobs"),
    (("verify-results", "--retrain", ODD), 1, "no run '[/b]{x}[bold]"),
    (("serve", "--profile", "../.."), 1, "no profile '../..'"),
    (("serve", "--port", "70000"), 2, "--port"),
    (("serve", "--port", ODD), 2, "--port"),
    (("data", "verify", ODD), 1, "no data set '[/b]{x}[bold]"),
    (("data", "verify", "ludb"), 1, "is not at hand"),
    (("data", "audit"), 1, "is not at hand"),
    (("data", "simulate", "--records", "1", "--out", "README.md"), 1, "README.md is a file: name a new folder"),
    (("data", "simulate", "--records", "1", "--out", "README.md/x"), 1, "README.md"),
    (("data", "simulate", "--records", "1", "--out", "."), 1, "is not empty"),
    *(
        (("data", "simulate", "--records", "1", "--out", "{tmp}/new", option, value), 1, "fs must be at least 100 Hz")
        for option, value in (("--fs", "0"), ("--fs", "nan"), ("--fs", "inf"), ("--balance", "2"), ("--balance", "nan"))
    ),
    (("data", "simulate", "--records", "0", "--out", "{tmp}/new"), 2, "--records"),
    (("data", ODD), 2, "No such command"),
    ((ODD,), 2, "No such command"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), ODD_CALLS)
def test_what_cannot_be_ends_in_a_sentence(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path / ODD))
    monkeypatch.setattr(verify, "checks", lambda: iter([]))
    result = call(*(a.replace("{tmp}", str(tmp_path)) for a in arguments))
    assert (result.exit_code, type(result.exception)) == (code, SystemExit), result.output
    assert message in result.stderr and "Traceback" not in result.output, result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("gone"), 1, "ecgstudy: gone"),
        (BrokenError("x is broken: delete it"), 1, "ecgstudy: x is broken: delete it"),
        (PermissionError(13, "Permission denied", "/a"), 1, "ecgstudy: /a: Permission denied"),
        (MemoryError(), 1, "ecgstudy: not enough memory"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_from_anywhere_is_a_sentence(error, code, message, monkeypatch):
    def fail():
        raise error

    monkeypatch.setattr(manifest, "load_manifest", fail)
    result = call("data", "list")
    assert result.exit_code == code and message in result.stderr and isinstance(result.exception, SystemExit)


def test_a_home_that_there_is_not_is_told(monkeypatch):
    monkeypatch.setenv("ECGSTUDY_DATA", "~nobody-of-this-name/data")
    result = call("data", "list")
    assert result.exit_code == 1 and "~nobody-of-this-name/data: " in result.stderr


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(manifest, "load_manifest", lambda: {}["a"])
    assert isinstance(call("data", "list").exception, KeyError)


def test_a_taken_port_is_told_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "build_folder", lambda profile: tmp_path)
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = call("serve", "--port", taken.getsockname()[1])
    assert result.exit_code == 1
    assert "another program uses it. Name another one with --port" in result.stderr


def test_version_is_the_packages():
    result = call("--version")
    assert (result.exit_code, result.output) == (0, f"ecgstudy {ecgstudy.__version__}\n")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == ecgstudy.__version__


@pytest.mark.parametrize("columns", [80, 200])
def test_the_list_shows_names_and_licences_at_any_width(columns, tmp_path, monkeypatch):
    root = tmp_path / ODD
    (root / "challenge-2020-evaluation").mkdir(parents=True)
    (root / "challenge-2020-evaluation" / "weights.csv").touch()
    monkeypatch.setenv("ECGSTUDY_DATA", str(root))
    monkeypatch.setenv("COLUMNS", str(columns))
    result = call("data", "list")
    assert result.exit_code == 0 and f"Data sets under {printable(str(root))}" in result.stdout
    lines = result.stdout.splitlines()[1:]
    assert max(map(len, lines)) <= columns and "…" not in result.stdout
    for name, dataset in manifest.load_manifest().items():
        (row,) = [line for line in lines if line.split()[:1] == [name]]
        assert row.split()[1] == dataset.version
        assert row.split()[-1] == ("yes" if name == "challenge-2020-evaluation" else "no")
        for word in f"{dataset.title} {dataset.licence}".replace("/", " ").split():
            assert any(word in line for line in lines), word


def test_audit_reads_what_is_at_hand_and_keeps_the_rest(real_data, tmp_path, monkeypatch):
    from ecgstudy.data import audit, cohort

    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    (tmp_path / "ptb-xl").symlink_to(real_data / "ptb-xl")
    shutil.copy(RESULTS / "audit.csv", tmp_path)
    monkeypatch.setattr(audit, "RESULTS", tmp_path)
    committed = (RESULTS / "audit.csv").read_bytes()
    all_paths = cohort.record_paths
    monkeypatch.setattr(cohort, "record_paths", lambda data_sets: all_paths(data_sets, 5))
    result = call("data", "audit")
    assert result.exit_code == 0, result.output
    assert "their rows are as they were: ludb, mitdb, challenge-2021, cpsc-2018-original" in result.output
    before = [
        line for line in (RESULTS / "audit.csv").read_text(encoding="utf-8").splitlines() if ",PTB-XL," not in line
    ]
    after = (tmp_path / "audit.csv").read_text(encoding="utf-8").splitlines()
    assert [line for line in after if ",PTB-XL," not in line] == before
    assert len(after) == len(before) + 5 and (RESULTS / "audit.csv").read_bytes() == committed


@pytest.mark.parametrize("name", ["{x}", "{task.nothing}", "[/b]", "%s", "a/b", "\0", ""])
def test_a_data_set_of_any_name_is_told_to_be_unknown(name):
    for command in ("fetch", "verify"):
        result = call("data", command, name)
        assert result.exit_code == 1 and "there is no data set" in result.stderr
        assert call("data", command, "ptbxl").stderr.endswith("did you mean 'ptb-xl'?\n")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(bytes(range(256))), "cannot be read as a list of names"),
        (lambda path: path.write_bytes(b"\0\1"), "is not a list of names"),
        (lambda path: path.mkdir(), "is not a file"),
        (os.mkfifo, "is not a file"),
        (lambda path: path.write_text(" \n\n"), "names no record"),
    ],
)
def test_records_are_names_or_a_list_of_names(tmp_path, make, said):
    path = tmp_path / "records"
    make(path)
    result = call("data", "fetch", "ludb", "--records", path)
    assert result.exit_code == 1 and said in result.stderr.replace("\n", " ")


@pytest.mark.parametrize("records", ["", ",", " , "])
def test_no_records_are_no_choice(records):
    result = call("data", "fetch", "ludb", "--records", records)
    assert result.exit_code == 1 and ("names no record" in result.stderr or "is not a file" in result.stderr)


def test_names_of_records_come_with_commas_or_from_a_file(tmp_path):
    many = [f"A{number:04d}" for number in range(2000)]  # together too long for the name of a file
    assert record_names(",".join(many)) == set(many)
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(many).encode())
    assert record_names(str(tmp_path / "list")) == set(many)
    assert record_names("A0001, A0002,") == {"A0001", "A0002"}


def test_serve_without_a_book_says_how_to_build_it(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "build_folder", lambda profile: tmp_path / profile)
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
    from ecgstudy.studies import leaderboard

    monkeypatch.setattr(leaderboard, "FOLDER", tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "CNN-GAP.json").write_text('{"wall_seconds": 600}')
    result = call("train", "--dry", "--part", "real", "--part", "synthetic")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert "real: BUTTeam is missing" in lines and not any(line.startswith("real: CNN-GAP is") for line in lines)
    assert "synthetic: CNN-GAP is missing, about 6 min" in lines  # 0.6 of what real's 15 runs go through
    result = call("train", "--part", "reel")
    assert result.exit_code == 1 and "no part 'reel'; there are real" in result.output
    result = call("train", "CNNGAP", "--part", "real")
    assert result.exit_code == 1 and "real has no 'CNNGAP'" in result.output


@pytest.mark.parametrize(
    ("seconds", "said"), [(20, "0 min"), (600, "10 min"), (7200, "2 h"), (100_000, "28 h"), (86_400_000, "1,000 days")]
)
def test_durations_are_said_in_a_unit_that_fits(seconds, said):
    assert cli._duration(seconds) == said


def test_train_lists_what_the_ablations_lack_and_paper_only_when_asked(tmp_path, monkeypatch):
    from ecgstudy.studies import ablations, leaderboard

    monkeypatch.setattr(leaderboard, "FOLDER", tmp_path / "leaderboard")
    monkeypatch.setattr(ablations, "FOLDER", tmp_path / "ablations")
    (tmp_path / "ablations" / "real" / "mask").mkdir(parents=True)
    for suffix in (".json", ".parquet"):
        ablations.path("real", "mask", "mask right", suffix).write_text(
            '{"seconds": 300, "runs": [["a"], ["b"], ["c"], ["d"], ["e"]]}'
        )
    lines = call("train", "--dry", "--part", "ablations real").output.splitlines()
    # The published mask has padding convolved, as far as the network reaches: half as many cells again.
    assert "ablations real: mask: mask as published is missing, about 7 min" in lines
    assert "ablations real: denoising: denoising is missing" in lines
    assert not any("mask right" in line for line in lines) and all(line.startswith("ablations real") for line in lines)
    lines = call("train", "--dry").output.splitlines()
    trials = {line.partition(":")[0] for line in lines}
    boards = {"real", "by-source", "synthetic", "synthetic-large", "ablations real", "ablations synthetic"}
    assert (
        trials - {"trial", "transfer", "curve", "starts", "beats"} == boards
    )  # their tables stand elsewhere and may be whole
    assert call("train", "--dry", "--part", "paper").output.startswith("paper: CNN-GAP is missing")
    # Without a trial, those that know what is asked for.
    lines = call("train", "--dry", "mask").output.splitlines()
    assert {line.partition(":")[0] for line in lines} == {"ablations real", "ablations synthetic"}
    lines = call("train", "--dry", "mask", "--part", "ablations real", "--again").output.splitlines()
    assert sorted(line.split(": ")[2].partition(" is")[0] for line in lines) == ["mask as published", "mask right"]
    result = call("train", "masc", "--part", "ablations real")
    assert result.exit_code == 1 and "ablations real has no 'masc'; it has 'gamma'" in result.output


def test_train_trains_what_is_missing_and_writes_the_tables(tmp_path, monkeypatch):
    from ecgstudy.studies import Study, ablations, claims
    from ecgstudy.studies.catalogue import FromRecordings

    done = []

    def answer_all(study, part, missing, jobs):
        done.append((study.file, part, missing, jobs))
        yield "it", 60.0

    monkeypatch.setattr(ablations, "FOLDER", tmp_path)
    monkeypatch.setattr(Study, "answer_all", answer_all)
    for kind in (Study, FromRecordings):
        monkeypatch.setattr(kind, "write", lambda study: study.file)
    monkeypatch.setattr(claims, "write", lambda: "claims")
    result = call("train", "denoising", "--part", "ablations synthetic", "--jobs", 1)
    assert result.exit_code == 0
    arms = ["denoising: no denoising", "denoising: denoising"]
    assert done == [("ablations.csv", "ablations synthetic", arms, 1)]
    expected = ["ablations synthetic: it done after 1.0 min", "leaderboard.csv", "ablations.csv"]
    others = ["explanations.csv.gz", "verdicts.csv", "sanity.csv", "transfer.csv", "curve.csv", "starts.csv"]
    others += ["beat_transfer.csv"]
    others += ["realism.csv", "quality.csv", "unlike.csv", "costs.csv", "claims"]
    assert result.output.splitlines()[-15:] == [*expected, *others]


def test_verify_results_fails_where_something_does_not_agree(monkeypatch):
    import pandas as pd

    from ecgstudy.studies import verify
    from ecgstudy.studies.checks import Check

    right = Check("a.csv", 1200, 4e-5, [])
    monkeypatch.setattr(verify, "checks", lambda: iter([right]))
    result = call("verify-results")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "results/a.csv: 1,200 values, largest difference 4.0e-05"
    assert "results/realism.csv: not from committed answers; made by `ecgstudy train --part realism --again`" in lines
    wrong = Check("b.csv", 20, 0.1, [f"row {i}" for i in range(12)])
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


def test_a_folder_without_chapters_is_no_success(tmp_path, monkeypatch):
    from ecgstudy.book import build

    monkeypatch.setattr(build, "NOTEBOOKS", tmp_path)
    result = call("run", "--profile", "smoke")
    assert result.exit_code == 1 and "holds no chapter (NN_NAME.ipynb): let ECGSTUDY_NOTEBOOKS name" in result.stderr
