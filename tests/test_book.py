"""The whole way: notebooks executed by papermill, rendered, and opened in a real browser (profile smoke)."""

import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import papermill
import pytest
from typer.testing import CliRunner

from ecgstudy import workers
from ecgstudy.book import build, computed, execute, explorer, game, live, own_ecg
from ecgstudy.cli import app
from ecgstudy.course import notebooks, quizzes
from ecgstudy.paths import NOTEBOOKS, REPOSITORY, alone
from ecgstudy.profiles import ProfileError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def built():
    """The book of the smoke profile; made here unless it is there and nothing has changed since."""
    return smoke_book()


@functools.cache
def smoke_book():
    """Once for all files of tests that a process works on."""
    with alone(build.build_folder("smoke")):  # tests run in several processes
        result = subprocess.run(
            [sys.executable, "-m", "ecgstudy.cli", "book", "--profile", "smoke"],
            capture_output=True, text=True, env={k: v for k, v in os.environ.items() if k != "ECGSTUDY_CACHE"},
        )  # fmt: skip
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return build.build_folder("smoke")


@pytest.mark.slow
def test_the_book_builds_and_a_second_time_does_nothing(built):
    before = {p: p.stat().st_mtime_ns for p in built.rglob("*.html")}
    result = subprocess.run([sys.executable, "-c", BOOK], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("unchanged") == len(build.notebook_names())
    assert {p: p.stat().st_mtime_ns for p in built.rglob("*.html")} == before
    # It takes a second or two, because nothing that takes long to load is loaded.
    assert result.stdout.splitlines()[-1] == "loaded: []"


BOOK = """
import sys
from ecgstudy.cli import app
app(["book", "--profile", "smoke"], standalone_mode=False)
print("loaded:", [name for name in ("torch", "pandas", "papermill", "matplotlib", "sphinx") if name in sys.modules])
"""


@pytest.mark.slow
def test_what_chapters_train_was_known_before(built):
    """A network that only its chapter's own Python trained would have left a bar there."""
    for name in build.notebook_names():
        for cell in nbformat.read(built / "notebooks" / f"{name}.ipynb", as_version=4).cells:
            said = "".join(o.text for o in cell.get("outputs", ()) if o.get("name") == "stderr")
            assert "epoch" not in said, (name, said)


@pytest.mark.slow
def test_executed_notebooks_warn_of_nothing(built):
    for name in build.notebook_names():
        cells = json.loads((built / "notebooks" / f"{name}.ipynb").read_text())["cells"]
        for cell in cells:
            hidden = "remove-stderr" in cell["metadata"].get("tags", [])
            said = [o for o in cell.get("outputs", []) if o.get("name") == "stderr" and not hidden]
            assert not said, (name, said)


def test_committed_notebooks_hold_no_outputs():
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            assert not cell.get("outputs") and not cell.get("execution_count"), path.name


def test_every_figure_has_caption_and_alt_text():
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            source = "".join(cell["source"])
            draws = ("plt.show()" in source or "show_" in source) and "def " not in source
            if cell["cell_type"] == "code" and draws:
                mystnb = cell["metadata"]["mystnb"]
                assert mystnb["figure"]["caption"] and mystnb["figure"]["name"]
                assert len(mystnb["image"]["alt"]) > 30


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("no chromium on the PATH: install it to have the pages opened")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def served(built):
    """Address of the built book on localhost, as `make serve` shows it."""
    handler = functools.partial(QuietHandler, directory=str(built / "_build" / "html"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_the_address_alone_leads_to_the_first_page(built, served, browser):
    redirect = (built / "_build" / "html" / "index.html").read_text()
    # Without one a browser asks, now and then, for an icon that is not there.
    assert '<link rel="icon" href="data:,">' in redirect
    page, errors = browser.new_page(), []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(served)
    page.wait_for_url(f"{served}book/index.html")
    assert not errors
    without_refresh = browser.new_page()
    without_refresh.set_content(redirect.replace("http-equiv", "data-off"))
    assert without_refresh.get_by_role("link").get_attribute("href") == "book/index.html"


@pytest.mark.slow
def test_formulas_are_typeset(served, browser):
    """A fraction is a fraction where a browser knows MathML: its parts stand one above the other."""
    page = browser.new_page()
    page.goto(f"{served}notebooks/03_cnn_gap.html")
    above, below = page.locator("math mfrac").first.locator("> *").all()
    assert above.bounding_box()["y"] + above.bounding_box()["height"] <= below.bounding_box()["y"] + 1
    page.close()


@pytest.mark.slow
def test_bare_papermill_runs_a_notebook_alone(tmp_path, own_cache):
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(NOTEBOOKS / "02_preprocessing.ipynb", out, {"profile": "smoke"}, progress_bar=False)
    assert json.loads(out.read_text())["metadata"]["papermill"]["exception"] is None


@pytest.mark.slow
def test_an_unknown_parameter_stops_bare_papermill_too(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="no parameter 'seeds'; did you mean 'seed'"):
        papermill.execute_notebook(
            NOTEBOOKS / "02_preprocessing.ipynb", tmp_path / "out.ipynb", {"profile": "smoke", "seeds": 1},
            progress_bar=False,
        )  # fmt: skip


def test_what_does_not_exist_is_told_before_anything_runs():
    with pytest.raises(ProfileError, match="no profile 'damo'; did you mean 'demo'"):
        build.run_notebooks("damo")
    with pytest.raises(ProfileError, match="no notebook '99_none'"):
        build.run_notebooks("smoke", ["99_none"])
    with pytest.raises(ProfileError, match="no notebook has a parameter 'epoks'"):
        build.run_notebooks("smoke", parameters={"epoks": 1})


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """Makes chapter 02 a notebook of the given cells, in a folder whose name papermill would fill in."""
    folder = tmp_path / "{seed} notebooks"
    folder.mkdir()
    shutil.copy(NOTEBOOKS / "profiles.yaml", folder)
    monkeypatch.setattr(build, "NOTEBOOKS", folder)
    monkeypatch.setattr(build, "build_folder", lambda profile: folder / "build" / profile)
    monkeypatch.setattr(build, "_state", bytes)

    def make(*cells):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.cells[0].metadata["tags"] = ["parameters"]
        notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
        nbformat.write(notebook, folder / "02_preprocessing.ipynb")
        return folder / "build" / "smoke" / "notebooks" / "02_preprocessing.ipynb"

    return make


def outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    return [o["text"] for cell in cells for o in cell.get("outputs", ()) if o.output_type == "stream"]


def test_a_failing_notebook_is_told_with_its_cell(bare):
    target = bare("seed = 0", "raise RuntimeError('on purpose')")
    with pytest.raises(build.BookError, match=r"02_preprocessing\.ipynb failed in cell 3: RuntimeError: on purpose"):
        build.run_notebooks("smoke")
    assert [path.name for path in target.parent.iterdir()] == ["02_preprocessing.failed.ipynb"]


LEAVES = r"cell 3 ends the notebook \(exit, quit or SystemExit\)"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "its Python ended in cell 3, .* memory.* again"),
        ("import sys; sys.exit(0)", LEAVES),
        ("quit()", LEAVES),
        ("raise SystemExit(3)", "failed in cell 3: SystemExit: 3"),
    ],
)
def test_a_notebook_that_ends_itself_is_not_done(bare, cell, message):
    target = bare("seed = 0; print('before')", cell, "print('after')")
    with pytest.raises(build.BookError, match=rf"02_preprocessing\.ipynb:? {message}"):
        build.run_notebooks("smoke", ["02_preprocessing"])
    failed = target.with_name("02_preprocessing.failed.ipynb")
    assert list(target.parent.iterdir()) == [failed]  # so it is not taken for done the next time
    assert outputs(failed)[0] == "before\n" and "after\n" not in outputs(failed)


def test_nothing_on_a_page_says_that_the_machine_was_busy():
    """Not ipykernel's note, which it writes where output is more than ten seconds on its way."""
    note = "IOStream.flush timed out\n"
    stream = functools.partial(nbformat.v4.new_output, "stream")
    texts = [("stdout", "late\n"), ("stderr", note), ("stderr", f"a warning\n{note}"), ("stdout", note)]
    found = [stream(name=name, text=text) for name, text in texts]
    execute._hide_stalls(found)
    assert [output.text for output in found] == ["late\n", "a warning\n", note]


def test_notebooks_run_in_the_environment_of_the_command(bare, tmp_path, monkeypatch):
    from jupyter_client.kernelspec import KernelSpecManager

    foreign = tmp_path / "share" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = {"argv": ["/nowhere/python", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    assert KernelSpecManager().get_kernel_spec("python3").argv[0] == "/nowhere/python"
    target = bare("seed = 0", f"import sys; print(sys.executable == {sys.executable!r})")
    build.run_notebooks("smoke", ["02_preprocessing"], {"seed": "5"})
    assert outputs(target) == ["True\n"]
    injected = nbformat.read(target, as_version=4).cells[1]
    assert 'profile = "smoke"\nseed = 5' in injected.source and "remove-cell" in injected.metadata["tags"]


def test_a_text_is_one_output_however_often_it_was_flushed(bare):
    target = bare("seed = 0", "import sys\nfor number in range(3):\n    print(number)\n    sys.stdout.flush()")
    build.run_notebooks("smoke", ["02_preprocessing"])
    assert outputs(target) == ["0\n1\n2\n"]


def test_an_interrupt_keeps_what_was_done_and_stamps_nothing(bare, monkeypatch):
    target = bare("seed = 0", "print('before')", "print('after')")
    executed = papermill.engines.NotebookExecutionManager.cell_start

    def interrupted(self, cell, index=None, **options):
        executed(self, cell, index, **options)
        if "after" in cell.source:
            raise KeyboardInterrupt

    monkeypatch.setattr(papermill.engines.NotebookExecutionManager, "cell_start", interrupted)
    with pytest.raises(build.BookError, match=r"interrupted in cell 4: run the command again") as told:
        build.run_notebooks("smoke", ["02_preprocessing"])
    failed = target.with_name("02_preprocessing.failed.ipynb")
    assert str(failed) in str(told.value) and outputs(failed) == ["before\n"]
    assert list(target.parent.iterdir()) == [failed]


def test_what_a_killed_run_left_is_removed_by_the_next(bare, tmp_path):
    target = bare("seed = 0", "import os, signal; os.kill(os.getppid(), signal.SIGKILL)")
    run = (
        "import sys; from pathlib import Path; from ecgstudy.book.execute import execute\n"
        "execute(*map(Path, sys.argv[1:]), {}, '', {})"
    )
    source = build.NOTEBOOKS / "02_preprocessing.ipynb"
    target.parent.mkdir(parents=True)
    killed = subprocess.run([sys.executable, "-c", run, source, target], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list(target.parent.iterdir())) == 1 and not target.exists()
    bare("seed = 0", "print('whole')")
    build.run_notebooks("smoke", ["02_preprocessing"])
    assert list(target.parent.iterdir()) == [target]


def test_a_change_of_a_module_executes_the_notebooks_that_import_it(bare, monkeypatch, capsys):
    target = bare("seed = 0", "import ecgstudy.text", "from ecgstudy.data import labels")
    build.run_notebooks("smoke", ["02_preprocessing"])
    now, key = build._hashes(), nbformat.read(target, as_version=4).metadata["ecgstudy"]["key"]
    assert build._is_of(target, key, now) and not build._is_of(target, "another", now)
    for module in ("text.py", "paths.py", "data/labels.py", "data/__init__.py"):
        assert not build._is_of(target, key, now | {module: "another"}), module
    for module in ("data/fetch.py", "maps.py", "book/execute.py", "systems/butt.py"):
        assert module in now and build._is_of(target, key, now | {module: "another"}), module
    for hashes, done in ((now, False), (now | {"text.py": "another"}, True)):
        monkeypatch.setattr(build, "_hashes", lambda hashes=hashes: hashes)
        capsys.readouterr()
        build.run_notebooks("smoke", ["02_preprocessing"])
        assert ("unchanged" in capsys.readouterr().out) != done


def test_a_change_of_prose_executes_that_notebook_alone(bare, capsys):
    target = bare("seed = 0")
    other = build.NOTEBOOKS / "01_data_audit.ipynb"
    shutil.copy(build.NOTEBOOKS / "02_preprocessing.ipynb", other)
    build.run_notebooks("smoke")
    notebook = nbformat.read(other, as_version=4)
    notebook.cells.append(nbformat.v4.new_markdown_cell("A sentence more."))
    nbformat.write(notebook, other)
    before = target.stat().st_mtime_ns
    capsys.readouterr()
    build.run_notebooks("smoke")
    assert capsys.readouterr().out.startswith("02_preprocessing: unchanged\n") and target.stat().st_mtime_ns == before
    assert nbformat.read(target.with_name("01_data_audit.ipynb"), as_version=4).cells[-1].source == "A sentence more."


def test_a_notebook_that_fails_stops_no_other(bare):
    bare("seed = 0", "print('fine')")
    wrong = nbformat.read(build.NOTEBOOKS / "02_preprocessing.ipynb", as_version=4)
    wrong.cells[1].source = "raise ValueError('on purpose')"
    nbformat.write(wrong, build.NOTEBOOKS / "01_data_audit.ipynb")
    with pytest.raises(build.BookError, match=r"^01_data_audit\.ipynb failed in cell 3: ValueError: on purpose\n"):
        build.run_notebooks("smoke")
    folder = build.build_folder("smoke") / "notebooks"
    assert {path.name for path in folder.iterdir()} == {"01_data_audit.failed.ipynb", "02_preprocessing.ipynb"}


def test_a_training_that_fails_is_told_with_its_chapter(bare, monkeypatch):
    from ecgstudy.studies import chapters
    from ecgstudy.studies.trainings import Task

    bare("seed = 0", "print('fine')")
    monkeypatch.setattr(chapters, "planned", lambda *_: [Task("it", _wrong, ("no such loss",))])
    with pytest.raises(
        build.BookError, match=r"02_preprocessing\.ipynb: its training failed: ValueError: no such loss"
    ):
        build.run_notebooks("smoke", ["02_preprocessing"])


def _wrong(text, *, only_open):
    raise ValueError(text)


def test_a_tuple_is_a_list_and_nothing_else_is_unchanged(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(build, "build_folder", lambda profile: tmp_path)
    monkeypatch.setattr(build, "_work_off", lambda todo, jobs: given.append(todo["08_ablations"][1][2:]))
    for losses in (("focal", "macro-F1"), ["focal", "macro-F1"], "[focal, macro-F1]"):
        build.run_notebooks("smoke", ["08_ablations"], {"losses": losses})
    assert given[0] == given[1] == given[2]
    assert given[0][0] == {"profile": "smoke", "losses": ["focal", "macro-F1"]}
    with pytest.raises(ProfileError, match="'losses' takes a list"):
        build.run_notebooks("smoke", ["08_ablations"], {"losses": {"focal"}})


def test_chapters_that_train_come_first_and_of_the_others_the_long_ones(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "build_folder", lambda profile: tmp_path)
    given = []
    monkeypatch.setattr(workers, "work_off", lambda jobs, number: given.extend(jobs) or iter(()))
    build.run_notebooks("demo")
    chapters = [job for job in given if job.name in build.notebook_names()]
    assert len(chapters) == len(build.notebook_names())
    first = [bool(job.after) for job in chapters]
    assert first == sorted(first, reverse=True) and any(first) and not all(first)
    lengths = [(NOTEBOOKS / f"{job.name}.ipynb").stat().st_size for job in chapters if not job.after]
    assert lengths == sorted(lengths, reverse=True)


def test_the_table_of_contents_names_every_page():
    listed = (REPOSITORY / "_toc.yml").read_text()
    pages = [p for folder in ("book", "notebooks") for p in (REPOSITORY / folder).iterdir()]
    for page in pages:
        if page.suffix in {".md", ".ipynb"}:
            assert f"{page.parent.name}/{page.stem}" in listed, page


def test_profile_real_without_data_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    monkeypatch.setattr(build, "build_folder", lambda profile: tmp_path / "build" / profile)
    result = CliRunner().invoke(app, ["run", "02_preprocessing", "--profile", "real"])
    assert result.exit_code == 1
    for word in ("challenge-2021", f"looked in {tmp_path}", "ecgstudy data fetch challenge-2021"):
        assert word in result.stderr, result.stderr


def test_folders_of_this_machine_are_in_no_output(tmp_path, monkeypatch):
    root = tmp_path / "jane.doe" / "ecg"
    monkeypatch.setenv("ECGSTUDY_DATA", str(root))
    image = str(root)  # what only looks like a path
    outputs = [
        nbformat.v4.new_output(
            "stream", name="stderr", text=f"{REPOSITORY}/ecgstudy/x.py:3: UserWarning: {root}/a.hea\n"
        ),
        nbformat.v4.new_output("display_data", {"text/html": f"<td>{root}/a.hea</td>", "image/png": image}),
        nbformat.v4.new_output("error", ename="E", evalue=f"in {root}", traceback=[f"File {root}/x"]),
    ]
    execute._hide_folders(outputs)
    assert outputs[0]["text"] == "ecgstudy/x.py:3: UserWarning: a.hea\n"
    assert outputs[1]["data"] == {"text/html": "<td>a.hea</td>", "image/png": image}
    assert outputs[2]["evalue"] == "in ." and outputs[2]["traceback"] == ["File x"]


def test_a_page_that_was_emptied_or_lost_is_rendered_again(tmp_path, monkeypatch):
    """Sphinx is not started: what counts is when it would be."""
    html, rendered = tmp_path / "smoke" / "_build" / "html", []

    def run(command, **_):
        rendered.append(1)
        made = Path(command[command.index("--path-output") + 1]) / "_build" / "html"
        (made / "notebooks").mkdir(parents=True)
        for name in ("index.html", "notebooks/a.html"):
            (made / name).write_text("<p>page</p>")
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(build, "build_folder", lambda profile: tmp_path / profile)
    monkeypatch.setattr(build, "notebook_names", list)
    monkeypatch.setattr(computed, "COMPUTED", {})
    monkeypatch.setattr(computed, "DRAWINGS", {})
    report = ["as explained"]

    def write_reports(folder):
        folder.mkdir()
        (folder / "real.html").write_text(report[0])

    monkeypatch.setattr(own_ecg, "write_reports", write_reports)
    for module in (explorer, game, live, notebooks):
        monkeypatch.setattr(module, "write", Path.mkdir)
    monkeypatch.setattr(quizzes, "FOLDER", tmp_path)
    monkeypatch.setattr(build.subprocess, "run", run)
    assert build.render("smoke") == build.render("smoke") == html / "index.html"
    assert len(rendered) == 1
    (html / "notebooks" / "a.html").write_text("")
    build.render("smoke")
    (html / "notebooks" / "a.html").unlink()
    (html / "notebooks" / "of_a_chapter_that_is_gone.html").write_text("<p>page</p>")
    build.render("smoke")
    assert not (html / "notebooks" / "of_a_chapter_that_is_gone.html").exists()
    build.render("smoke")
    assert len(rendered) == 3
    # What is kept of the pages may be cut short by a full disk or a kill.
    for text in ("", '{"made of": "', "[1]", "null"):
        (tmp_path / "smoke" / "rendered.json").write_text(text)
        build.render("smoke")
    assert len(rendered) == 7
    # Another template of the explained ECGs makes another page of the book, one that changes nothing does not.
    monkeypatch.setattr(build, "code_hash", lambda *patterns: f"another of {patterns}")
    build.render("smoke")
    assert len(rendered) == 7
    report[0] = "explained otherwise"
    monkeypatch.setattr(build, "code_hash", lambda *patterns: f"a third of {patterns}")
    build.render("smoke")
    assert len(rendered) == 8
    assert (html / "notebooks" / "a.html").read_text()
