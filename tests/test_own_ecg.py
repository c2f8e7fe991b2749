"""What the page on an ECG of one's own shows: pages of ``ecgstudy explain``, and tables that are those of results/."""

import re

import pandas as pd
import pytest

from ecgstudy.book import own_ecg
from ecgstudy.paths import RESULTS


def cells(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def test_checks_are_those_of_the_table():
    table = pd.read_csv(RESULTS / "quality.csv")
    table = table[(table["question"] == "real") & (table["source"] == "all")].set_index("check")
    rows = cells(own_ecg.checks_table())
    assert len(rows) == len(table) == 19
    for name, how, noted, unfit in rows:
        assert how or name == "any of them"
        row = table.loc[name.replace("any of them", "any")]
        for said, share in ((noted, row["noted"]), (unfit, row["unfit"])):
            assert float(said.removesuffix(" %")) == pytest.approx(100 * share, abs=0.5 if share >= 0.1 else 0.05)


def test_faults_are_told_from_where_nine_of_ten_are_noticed():
    rows = {fault: (noted, unfit) for fault, noted, unfit in cells(own_ecg.faults_table())}
    table = pd.read_csv(RESULTS / "quality.csv")
    table = table[(table["question"] == "planted") & (table["source"] == "real")]
    assert list(rows) == list(dict.fromkeys(table["fault"]))
    for fault, said in rows.items():
        of_fault = table[table["fault"] == fault]
        for text, column in zip(said, ("noted", "unfit"), strict=True):
            if text == "never":
                assert of_fault[column].max() == 0
            elif "%" in text and len(of_fault) == 1:
                assert float(text.removesuffix(" %")) == pytest.approx(100 * of_fault[column].iloc[0], abs=0.51)
            elif "% at" not in text:
                strength = float(re.match("[0-9.]+", text)[0])
                enough = of_fault["strength"] == strength
                assert of_fault.loc[enough, column].item() >= 0.9
                before = of_fault[: int(enough.to_numpy().argmax())]
                assert (before[column] < 0.9).all(), fault


def test_records_unlike_the_training_data_are_those_of_the_table():
    table = pd.read_csv(RESULTS / "unlike.csv")
    shares = table[table["distance"] == "Mahalanobis"]
    for name, count, called in cells(own_ecg.unlike_table()):
        known = [r for r in shares.itertuples() if r.group in name and f"{r.n}" == count]
        assert any(abs(float(called.removesuffix(" %")) - 100 * r.value) <= 0.51 for r in known), name


@pytest.mark.slow
def test_the_two_pages_are_the_same_each_time_and_say_what_was_found(tmp_path):
    for name in ("first", "second"):
        own_ecg.write_reports(tmp_path / name)
    pages = {path.name: path.read_text(encoding="utf-8") for path in sorted((tmp_path / "first").iterdir())}
    assert list(pages) == ["real.html", "simulated.html"]
    for name, text in pages.items():
        assert (tmp_path / "second" / name).read_text(encoding="utf-8") == text
        assert "://" not in re.sub(r"http://www\.w3\.org/[0-9a-zA-Z/]+", "", text) and "<script" not in text
    assert "atrial fibrillation (AF" in pages["real.html"].replace("Atrial", "atrial")
    assert "right bundle branch block (RBBB" in pages["simulated.html"].replace("Right", "right")
