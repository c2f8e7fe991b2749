import numpy as np
import pandas as pd

from ecgstudy import report


def test_intervals_as_the_book_writes_them():
    assert report.interval(0.8124, 0.79, 0.8333) == "0.812 (0.790–0.833)"
    assert report.interval(-0.1, -0.152, -0.03, digits=2) == "−0.10 (−0.15 to −0.03)"
    assert report.interval(0.01, -0.02, 0.04, digits=2) == "0.01 (−0.02 to 0.04)"
    assert report.interval(-0.001, -0.004, 0.001, digits=2) == "0.00 (0.00–0.00)"


def test_a_table_has_its_caption_and_leaves_cells_without_a_number_empty():
    html = report.table(pd.DataFrame({"system": ["a", "b"], "F1": [0.12345, np.nan]}), "A caption.").to_html()
    assert "A caption.</caption>" in html and ">0.123<" in html and "nan" not in html
