"""A class's notebooks, some of them hostile: each is told for what it is, and none harms another or the grader."""

import csv
import json
import socket
import subprocess
import sys
import time

import psutil
import pytest
from typer.testing import CliRunner

import ecgstudy.course
from ecgstudy.course import checks, grading
from ecgstudy.course.cli import course

CHAPTER = """
from ecgstudy.course.checks import choice, close, exercise

@exercise("98-1", wrong=[1, 2, 3])
def four(answer):
    return close(answer, 4, within=0.01, hint="Count again.")

@exercise("98-2", wrong=["b", "c", "d"])
def letter(answer):
    return choice(answer, "a", {"b": "No.", "c": "No.", "d": "No."})
"""
SHOW = "from IPython.display import display\nfrom ecgstudy.course.checks import MIME, Outcome\n"
SLEEP = 98_765.25  # seconds: no other process sleeps so long


def answer(number, value):
    return f"{SHOW}Outcome({number!r}, True, '', {value!r})"


def raw(bundle):
    return f"{SHOW}display({{MIME: {bundle}, 'text/plain': '98-1: right.'}}, raw=True)"


def write(path, *cells, page="98_test"):
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [{"cell_type": "code", "metadata": {}, "source": cell, "outputs": []} for cell in cells]
    about = {"ecgstudy": {"exercises": page}} if page else {}
    path.write_text(json.dumps({"cells": made, "metadata": about, "nbformat": 4, "nbformat_minor": 5}), "utf-8")


@pytest.fixture(scope="module")
def chapter(tmp_path_factory):
    """A chapter of two exercises that no book has."""
    folder = tmp_path_factory.mktemp("checks")
    (folder / "chapter_98.py").write_text(CHAPTER, encoding="utf-8")
    before = dict(checks._CHECKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ecgstudy.course, "__path__", [*ecgstudy.course.__path__, str(folder)])
        yield folder
    sys.modules.pop("ecgstudy.course.chapter_98", None)
    checks._CHECKS.clear()
    checks._CHECKS.update(before)


@pytest.fixture(scope="module")
def graded(chapter, tmp_path_factory):
    """A class of which most students mean no good, graded once."""
    folder, out = tmp_path_factory.mktemp("class"), tmp_path_factory.mktemp("results") / "results.csv"
    outside = out.with_name("outside.txt")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        write(folder / "right.ipynb", answer("98-1", 4), answer("98-2", "A)"))
        write(folder / "wrong.ipynb", "1 / 0", answer("98-1", 5))
        write(folder / "blank.ipynb", answer("98-1", None), answer("98-2", "a"))  # `answer = ...`, as it was handed out
        write(folder / "lying.ipynb", "print('98-1: right.')", raw('{"exercise": "98-1", "answer": 5, "right": True}'))
        write(folder / "hungry.ipynb", "held = []\nwhile True:\n    held.append(bytearray(b'x') * 50_000_000)")
        write(folder / "crashing.ipynb", answer("98-1", 4), "import os\nos._exit(0)")
        write(folder / "loud.ipynb", "for _ in range(50):\n    print('x' * 1_000_000)", answer("98-1", 4))
        write(folder / "flood.ipynb", raw('{"exercise": "98-1", "answer": "x" * 9_000_000}'))
        write(
            folder / "malformed.ipynb",
            raw('{"exercise": "98-1"}'),
            raw('["98-1", 4]'),
            raw('{"exercise": ["98-1"], "answer": 4}'),
            raw('{"exercise": "97-1", "answer": 4}'),
            answer("98-2", "a"),
        )
        forks = f"import subprocess\nfor _ in range(200):\n    subprocess.Popen(['sleep', '{SLEEP}'])\n"
        write(folder / "forks.ipynb", f"{forks}import time\ntime.sleep({SLEEP})")
        orphan = f"import subprocess\nsubprocess.Popen(['sleep', '{SLEEP}'], start_new_session=True)"
        write(folder / "orphan.ipynb", orphan, answer("98-1", 4))
        call = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 5).close()"
        write(folder / "calling.ipynb", call, answer("98-1", 4))
        write(folder / "writing.ipynb", f"open({str(outside)!r}, 'w').close()", answer("98-1", 4))
        seen = "import os\nseen = os.environ.get('ECG_SECRET', 'a')"
        write(folder / "=spy.ipynb", seen, f"{SHOW}Outcome('98-2', True, '', seen)")
        write(folder / "anna" / "98.ipynb", answer("98-1", 4))
        write(folder / "anna" / "copy" / "98.ipynb", answer("98-2", "b"))
        write(folder / "ben" / "98.ipynb", answer("98-1", 3))
        (folder / "text.ipynb").write_text("no notebook", encoding="utf-8")
        (folder / "essay.docx").write_bytes(b"PK\x03\x04")
        write(folder / "empty.ipynb")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ECG_SECRET", "told")
            result = grading.grade(folder, out, grading.Limits(120, 700), jobs=2)
        server.settimeout(0)
        try:
            server.accept()[0].close()
            called = True
        except BlockingIOError:
            called = False
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return result, rows, {"called": called, "written": outside.exists()}


def of(graded, student, exercise="98-1"):
    (row,) = [row for row in graded[1] if (row["student"], row["exercise"]) == (student, exercise)]
    return row["right"], row["status"]


def test_right_and_wrong_answers_are_told_apart_by_the_grader_alone(graded):
    assert of(graded, "right") == of(graded, "right", "98-2") == ("1", "ok")
    assert of(graded, "wrong") == ("0", "ok") and of(graded, "wrong", "98-2") == ("0", "error")
    assert of(graded, "lying") == ("0", "ok") and of(graded, "lying", "98-2") == ("0", "not answered")
    assert of(graded, "blank") == ("0", "not answered") and of(graded, "blank", "98-2") == ("1", "ok")
    hints = {row["hint"] for row in graded[1] if row["student"] in ("wrong", "lying") and row["exercise"] == "98-1"}
    assert hints == {"Count again."}
    (detail,) = {row["detail"] for row in graded[1] if row["student"] == "wrong" and row["detail"]}
    assert detail == "cell 1: ZeroDivisionError: division by zero"


def test_a_notebook_that_takes_too_much_or_ends_is_told_for_what_it_did(graded):
    assert of(graded, "hungry") == ("0", "memory")
    assert of(graded, "crashing") == ("1", "ok") and of(graded, "crashing", "98-2") == ("0", "crashed")
    assert of(graded, "loud") == ("1", "ok")
    assert of(graded, "flood") == ("0", "output")
    assert of(graded, "forks") == ("0", "processes")
    assert of(graded, "empty") == ("0", "empty")
    assert of(graded, "text", "") == of(graded, "essay", "") == ("0", "not a notebook")


def test_what_is_malformed_is_told_and_stops_no_other_answer(graded):
    bad = [row["detail"] for row in graded[1] if row["student"] == "malformed" and row["status"] == "malformed"]
    assert bad == ["no answer to 98-1", "it names no exercise", "it names no exercise", "no exercise '97-1' here"]
    assert of(graded, "malformed", "98-2") == ("1", "ok")


def test_nothing_that_a_notebook_started_is_left(graded):
    assert of(graded, "orphan") == ("1", "ok")
    left = [p for p in psutil.process_iter(["cmdline"]) if str(SLEEP) in (p.info["cmdline"] or [])]
    assert left == []


def test_network_and_files_are_cut_where_the_summary_says_so(graded):
    result, _, did = graded
    assert did == {name: one not in result.isolation.cut for name, one in (("called", "network"), ("written", "files"))}
    told = result.summary()[-1]
    assert ("network was cut" in told) != ("network was NOT cut" in told)
    for student in ("calling", "writing"):
        assert of(graded, student) == ("1", "ok")


def test_a_notebook_sees_none_of_the_graders_secrets_and_a_name_is_no_formula(graded):
    assert of(graded, "'=spy", "98-2") == ("1", "ok")


def test_a_student_is_the_folder_or_the_file_and_files_of_one_name_are_kept_apart(graded):
    own = {(row["file"], row["exercise"]): row["right"] for row in graded[1] if row["student"] == "anna"}
    assert own["anna/98.ipynb", "98-1"] == "1" and own["anna/copy/98.ipynb", "98-2"] == "0" and len(own) == 4
    assert of(graded, "ben") == ("0", "ok")
    summary = graded[0].summary()
    assert "anna: 1 of 2 right, 2 files" in summary and "right: 2 of 2 right" in summary
    assert "wrong: 0 of 2 right (error)" in summary and "hungry: 0 of 2 right (memory)" in summary


def test_a_folder_of_a_chapter_is_no_student(tmp_path):
    for name in ("03/anna.ipynb", "03_cnn_gap/ben.ipynb", "carl/03/x.ipynb", "Ö l/._x.ipynb", "Ö l/x.ipynb"):
        write(tmp_path / name)
    (tmp_path / "carl" / "03" / "picture.png").touch()
    (tmp_path / "link.ipynb").symlink_to(__file__)
    assert [one.student for one in grading.handed_in(tmp_path)] == ["anna", "ben", "carl", "Ö l"]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no notebook"):
        grading.handed_in(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="is no folder"):
        grading.handed_in(tmp_path / "gone")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"cells": 1}', '{"cells": [1]}', '{"cells": [{"cell_type": "code"}]}', "[" * 100_000, "\xff"],
)
def test_what_is_no_notebook_is_told(tmp_path, text):
    path = tmp_path / "x.ipynb"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"no cells could be read|nested too deeply"):
        grading.code_of(path)


def test_an_answer_that_breaks_its_check_breaks_nothing_else(chapter):
    deep = 4
    for _ in range(100_000):
        deep = [deep]
    rows = grading.checked(
        [{"exercise": "98-1", "answer": deep}, {"exercise": "98-2", "answer": "a"}], ["98-1", "98-2"]
    )
    assert rows["98-1"]["status"] == "malformed" and not rows["98-1"]["right"] and rows["98-2"]["right"]
    while isinstance(deep, list):  # else it is the garbage collector that has to go so deep
        deep = deep.pop()


def test_a_stuck_notebook_is_stopped():
    ran = grading.run(["while True:\n    pass"], grading.Limits(2, 700), grading.isolation())
    assert ran.status == "timeout" and "more than 2 s" in ran.detail


GRADE = """
import sys
from pathlib import Path
import ecgstudy.course
from ecgstudy.course import grading
ecgstudy.course.__path__.append(sys.argv[3])
limits = grading.Limits(500, 700)
grading.grade(Path(sys.argv[1]), Path(sys.argv[2]), limits, jobs=1, progress=lambda line: print(line, flush=True))
"""


def test_a_killed_grader_leaves_nothing_running_and_goes_on_with_what_is_new(chapter, tmp_path):
    folder, out = tmp_path / "class", tmp_path / "results.csv"
    write(folder / "a.ipynb", answer("98-1", 4))
    write(folder / "b.ipynb", f"import time\ntime.sleep({SLEEP})")
    command = [sys.executable, "-c", GRADE, str(folder), str(out), str(chapter)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as grader:
        assert grader.stdout.readline().startswith("a.ipynb: ok")
        while not any(map(works, started(grader.pid))):
            time.sleep(0.05)
        running = started(grader.pid)
        grader.kill()
    assert psutil.wait_procs(running, timeout=60)[1] == []
    assert "a,a.ipynb,98-1,1" in out.read_text(encoding="utf-8")
    write(folder / "b.ipynb", answer("98-1", 5))
    seen = []
    limits = grading.Limits(500, 700)
    result = grading.grade(folder, out, limits, progress=seen.append)
    assert result.again == 1 and [line.partition(":")[0] for line in seen] == ["b.ipynb"]
    assert {(row["student"], row["right"]) for row in result.rows if row["exercise"] == "98-1"} == {
        ("a", True),
        ("b", False),
    }
    result = grading.grade(folder, out, limits, progress=seen.append)
    assert result.again == 2 and len(seen) == 1
    out.with_name("results.csv.json").write_text("{", encoding="utf-8")
    (folder / "b.ipynb").unlink()
    assert grading.grade(folder, out, limits, progress=seen.append).again == 0 and len(seen) == 2


def works(process):
    try:
        return process.cmdline()[1:3] == ["-m", "ecgstudy.course.cells"]
    except psutil.Error:
        return False


def started(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def test_the_command_writes_where_it_is_told_and_says_what_it_did(chapter, tmp_path):
    write(tmp_path / "class" / "a.ipynb", answer("98-1", 4), page="")
    write(tmp_path / "class" / "other.ipynb", answer("98-1", 4), page="97_other")
    out = tmp_path / "r.csv"
    told = CliRunner().invoke(course, ["check", str(tmp_path / "class"), "--chapter", "98", "--out", str(out)])
    assert told.exit_code == 0, told.output
    assert "a: 1 of 2 right" in told.output and "other.ipynb" not in told.output and "r.csv" in told.output
    assert out.read_text(encoding="utf-8").splitlines()[0] == ",".join(grading.COLUMNS)
    with pytest.raises(ValueError, match="no exercises for chapter '55'"):
        grading.grade(tmp_path / "class", out, chapter="55")
