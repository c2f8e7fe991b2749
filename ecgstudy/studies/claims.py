"""The papers' claims and what became of them: ``results/claims.yaml``, each number of which is a row of a results file.

``python -m ecgstudy.studies.claims`` takes numbers and verdicts from the results files anew.
"""

from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ecgstudy.book.report import interval, number, p_value
from ecgstudy.paths import REPOSITORY, RESULTS, told_if_broken, written_whole

FILE = RESULTS / "claims.yaml"
COMPUTED = ("value", "low", "high", "p", "verdict", "why")
TESTED = ("supported", "not supported", "undecided")


def load() -> list[dict[str, Any]]:
    """Every committed claim, in the order of the table.

    Keys of each: ``system``; ``claim``, in our words; ``cite``; ``paper``, the number that the paper reports;
    ``measured``, how; ``source``, the results file, the row (column → text) and what of it counts, ``value`` or
    ``difference``; ``border`` and on which side of it the claim is (``expected``); ``COMPUTED``; and ``page``.
    """
    with told_if_broken(FILE):
        return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def recompute(claim: dict[str, Any]) -> dict[str, Any]:
    """Numbers and verdict (``COMPUTED``) of a claim, from the row that its source names.

    Raises
    ------
    ValueError
        when more than one row answers to the source.
    """
    nothing = dict.fromkeys(COMPUTED) | {"verdict": "not measured"}
    source = claim["source"]
    if source is None:
        return nothing | {"why": claim["why"]}
    path = RESULTS / source["file"]
    rows = pd.DataFrame(columns=list(source["row"]))
    if path.exists():
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column, text in source["row"].items():
        rows = rows[rows[column] == text]
    if len(rows) > 1:
        raise ValueError(f"{source['file']} has {len(rows)} rows for {source['row']}")
    if rows.empty:
        return nothing | {"why": f"results/{source['file']} has no such row"}
    names = {name: name for name in ("value", "low", "high")}
    if source["value"] == "difference":
        names = {"value": "difference", "low": "difference_low", "high": "difference_high", "p": "p"}
    found = {name: float(rows[column].iloc[0] or "nan") for name, column in names.items()}
    said = verdict(claim, **found)
    numbers = {name: None if pd.isna(number) else number for name, number in found.items()}
    return nothing | numbers | {"verdict": said, "why": claim["why"] if claim["border"] is None else None}


def verdict(claim: dict[str, Any], value: float, low: float, high: float, p: float | None = None) -> str:
    """Answer by rule: the 95 % interval on one side of the border, or, where there is a (corrected) p, p < .05.

    Without a border, because the paper's number is of other data, it is *not comparable*.
    """
    if claim["border"] is None:
        return "not comparable"
    sign = {"above": 1, "below": -1}[claim["expected"]]
    if p is not None:
        low, high = (value, value) if p < 0.05 else (float("nan"), float("nan"))
    ends = [sign * (end - claim["border"]) for end in (low, high)]
    return "supported" if min(ends) > 0 else "not supported" if max(ends) < 0 else "undecided"


def dump(claims: list[dict[str, Any]]) -> str:
    """YAML of claims."""
    return yaml.safe_dump(claims, sort_keys=False, allow_unicode=True, width=110)


def write() -> Path:
    """Refresh numbers and verdicts in ``results/claims.yaml``."""
    claims = [claim | recompute(claim) for claim in load()]
    with written_whole(FILE) as partial:
        partial.write_text(dump(claims), encoding="utf-8")
    return FILE


def summary() -> str:
    """Count of the verdicts, in words: on the papers' claims, then on those that the study makes of its own system."""
    claims = load()
    of_papers, own = ([claim for claim in claims if bool(claim["cite"]) is cited] for cited in (True, False))
    texts = [
        _count(of_papers, "claims of the papers to the test."),
        _count(own, "claims of the study about its own system to the same test."),
    ]
    return "\n\n".join(text for text in texts if text) + "\n"


def _count(claims: list[dict[str, Any]], whose: str) -> str:
    count = Counter(claim["verdict"] for claim in claims)
    tested = {(claim["system"], claim["claim"]) for claim in claims if claim["verdict"] in TESTED}
    if not claims:
        return ""
    text = f"{sum(count[said] for said in TESTED)} measurements put {len(tested)} {whose} "
    text += " ".join(f"{said.capitalize()}: {count[said]}." for said in TESTED)
    return text + (f" Not measured yet: {count['not measured']}." if count["not measured"] else "")


def table() -> str:
    """Scoreboard in the book's Markdown: a heading and a table for each system; the verdict leads to its page."""
    parts = []
    for system, of in groupby(load(), key=lambda claim: claim["system"]):
        claims, before = list(of), None
        keys = dict.fromkeys(claim["cite"] for claim in claims if claim["cite"])
        cited = " {cite}`" + ",".join(keys) + "`" if keys else ""
        lines = [f"## {system}\n", f"| claim{cited} | measured | verdict |", "|---|---|---|"]
        for claim in claims:
            # What is measured twice is said once.
            text = "" if claim["claim"] == before else claim["claim"]
            if text and claim["paper"] is not None:
                text += f" (the paper: {claim['paper']:g})"
            before = claim["claim"]
            lines.append(f"| {text} | {claim['measured']}{_found(claim)} | {_verdict(claim)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _found(claim: dict[str, Any]) -> str:
    if claim["value"] is None:
        return ""
    if claim["low"] is None:
        return f": **{number(claim['value'])}**"
    numbers = interval(claim["value"], claim["low"], claim["high"], 2 if abs(claim["value"]) >= 1 else 3)
    return f": **{numbers}**" + (f", p {p_value(claim['p'], sign=True)}" if claim["p"] is not None else "")


def _verdict(claim: dict[str, Any]) -> str:
    page, said = claim["page"], claim["verdict"]
    # The link of a chapter that is still to come would lead nowhere.
    said = f"[{said}](../{page}.ipynb)" if (REPOSITORY / f"{page}.ipynb").exists() else said
    return f"{said}: {claim['why']}" if claim["verdict"] == "not comparable" else said


if __name__ == "__main__":
    print(write())
