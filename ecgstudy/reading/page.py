"""One record, one page: HTML that needs no network, no script and no other file, and prints on two sheets of paper.

Every number on it is one of ``Explanation``'s, rounded here.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from markupsafe import Markup

from ecgstudy.data.labels import CLASSES
from ecgstudy.data.quality import Quality
from ecgstudy.data.records import LEADS
from ecgstudy.preprocessing import fill_gaps, resample
from ecgstudy.reading.chart import DRAWN, SECONDS, bar, chart
from ecgstudy.reading.explanation import BY_LEAD, LONGEST, Explanation, short
from ecgstudy.reading.shipped import USE, Shipped
from ecgstudy.reading.waves import AGREES, PARTS
from ecgstudy.text import printable

if TYPE_CHECKING:
    from ecgstudy.reading.counterfactual import Counterfactual

WORDS = {
    "NSR": "normal sinus rhythm",
    "AF": "atrial fibrillation",
    "I-AVB": "first-degree AV block",
    "LBBB": "left bundle branch block",
    "RBBB": "right bundle branch block",
    "PAC": "premature atrial beat",
    "PVC": "premature ventricular beat",
    "STD": "ST depression",
    "STE": "ST elevation",
}
_WHERE = {
    "P": "in the P window, before the QRS complexes",
    "PR": "between P and QRS",
    "QRS": "in the QRS complexes",
    "ST": "in the ST segments",
    "T": "in the T window",
    "TQ": "between T and the next P",
}
_PERCENT = "\N{NO-BREAK SPACE}%"
_NUMBERS = ("no", "one", "two", "three", "four", "five")
_LARGEST = 10  # terms that are shown one by one


def percent(share: float) -> str:
    """A probability or share as a percentage: whole from ten on, with a decimal below."""
    if not np.isfinite(share):
        return "–"
    return f"{100 * share:.0f}{_PERCENT}" if share >= 0.0995 else f"{100 * share:.1f}{_PERCENT}"


def span(low: float, high: float) -> str:
    """From one percentage to another."""
    return f"{percent(low).removesuffix(_PERCENT)} – {percent(high)}".replace(" ", "\N{NO-BREAK SPACE}")


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, a minus as long as a plus."""
    text = f"{value:+.{digits}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", "−")


def page(
    explanation: Explanation,
    *,
    file: str,
    classes: Sequence[str] | None = None,
    show_identity: bool = False,
    without: Sequence["Counterfactual"] = (),
    made_of: str = "",
) -> str:
    """Write the page of one record.

    Parameters
    ----------
    file
        What the page calls the record: nothing else on it says whose it is.
    classes
        Findings that get a map, the first one in full; by default those that are called.
    show_identity
        Also show what the file says of the patient.
    without
        Of a simulated record: the same record without each of its findings.
    made_of
        Hash of what the page follows from, kept in it: see ``reading.many``.
    """
    e = explanation
    names = tuple(classes or e.main) if e.answered else ()
    context: dict[str, Any] = {
        "e": e,
        "file": printable(file),
        "style": style(),
        "made_of": made_of,
        "row": json.dumps(row(e, file), ensure_ascii=False),
        "identity": _identity(e) if show_identity else [],
        "quality": _quality(e.quality),
        "unlike": _unlike(e),
        "seen": _seen(e),
        "seconds": short(e.record.seconds),
        "sentence": sentence(e),
        "charts": [_chart(e, name, number, file) for number, name in enumerate(names)] or [_bare(e, file)],
        "chart_names": names,
        "findings": [finding(e, name) for name in names],
        "card": card(e.shipped),
        "delineation": _DELINEATION,
        "use": USE,
        "by_lead": e.method if e.answered and e.tells_leads_apart else BY_LEAD,
        "parts": PARTS,
        "lead_names": LEADS,
        "class_names": CLASSES,
        "members": len(e.members),
        "several": len(e.members) > 1,
        "file_says": ", ".join(name for name in CLASSES if name in e.record.labels),
    }
    if e.answered:
        context |= {"answers": _answers(e), "each": _members(e), "first": _first(e, names[0]), "bridged": _bridged(e)}
        context["without"] = [_without(e, one) for one in without]
    return template("page.html").render(context)


def row(e: Explanation, file: str) -> dict[str, Any]:
    """What a table of many records says of one: plain values, none of which tells whose it is."""
    told: dict[str, Any] = {"file": printable(file), "system": e.shipped.name, "seconds": round(e.record.seconds, 2)}
    told["fit"] = "yes" if e.quality.fit else "no"
    told["quality"] = e.quality.sentence
    told["unlike"] = "" if e.unlike is None else e.unlike.sentence
    told["seen"] = f"{int(e.seen.sum())} of {len(e.seen)}" if e.answered else ""
    told["called"] = " ".join(name for name, yes in zip(CLASSES, e.called, strict=True) if yes) if e.answered else ""
    return told | {
        name: round(float(p), 4) if e.answered else None
        for name, p in zip(CLASSES, e.probabilities if e.answered else np.zeros(len(CLASSES)), strict=True)
    }


def sentence(e: Explanation) -> str:
    """The answer in a sentence."""
    if not e.answered:
        return "None is given, because the record is not fit to be read."
    p, threshold = dict(zip(CLASSES, e.probabilities, strict=True)), dict(zip(CLASSES, e.thresholds, strict=True))
    if not e.called.any():
        (nearest,) = e.main
        return (
            f"None of the nine findings is called. Nearest is {WORDS[nearest]} with {percent(p[nearest])}, called from "
            f"{percent(threshold[nearest])} on."
        )
    told = [f"{WORDS[name]} ({name}, {percent(p[name])})" for name in e.main]
    text = told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"
    return f"{text[0].upper()}{text[1:]}."


def finding(e: Explanation, name: str) -> str:
    """What the map of a class shows, in a sentence."""
    shares = e.shares(name)
    if shares.empty:
        return "Fewer than two beats were found, so that the map cannot be said by parts of the beat."
    if shares["share"].isna().all():
        return f"Nothing in the map speaks for {name}."
    part = str(shares["share"].idxmax())
    share, chance = shares["share"][part], shares["chance"][part]
    return f"{percent(share)} of what speaks for {name} lies {_WHERE[part]}, which take {percent(chance)} of the time."


@cache
def card(ships: Shipped) -> str:
    """What the networks are, what they learned from and what they scored."""
    auroc, f1 = ships.score("AUROC"), ships.score("F1")
    checked = ships.checked.mean(numeric_only=True)
    count = len(ships.runs)
    many = f"{_NUMBERS[count]} networks" if count > 1 else "one network"
    mean = (
        " The mean of the members was never tested: each of these records has been seen by all members but one."
        if count > 1
        else ""
    )
    errors, briers = (
        [f"{checked[f'{score}, {word}']:.3f}" for word in ("raw", "calibrated")]
        for score in ("calibration error", "Brier score")
    )
    return (
        f"{ships.name}: {many} of {ships.runs[0].card['parameters']:,} parameters, trained on {ships.trained_on}. "
        f"Macro-AUROC there {auroc.value:.3f} (95 % interval {auroc.low:.3f} to {auroc.high:.3f}), macro-F1 "
        f"{f1.value:.2f} ({f1.low:.2f} to {f1.high:.2f}).{mean} Probabilities are calibrated by Platt's scaling of "
        f"these held-out answers. Those of each fold, calibrated by the other folds', have a calibration error of "
        f"{errors[1]} (raw {errors[0]}) and a Brier score of {briers[1]} (raw {briers[0]}). Thresholds were chosen "
        f"on validation records. Runs: {', '.join(run.folder.name for run in ships.runs)}."
    )


_DELINEATION = (
    "Parts of the beat: the study's own detector finds the QRS complexes, which last while the leads are steep; P and "
    "T are windows around them and are not looked for. In atrial fibrillation the P window holds no P wave. In LUDB's "
    f"records these parts are those of the cardiologists in {100 * AGREES:.0f} % of the time."
)


def _quality(quality: Quality) -> SimpleNamespace:
    verdicts = {one.verdict for one in quality.findings}
    kind = "unfit" if not quality.fit else "note" if "note" in verdicts else "ok"
    rows = []
    for one in quality.findings:
        value = "" if np.isnan(one.value) else f"{one.value:.3g} {one.unit}"
        how = f"{one.how}; {one.detail}" if one.detail else one.how
        rows.append((one.name, one.verdict, value, ", ".join(one.leads), how))
    return SimpleNamespace(kind=kind, sentence=quality.sentence, findings=rows)


def _unlike(e: Explanation) -> SimpleNamespace:
    if e.unlike is None:
        why = "not known for these networks" if e.answered else "no network was asked"
        return SimpleNamespace(kind="note", sentence=f"Not judged: {why}.")
    return SimpleNamespace(kind="note" if e.unlike.unlike else "ok", sentence=e.unlike.sentence)


def _seen(e: Explanation) -> str:
    if not e.seen.any():
        return ""
    count = int(e.seen.sum())
    if e.seen.all():
        who = "The network has" if count == 1 else f"All {_NUMBERS[count]} networks have"
        return f"{who} learned from this very record: the answer proves nothing."
    rest = len(e.seen) - count
    those = "the one that has not" if rest == 1 else f"the {_NUMBERS[rest]} that have not"
    who = f"{_NUMBERS[count].capitalize()} of the {_NUMBERS[len(e.seen)]} networks"
    return f"{who} have learned from this very record; the answer is that of {those}."


def _identity(e: Explanation) -> list[tuple[str, str]]:
    record = e.record
    told = {"patient": record.patient_id, "age": record.age, "sex": record.sex, "codes": ", ".join(record.codes)}
    told |= dict(record.identity)
    return [(key, printable(str(value))) for key, value in told.items() if value not in (None, "")]


def _answers(e: Explanation) -> list[SimpleNamespace]:
    rows = []
    for c, one in enumerate(e.answer.itertuples(index=False)):
        name, p, threshold, called, yes, _ = one
        interval, held_out = e.shipped.score("AUROC", name), e.shipped.yes.loc[name]
        told = SimpleNamespace(name=name, words=WORDS[name], called=called, yes=yes, bar=bar(p, threshold))
        told.probability, told.threshold = percent(p), percent(threshold)
        told.range = span(e.members[:, c].min(), e.members[:, c].max())
        told.right, told.has_it = f"{held_out['right']} of {held_out['said yes']}", held_out["has it"]
        told.auroc = f"{interval.value:.2f} ({interval.low:.2f} – {interval.high:.2f})"
        rows.append(told)
    return rows


def _first(e: Explanation, name: str) -> SimpleNamespace:
    """All that is said of the first class."""
    told = SimpleNamespace(name=name, finding=finding(e, name), agreement=_agreement(e, name))
    shares = e.shares(name)
    told.shares, told.leads, told.sum = [], [], []
    if not shares.empty:
        texts = {"the map": "share", "chance": "chance"}
        told.shares = [_cells(key, [percent(v) for v in shares[column]]) for key, column in texts.items()]
        if len(e.members) > 1:
            both = zip(shares["low"], shares["high"], strict=True)
            told.shares.append(_cells("members", [span(low, high) for low, high in both]))
        by_lead, whole = e.shares_by_lead(name), e.leads(name)
        told.leads = [_cells("lead", [_whole(v) for v in whole])]
        told.leads += [_cells(part, [_whole(v) for v in by_lead.loc[part]]) for part in PARTS]
        told.lead_note = (
            "The method of the maps tells leads apart."
            if e.tells_leads_apart
            else f"The network's own map does not tell leads apart. {BY_LEAD.capitalize()} does: an approximation, "
            "which need not agree with it."
        )
    if e.windows[0].terms is not None:
        _sum(e, name, told)
    return told


def _sum(e: Explanation, name: str, told: SimpleNamespace) -> None:
    """Put the sum of terms of every member into what is told of a class."""
    terms, c = e.terms(name), CLASSES.index(name)
    members = list(range(1, len(e.members) + 1))
    told.terms = len(terms) - 1
    told.sum_heads = ["network"] if len(members) == 1 else [f"member {m}" for m in members]
    by_part = terms.groupby("part", sort=False)[members].sum()
    order = [part for part in (*PARTS, "", "bias") if part in by_part.index]
    told.sum = [_cells({"": "all terms"}.get(p, p), [signed(v) for v in by_part.loc[p]], "term") for p in order]
    logits = e.window(name).logits[:, c]
    told.sum.append(_cells("logit", [signed(v) for v in logits], "total"))
    if len(e.windows) == 1:
        told.sum.append(_cells("probability, calibrated", [percent(p) for p in e.members[:, c]], "quiet"))
    if e.seen.any() and not e.seen.all():
        told.sum.append(_cells("has seen the record", ["yes" if s else "no" for s in e.seen], "quiet"))
    mean = terms[[m for m, use in zip(members, e.used, strict=True) if use]].iloc[:-1].mean(axis=1)
    largest = np.sort(mean.abs().nlargest(_LARGEST).index)
    told.largest = [(f"{terms['seconds'][i]:.2f}", terms["part"][i], signed(mean[i])) for i in largest]


def _agreement(e: Explanation, name: str) -> str:
    pairs = e.agreement(name)
    if not len(pairs):
        return "There is one network. How much another training would change this map, it cannot tell."
    if np.isnan(pairs).all():
        return "All members but one at most have a flat map here, so that their order of moments cannot be compared."
    return (
        f"The maps of every two members correlate by {np.nanmin(pairs):.2f} to {np.nanmax(pairs):.2f} (Spearman, mean "
        f"{np.nanmean(pairs):.2f}); 1 is the same order of all moments, 0 no likeness."
    )


def _bridged(e: Explanation) -> list[SimpleNamespace]:
    return [_cells(str(wave), [signed(100 * v, 0) for v in change]) for wave, change in e.bridged.iterrows()]


def _without(e: Explanation, one: "Counterfactual") -> SimpleNamespace:
    numbers = one.numbers()
    changes = [signed(100 * v, 0) for v in one.without.probabilities - e.probabilities]
    return _cells(one.name, [*changes, f"{numbers['ECG']:.2f}", percent(numbers["time"]), percent(numbers["mass"])])


def _members(e: Explanation) -> list[SimpleNamespace]:
    return [_cells(name, [percent(p) for p in e.members[:, c]]) for c, name in enumerate(CLASSES)]


def _cells(name: str, cells: Sequence[str], kind: str = "") -> SimpleNamespace:
    return SimpleNamespace(name=name, cells=cells, kind=kind)


def _whole(share: float) -> str:
    return f"{100 * share:.0f}" if np.isfinite(share) else "–"


def _drawn(e: Explanation, start: float, stop: float) -> np.ndarray:
    """A stretch of the record as it is drawn: before any filter of a system."""
    fs = e.record.fs
    cut = e.record.signal[:, round(start * fs) : round(min(stop, start + SECONDS) * fs)]
    return resample(fill_gaps(cut), fs, DRAWN)


def _chart(e: Explanation, name: str, number: int, file: str) -> Markup:
    """Chart of the stretch in which a class is found most, with its map."""
    window = e.window(name)
    drawn = chart(
        _drawn(e, window.start, window.stop),
        DRAWN,
        title=f"12-lead ECG {printable(file)} with the map of {name}",
        description=f"{finding(e, name)} {_rhythm(e, name)}",
        number=number,
        start=window.start,
        maps=e.lead_map(name) if e.tells_leads_apart else e.map(name),
        map_fs=window.fs,
        parts=window.parts,
    )
    leads = (
        "The shading differs from lead to lead, since this method tells leads apart."
        if e.tells_leads_apart
        else "The shading is the same in all leads, since this map does not tell them apart."
    )
    more = f" Of {len(e.windows)} stretches that were read, this is the one in which it is found most." * (
        len(e.windows) > 1
    )
    cut = f" The chart shows {SECONDS:g} of its {short(window.stop - window.start)} s." * (
        window.stop - window.start > SECONDS + 0.01
    )
    beginning = f" Of this record the first {LONGEST:g} s were read." * (e.record.seconds > LONGEST)
    own = "the network's own" if e.method in e.system.own_maps else e.method
    text = f"Map of {name}, {WORDS[name]} ({own}). {finding(e, name)} {leads}{more}{cut}{beginning}"
    return _figure(drawn, text, f"Chart with the map of {name}")


def _rhythm(e: Explanation, name: str) -> str:
    parts = e.window(name).parts
    if parts is None or len(parts.beats) < 2:
        return ""
    rate = 60 * e.system.fs / np.median(np.diff(parts.beats))
    return f"{len(parts.beats)} beats, {rate:.0f} a minute."


def _bare(e: Explanation, file: str) -> Markup:
    """Chart of a record that was not answered."""
    about = "The record without a map, since no network was asked."
    title = f"12-lead ECG {printable(file)}"
    return _figure(chart(_drawn(e, 0, SECONDS), DRAWN, title=title, description=about), about, "Chart")


def _figure(drawn: Markup, text: str, label: str) -> Markup:
    box = Markup('<div class="wide" tabindex="0" role="region" aria-label="{}, scrolls sideways">{}</div>')
    return Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(box.format(label, drawn), text)


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
)


@cache
def style() -> Markup:
    """The look of all pages."""
    return Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8"))


def template(name: str) -> jinja2.Template:
    """A template beside this file; whatever text stands in it is shown as it is, and none of it is markup."""
    return _TEMPLATES.get_template(name)
