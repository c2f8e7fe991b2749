"""The papers' claims and what became of them: ``results/claims.yaml``, each number of which is a row of a results file.

A verdict follows from the interval that is shown beside it, by the rules of ``claim_rules.yaml``.
``python -m ecgstudy.studies.claims`` takes numbers and verdicts from the results files anew.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from ecgstudy import metrics
from ecgstudy.paths import RESULTS, told_if_broken, written_whole
from ecgstudy.studies import DECIMALS, ablations, leaderboard

FILE = RESULTS / "claims.yaml"
RULES = Path(__file__).with_name("claim_rules.yaml")
COMPUTED = ("value", "low", "high", "level", "smallest", "trainings", "verdict", "why")
TESTED = ("supported", "not supported", "no difference", "undecided")
NETWORKS = ("one each", "one a fold", "five each")  # trainings behind either side of a measurement
ENDS = ("value", "low", "high")

Limits = tuple[float, float, float]  # value, low, high


def load() -> list[dict[str, Any]]:
    """Every committed claim, in the order of the table.

    Keys of each: ``system``; ``claim``, in our words; ``cite``; ``paper``, the number that the paper reports;
    ``measured``, how; ``source``; ``border`` and on which side of it the claim is (``expected``); ``COMPUTED``; and
    ``page``.

    A source names the results ``file``, the ``row`` (column → text) and what of it counts: ``value``; ``difference``,
    that of an ablation's arm to its control; or ``paired``, the macro-AUROC of two entries of a board, from the
    committed answers. Where the border is an estimate itself, it is ``against`` another row (the columns that differ),
    of which so many ``times`` are taken off.
    """
    with told_if_broken(FILE):
        return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def rules() -> dict[str, Any]:
    """Level, families, smallest effects and what is testable, as ``claim_rules.yaml`` has them."""
    with told_if_broken(RULES):
        return yaml.safe_load(RULES.read_text(encoding="utf-8"))


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
    found = _measured(source)
    if found is None:
        return nothing | {"why": f"results/{source['file']} has no such row"}
    row, limits = found
    about = nothing | {"trainings": _trainings(source, row)}
    if claim["border"] is None:
        return about | _numbers(limits) | {"verdict": "not comparable", "why": claim["why"]}
    fixed, metric = rules(), _metric(source)
    level = 1 - (1 - fixed["level"]) / fixed["families"][claim["system"]]
    wide = widened(limits, level, _scale(source), n=int(row.get("n") or 0))
    if source["value"] == "paired" and (spread := fixed["training"].get(row["cohort"], {}).get(metric)):
        wide = trained_again(wide, level, spread)
    smallest = fixed["smallest"][metric]
    about |= _numbers(wide) | {"level": round(level, DECIMALS), "smallest": smallest}
    if (wanted := fixed["testable"].get(metric)) and (why := _not_testable(source["row"], wanted)):
        return about | {"verdict": "not testable", "why": why}
    if why := _too_coarse(source, row):
        return about | {"verdict": "not testable", "why": why}
    said = verdict(claim, *wide[1:], smallest)
    alike = "every fold has the same number, of which no interval can be drawn"
    return about | {"verdict": said, "why": alike if np.isnan(wide[1]) else None}


def verdict(claim: dict[str, Any], low: float, high: float, smallest: float = 0) -> str:
    """Answer by rule: the interval on one side of the border, or within the smallest effect around it."""
    sign = {"above": 1, "below": -1}[claim["expected"]]
    low, high = sorted(sign * (end - claim["border"]) for end in (low, high))
    return metrics.verdict(low, high, 0, smallest)


def widened(limits: Limits, level: float, scale: str, *, n: int = 0) -> Limits:
    """A number with its limits at a higher level than 0.95, on the scale on which it got those at 0.95.

    Parameters
    ----------
    scale
        ``t``: of the corrected t-test over ``ablations.FOLDS`` folds, whose quantiles have as many degrees of freedom
        but one. Folds that do not differ tell no variance: NaN. ``wilson``: of a share of ``n``, which is computed
        again. ``normal``: of a bootstrap, each side by itself, so that a skewed interval stays skewed. That takes the
        bootstrap's tails for normal ones, which a percentile so far out, of a thousand resamples, would not tell.
    """
    value, low, high = limits
    if scale == "wilson":
        share = stats.binomtest(round(value * n), n).proportion_ci(level, method="wilson")
        return value, share.low, share.high
    law: Any = stats.t(ablations.FOLDS - 1) if scale == "t" else stats.norm
    if scale == "t" and low == high:
        return value, np.nan, np.nan
    wider = law.ppf((1 + level) / 2) / law.ppf(0.975)
    return value, value - wider * (value - low), value + wider * (high - value)


def trained_again(limits: Limits, level: float, spread: float) -> Limits:
    """Limits at a level of a difference of two networks that know that another training moves each by ``spread``."""
    value, low, high = limits
    more = stats.norm.ppf((1 + level) / 2) * spread * np.sqrt(2)
    return value, value - float(np.hypot(value - low, more)), value + float(np.hypot(high - value, more))


def less(limits: Limits, other: Limits, times: float = 1) -> Limits:
    """A number less so many times another of the same records, without what pairs them.

    The half-widths are added in squares, as if the two did not depend on each other. Scores of the same records mostly
    go up and down together, and then the interval is too wide rather than too narrow.
    """
    (value, low, high), (of_other, other_low, other_high) = limits, other
    middle = value - times * of_other
    down = np.hypot(value - low, times * (other_high - of_other))
    up = np.hypot(high - value, times * (of_other - other_low))
    return middle, float(middle - down), float(middle + up)


@cache
def _table(path: Path, _changed: int) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _row(file: str, wanted: dict[str, str]) -> pd.Series | None:
    """The one row that has these texts; None, where there is none."""
    path = RESULTS / file
    if not path.exists():
        return None
    rows = _table(path, path.stat().st_mtime_ns)
    for column, text in wanted.items():
        rows = rows[rows[column] == text]
    if len(rows) > 1:
        raise ValueError(f"{file} has {len(rows)} rows for {wanted}")
    return None if rows.empty else rows.iloc[0]


def _measured(source: dict[str, Any]) -> tuple[pd.Series, Limits] | None:
    """The row that a source names, and its number with limits at 0.95: less that of the row it stands against."""
    row, against = _row(source["file"], source["row"]), source.get("against")
    other = _row(source["file"], source["row"] | against["row"]) if against else row
    if row is None or other is None:
        return None
    if source["value"] == "paired":
        board, entries = row["cohort"], (row["system"], other["system"])
        if not all((leaderboard.FOLDER / board / f"{entry}.json").exists() for entry in entries):
            return None
        d = leaderboard.differences(board, entries[1], [entries[0]]).iloc[0]
        return row, (float(d["difference"]), float(d["low"]), float(d["high"]))
    names = ("difference", "difference_low", "difference_high") if source["value"] == "difference" else ENDS
    limits = _limits(row, names)
    return row, less(limits, _limits(other, names), against.get("times", 1)) if against else limits


def _limits(row: pd.Series, names: Sequence[str]) -> Limits:
    value, low, high = (float(row[name] or "nan") for name in names)
    return value, low, high


def _metric(source: dict[str, Any]) -> str:
    row = source["row"]
    return row["metric"] if "metric" in row else row["trial"]


def _scale(source: dict[str, Any]) -> str:
    if source["file"] == "ablations.csv":
        return "t"
    return "wilson" if "focus" in source["row"].get("trial", "") else "normal"


def _trainings(source: dict[str, Any], row: pd.Series) -> str:
    """One of ``NETWORKS``; only in the last case does the interval know that another training gives another number."""
    if source["file"] == "ablations.csv":
        return NETWORKS[2]
    of_folds = source["file"] == "leaderboard.csv" or len(row.get("run", "").split()) >= ablations.FOLDS
    return NETWORKS[1 if of_folds else 0]


def _not_testable(row: dict[str, str], wanted: dict[str, Any]) -> str:
    """Why a question presupposes too much of the network on whose explanations it was asked; empty, if it does not."""
    weak = []
    for name in wanted["classes"]:
        about = {"system": f"{row['system']}, one", "cohort": row["cohort"], "metric": "AUROC", "class": name}
        found = _row("leaderboard.csv", about)
        value, low, high = (np.nan,) * 3 if found is None else _limits(found, ENDS)
        if not low > wanted["AUROC above"]:
            weak.append(f"{name} {value:.2f} ({low:.2f}–{high:.2f})")
    if not weak:
        return ""
    told = f"not asked of a network whose AUROC for {' or '.join(wanted['classes'])} may be {wanted['AUROC above']:g}"
    return f"{told} or less: {', '.join(weak)}"


def _too_coarse(source: dict[str, Any], row: pd.Series) -> str:
    """Why a map is not held against that of another system: even a perfect one, on that one's cells, would lose."""
    other = source.get("against", {})
    if "times" not in other or "method" not in other["row"]:
        return ""
    about = row[["trial", "cohort"]].to_dict() | other["row"]
    perfect = rules()["perfect"]
    found = _row(perfect["file"], about | perfect["row"])
    if found is None or not float(row["value"]) > other["times"] * float(found["ceiling"]):
        return ""
    told = f"a perfect map on the cells of {about['system']} has {float(found['ceiling']):.2f}"
    return f"{told} over eight classes, and would lose as well"


def _numbers(limits: Limits) -> dict[str, float | None]:
    return {
        name: None if np.isnan(number) else round(float(number), DECIMALS)
        for name, number in zip(ENDS, limits, strict=True)
    }


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
