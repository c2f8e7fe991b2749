"""What the front page and the ten minutes say is what the committed tables hold, read here by other means."""

import csv
import gzip
import itertools
import re
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml

from ecgstudy import metrics
from ecgstudy.book import computed, hearts, report, summary_pages
from ecgstudy.data.labels import CLASSES
from ecgstudy.paths import REPOSITORY, RESULTS
from ecgstudy.studies import fair_trial, leaderboard
from ecgstudy.systems.catalogue import CATALOGUE


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def areas(board):
    with (RESULTS / "leaderboard.csv").open(encoding="utf-8", newline="") as lines:
        rows = [r for r in csv.DictReader(lines) if (r["cohort"], r["metric"], r["class"]) == (board, "AUROC", "")]
    return {row["system"]: [float(row[end]) for end in ("value", "low", "high")] for row in rows}


def explained(trial):
    with gzip.open(RESULTS / "explanations.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        rows = [r for r in csv.DictReader(lines) if r["trial"] == trial and r["class"] == ""]
    keys = ("system", "method", "cohort", "trained")
    return {tuple(r[k] for k in keys): [float(r[end]) for end in ("value", "low", "high")] for r in rows}


OWN_MAPS = {
    ("CNN-GAP", "CAM"), ("xECGNet", "response maps"), ("xECGNet", "attention"), ("BUTTeam", "CAM"),
    ("BUTTeam", "max CAM"), ("ECGMaster", "attention"), ("ECGMaster", "contributions"),
}  # fmt: skip


def test_the_findings_have_the_numbers_of_the_tables():
    real = areas("real")
    first, second, third, fourth, fifth = (said() for said in summary_pages.FINDINGS)
    assert report.interval(*real["features and trees"]) in first and report.interval(*real["xECGNet"]) in first
    new = leaderboard.pairs_within_sources("by-source").set_index("system").T.to_dict("list")
    best = max(CATALOGUE, key=lambda name: new[name][0] if name in new else 0)
    assert "the best network, the study's own, falls" in second and best == "Local evidence"
    assert all(report.interval(*new[name]) in second for name in (best, "features and trees"))
    assert report.interval(*real["source alone"]) in second
    (alone,) = leaderboard.pairs_within_sources("real", [best + leaderboard.ALONE]).to_dict("records")
    assert report.interval(alone["value"], alone["low"], alone["high"]) in second and "18,000 simulated" in second
    mass = explained("excess mass")
    trial = fair_trial.table().query("cohort == 'synthetic' and trained == @fair_trial.MANY and `class` == ''")
    trial = trial.query("trial == 'excess mass' and key == 'AF with the QRS complexes'").set_index(["system", "method"])
    for pair in (("ECGMaster", "contributions"), ("CNN-GAP", "CAM")):
        row = trial.loc[pair]
        assert report.interval(*row[["value", "low", "high"]], digits=2) in third
        assert report.number(row["ceiling"], 2) in third
    assert report.number(trial.loc[("xECGNet", "attention"), "ceiling"], 2) in third
    for cohort, trained in itertools.product(("synthetic", "LUDB"), ("synthetic", "synthetic-large")):
        assert report.interval(*mass["Local evidence", "evidence", cohort, trained], digits=2) in fourth
    assert report.interval(*real["Local evidence, midway"]) in fourth
    seeds = [v[0] for k, v in explained("seeds").items() if k[:2] in OWN_MAPS and k[2:] == ("synthetic", "synthetic")]
    assert f"correlate by {min(seeds):.2f} to {max(seeds):.2f}," in fifth


def test_each_finding_stands_in_one_line_of_a_list():
    lines = summary_pages.findings().splitlines()
    assert [line[:5] for line in lines] == [f"{n}. **" for n in range(1, 6)]
    assert all(len(re.findall(r"\]\(\.\./notebooks/\w+\.ipynb\)", line)) == 1 for line in lines)


def test_the_findings_are_true_of_these_tables():
    """A table that no longer says it stops the build: here a board on which a network leads."""
    real = areas("real")
    trees = real["features and trees"][0]
    networks = {k: v for k, v in real.items() if k not in leaderboard.BASELINES and leaderboard.saw_its_board_alone(k)}
    assert all(value[0] < trees for value in networks.values())


def test_a_finding_that_no_longer_holds_stops_the_build(monkeypatch):
    table = summary_pages._areas("real")
    table.loc["xECGNet", "value"] = 0.99
    monkeypatch.setattr(summary_pages, "_areas", lambda board: table)
    with pytest.raises(AssertionError, match="no longer holds"):
        summary_pages.measurements_first()


def test_few_and_many_are_the_tables_rows():
    few, many = areas("synthetic"), areas("synthetic-large")
    rows = summary_pages.more()
    assert set(rows.index) == set(many) - {"all together"}
    for name, row in rows.iterrows():
        assert (row["few"], row["many"]) == (few.get(f"{name}, one", few[name])[0], many[name][0])


def test_new_patients_and_a_new_source_are_the_tables_rows():
    rows, said = summary_pages.aside(), summary_pages.new_source()
    alone = {name for name in areas("by-source") if ", " not in name}
    assert set(rows.index) == alone - {"all together"}
    for column, board in {"patients": "real", "sources": "by-source"}.items():
        records, answers = leaderboard.records_of(board), leaderboard.answers_of(board)
        within, y = metrics.auroc_within(leaderboard.source_of(records)), records[list(CLASSES)].to_numpy(bool)
        for name in rows.index:
            p, _ = answers[f"{name}, one" if board == "real" and f"{name}, one" in answers else name]
            assert rows.loc[name, column] == pytest.approx(within(y, p, np.ones(len(y))).mean())
    for name in (rows.drop(index="features and trees")["sources"].idxmax(), "features and trees"):
        assert all(report.number(rows.loc[name, column]) in said for column in ("patients", "sources"))


def test_the_maps_are_all_own_maps_and_two_that_know_nothing():
    mass = explained("excess mass")
    for cohort in ("synthetic", "LUDB"):
        rows = summary_pages.map_rows(cohort)
        assert len(rows) == 2 * (len(OWN_MAPS) + 1) + 2
        for system, method in OWN_MAPS:
            own = rows[rows["name"] == f"{system}: {method}"].set_index("trained")
            for trained in ("synthetic", "synthetic-large"):
                assert own.loc[trained, ["value", "low", "high"]].tolist() == mass[system, method, cohort, trained]


def test_what_is_said_of_the_maps_are_the_tables_rows():
    mass, said = explained("excess mass"), summary_pages.minute_maps()
    best = max(OWN_MAPS, key=lambda pair: mass[(*pair, "synthetic", "synthetic-large")])
    assert f"that of {best[0]} called *{best[1]}*" in said
    for pair, cohort in itertools.product((best, ("Local evidence", "evidence")), ("synthetic", "LUDB")):
        assert report.interval(*mass[(*pair, cohort, "synthetic-large")], digits=2) in said


def test_the_source_alone_beats_whom_the_page_names():
    real = areas("real")
    # From whatever records a system has started.
    worse = {name.partition(",")[0] for name, row in real.items() if row[0] < real["source alone"][0]}
    midway = leaderboard.differences("real", "features and trees", ["Local evidence" + leaderboard.MIDWAY]).iloc[0]
    assert midway["low"] < 0 < midway["high"] and "Two are level at the top" in summary_pages.minute_readers()
    assert worse and f"The source alone beats {' and '.join(worse)}:" in summary_pages.minute_readers()


def test_the_readers_leave_out_single_members_and_stand_in_order():
    rows = summary_pages.readers()
    assert rows["value"].is_monotonic_decreasing and not rows["name"].str.contains(", one$").any()
    names = ["own network, simulated and real records", "decision trees on features"]
    assert rows["name"].tolist()[:2] == names and len(rows) == 11
    assert "own network, simulated records alone" in set(rows["name"])


def test_the_first_figure_has_the_maps_of_the_systems_that_read_twelve_leads():
    figure = summary_pages.one_record()
    names = [ax.get_ylabel().splitlines()[0] for ax in figure.axes[1:]]
    assert names == ["CNN-GAP", "xECGNet", "BUTTeam", "ECGMaster", "Local evidence"]
    said = [ax.texts[0].get_text().removesuffix(" inside") for ax in figure.axes[1:]]
    inside = [0.0 if text == "silent" else float(text) for text in said]
    # What a map that knows nothing of the place has inside.
    chance = hearts.case("PVC", 125).any_lead.mean()
    assert len(inside) == 5 and max(inside) == inside[-1] > 3 * chance


@pytest.mark.parametrize("name", [*summary_pages.DRAWN])
def test_every_figure_is_svg_with_a_caption_and_alt_text(name):
    text = computed.DRAWINGS[name]()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert len(text) < 450_000
    pages = [summary_pages.record_figure(), *(write() for write in summary_pages.MINUTES.values())]
    (page,) = [page for page in pages if f"computed/{name}.svg" in page]
    alt = re.search(r":alt: (.+)", page).group(1)
    assert len(alt) > 60 and page.count("```") == 2


def test_the_page_says_where_to_clone_from_if_that_is_known(tmp_path, monkeypatch):
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    monkeypatch.setattr(summary_pages, "REPOSITORY", tmp_path)
    for address in ("", "https://example.org/ecgstudy"):
        about = {k: v for k, v in cited.items() if k != "repository-code"} | (
            {"repository-code": address} if address else {}
        )
        (tmp_path / "CITATION.cff").write_text(yaml.safe_dump(about), encoding="utf-8")
        text = summary_pages.clone()
        assert ("git clone https://example.org/ecgstudy ecgstudy && cd ecgstudy\n" in text) == bool(address)
        assert "make book" in text
