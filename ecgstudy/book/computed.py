"""Markdown that pages of prose include: what ``results/`` says, so that no page holds a number of its own."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any

from matplotlib.figure import Figure

from ecgstudy.book import (
    cost_pages,
    exercise_pages,
    explorer,
    game,
    hearts,
    live,
    own_ecg,
    paper_pages,
    plots,
    primer_figures,
    real_records,
    summary_pages,
    teaching_pages,
)
from ecgstudy.book.report import interval, number
from ecgstudy.data.labels import CLASSES
from ecgstudy.paths import REPOSITORY, RESULTS, listed
from ecgstudy.studies import DECIMALS, ablations, claims, leaderboard
from ecgstudy.studies.verify import provenance, published


def claims_summary() -> str:
    """Count of the verdicts, in words: on the papers' claims, then on those that the study makes of its own system."""
    of_papers, own = ([claim for claim in claims.load() if bool(claim["cite"]) is cited] for cited in (True, False))
    texts = [
        _count(of_papers, "claims of the papers to the test."),
        _count(own, "claims of the study about its own system to the same test."),
    ]
    return "\n\n".join(text for text in texts if text) + "\n"


def _count(of_kind: list[dict[str, Any]], whose: str) -> str:
    count = Counter(claim["verdict"] for claim in of_kind)
    tested = {(claim["system"], claim["claim"]) for claim in of_kind if claim["verdict"] in claims.TESTED}
    if not of_kind:
        return ""
    text = f"{sum(count[said] for said in claims.TESTED)} measurements put {len(tested)} {whose} "
    text += " ".join(f"{said.capitalize()}: {count[said]}." for said in claims.TESTED)
    more = {"not testable": "Besides these, not testable", "not measured": "Not measured yet"}
    return text + "".join(f" {words}: {count[said]}." for said, words in more.items() if count[said])


def claims_table() -> str:
    """Scoreboard in the book's Markdown: a heading and a table for each system; the verdict leads to its page."""
    parts, families = [], claims.rules()["families"]
    for system, group in groupby(claims.load(), key=lambda claim: claim["system"]):
        own, before = list(group), None
        keys = dict.fromkeys(claim["cite"] for claim in own if claim["cite"])
        cited = " {cite}`" + ",".join(keys) + "`" if keys else ""
        lines = [f"## {system}\n", f"| claim{cited} | measured | trainings | verdict |", "|---|---|---|---|"]
        for claim in own:
            # What is measured twice is said once.
            text = "" if claim["claim"] == before else claim["claim"]
            if text and claim["paper"] is not None:
                text += f" (the paper: {claim['paper']:g})"
            before = claim["claim"]
            measured = f"{claim['measured']}{_found(claim)}"
            lines.append(f"| {text} | {measured} | {claim['trainings'] or ''} | {_verdict(claim)} |")
        levels = {claim["level"] for claim in own if claim["level"]}
        if levels:
            level = f"{number(100 * levels.pop(), 2)} %"
            lines += ["", f"{families[system]} measurements with a verdict, so each interval is one of {level}."]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def claim_rules() -> str:
    """Markdown table of the smallest effects that would matter, those of one size in a row."""
    sizes: dict[float, list[str]] = {}
    for metric, smallest in claims.rules()["smallest"].items():
        sizes.setdefault(smallest, []).append(metric.partition(", ")[2] if metric.startswith("answer ") else metric)
    lines = [("smallest effect", "of"), ("---:", "---")]
    return _markdown([*lines, *((f"{size:g}", "; ".join(sizes[size])) for size in sorted(sizes))])


def _found(claim: dict[str, Any]) -> str:
    if claim["value"] is None:
        return ""
    if claim["low"] is None:
        return f": **{number(claim['value'])}**"
    return f": **{interval(*(claim[end] for end in claims.ENDS), digits=_digits(claim))}**"


def _digits(claim: dict[str, Any]) -> int:
    """Decimals with which a claim's interval is shown: more than usual, where rounding would hide what decided."""
    least = 2 if abs(claim["value"]) >= 1 else 3
    if claim["verdict"] not in claims.TESTED:
        return least
    for digits in range(least, DECIMALS):
        low, high = (round(claim[end], digits) for end in ("low", "high"))
        if claims.verdict(claim, low, high, claim["smallest"]) == claim["verdict"]:
            return digits
    return DECIMALS


def _verdict(claim: dict[str, Any]) -> str:
    page, said = claim["page"], claim["verdict"]
    # The link of a chapter that is still to come would lead nowhere.
    said = f"[{said}](../{page}.ipynb)" if (REPOSITORY / f"{page}.ipynb").exists() else said
    return f"{said}: {claim['why']}" if claim["why"] and claim["value"] is not None else said


def run_table() -> str:
    """Markdown table: for every committed answer its runs, time of training and cohort; below it, the machines."""
    rows: list[tuple[str, str, int, float, dict[str, Any]]] = []
    for path in listed(leaderboard.FOLDER, "*/*.json"):
        card = json.loads(path.read_text(encoding="utf-8"))
        if not path.stem.endswith(", one"):
            seconds = card.get("training_seconds", card["wall_seconds"])
            rows.append((f"leaderboard/{path.parent.name}", path.stem, len(card.get("runs", [])), seconds, card))
    for folder in listed(ablations.FOLDER, "*/*"):
        cards = [json.loads(path.read_text(encoding="utf-8")) for path in listed(folder, "*.json")]
        if cards:
            runs = sum(len(of_fold) for card in cards for of_fold in card["runs"])
            what = f"{folder.name}: {len(cards)} of {len(ablations.QUESTIONS[folder.name].arms)} arms"
            seconds = sum(card["seconds"] for card in cards)
            rows.append((f"ablations/{folder.parent.name}", what, runs, seconds, cards[0]))
    head = ("under `results/`", "answers", "runs", "minutes", "cohort")
    lines, before = [head, ("---",) * len(head)], ""
    for where, what, runs, seconds, card in rows:
        place = "" if where == before else where
        lines.append((place, what, str(runs or ""), f"{seconds / 60:.1f}", f"`{card['cohort']}`"))
        before = where
    machines = Counter(f"{card['machine']}, torch {card['torch']}" for *_, card in rows)
    text = "".join(f"- {count} rows of the table: {machine}\n" for machine, count in machines.items())
    return _markdown(lines) + "\n" + text


def attack_table() -> str:
    """Markdown table of ``attack.json``: what the reading, fetching and building of the study were put to."""
    path = RESULTS / "attack.json"
    kinds = json.loads(path.read_text(encoding="utf-8"))["kinds"] if path.exists() else {}
    lines = [("what", "tried", "refused", "read or right", "failed", "seconds"), ("---", *("---:",) * 5)]
    for name, row in kinds.items():
        counts = (f"{row[key]:,}" for key in ("tried", "refused", "read", "failed"))
        lines.append((name, *counts, f"{row['seconds']:,.0f}"))
    return _markdown(lines)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def settings_table() -> str:
    """Markdown table of ``provenance.yaml``: settings that differ from the paper's, and why."""
    lines = [("system", "setting", "here", "the paper", "why"), ("---",) * 5]
    for system, entries in provenance()["settings"].items():
        default = published(system)
        for place, (setting, entry) in enumerate(entries.items()):
            here = ", ".join("none" if value is None else f"{value}" for value in entry["values"])
            why = entry["why"]
            for following, data in enumerate(entry.get("data", ())):
                seed = f" of seed {data['seed']}" if "seed" in data else ""
                why += f"{' and' if following else ''} on {data['cohort']} records{seed} ({data['part']})"
            why += f": {entry['note']}" if "note" in entry else ""
            lines.append(("" if place else system, f"`{setting}`", here, f"{default[setting]}", why))
    return _markdown(lines)


def exceptions() -> str:
    """Markdown list of the choices that were made with records in view that are tested on."""
    return "".join(f"- {text}\n" for text in provenance()["exceptions"])


# Name of a page's part → what writes it.
COMPUTED: dict[str, Callable[[], str]] = {
    "attack": attack_table,
    "checks": own_ecg.checks_table,
    "claim_rules": claim_rules,
    "claims": claims_table,
    "claims_summary": claims_summary,
    "clone": summary_pages.clone,
    "course_chapters": teaching_pages.table,
    "cost_assumptions": cost_pages.assumptions,
    "cost_estimates": cost_pages.estimates_table,
    "cost_figure": cost_pages.growth_figure,
    "cost_growth": cost_pages.growth_table,
    "cost_large": cost_pages.large_table,
    "cost_not_measured": cost_pages.not_measured,
    "cost_side_by_side": cost_pages.side_by_side_table,
    "cost_stored": cost_pages.stored_or_simulated,
    "exceptions": exceptions,
    "exercises": exercise_pages.table,
    "explorer": explorer.still,
    "faults": own_ecg.faults_table,
    "findings": summary_pages.findings,
    "game": game.still,
    "heart_rules": hearts.rules,
    "real_gallery": real_records.gallery,
    "real_table": real_records.table,
    "record_figure": summary_pages.record_figure,
    "live_networks": live.networks_text,
    "live_tries": live.tries,
    "runs": run_table,
    "settings": settings_table,
    "unlike": own_ecg.unlike_table,
    **summary_pages.MINUTES,
    **{f"heart_{hearts.file(name)}": partial(hearts.figure, name) for name in CLASSES},
    **{f"paper_{page}": partial(paper_pages.facts_of, page) for page in paper_pages.pages()},
    **{f"claims_{cite}": partial(paper_pages.fate, cite) for cite in paper_pages.cited()},
}


def _drawn(draw: Callable[[], Figure]) -> str:
    return plots.svg(draw())


# Name of a drawing beside them → what draws it, as the text of an SVG file.
DRAWINGS: dict[str, Callable[[], str]] = {
    **hearts.drawings(),
    **{drawing: partial(real_records.drawing, name) for drawing, name in real_records.drawings().items()},
    **{name: partial(_drawn, draw) for name, draw in (summary_pages.DRAWN | primer_figures.DRAWN).items()},
}
