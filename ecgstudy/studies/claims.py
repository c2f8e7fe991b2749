"""The papers' claims and what became of them: ``results/claims.yaml``, each number of which is a row of a results file.

``python -m ecgstudy.studies.claims`` takes numbers and verdicts from the results files anew.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ecgstudy import metrics
from ecgstudy.paths import RESULTS, told_if_broken, written_whole

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
    return metrics.verdict(*sorted(sign * (end - claim["border"]) for end in (low, high)))


def dump(claims: list[dict[str, Any]]) -> str:
    """YAML of claims."""
    return yaml.safe_dump(claims, sort_keys=False, allow_unicode=True, width=110)


def write() -> Path:
    """Refresh numbers and verdicts in ``results/claims.yaml``."""
    claims = [claim | recompute(claim) for claim in load()]
    with written_whole(FILE) as partial:
        partial.write_text(dump(claims), encoding="utf-8")
    return FILE


if __name__ == "__main__":
    print(write())
