import numpy as np
import pandas as pd
import pytest

from ecgstudy import report


def test_intervals_as_the_book_writes_them():
    assert report.interval(0.8124, 0.79, 0.8333) == "0.812 (0.790–0.833)"
    assert report.interval(-0.1, -0.152, -0.03, digits=2) == "−0.10 (−0.15 to −0.03)"
    assert report.interval(0.01, -0.02, 0.04, digits=2) == "0.01 (−0.02 to 0.04)"
    assert report.interval(-0.001, -0.004, 0.001, digits=2) == "0.00 (0.00–0.00)"


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
