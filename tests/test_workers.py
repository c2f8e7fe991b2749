import io
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from ecgstudy import workers
from ecgstudy.workers import Bar, Job, Outcome, work_off


def threads():
    import torch  # here, for it takes every worker seconds

    return os.getpid(), torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], workers.is_worker()


def note(file, *others):
    """Write that this was done, and tell whether the others had been done before."""
    found = all(Path(other).exists() for other in others)
    Path(file).write_text("done")
    return found


def fail(error):
    raise error


def meet(mine, other):
    """Wait for another job: both must run at a time."""
    Path(mine).write_text("here")
    while not Path(other).exists():
        time.sleep(0.01)
    return mine


def count(to):
    bar = Bar(to, note="counting")
    for number in range(to):
        bar.step(number=number)
    bar.close()


def outcomes(jobs, number=2):
    return {outcome.job.name: outcome for outcome in work_off(jobs, number)}


def test_jobs_run_at_a_time_in_processes_of_one_thread(tmp_path):
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    found = outcomes([Job("a", partial(meet, a, b)), Job("b", partial(meet, b, a)), Job("c", threads)])
    assert [found[name].result for name in "ab"] == [a, b]
    pid, number, environment, worker = found["c"].result
    assert pid != os.getpid() and (number, environment, worker) == (1, "1", True)
    assert not workers.is_worker()


def test_where_other_processes_help_with_each_job_they_are_done_in_turn(monkeypatch):
    monkeypatch.setattr(workers, "_in_this_process", False)  # as it is again after the test
    workers.do_in_turn()
    found = outcomes([Job(name, os.getpid) for name in "ab"])
    assert {outcome.result for outcome in found.values()} == {os.getpid()}


@pytest.mark.parametrize("number", [1, 2])
def test_a_job_begins_after_those_that_it_needs_and_is_left_out_if_one_failed(tmp_path, number):
    a, b, c, d = (str(tmp_path / name) for name in "abcd")
    jobs = [
        Job("needs both", partial(note, c, a, b), after=("a", "b")),
        Job("a", partial(note, a)),
        Job("wrong", partial(fail, ValueError("on purpose"))),
        Job("needs wrong", partial(note, d), after=("a", "wrong")),
        Job("needs that", partial(note, d), after=("needs wrong",)),
        Job("b", partial(note, b)),
    ]
    found = outcomes(jobs, number)
    assert found["needs both"].result is True and found["b"].error is None
    for name in ("wrong", "needs wrong", "needs that"):
        assert str(found[name].error) == "on purpose" and found[name].begun == (name == "wrong")
    assert not Path(d).exists() and list(found)[-1] != "wrong"


@pytest.mark.parametrize("number", [1, 2])
def test_when_the_machine_fails_no_other_job_begins(tmp_path, number):
    late = tmp_path / "late"
    jobs = [Job("full", partial(fail, OSError(28, "No space left on device"))), Job("late", partial(note, str(late)))]
    with pytest.raises(OSError, match="No space left"):
        list(work_off([jobs[0], Job("needs", jobs[1].work, after=("full",))], number))
    assert not late.exists()


def test_a_worker_that_dies_is_told_with_its_jobs():
    jobs = [Job("it", partial(os.kill, 0, 0)), Job("dies", partial(os._exit, 9)), Job("waits", partial(time.sleep, 60))]
    with pytest.raises(
        workers.WorkerError, match=r"while it worked on .*dies.*, probably because memory ran out: free"
    ):
        list(work_off(jobs, 3))


class OddError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def test_an_error_that_cannot_be_pickled_is_told_all_the_same():
    found = outcomes([Job("odd", partial(fail_oddly)), Job("fine", os.getpid)])
    assert str(found["odd"].error) == "OddError: this and that" and found["fine"].error is None


def fail_oddly():
    raise OddError("this", "that")


def test_a_job_after_one_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="not there: b"):
        list(work_off([Job("a", os.getpid, after=("b",))]))


PARENT = """
import signal, sys, time
from functools import partial
from pathlib import Path
from ecgstudy.workers import Job, work_off

def wait(file):
    Path(file).write_text("begun")
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        Path(file).write_text("interrupted")
        raise

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a program in the background lacks
    try:
        list(work_off([Job(name, partial(wait, name)) for name in sys.argv[1:]], 2))
    except KeyboardInterrupt:
        sys.exit(3)
"""


@pytest.fixture
def parent(tmp_path):
    """Two workers that wait, and the process that started them."""
    (tmp_path / "parent.py").write_text(PARENT)
    files = [tmp_path / "a", tmp_path / "b"]
    started = subprocess.Popen([sys.executable, tmp_path / "parent.py", *files], cwd=tmp_path)
    until(lambda: all(file.exists() and file.read_text() for file in files))
    yield started, files
    started.kill()
    started.wait()


def until(true, seconds=120):
    for _ in range(seconds * 20):
        if true():
            return
        time.sleep(0.05)
    pytest.fail(f"not within {seconds} s")


def test_an_interrupt_reaches_the_jobs_that_run(parent):
    started, files = parent
    started.send_signal(signal.SIGINT)
    assert started.wait(60) == 3
    assert [file.read_text() for file in files] == ["interrupted", "interrupted"]


def test_workers_end_with_the_process_that_started_them(parent):
    started, files = parent
    children = psutil.Process(started.pid).children()
    assert len(children) >= 2
    started.kill()
    until(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))
    assert [file.read_text() for file in files] == ["begun", "begun"]


PROCESSES = workers.processes  # as it is outside of tests


def test_as_many_processes_as_cores_if_memory_allows(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 16)
    for free, fit in ((64, 16), (9, 4), (1, 1)):
        memory = psutil.virtual_memory()._replace(available=free * 2**30)
        monkeypatch.setattr("psutil.virtual_memory", lambda memory=memory: memory)
        assert PROCESSES() == fit
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert PROCESSES() == 1


# --- what is seen ----------------------------------------------------------------------------------------------------


def seen(jobs, number, **console):
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_console", lambda: Console(file=out, width=100, markup=False, **console))
        list(work_off(jobs, number))
    return out.getvalue()


@pytest.mark.parametrize("number", [1, 2])
def test_a_file_gets_one_line_for_each_job_that_had_something_to_do(number, capfd):
    jobs = [Job("three", partial(count, 3)), Job("nothing", os.getpid), Job("wrong", partial(fail, ValueError("it")))]
    lines = sorted(seen([*jobs, Job("left", os.getpid, after=("wrong",))], number).splitlines())
    assert len(lines) == 3
    assert lines[0] == "left: left out" and lines[2] == "wrong: failed"
    assert re.fullmatch(r"three: 3 epochs, number 2\.000, \d+ s  \(\d of 4\)", lines[1])
    out, err = capfd.readouterr()
    assert not out and not err


def drawn(display):
    out = io.StringIO()
    Console(file=out, width=100).print(display._progress)
    return out.getvalue()


def test_a_terminal_gets_a_bar_for_each_job_that_runs_and_one_for_all():
    out = io.StringIO()
    display = workers.Display(2, Console(file=out, force_terminal=True, width=100, highlight=False))
    with display:
        display.begin(Job("one", os.getpid))
        display.begin(Job("two", os.getpid))
        display.progress("one", 1, 4, "epoch", "loss 0.500")
        text = drawn(display)
        assert "1/4  loss 0.500" in text and "two" in text and "0/2" in text
        display.end(Outcome(Job("one", os.getpid)))
        assert "one" not in drawn(display) and "1/2" in drawn(display)
    assert "one: 4 epochs, loss 0.500" in out.getvalue()


def test_the_time_that_is_left_is_in_proportion(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(workers.time, "monotonic", lambda: now[0])
    display = workers.Display(4, Console(file=io.StringIO()))
    display._start = 0.0
    jobs = [Job(f"{number}", os.getpid) for number in range(4)]
    display.begin(jobs[0])
    display.progress("0", 1, 2, "epoch", "")
    now[0] = 60.0
    assert display._left() == "about 7 min"  # an eighth of it took a minute
    display.end(Outcome(jobs[0]))
    assert display._left() == "about 3 min"
    for job in jobs[1:3]:
        display.end(Outcome(job))
    assert display._left() == "about 20 s"


def test_alone_a_bar_is_drawn_on_a_terminal_only(capsys, monkeypatch):
    count(2)
    assert not capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    count(2)
    assert "2/2" in capsys.readouterr().err
