"""Exercises: their pages keep to the format, solutions run and are right, and notebooks give nothing away."""

import contextlib
import io
import json
import re
import subprocess
import sys
import traceback
from collections import Counter
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ecgstudy.book import exercise_pages
from ecgstudy.book.build import chapter_names
from ecgstudy.cli import app
from ecgstudy.course import check_exercise, checks, exercises, notebooks
from ecgstudy.paths import REPOSITORY
from tests.test_access import faults
from tests.test_book import browser as browser
from tests.test_book import built as built
from tests.test_book import served as served

PAGES = {path.stem: exercises.read_page(path) for path in exercises.paths()}
EVERY = {one.number: one for page in PAGES.values() for one in page.exercises}
NUMBER = re.compile(r"[-−]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:e[-−+]?\d+)?")


def value(written):
    return float(written.replace(",", "").replace("−", "-"))


def last_digit(written):
    """One of the last digit of a number as it is written."""
    mantissa, _, power = written.partition("e")
    return 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))


# Pages.


def test_every_chapter_has_exercises():
    assert list(PAGES) == chapter_names()
    assert len(EVERY) >= 40 and min(len(page.exercises) for page in PAGES.values()) >= 4
    assert set(Counter(one.level for one in EVERY.values())) == {1, 2, 3}
    assert {one.kind for one in EVERY.values()} == set(exercises.KINDS)
    assert sum(one.hurts for one in EVERY.values()) >= 8
    assert len({one.title for one in EVERY.values()}) == len(EVERY)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_ends_with_its_quiz_and_says_how_long_it_takes(name):
    text = (exercises.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert text.endswith(f"\n## Quiz\n\n```{{quiz}} {name}\n```\n")
    (told,) = re.findall(r"(\d+)\s+minutes", PAGES[name].opening)
    assert abs(int(told) - sum(one.minutes for one in PAGES[name].exercises)) <= 5
    assert max(map(len, text.splitlines())) <= 140


PAGE = """# Exercises: A title

Read it first.

## 03-1 · Yes

````{exercise}
:label: ex-03-1
:nonumber:

*Predict · level 1 · 5 minutes*

How many? Put it into `answer`.

```python
x = 1
```

- a) One.
````

````{solution} ex-03-1
:class: dropdown

```python
answer = x
print(answer)
```

```text
1
```

Why: it is.
````

## Quiz

```{quiz} 03_cnn_gap
```
"""


def page(folder, text, name="03_cnn_gap.md"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_page_is_read(tmp_path):
    read = exercises.read_page(page(tmp_path, PAGE))
    assert (read.name, read.chapter, read.title, read.opening) == (
        "03_cnn_gap", "03", "Exercises: A title", "Read it first.",
    )  # fmt: skip
    (one,) = read.exercises
    assert one == exercises.Exercise(
        "03-1", "Yes", "Predict", 1, 5, False, "How many? Put it into `answer`.\n\n- a) One.", "x = 1",
        "answer = x\nprint(answer)", "1", "Why: it is.", 5,
    )  # fmt: skip
    hurts = PAGE.replace("5 minutes*", "1 minute · hurts on purpose*")
    (one,) = exercises.read(page(tmp_path, hurts))
    assert one.hurts and one.minutes == 1


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("# Exercises: A title\n", "Exercises\n", 1, "begins with its title"),
        ("## 03-1 · Yes", "## Yes", 5, "`## NN-K · Title`"),
        ("## 03-1 · Yes", "## 03-2 · Yes", 5, "begins ````{solution} ex-03-2"),
        ("03-1", "04-1", 5, "04-1 should be 03-1"),
        ("## Quiz", "## 03-3 · More", 39, "one ````{exercise} and one ````{solution}"),
        ("\n````{solution}", "\nMore.\n\n````{solution}", 22, "nothing else"),
        (":nonumber:\n", "", 7, "`:nonumber:`"),
        (":class: dropdown\n", "", 22, "`:class: dropdown`"),
        ("level 1", "level 4", 11, "L from 1 to 3"),
        ("Predict", "Guess", 11, "KIND one of Predict, Change, Explain"),
        ("into `answer`", "down", 12, "what to put into `answer`"),
        ("x = 1\n```\n", "x = 1\n```\n\n```python\ny = 1\n```\n", 19, "at most one ```python"),
        ("x = 1", "x = ", 12, "no Python"),
        ("answer = x\n", "a = x\n", 25, "sets `answer`"),
        ("```text\n1\n```\n", "", 25, "then one ```text"),
        ("Why: ", "Because ", 25, "then `Why:`"),
        ("## 03-1 · Yes\n\n", "", 5, "stands below its heading"),
    ],
)
def test_a_page_that_is_wrong_says_where(tmp_path, old, new, line, said):
    path = page(tmp_path, PAGE.replace(old, new, -1 if old == "03-1" else 1))
    with pytest.raises(exercises.PageError) as raised:
        exercises.read(path)
    assert str(raised.value).startswith(f"{path.as_posix()}, line {line}: ") and said in str(raised.value), raised.value


def test_the_code_is_as_clean_as_the_books(tmp_path):
    for one in EVERY.values():
        whole = f"{one.given}\n\n\n{one.solution}\n" if one.given else f"{one.solution}\n"
        (tmp_path / f"whole_{one.number.replace('-', '_')}.py").write_text(whole, encoding="utf-8")
        for part, code in (("given", one.given), ("solution", one.solution)):
            file = tmp_path / f"{part}_{one.number.replace('-', '_')}.py"
            file.write_text(f"{code}\n" if code else "", encoding="utf-8")
    ruff = [Path(sys.executable).with_name("ruff")]
    settings = ["--config", REPOSITORY / "pyproject.toml", "--no-cache"]
    # Exercises have no docstrings or hints, keep to a page's width, and import where a solution goes on.
    lint = [
        *ruff,
        "check",
        *settings,
        "--extend-ignore",
        "D,ANN,B905,E402,E501,F401,I001",
        *tmp_path.glob("whole_*.py"),
    ]
    # What is imported for a student's own code may stay unused.
    unused = [*ruff, "check", *settings, "--select", "F401", *tmp_path.glob("solution_*.py")]
    formatted = [*ruff, "format", "--check", *settings, *tmp_path.glob("given_*.py"), *tmp_path.glob("solution_*.py")]
    for command in (lint, unused, formatted):
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr


# Solutions.


def same(printed, told):
    """Whether two texts are the same, but for numbers that differ by one in their last digit."""
    numbers = [NUMBER.findall(text) for text in (printed, told)]
    between = [" ".join(NUMBER.sub("#", text).split()) for text in (printed, told)]
    return between[0] == between[1] and all(
        abs(value(a) - value(b)) <= 1.001 * last_digit(b) for a, b in zip(*numbers, strict=True)
    )


def test_what_counts_as_the_same_output():
    assert same("0.81 of 1,204", "0.80 of 1,204") and same("a  1.0\n", "a 1.0") and same("2.0e-07", "2.1e-07")
    assert not same("0.82", "0.80") and not same("a 1", "b 1") and not same("1 2", "1") and not same("-0.8", "0.8")


@pytest.mark.parametrize("name", PAGES)
def test_solutions_run_and_checks_know_them(name, tmp_path, monkeypatch):
    """As a student runs them, one after the other, offline and without recordings."""
    monkeypatch.setenv("ECGSTUDY_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    failed = []
    for one in PAGES[name].exercises:
        printed, names = io.StringIO(), {"__name__": "__main__"}
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                exec(compile(f"{one.given}\n{one.solution}\n", one.number, "exec"), names)
        except Exception:
            failed.append(f"{one.number}: {traceback.format_exc()}")
            continue
        if not same(printed.getvalue(), one.output):
            failed.append(f"{one.number} prints\n{printed.getvalue()}\nand not\n{one.output}")
        outcome = check_exercise(one.number, names["answer"])
        if not outcome:
            failed.append(f"{outcome}, to {names['answer']}")
        json.dumps(outcome.answer, allow_nan=False)
        failed += [f"{one.number}: {wrong!r} is right" for wrong in given_away(one.number, outcome.answer)]
    assert not failed, "\n".join(failed)
    assert not list(tmp_path.iterdir())


def given_away(number, answer):
    """What is wrong with the refusals of wrong answers: not refused, no hint, or the answer is in the hint."""
    wrong = checks.check_of(number).wrong
    if len(wrong) < 3:
        yield "fewer than three wrong answers"
    for one in wrong:
        outcome = check_exercise(number, one)
        if outcome or len(outcome.hint) < 20:
            yield one
        # What the hint repeats of the answer that was given, and of its form, tells nothing.
        hint = re.sub(r"shape \([\d, ]*\)", "", outcome.hint.replace(repr(one), ""))
        if told := [part for part in leaves(answer) if says(hint, part)]:
            yield f"{told} in: {outcome.hint}"


def leaves(answer):
    if isinstance(answer, list | dict):
        for one in answer.values() if isinstance(answer, dict) else answer:
            yield from leaves(one)
    else:
        yield answer


def says(hint, answer):
    """Whether a hint holds an answer: a letter as a choice, or a number that is none of everyday use."""
    if isinstance(answer, str):
        return bool(re.search(rf"(?<!\w){re.escape(answer)}\)|[\"'`]{re.escape(answer)}[\"'`]|is {answer}\b", hint))
    written = [w for w in NUMBER.findall(hint) if "." in w or abs(value(w)) > 12]
    return any(round(answer, len(w.partition(".")[2])) == value(w) != 0 for w in written)


def test_what_a_hint_gives_away():
    assert says("It is c).", "c") and says("Take 0.36.", 0.357) and not says("Half of 10", 0.05) and not says("c", "c")
    assert not says("Each of five: 5", 5) and says("of 300", 300)


CONVENTIONS = {0, 1, 0.05, 0.5}  # chance, certainty, what is called significant, the usual threshold


@pytest.mark.parametrize("number", EVERY)
def test_numbers_of_an_explanation_are_computed(number):
    one = EVERY[number]
    known = [abs(value(w)) for w in NUMBER.findall("\n".join((one.question, one.given, one.solution, one.output)))]
    known += [100 * number for number in known]  # percent
    names = r"\]\([^)]*\)|\b[Cc]hapters?\s\d\d((,| and| to)\s\d\d)*|\d\d-\d\b|CPSC 2018|[A-Za-z_]+\d\w*"
    text = re.sub(names, "]", one.explanation)
    told = {w for w in NUMBER.findall(text) if abs(value(w)) not in CONVENTIONS}
    rounded = {w: {round(number, len(w.partition(".")[2])) for number in known} for w in told}
    assert not {w for w in told if abs(value(w)) not in rounded[w]}, one.explanation


# Checks.


def test_every_exercise_has_its_check_and_no_check_is_left_over():
    assert set(EVERY) == {number for chapter in checks.chapters() for number in checks.checks_of(chapter)}


def test_an_outcome_is_one_sentence_and_keeps_the_answer():
    right, wrong = check_exercise("03-1", np.float32(5 / 14)), check_exercise(" 03-1 ", 0.5)
    assert right and repr(right) == "03-1: right."
    assert not wrong and repr(wrong) == f"03-1: not yet. {wrong.hint}"
    kept = right._repr_mimebundle_()
    assert kept["text/plain"] == "03-1: right." and kept[checks.MIME]["exercise"] == "03-1"
    assert kept[checks.MIME]["answer"] == pytest.approx(5 / 14)
    assert check_exercise("03-1", [np.nan, 1]).answer == [None, 1]


@pytest.mark.parametrize(
    ("answer", "said"), [(..., "a value first"), (None, "a value first"), (print, "and no builtin")]
)
def test_what_is_no_answer(answer, said):
    outcome = check_exercise("03-1", answer)
    assert not outcome and said in outcome.hint and outcome.answer is None


def test_an_unknown_exercise_names_the_nearest():
    with pytest.raises(ValueError, match="no exercise '03-11'; did you mean '03-1'"):
        check_exercise("03-11", 1)
    with pytest.raises(ValueError, match=r"no exercise 'three'; numbers are written as 01-1"):
        check_exercise("three", 1)


def test_answers_become_what_json_can_hold():
    given = {"a": np.arange(2), 3: torch.ones(1), "s": {"b", "a"}, "t": (np.bool_(True), np.str_("x"))}
    known = checks.plain(given)
    assert known == {"a": [0, 1], "3": [1.0], "s": ["a", "b"], "t": [True, "x"]}
    assert [type(one) for one in known["t"]] == [bool, str] and type(checks.plain(np.float64(1))) is float
    with pytest.raises(TypeError, match="no object"):
        checks.plain([object()])


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [
        (0.99, 1, ""),
        (0.5, 1, "hint"),
        ("0.99", 1, "'0.99' is a text"),
        (True, 1, "True is none"),
        ([1.0], 1, "One number"),
        (1.0, [1, 2], "shape (2,) are asked for, and these have shape ()"),
        ([1, 2.01], [1, 2], ""),
        ([1, "b"], [1, 2], "'b' is a text"),
        ([[1, 2], [3]], [[1, 2], [3, 4]], "rows of equal length"),
        (float("nan"), 1, "NaN"),
        ({"a": 1}, 1, "this is a dict"),
        (None, 1, "NoneType"),
    ],
)
def test_close(answer, expected, said):
    told = checks.close(answer, expected, within=0.02, hint="hint")
    assert (said in told) if said else told == ""


def test_choice():
    hints = {"a": "not a", "b": "not b"}
    assert [checks.choice(one, "c", hints) for one in ("c", "C)", " (c) ", "c.")] == [""] * 4
    assert checks.choice("A", "c", hints) == "not a"
    assert (
        checks.choice("z", "c", hints) == "'z' is no choice here: the answer is one of the letters a, b, c, in quotes."
    )
    assert checks.choice(1, "c", hints) == "The answer is one of the letters a, b, c, in quotes."


def test_an_answer_of_another_form_is_a_hint(monkeypatch):
    known = {**checks.checks_of("03"), "03-1": checks.Check("03-1", lambda answer: answer["a"], [])}
    monkeypatch.setattr(checks, "_CHECKS", known)
    outcome = check_exercise("03-1", [1])
    assert not outcome and "another form than the exercise asks for (TypeError" in outcome.hint


# Notebooks.


@pytest.mark.parametrize("name", PAGES)
def test_a_students_notebook_gives_nothing_away(name):
    page = PAGES[name]
    text = notebooks.text(notebooks.student(page))
    told = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    for one in page.exercises:
        known = f"{one.question}\n{one.given}"
        for line in (*one.solution.splitlines(), *one.output.splitlines(), *re.split(r"(?<=[.:]) ", one.explanation)):
            line = line.strip()
            if len(line) > 25 and line not in known and not line.startswith(("import ", "from ")):
                assert line not in told, (one.number, line)
        assert f'check_exercise("{one.number}", answer)' in told and one.title in told


@pytest.mark.parametrize("solved", [False, True])
def test_notebooks_are_whole_and_the_same_each_time(solved):
    make = notebooks.solved if solved else notebooks.student
    for page in PAGES.values():
        notebook = make(page)
        nbformat.validate(notebook)
        assert notebooks.text(notebook) == notebooks.text(make(page))
        cells = [cell["id"] for cell in notebook.cells]
        assert len(set(cells)) == len(cells) and cells[:2] == ["title", "setup"]
        markdown = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        assert not re.search(r"\]\((?!https?:)", markdown) and not re.search(r"\{\w+\}`", markdown)


def test_links_and_roles_become_words():
    text = "See [chapter 03](../n/03.ipynb), {cite}`lin2020`, {doc}`it <x>`, [the web](https://a.org), ![](x.png)"
    assert notebooks.in_notebook(text) == "See chapter 03, lin2020, it, [the web](https://a.org), ![](x.png)"


def test_the_class_notebook_is_handed_out_as_students_can_read_and_run_it():
    source = nbformat.read(REPOSITORY / "notebooks" / "class.ipynb", as_version=4)
    made = notebooks.of_class()
    nbformat.validate(made)
    code = [cell.source for cell in made.cells if cell.cell_type == "code"]
    assert code == [cell.source for cell in source.cells if cell.cell_type == "code"]
    (named,) = [cell for cell in made.cells if cell.cell_type == "code" and cell.source.startswith("NAME = ")]
    assert "source_hidden" not in named.metadata.get("jupyter", {})  # what students are to change is seen
    texts = "\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    assert "make class" in texts and not re.search(r"\{\w+\}`|```\{|\.ipynb\)", texts)


def test_a_notebook_that_somebody_worked_in_is_kept(tmp_path):
    call = CliRunner().invoke
    folder = tmp_path / "new" / "class"
    command = ["course", "notebooks", str(folder), "--chapter", "03"]
    file = folder / "03_cnn_gap.ipynb"
    assert call(app, command).stdout == f"{file}: made\n"
    first = file.read_bytes()
    assert call(app, command).stdout == f"{file}: unchanged\n"
    # Opened, run and saved, but not worked in: it may be made anew.
    notebook = json.loads(first)
    notebook["cells"][1]["execution_count"] = 1
    file.write_text(json.dumps(notebook), encoding="utf-8")
    assert call(app, command).stdout == f"{file}: made\n" and file.read_bytes() == first
    answer = next(cell for cell in notebook["cells"] if cell["id"] == "ex-03-1-answer")
    answer["source"] = ["answer = 1"]
    file.write_text(json.dumps(notebook), encoding="utf-8")
    mine = file.read_bytes()
    assert "kept, since somebody has worked in it" in call(app, command).stdout and file.read_bytes() == mine
    assert call(app, [*command, "--force"]).stdout == f"{file}: made\n" and file.read_bytes() == first
    file.write_bytes(b"\xff no notebook")
    assert "kept" in call(app, command).stdout
    solved = call(app, [*command, "--solutions"])
    assert solved.stdout == f"{folder / '03_cnn_gap_solved.ipynb'}: made\n"
    assert "Why: " in (folder / "03_cnn_gap_solved.ipynb").read_text(encoding="utf-8")
    assert len(call(app, ["course", "notebooks", str(tmp_path / "all")]).stdout.splitlines()) == len(PAGES) + 1


def test_a_chapter_that_is_not_there():
    result = CliRunner().invoke(app, ["course", "notebooks", "x", "--chapter", "03_cnn_gab"])
    assert result.exit_code == 1 and "did you mean '03_cnn_gap'?" in result.stderr and not Path("x").exists()


# The book.


def test_the_table_has_every_exercise():
    table = exercise_pages.table()
    assert re.findall(r">([\d-]+)</a>", table) == list(EVERY)
    assert table.startswith(
        f"{len(EVERY)} exercises, {sum(one.hurts for one in EVERY.values())} of them hurt on purpose"
    )


@pytest.mark.slow
def test_solutions_are_folded_and_open_by_keyboard_without_scripts(browser, built, served):
    for scripts in (True, False):
        context = browser.new_context(java_script_enabled=scripts, base_url=served)
        page = context.new_page()
        page.goto("book/exercises/03_cnn_gap.html")
        solutions = page.locator("details.solution")
        assert solutions.count() == len(PAGES["03_cnn_gap"].exercises)
        first = solutions.first
        assert first.get_attribute("open") is None and not first.locator("pre").first.is_visible()
        assert first.locator("summary").inner_text() == "Solution of 03-1"
        first.locator("summary").focus()
        page.keyboard.press("Enter")
        assert first.locator("pre").first.is_visible() and first.get_by_text("Why:").is_visible()
        page.emulate_media(media="print")
        assert not solutions.nth(1).locator("pre").first.is_visible()  # what is printed is what is shown
        context.close()


@pytest.mark.slow
@pytest.mark.parametrize("look", ["light", "dark"])
def test_axe_finds_nothing_in_open_solutions(browser, built, served, look):
    size = {"width": 1400, "height": 900} if look == "light" else {"width": 390, "height": 844}
    page = browser.new_page(base_url=served, color_scheme=look, reduced_motion="reduce", viewport=size)
    page.goto("book/exercises/03_cnn_gap.html")
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    assert not faults(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


@pytest.mark.slow
def test_chapters_lead_to_their_exercises_and_these_to_their_notebook(browser, built):
    html = built / "_build" / "html"
    page = browser.new_page(java_script_enabled=False)  # whose pages open sooner
    for name in PAGES:
        page.goto((html / "notebooks" / f"{name}.html").as_uri())
        page.locator("a[href]", has_text="the exercises of this chapter").click()
        assert page.url.endswith(f"book/exercises/{name}.html")
        link = page.locator("a[href]", has_text="A notebook of this page")
        assert link.get_attribute("download") is not None
        file = html / "book" / "exercises" / link.get_attribute("href")
        assert file.read_text(encoding="utf-8") == notebooks.text(notebooks.student(PAGES[name]))
    page.close()
