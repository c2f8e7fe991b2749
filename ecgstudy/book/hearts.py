"""Simulated ECGs to look at, one for each class: which criteria chose it, the ECG on chart paper, strips of it.

A record of ``SEED`` shows its class alone and clearly. ``CHOSEN`` has the first index that meets all ``CRITERIA`` of
its class; no map and no network had a say.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ecgstudy.book import plots
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS
from ecgstudy.data.simulator import synthetic
from ecgstudy.data.simulator.heart import CONDUCTED, PAC, PVC
from ecgstudy.explain.cases import Cases, wave_key
from ecgstudy.reading.chart import chart

SEED, FS, NOISE = 26, 250.0, 0.3
WAVES = ("P", "QRS", "T")
BLOCK = 2.5  # s that each lead of the chart is shown
CHOSEN = {
    "NSR": 110,
    "AF": 17604,
    "I-AVB": 1114,
    "LBBB": 319,
    "RBBB": 319,
    "PAC": 4659,
    "PVC": 11786,
    "STD": 3931,
    "STE": 28,
}
# Leads that show the class best, and the second from which a strip of them is drawn.
STRIPS: Mapping[str, tuple[tuple[str, str], float]] = {
    "NSR": (("II", "V2"), 0.0),
    "AF": (("II", "V1"), 0.0),
    "I-AVB": (("II", "V1"), 0.0),
    "LBBB": (("V6", "V1"), 0.0),
    "RBBB": (("V6", "V1"), 0.0),
    "PAC": (("II", "V1"), 6.0),
    "PVC": (("II", "V2"), 4.3),
    "STD": (("V5", "V6"), 0.0),
    "STE": (("V2", "V3"), 0.0),
}
STRIP = 4.0  # s
SAYS = {
    "NSR": "each beat has a P wave, a narrow QRS complex and a T wave, and the ST segment lies on the baseline.",
    "AF": "no P waves, the baseline trembles between the beats, and no two intervals are alike.",
    "I-AVB": "the P wave comes too early: between it and the QRS complex lies more than a large square.",
    "LBBB": "broad QRS complexes, notched and upright in I and V6, deep and negative in V1.",
    "RBBB": "broad QRS complexes with a late second peak in V1 and a wide S wave in I and V6.",
    "PAC": "one beat comes early; it has a P wave of another shape and a QRS complex like the others.",
    "PVC": "broad, early beats without a P wave, each followed by a pause.",
    "STD": "the ST segment, from the end of QRS to the beginning of T, lies below the baseline.",
    "STE": "the ST segment, from the end of QRS to the beginning of T, lies above the baseline.",
}


@dataclass(frozen=True, eq=False)
class Shown:
    """A simulated record with one class, and what can be measured of it.

    Attributes
    ----------
    name
        The class.
    one
        The record with its answer.
    """

    name: str
    one: synthetic.SimulatedRecord

    @cached_property
    def signal(self) -> NDArray[np.float32]:
        """(12, samples) in mV, each lead's median at zero."""
        x = self.one.record.signal
        return x - np.median(x, axis=1, keepdims=True)

    @cached_property
    def key(self) -> NDArray[np.bool_]:
        """Where the evidence of the class is, (12, samples)."""
        return synthetic.answer_key(self.one.evidence, self.signal.shape[1])[CLASSES.index(self.name)]

    @property
    def fs(self) -> float:
        """Rate in Hz."""
        return self.one.record.fs

    def heart(self, what: str) -> float:
        """A number of the heart as it was drawn."""
        return self.one.parameters["heart"][what]

    def beats(self, kind: int) -> NDArray[np.float64]:
        """Onsets of QRS in s of the beats of a kind that are seen."""
        beats = self.one.parameters["beats"]
        onset = np.array(beats["onset"])[np.array(beats["kind"]) == kind]
        return onset[(onset > 0) & (onset < self.one.record.seconds)]

    def span(self, lead: str) -> float:
        """Height of a lead from its lowest to its highest sample, in mV."""
        return float(np.ptp(self.signal[LEADS.index(lead)]))

    def wave(self, lead: str, wave: str) -> float:
        """Median over the beats of a wave's peak above its onset, in mV; 0 where the lead does not show it."""
        rows = self.one.waves
        rows = rows[(rows["lead"] == lead) & (rows["wave"] == wave)]
        y = self.signal[LEADS.index(lead)]
        return float(np.median(y[rows["peak"]] - y[rows["onset"]])) if len(rows) else 0.0

    def st(self, lead: str) -> float:
        """Median over the beats of the level 60 ms after the end of QRS above that at its beginning, in mV."""
        rows = self.one.waves
        rows = rows[(rows["lead"] == lead) & (rows["wave"] == "QRS")]
        y = self.signal[LEADS.index(lead)]
        at = rows["offset"] + round(0.06 * self.fs)
        inside = (at < len(y)).to_numpy()
        return float(np.median(y[at[inside]] - y[rows["onset"][inside]])) if inside.any() else 0.0

    def level(self, lead: str, first: float, last: float) -> float:
        """Median over the conducted beats of the mean from ``first`` to ``last`` of QRS, above its beginning, in mV."""
        duration, y = self.heart("qrs_duration"), self.signal[LEADS.index(lead)]
        found = []
        for onset in self.beats(CONDUCTED):
            begin, end = (round((onset + share * duration) * self.fs) for share in (first, last))
            if end < len(y):
                found.append(y[begin:end].mean() - y[round(onset * self.fs)])
        return float(np.median(found)) if found else 0.0

    def tremble(self) -> float:
        """Height in mV of V1 between the end of T and the next QRS, median over the intervals: that of f waves."""
        y = self.signal[LEADS.index("V1")]
        edges = np.flatnonzero(np.diff(self.key[LEADS.index("V1")], prepend=False, append=False)).reshape(-1, 2)
        return float(np.median([np.ptp(y[begin:end]) for begin, end in edges if end - begin > 0.15 * self.fs] or [0]))

    def whole(self, kind: int, qrs: float, before: float = 0.0) -> list[int]:
        """Columns of the chart, 0 to 3, that hold a whole premature beat with a tenth of a second on either side."""
        blocks = []
        for onset in self.beats(kind):
            first, last = onset - before - 0.1, onset + qrs + 0.3 + 0.1
            if first // BLOCK == last // BLOCK:
                blocks.append(int(first // BLOCK))
        return blocks


Criteria = dict[str, Callable[[Shown], bool]]

ALL: Criteria = {
    "no electrode is off or exchanged": lambda s: not s.one.record.notes,
    "lead II is 0.7 to 1.8 mV high": lambda s: 0.7 <= s.span("II") <= 1.8,
    "no lead is flatter than 0.3 mV": lambda s: min(map(s.span, LEADS)) >= 0.3,
    "no wave is more than 1.4 mV above or 1.7 mV below the baseline, in the row of another lead": lambda s: (
        s.signal.max() <= 1.4 and s.signal.min() >= -1.7
    ),
}
SINUS: Criteria = {
    "58 to 82 beats a minute": lambda s: 58 <= s.heart("rate") <= 82,
    "a steady sinus rhythm": lambda s: s.heart("irregularity") < 0.02 and s.heart("rsa") < 0.05,
    "P at least 0.1 mV high in II": lambda s: s.wave("II", "P") >= 0.1,
    "no beat is aberrant": lambda s: s.heart("aberrant_beats") == 0,
}
NARROW: Criteria = {
    "a normal QRS of 80 to 104 ms": lambda s: (
        s.one.parameters["heart"]["qrs_form"] == "normal" and 0.08 <= s.heart("qrs_duration") <= 0.104
    ),
    "T at least 0.15 mV high in II": lambda s: s.wave("II", "T") >= 0.15,
}
CRITERIA: Mapping[str, Criteria] = {
    "NSR": {
        **(ALL | SINUS | NARROW),
        "PR 140 to 180 ms": lambda s: 0.14 <= s.heart("pr") <= 0.18,
        "T upright in I, II and V3 to V6": lambda s: min(s.wave(x, "T") for x in ("I", "II", *LEADS[8:])) > 0.05,
        "R grows from V1 to V4": lambda s: s.level("V1", 0, 1) < s.level("V2", 0, 1) + 0.2 < s.level("V4", 0, 1) + 0.2,
    },
    "AF": {
        **(ALL | NARROW),
        "65 to 110 beats a minute": lambda s: 65 <= s.heart("rate") <= 110,
        "intervals that vary by at least 12 %": lambda s: s.heart("af_irregularity") >= 0.12,
        "fibrillatory waves of at least 0.05 mV in V1": lambda s: s.heart("f_size") >= 0.04 and s.tremble() >= 0.05,
        "no beat is aberrant": lambda s: s.heart("aberrant_beats") == 0,
    },
    "I-AVB": {**(ALL | SINUS | NARROW), "PR 230 to 320 ms": lambda s: 0.23 <= s.heart("pr") <= 0.32},
    "LBBB": {
        **(ALL | SINUS),
        "QRS at least 132 ms": lambda s: s.heart("qrs_duration") >= 0.132,
        "V6 and I upright, V1 negative": lambda s: (
            s.level("V6", 0.2, 0.8) > 0.25 and s.level("I", 0.2, 0.8) > 0.15 and s.level("V1", 0.2, 0.8) < -0.25
        ),
    },
    "RBBB": {
        **(ALL | SINUS),
        "QRS at least 132 ms": lambda s: s.heart("qrs_duration") >= 0.132,
        "a late peak in V1, a wide S in V6": lambda s: (
            s.level("V1", 0.6, 0.9) > 0.2 and s.level("V6", 0.65, 0.95) < -0.06
        ),
    },
    "PAC": {
        **(ALL | SINUS | NARROW),
        "comes after at most four fifths of an interval": lambda s: s.heart("pac_coupling") <= 0.8,
        "its QRS is like the others": lambda s: not s.heart("pac_aberrant"),
        "its P is at least two thirds as large as the others": lambda s: s.heart("pac_size") >= 0.66,
        "one or two of them": lambda s: 1 <= len(s.beats(PAC)) <= 2,
        "each lies whole in one column of the chart": lambda s: (
            len(s.whole(PAC, s.heart("qrs_duration"), s.heart("pac_pr"))) == len(s.beats(PAC))
        ),
        "in the second or third column": lambda s: bool(
            {1, 2} & set(s.whole(PAC, s.heart("qrs_duration"), s.heart("pac_pr")))
        ),
    },
    "PVC": {
        **(ALL | SINUS | NARROW),
        "QRS at least 130 ms and a third wider than the others": lambda s: (
            s.heart("pvc_duration") >= max(0.13, 4 / 3 * s.heart("qrs_duration"))
        ),
        "from the wall of a ventricle": lambda s: s.one.parameters["heart"]["pvc_origin"] != "fascicles",
        "comes after at most four fifths of an interval": lambda s: s.heart("pvc_coupling") <= 0.8,
        "one to three of them, no two in a row": lambda s: (
            1 <= len(s.beats(PVC)) <= 3 and bool((np.diff(s.beats(PVC)) > 1.2).all())
        ),
        "each lies whole in one column of the chart": lambda s: (
            len(s.whole(PVC, s.heart("pvc_duration"))) == len(s.beats(PVC))
        ),
        "one in the column of V1 to V3": lambda s: 2 in s.whole(PVC, s.heart("pvc_duration")),
        "at least 0.5 mV high in II": lambda s: _of_beats(s, PVC, "II") >= 0.5,
    },
    "STD": {
        **(ALL | SINUS | NARROW),
        "ST at least 0.07 mV below the baseline in V5 and II": lambda s: s.st("V5") <= -0.07 and s.st("II") <= -0.07,
    },
    "STE": {
        **(ALL | SINUS | NARROW),
        "ST at least 0.15 mV above the baseline in two leads": lambda s: sum(s.st(x) >= 0.15 for x in LEADS) >= 2,
    },
}


def _of_beats(s: Shown, kind: int, lead: str) -> float:
    """Smallest height in mV of a lead within 0.2 s from the onset of QRS of the beats of a kind."""
    y = s.signal[LEADS.index(lead)]
    first = (s.beats(kind) * s.fs).astype(int)
    return float(min((np.ptp(y[i : i + round(0.2 * s.fs)]) for i in first), default=0.0))


def simulated(name: str, index: int, fs: float = FS) -> Shown:
    """Simulate a record that has one class alone, with little noise."""
    return Shown(name, synthetic.simulate(index, SEED, fs=fs, labels=frozenset({name}), noise=NOISE))


@lru_cache(maxsize=32)
def shown(name: str, fs: float = FS) -> Shown:
    """The record that was chosen to show a class."""
    return simulated(name, CHOSEN[name], fs)


def unmet(s: Shown) -> list[str]:
    """What a record lacks to show its class well."""
    return [text for text, holds in CRITERIA[s.name].items() if not holds(s)]


def search(name: str, most: int = 20_000) -> int:
    """The first index whose record meets all criteria of a class.

    Raises
    ------
    LookupError
        when none of the first ``most`` does.
    """
    for index in range(most):
        if not unmet(simulated(name, index)):
            return index
    raise LookupError(f"none of the first {most:,} records of seed {SEED} meets what is asked of {name}")


def case(name: str, fs: float) -> Cases:
    """The chosen record of a class as a case, to be explained at any rate."""
    s = shown(name, fs)
    x, key = s.one.record.signal[None], s.key[None]
    st, complexes = (
        np.any(wave_key(s.one.waves, c, LEADS, x.shape[-1]), axis=0, keepdims=True) for c in ("STD", "LBBB")
    )
    labels = np.isin(CLASSES, [name])[None]
    about = (np.array([s.one.record.patient_id]), np.array([s.one.record.name]))
    return Cases(x, np.array([CLASSES.index(name)]), key, np.any(key, axis=1), st, labels, *about, fs, qrs=complexes)


def drawing(name: str) -> str:
    """The ECG of a class on chart paper, its evidence marked, as SVG."""
    s = shown(name)
    title = f"A simulated ECG with {name}"
    return str(chart(s.signal, s.fs, title=title, description=f"{name}: {SAYS[name]}", evidence=s.key))


def normal() -> str:
    """A normal ECG on chart paper with the names of its waves over the rhythm strip, as SVG."""
    s, rows = shown("NSR"), shown("NSR").one.waves
    rows = rows[(rows["lead"] == "II") & (rows["onset"] > 0.5 * s.fs)]
    rows = rows[rows["onset"] >= rows.loc[rows["wave"] == "P", "onset"].min()]
    heights = {"P": 0.3, "QRS": 1.05, "T": 0.45}
    names = [(r.peak / s.fs, heights[str(r.wave)], str(r.wave)) for r in rows.sort_values("peak").head(6).itertuples()]
    text = "A normal ECG: twelve leads, and lead II once more below, where P, QRS and T of two beats are named."
    return str(chart(s.signal, s.fs, title="A normal simulated ECG", description=text, names=names))


def strip(name: str) -> str:
    """Two leads of the ECG of a class for a few seconds, its evidence marked, as SVG."""
    s, (leads, start) = shown(name), STRIPS[name]
    return plots.svg(plots.strip_ecg(s.signal, s.fs, leads, start=start, seconds=STRIP, evidence=s.key))


def named_beat() -> Figure:
    """One beat of lead II with the names of its waves, segments and intervals."""
    s = shown("NSR")
    rows = s.one.waves[s.one.waves["lead"] == "II"].sort_values("peak")
    onset = s.beats(CONDUCTED)[1]
    around = rows[(rows["onset"] > (onset - 0.3) * s.fs) & (rows["offset"] < (onset + 0.55) * s.fs)].set_index("wave")
    start, seconds = onset - 0.32, 1.0
    at = {(w, edge): around.loc[w, edge] / s.fs - start for w in WAVES for edge in ("onset", "peak", "offset")}
    y = s.signal[LEADS.index("II")]
    drawn = slice(round(start * s.fs), round((start + seconds) * s.fs))
    level = float(y[int(around.loc["P", "onset"])])
    figure, ax = plots.paper(seconds, -0.95, float(y[drawn].max() - level) + 0.3, scale=3.2)
    ax.plot(np.arange(drawn.stop - drawn.start) / s.fs, y[drawn] - level, color=plots.INK, linewidth=1.8)
    for wave in WAVES:
        top = float(y[int(around.loc[wave, "peak"])]) - level
        ax.text(at[wave, "peak"], top + 0.06, wave, ha="center", va="bottom", fontsize=13, weight="bold")
    _bracket(ax, at["P", "onset"], at["QRS", "onset"], -0.32, "PR interval")
    _bracket(ax, at["QRS", "onset"], at["QRS", "offset"], -0.48, "QRS duration")
    _bracket(ax, at["QRS", "offset"], at["T", "onset"], -0.64, "ST segment")
    _bracket(ax, at["QRS", "onset"], at["T", "offset"], -0.8, "QT interval")
    j = at["QRS", "offset"], float(y[int(around.loc["QRS", "offset"])]) - level
    ax.annotate(
        "J point", j, (j[0] + 0.03, j[1] + 0.65), fontsize=11, arrowprops={"arrowstyle": "->", "color": plots.INK}
    )
    return figure


def _bracket(ax: Axes, first: float, last: float, y: float, text: str) -> None:
    """A line from one time to another with ends, and its name at its right."""
    ax.plot([first, first, last, last], [y + 0.05, y, y, y + 0.05], color=plots.EVIDENCE, linewidth=1.6)
    ax.text(last + 0.01, y, text, va="center", fontsize=11, color=plots.EVIDENCE)


def drawings() -> dict[str, Callable[[], str]]:
    """Name of each drawing → what draws it, as SVG."""
    found: dict[str, Callable[[], str]] = {"heart_normal": normal, "heart_beat": lambda: plots.svg(named_beat())}
    for name in CLASSES:
        found[f"heart_{file(name)}"] = partial(drawing, name)
        found[f"strip_{file(name)}"] = partial(strip, name)
    return found


def file(name: str) -> str:
    """A class as a file has it."""
    return name.lower().replace("-", "_")


def figure(name: str) -> str:
    """The ECG of a class as a figure of a page of the book."""
    return (
        f"```{{figure}} computed/heart_{file(name)}.svg\n:name: fig-heart-{file(name).replace('_', '-')}\n"
        f":alt: A simulated 12-lead ECG with {name}: {SAYS[name]}\n:class: ecg-chart\n\n"
        f"{name}: {SAYS[name]} Green marks the evidence of the answer key.\n```\n"
    )


def rules() -> str:
    """How the ECGs were chosen, as a list in the book's Markdown."""
    lines = [f"- **All of them**: {'; '.join(ALL)}."]
    lines.append(f"- **All with a sinus rhythm**, besides: {'; '.join(SINUS)}.")
    lines.append(f"- **All but the bundle branch blocks**, besides: {'; '.join(NARROW)}.")
    shared = ALL.keys() | SINUS.keys() | NARROW.keys()
    for name, criteria in CRITERIA.items():
        own = [text for text in criteria if text not in shared]
        lines.append(f"- **{name}** (record {CHOSEN[name]:,}): {'; '.join(own)}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for name in CLASSES:
        print(name, search(name))
