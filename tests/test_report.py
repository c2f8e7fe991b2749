import numpy as np
import pandas as pd
import pytest

from ecgstudy import metrics
from ecgstudy.book import report


def test_intervals_as_the_book_writes_them():
    assert report.interval(0.8124, 0.79, 0.8333) == "0.812 (0.790–0.833)"
    assert report.interval(-0.1, -0.152, -0.03, digits=2) == "−0.10 (−0.15 to −0.03)"
    assert report.interval(0.01, -0.02, 0.04, digits=2) == "0.01 (−0.02 to 0.04)"
    assert report.interval(-0.001, -0.004, 0.001, digits=2) == "0.00 (0.00–0.00)"


def test_several_intervals_of_a_table_or_of_arrays():
    assert report.intervals(metrics.Interval(0.5, 0.25, 0.75), digits=2) == ["0.50 (0.25–0.75)"]
    several = metrics.Interval(np.array([0.5, np.nan]), np.array([0.1, np.nan]), np.array([0.9, np.nan]))
    assert report.intervals(several) == ["0.500 (0.100–0.900)", ""]
    rows = pd.DataFrame({"high": [0.9], "low": [0.1], "n": [3], "value": [0.5]})
    assert report.intervals(rows, digits=1) == ["0.5 (0.1–0.9)"]


@pytest.mark.parametrize(
    ("value", "digits", "written"),
    [
        (0.8775, 3, "0.878"),  # f"{0.8775:.3f}" is 0.877
        (0.8765, 3, "0.877"),
        (-0.0005, 3, "−0.001"),
        (-0.0004, 3, "0.000"),
        (0.12345, 3, "0.123"),
        (1234.5, 0, "1,235"),
        (np.float32(0.5), 2, "0.50"),
        (np.inf, 2, "inf"),
    ],
)
def test_a_number_is_rounded_as_a_reader_of_the_file_rounds_it(value, digits, written):
    assert report.number(value, digits) == written


@pytest.mark.parametrize(
    ("p", "in_a_table", "in_a_text"),
    [
        (0.0, "< 0.001", "< 0.001"),
        (0.00099, "< 0.001", "< 0.001"),
        (0.001, "0.001", "= 0.001"),
        (0.0125, "0.013", "= 0.013"),
        (1.0, "1.000", "= 1.000"),
        (np.nan, "not defined", "not defined"),
    ],
)
def test_no_p_is_0(p, in_a_table, in_a_text):
    assert report.p_value(p) == in_a_table
    assert report.p_value(p, sign=True) == in_a_text


def test_a_table_has_its_caption_and_leaves_cells_without_a_number_empty():
    html = report.table(pd.DataFrame({"system": ["a", "b"], "F1": [0.12345, np.nan]}), "A caption.").to_html()
    assert "A caption.</caption>" in html and ">0.123<" in html and "nan" not in html


def test_a_table_rounds_as_intervals_do():
    frame = pd.DataFrame({"x": [0.8775], "n": [12345], "said": ["0.8775"], "is": [True]})
    html = report.table(frame, "").to_html()
    assert all(f">{text}<" in html for text in ("0.878", "12,345", "0.8775", "True"))


BAD = "<b>a & b</b> \x1b[31m"
SHOWN = "&lt;b&gt;a &amp; b&lt;/b&gt; \\x1b[31m"


class Thing:
    def __str__(self):
        return BAD


@pytest.mark.parametrize("index", [False, True])
def test_text_of_a_table_is_no_markup(index):
    columns = pd.MultiIndex.from_tuples([("x", BAD), ("y", "n"), ("y", "mixed")], names=[BAD, None])
    rows = [[BAD, 0.5, 1.23456], [Thing(), 0.25, BAD], [None, np.nan, 2]]
    frame = pd.DataFrame(rows, columns=columns, index=pd.Index(["p", BAD, "q"], name=BAD))
    frame[("z", "category")] = pd.Categorical([BAD, "c", None])
    frame[("z", "text")] = pd.array([BAD, "c", None], dtype="str")
    before = frame.copy()
    html = report.table(frame, f"Caption of {BAD}", index=index).to_html()
    assert "<b>" not in html and "\x1b" not in html
    assert html.count(SHOWN) == 7 + 3 * index
    assert f"<caption>Caption of {SHOWN}</caption>" in html
    assert ">1.235<" in html and ">0.500<" in html and "None" not in html and "nan" not in html
    pd.testing.assert_frame_equal(frame, before)


def test_a_folded_table_is_behind_a_line_that_says_what_is_in_it():
    html = report.folded(report.table(pd.DataFrame({"x": [1]}), "A caption."), f"what {BAD} has").data
    assert html.startswith(f'<details class="ecgstudy-fold"><summary>Table: what {SHOWN} has</summary>')
    assert "<caption>A caption.</caption>" in html and html.endswith("</details>") and " open" not in html


def test_cells_of_a_table_have_no_id():
    html = report.table(pd.DataFrame({"x": [1, 2]}), "A caption.").to_html()
    assert 'id="T_' in html and "_row0_col0" not in html


def test_rows_become_a_frame_of_texts_in_their_order():
    rows = pd.DataFrame(
        [
            ("b", 1, "F1", 0.5, 0.4, 0.6),
            ("b", 1, "AUROC", 0.25, np.nan, np.nan),
            ("a", 2, "F1", np.nan, np.nan, np.nan),
        ],
        columns=["who", "n", "metric", "value", "low", "high"],
    )
    shown = report.wide(rows, "who", "metric", digits=2)
    assert shown.to_dict("list") == {"who": ["b", "a"], "F1": ["0.50 (0.40–0.60)", ""], "AUROC": ["0.25", ""]}
    assert report.wide(rows, ["who", "n"], "metric")[["who", "n"]].to_numpy().tolist() == [["b", 1], ["a", 2]]


def test_differences_stand_with_their_p():
    rows = pd.DataFrame({"pair": ["a − b"], "value": [0.1], "low": [-0.1], "high": [0.3], "p": [0.0004]})
    shown = report.with_p(rows, "pair", "AUROC").to_dict("records")
    assert shown == [{"": "a − b", "AUROC": "0.100 (−0.100 to 0.300)", "p": "< 0.001"}]


def test_records_that_could_not_be_read_are_shown_as_text(monkeypatch):
    shown = []
    monkeypatch.setattr(report, "display", shown.append)
    report.unread([], "nothing is missing")
    assert not shown
    report.unread([{"name": BAD, "error": f"ludb/{BAD}: cut short"}], "they are not counted")
    (page,) = [table.to_html() for table in shown]
    assert page.count(SHOWN) == 2 and "<b>" not in page
    assert "Records that could not be read, and why: they are not counted.</caption>" in page


def test_a_table_of_numbers_and_headings_is_as_before():
    frame = pd.DataFrame({"system": ["A–B", "Δ'"], 0.5: [1, 20000], "yes": [True, False]}, index=[3, 3.5])
    html = report.table(frame, "Size & shape, 'as is'.", index=True).to_html()
    for cell in (">A–B<", ">Δ&#39;<", ">0.5<", ">20,000<", ">True<", ">3.5<", "<caption>Size &amp; shape, 'as is'.<"):
        assert cell in html
    assert report.table(frame.iloc[:0], "Empty.").to_html()
    assert report.table(pd.concat([frame, frame[["yes"]]], axis=1).reset_index(drop=True), "Twice.").to_html()


def test_intervals_are_written_row_by_row():
    rows = pd.DataFrame({"difference": [-0.1, 0.5], "low": [-0.152, 0.4], "high": [-0.03, 0.6], "value": [1, 1]})
    assert report.intervals(rows, ["difference", "low", "high"], 2) == ["−0.10 (−0.15 to −0.03)", "0.50 (0.40–0.60)"]
    assert report.intervals(rows.tail(1)) == ["1.000 (0.400–0.600)"]


def test_what_is_glued_is_stored_under_its_name_and_not_shown(monkeypatch):
    kept = {}
    monkeypatch.setattr("myst_nb.glue", lambda name, value, display: kept.update({name: (value, display)}))
    report.glue_all({"a score": "0.5"}, records=937)
    assert kept == {"a score": ("0.5", False), "records": (937, False)}
