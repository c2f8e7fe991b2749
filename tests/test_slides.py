"""The decks of the course: made of the book's figures and rows, and each slide fits its frame (profile smoke)."""

import re
import shutil

import pytest

from ecgstudy.book import build
from ecgstudy.course import slides
from ecgstudy.profiles import BookError
from tests.test_book import browser as browser
from tests.test_book import built as built

NAMES = slides.names()
# Names of numbers and pictures, formulas, counted lists, chapters.
NOT_RESULTS = r"\{\{.*?\}\}|!\[\]\(.*?\)|\$\$.*?\$\$|^@.*$|^\d+\. |[Cc]hapters?\s[\d,\s to and]*\d"


def test_there_is_a_deck_for_each_session():
    assert NAMES == ["1_ecg_and_data", "2_five_systems", "3_maps_on_trial", "4_real_hearts", "class"]


@pytest.mark.parametrize("name", NAMES)
def test_no_number_is_typed_by_hand(name):
    deck = slides.read(name)
    for slide in (deck.opening, *deck.slides.values()):
        text = re.sub(NOT_RESULTS, "", slide, flags=re.MULTILINE)
        assert not re.findall(r"(?<![\w-])\d[\d.,]*", text), slide


@pytest.mark.parametrize("name", NAMES)
def test_every_slide_has_notes_and_every_number_is_named(name):
    deck = slides.read(name)
    own = [slide for slide in deck.slides.values() if not slide.startswith("@")]
    assert all("{revealjs-notes}" in slide for slide in (deck.opening, *own))
    used = set(re.findall(r"\{\{ (\w+) \}\}", deck.opening + "".join(own)))
    assert used == set(deck.numbers)
    assert 12 <= 1 + len(deck.slides) <= 20


def test_a_number_is_that_of_its_row():
    from ecgstudy.book import report
    from ecgstudy.studies import leaderboard

    board = leaderboard.committed("real").query("metric == 'AUROC' and `class` == ''").set_index("system")
    trees = report.interval(*board.loc["features and trees", ["value", "low", "high"]])
    assert f"measured features: {trees}." in " ".join(slides.markdown("2_five_systems").split())


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Decks of one's own, and no book."""
    monkeypatch.setattr(slides, "FOLDER", tmp_path)
    monkeypatch.setattr(slides, "build_folder", lambda profile: tmp_path / profile)
    slides.read.cache_clear()
    yield tmp_path
    slides.read.cache_clear()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\nnumbers: {a: [}\n---\n# A\n", "its header is not YAML"),
        ("# A\n\n{{ lost }}\n", "no number 'lost'"),
        ("# A\n\n@ b: Lost\n", "there is no such deck"),
        ("# A\n\n@ a: Lost\n", "a has no slide 'Lost'"),
    ],
)
def test_what_a_deck_names_and_is_not_there_is_told(written, text, said):
    (written / "a.md").write_text(text, encoding="utf-8")
    with pytest.raises(BookError, match=re.escape(said)) as caught:
        slides.markdown("a")
    assert str(written) in str(caught.value)


def test_without_a_book_or_a_picture_it_is_told(written, tmp_path):
    (written / "a.md").write_text("# A\n\n![](drawing:lost)\n", encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(BookError, match="run `ecgstudy book --profile smoke` first"):
        slides.stage("smoke", out)
    (written / "smoke" / "source" / "book" / "computed").mkdir(parents=True)
    (written / "static").mkdir()
    shutil.rmtree(out)
    out.mkdir()
    with pytest.raises(BookError, match=r"a\.md: no page of the book shows a drawing 'lost'"):
        slides.stage("smoke", out)


OVER = """() => {
    const slide = Reveal.getCurrentSlide(), frame = document.querySelector('.reveal').getBoundingClientRect();
    const over = [...slide.querySelectorAll('*')].filter(e => {
        const box = e.getBoundingClientRect();
        return !e.closest('aside') && box.width && (box.left < frame.left - 1 || box.top < frame.top - 1
            || box.right > frame.right + 1 || box.bottom > frame.bottom + 1);
    });
    const pictures = [...slide.querySelectorAll('img')].filter(e => !e.naturalWidth || e.alt.length < 30);
    return [...over, ...pictures].map(e => e.outerHTML.slice(0, 80));
}"""


@pytest.mark.slow
def test_every_slide_fits_its_frame_and_asks_no_other_host(built, browser):
    pytest.importorskip("sphinx_revealjs")
    made = slides.make("smoke", pdf=False)
    assert [path.stem for path in made] == NAMES and made[0].parent == build.build_folder("smoke") / "slides"
    page = browser.new_page(viewport={"width": slides.WIDTH, "height": slides.HEIGHT})
    asked, wrong = [], {}
    page.on("request", lambda request: asked.append(request.url))
    for path in made:
        page.goto(path.as_uri())
        page.wait_for_function("window.Reveal && Reveal.isReady() && [...document.images].every(e => e.complete)")
        assert page.title() == slides.read(path.stem).opening.strip().partition("\n")[0].removeprefix("# ")
        for place in range(page.evaluate("Reveal.getTotalSlides()")):
            page.evaluate("place => Reveal.slide(place)", place)
            if found := page.evaluate(OVER):
                wrong[path.stem, place] = found
        assert page.locator("aside.notes").count() == 1 + len(slides.read(path.stem).slides)
    assert not wrong and all(url.startswith(("file:", "data:")) for url in asked)
    page.close()
