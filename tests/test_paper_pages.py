"""The pages on the papers: one for each, with the facts of the catalogue and the fate of the claims."""

import re

import pytest
import yaml

from ecgstudy.book import paper_pages
from ecgstudy.book.report import number
from ecgstudy.paths import NOTEBOOKS, REPOSITORY, RESULTS
from ecgstudy.systems import catalogue

FOLDER = REPOSITORY / "book" / "papers"
# As papers and public code print them, or as follows from what they state.
PUBLISHED = {"cnn_gap": "4,217,033", "xecgnet": "4,115,476", "butt": "285,939", "ecgmaster": "999,442"}


@pytest.mark.parametrize("page", paper_pages.pages())
def test_facts_are_those_of_the_paper_and_of_our_copy(page):
    text = paper_pages.facts_of(page)
    assert f"| numbers that are trained | {PUBLISHED[page]} | " in text
    assert f"../../notebooks/{next(NOTEBOOKS.glob(f'[0-9]*_{page}.ipynb')).name}" in text
    cls = next(cls for cls in catalogue.of_papers() if cls.chapter.endswith(page))
    assert all(f"{name} {number(value)}" in text for name, value in cls.reported.items())
    changed = yaml.safe_load((RESULTS / "provenance.yaml").read_text(encoding="utf-8"))["settings"][cls.name]
    assert f"{len(changed)} of its settings differ" in text


def test_the_fate_of_the_claims_counts_every_measurement():
    claims = yaml.safe_load((RESULTS / "claims.yaml").read_text(encoding="utf-8"))
    for cite in paper_pages.cited():
        own = [claim for claim in claims if claim["cite"] == cite]
        lines = [line for line in paper_pages.fate(cite).splitlines() if line.startswith("- ")]
        assert len(lines) == len(dict.fromkeys(claim["claim"] for claim in own))
        counted = 0
        for line in lines:
            for verdict in re.search(r"\*\*(.+)\*\*", line).group(1).split(", "):
                found = re.search(r"\((\d+)\)$", verdict)
                counted += int(found.group(1)) if found else 1
        assert counted == len(own)


def test_every_paper_of_the_claims_has_a_page_and_every_page_is_listed():
    pages = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    index = pages.pop("index")
    for cite in paper_pages.cited():
        (text,) = [text for text in pages.values() if f"claims_{cite}.md" in text]
        assert f"{{cite}}`{cite}`" in text
    assert set(re.findall(r"\]\((\w+)\.md\)", index)) == set(pages)
    listed = (REPOSITORY / "_toc.yml").read_text(encoding="utf-8")
    assert all(f"book/papers/{name}\n" in listed for name in (*pages, "index"))


def test_chapters_are_numbered_as_their_notebooks_and_hearts_come_before_hashes():
    toc = yaml.safe_load((REPOSITORY / "_toc.yml").read_text(encoding="utf-8"))
    pages = [page for part in toc["parts"] for page in part["chapters"]]
    for page in pages:
        if re.match(r"notebooks/\d", page["file"]):
            assert page["title"].split()[0] == page["file"].removeprefix("notebooks/")[:2], page
    place = {page["file"]: number for number, page in enumerate(pages)}
    own = next(cls for cls in catalogue.with_chapter() if cls.kind == "own")
    systems = [place[f"notebooks/{cls.chapter}"] for cls in catalogue.with_chapter()]
    trials = [
        place[f"notebooks/{name}"] for name in ("08_ablations", "09_cam_analysis", "10_leaderboard", "11_simulator")
    ]
    assert max(systems) < min(trials) and place[f"notebooks/{own.chapter}"] == max(systems)
    how = [place[f"book/{name}"] for name in ("protocol", "rerun", "reproducibility", "beyond")]
    assert place["book/criteria"] < min(systems) and max(trials) < min(how)
