"""What the catalogue and the results know of a paper: the facts of its page, and what became of its claims."""

from collections import Counter
from collections.abc import Mapping
from itertools import groupby

from ecgstudy.book.report import number
from ecgstudy.studies import claims, leaderboard
from ecgstudy.studies.verify import provenance
from ecgstudy.systems import System, catalogue, parameter_count

# Losses as a reader of the field calls them; others are called as they are.
_LOSSES = {"macro-F2": "one minus a soft macro-F2", "weighted focal": "weighted focal loss"}


def facts(cls: type[System]) -> str:
    """Markdown table of a paper's system as published and as rebuilt for the real board, and what the paper reports."""
    paper, here = cls(), cls.of_profile("real")[0]  # type: ignore[call-arg]
    card = leaderboard.card_of("real", cls.name)
    rows = [
        ("input", *(f"12 leads, {one.seconds:g} s at {one.fs:g} Hz" for one in (paper, here))),
        ("numbers that are trained", f"{parameter_count(paper.network()):,}", f"{card['parameters']:,}"),
        ("loss", *(_LOSSES.get(one.loss, one.loss) for one in (paper, here))),
        ("epochs", *(f"{'at most ' if one.patience else ''}{one.epochs:,}" for one in (paper, here))),
    ]
    lines = ["| | the paper's | our copy |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    reported = ", ".join(f"{name} {number(value)}" for name, value in cls.reported.items())
    maps = " and ".join(f"*{name}*" for name in cls.own_maps)
    changed = len(provenance()["settings"].get(cls.name, {}))
    lines += [
        "",
        f"The paper reports, on data and definitions of its own: {reported or 'no score'}.",
        "",
        f"The maps that we take from it: {maps}. {changed} of its settings differ in our copy; [the page on "
        "reproducibility](../reproducibility.md) lists each with the reason. The "
        f"[chapter](../../notebooks/{cls.chapter}.ipynb) has the network, the recipe and what the paper leaves open.",
    ]
    return "\n".join(lines) + "\n"


def fate(cite: str) -> str:
    """Markdown list of a paper's claims with the verdicts of their measurements."""
    own = [claim for claim in claims.load() if claim["cite"] == cite]
    lines = []
    for text, group in groupby(own, key=lambda claim: claim["claim"]):
        count = Counter(claim["verdict"] for claim in group)
        said = ", ".join(f"{verdict} ({times})" if times > 1 else verdict for verdict, times in count.items())
        lines.append(f"- {text}: **{said}**.")
    lines.append("")
    lines.append("A number in brackets says how many measurements came to this. [The table](../claims.md) has each.")
    return "\n".join(lines) + "\n"


def pages() -> Mapping[str, str]:
    """Name of each paper's page in ``book/papers`` → the key of the paper."""
    return {cls.chapter.partition("_")[2]: cls.paper for cls in catalogue.of_papers() if cls.paper}


def cited() -> list[str]:
    """Keys of the papers that claims are of."""
    return list(dict.fromkeys(claim["cite"] for claim in claims.load() if claim["cite"]))


def facts_of(page: str) -> str:
    """``facts`` of the paper that has this page."""
    return facts(next(cls for cls in catalogue.of_papers() if cls.chapter.partition("_")[2] == page))
