"""The quizzes of the course: five questions a chapter, their numbers, and what a browser makes of them."""

import re
from collections import Counter

import pandas as pd
import pytest
import yaml
from sphinx.cmd.build import build_main

from ecgstudy.book.build import chapter_names
from ecgstudy.course import quizzes, rows
from ecgstudy.paths import REPOSITORY, RESULTS
from tests.test_book import browser as browser

PATHS = sorted(quizzes.FOLDER.glob("*.yaml"))
GOOD = {
    "question": "Which?",
    "choices": [
        {"text": "This", "right": True, "feedback": "Yes."},
        {"text": "That", "feedback": "No."},
        {"text": "Neither", "feedback": "No."},
    ],
}


def test_every_chapter_has_its_five_questions():
    assert [path.stem for path in PATHS] == chapter_names()
    texts = [question.text for path in PATHS for question in quizzes.read(path)]
    assert len(texts) == len(set(texts)) == quizzes.QUESTIONS * len(PATHS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_choice_has_a_word_of_its_own_and_no_wrong_one_is_the_truth(path):
    for question in quizzes.read(path):
        said = [choice.feedback for choice in question.choices]
        assert len(set(said)) == len(said) and min(map(len, said)) > 20, question.text
        right = question.choices[question.right]
        assert all(choice.feedback != right.feedback for choice in question.choices if choice is not right)
        # A number in a wrong choice is clearly another than that of the right one.
        truth = re.match(r"[−\d.]+", right.text)
        for choice in question.choices:
            if truth and choice is not right and (other := re.match(r"[−\d.]+", choice.text)):
                assert abs(float(other[0].replace("−", "-")) - float(truth[0].replace("−", "-"))) >= 0.01, question.text


def test_the_right_choice_stands_in_any_place():
    places = Counter(question.right for path in PATHS for question in quizzes.read(path))
    assert max(places.values()) < sum(places.values()) * 0.6 and set(places) >= {0, 1, 2}


def test_no_result_is_typed_by_hand():
    """Decimals are what papers and definitions say."""
    known = {"0.5", "0.764", "0.01", "0.03", "75.8", "84.5", "0.00", "0.07"}
    for path in PATHS:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for one in content:
            texts = [one["question"], *(text for c in one["choices"] for text in (c["text"], c["feedback"]))]
            assert set(re.findall(r"\d+\.\d+", " ".join(texts))) <= known, path


def test_numbers_are_those_of_the_rows():
    board = pd.read_csv(RESULTS / "leaderboard.csv")
    board = board[(board["cohort"] == "real") & (board["metric"] == "AUROC") & board["class"].isna()]
    board = board.set_index("system")["value"]
    first = quizzes.read(quizzes.FOLDER / "10_leaderboard.yaml")[0]
    papers = board[["CNN-GAP", "xECGNet", "BUTTeam", "ECGMaster"]]
    assert first.choices[first.right].text.startswith(f"{papers.max():.3f} (")
    assert f"{board['features and trees']:.3f}" in first.text
    ablations = pd.read_csv(RESULTS / "ablations.csv")
    about = {"question": "loss of CNN-GAP", "arm": "macro-F2", "metric": "F2", "cohort": "synthetic"}
    for column, text in about.items():
        ablations = ablations[ablations[column] == text]
    gain = ablations["difference"].item()
    assert f"{gain:.2f} (" in quizzes.read(quizzes.FOLDER / "08_ablations.yaml")[0].text


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ({"rows": "leaderbord"}, "no table 'leaderbord'"),
        ({"rows": "leaderboard", "where": {"system": "CNN-GAP"}}, "rows of leaderboard.csv fit (system: CNN-GAP)"),
        ({"rows": "leaderboard", "where": {"sytem": "CNN-GAP"}}, "no column 'sytem'"),
        ({"fact": "nothing"}, "no fact 'nothing'"),
        ({"value": 3}, "a number is one of"),
        ({"fact": "real records", "show": "loud"}, "and not 'loud'"),
        ({"fact": "real records", "show": "interval"}, "no interval"),
    ],
)
def test_a_number_that_no_row_gives_is_named(number, said):
    with pytest.raises(rows.RowError, match=re.escape(said)) as caught:
        rows.filled("It is {{ mine }}.", {"mine": number})
    assert str(caught.value).startswith("mine: ")


def test_a_number_is_written_as_asked():
    real = {"fact": "real records"}
    assert (
        rows.text(real | {"show": "whole"}) == f"{len(pd.read_parquet(RESULTS / 'leaderboard/real/records.parquet'))}"
    )
    assert (
        rows.text({"less": [real, real]}) == "0.00" and rows.text({"over": [real, real], "show": "percent"}) == "100 %"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"choices": GOOD["choices"][:2]}, "3 or 4 choices"),
        ({"choices": [dict(c, right=True) for c in GOOD["choices"]]}, "one choice, and no other"),
        ({"choices": [GOOD["choices"][0], *[{"text": "That"}] * 2]}, "a choice has the fields feedback, text"),
        ({"choices": [GOOD["choices"][0], *[GOOD["choices"][1]] * 2]}, "two of its choices say the same"),
        ({"numbers": {"mine": {"fact": "real records"}}}, "no text names the number 'mine'"),
        ({"question": "How many are {{ mine }}?"}, "no number 'mine'"),
        ({"question": 3}, "question of a question is a text"),
        ({"hint": "x"}, "a question has the fields"),
    ],
)
def test_a_question_that_is_none_is_named(tmp_path, change, said):
    path = tmp_path / "01_wrong.yaml"
    path.write_text(yaml.safe_dump([GOOD] * 3 + [GOOD | change] + [GOOD]), encoding="utf-8")
    with pytest.raises(quizzes.QuizError, match=re.escape(said)) as caught:
        quizzes.read(path)
    assert str(caught.value).startswith(f"{path}, question 4: ")


def test_a_file_that_is_no_quiz_is_named(tmp_path):
    path = tmp_path / "01_wrong.yaml"
    for text, said in ((None, "there is no such quiz"), ("- [", "not YAML"), ("- 1", "a list of 5 questions")):
        if text:
            path.write_text(text, encoding="utf-8")
        with pytest.raises(quizzes.QuizError, match=said):
            quizzes.read(path)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with a quiz, rendered by Sphinx with the book's styles and scripts, opened as a file."""
    folder = tmp_path_factory.mktemp("quiz")
    source, out = folder / "source", folder / "html"
    (source / "book" / "quizzes").mkdir(parents=True)
    path = quizzes.FOLDER / "04_xecgnet.yaml"
    # What the book's build stages shows the same, and wants no results.
    (source / "book" / "quizzes" / path.name).write_text(quizzes.resolved(path), encoding="utf-8")
    conf = "extensions = ['myst_parser', 'ecgstudy.book.quiz']\nhtml_theme = 'sphinx_book_theme'\n"
    conf += f"html_static_path = [{str(REPOSITORY / 'book' / 'static')!r}]\nhtml_css_files = ['book.css']\n"
    conf += "html_js_files = [('book.js', {'defer': 'defer'})]\n"
    (source / "conf.py").write_text(conf, encoding="utf-8")
    (source / "index.md").write_text("# Exercises\n\n## Quiz\n\n```{quiz} 04_xecgnet\n```\n", encoding="utf-8")
    assert build_main(["-q", "-W", "-b", "html", str(source), str(out)]) == 0
    return out / "index.html"


@pytest.mark.slow
def test_by_keyboard_one_is_told_wrong_and_then_right(page, browser):
    opened = browser.new_page()
    opened.goto(page.as_uri())
    first = opened.locator("fieldset.quiz-question").first
    question = quizzes.read(quizzes.FOLDER / "04_xecgnet.yaml")[0]
    said, answers = first.get_by_role("status"), first.locator("details")
    assert question.right == 1 and not answers.is_visible() and said.inner_text() == ""
    assert question.choices[1].feedback[:30] not in opened.locator("main").inner_text()  # nothing gives it away
    first.get_by_role("radio").first.focus()
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")  # nothing is chosen yet
    assert said.inner_text() == "Choose an answer first."
    opened.keyboard.press("Shift+Tab")
    opened.keyboard.press("Shift+Tab")
    first.get_by_role("radio").first.focus()
    opened.keyboard.press("Space")
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    assert said.inner_text().startswith("Not this one.") and question.choices[0].feedback[:30] in said.inner_text()
    assert not answers.is_visible()
    opened.keyboard.press("Shift+Tab")
    opened.keyboard.press("ArrowDown")
    assert said.inner_text() == ""  # what was said was about another choice
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    assert said.inner_text().startswith("Right.") and answers.is_visible()
    answers.locator("summary").focus()
    opened.keyboard.press("Enter")
    assert answers.locator("li").count() == 3 and answers.locator("li").last.is_visible()
    opened.close()


@pytest.mark.slow
def test_without_scripts_the_answers_are_in_a_fold(page, browser):
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(page.as_uri())
    first = opened.locator("fieldset.quiz-question").first
    assert not first.get_by_role("button").is_visible()
    first.locator("summary").click()
    assert first.locator("li[data-right]").is_visible()
    first.locator("summary").click()
    assert not first.locator("li[data-right]").is_visible()
    context.close()
