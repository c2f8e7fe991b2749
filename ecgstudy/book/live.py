"""What the page with the network in it needs: networks as scripts, the simulator's typical heart, and words on both.

The page opens from a file, so nothing can be fetched: each script hands its numbers to the page's own ones, which stand
in ``book/static``. Here the same ECG is drawn by the simulator and read by torch: for the page's picture and the
numbers of its text, and for the tests of those scripts.
"""

import base64
import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import signal as filters
from torch import nn

from ecgstudy.book.own_ecg import REAL as EXAMPLE
from ecgstudy.data import qrs
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS, Record
from ecgstudy.data.simulator import dipole, disturbance
from ecgstudy.data.simulator import heart as hearts
from ecgstudy.data.simulator.heart import CONDUCTED, PAC, PVC, Body, Heart
from ecgstudy.layers import BatchNorm1d, Conv1d
from ecgstudy.reading import explanation
from ecgstudy.reading.chart import chart
from ecgstudy.reading.page import WORDS, percent
from ecgstudy.reading.shipped import OWN, Shipped, shipped
from ecgstudy.reading.waves import PARTS
from ecgstudy.systems import parameter_count
from ecgstudy.systems.local_evidence import LocalEvidence

NETWORKS = {"simulated": f"{OWN}, simulated", "real": OWN}  # name of a script → of what ships
FORMS = ("normal", "RBBB", "LBBB")
SECONDS = 10.0
EARLY_AT = 2.6  # s; the beat nearest to it is the one that can come early
NOISE_STEP = 1e-4  # mV


class Typical:
    """Draws the middle of every distribution, in place of a random generator: so the simulator makes a typical heart.

    Its beats come with ``jitter`` (beats,), standard normal, and of those that may come early ``first`` is chosen.
    Chances are ``share``: 0 makes an ST segment that has no benign deviation, and that moves in its first territory.
    """

    def __init__(self, jitter: ArrayLike = (), first: int = 0, share: float = 0.5) -> None:
        self._jitter, self._first, self._share = np.asarray(jitter, dtype=float), first, share

    def normal(self, mean: ArrayLike = 0.0, deviation: ArrayLike = 1.0, size: Any = None) -> Any:
        """The mean, or the jitter where as many are asked for as there are beats."""
        if size == len(self._jitter) > 0:
            return self._jitter.copy()
        return self._middle(mean, size)

    def lognormal(self, mean: ArrayLike, sigma: ArrayLike, size: Any = None) -> Any:
        """The median."""
        return self._middle(np.exp(mean), size)

    def uniform(self, low: float, high: float, size: Any = None) -> Any:
        """The middle."""
        return self._middle((low + high) / 2, size)

    def random(self, size: Any = None) -> Any:
        """The share; of many, as many numbers in order, ``first`` the lowest."""
        if size is None:
            return self._share
        order = (1.0 + np.arange(size)) / (size + 1)
        order[self._first] = 0
        return order

    def beta(self, a: float, b: float) -> float:
        """The mean."""
        return a / (a + b)

    def exponential(self) -> float:
        """The median."""
        return float(np.log(2))

    def geometric(self, p: float) -> int:
        """The most probable."""
        return 1

    def integers(self, high: int) -> int:
        """The first."""
        return 0

    def choice(self, values: Any, p: ArrayLike | None = None) -> Any:
        """The most probable, or the first."""
        among = np.arange(values) if isinstance(values, int) else values
        return among[0 if p is None else int(np.argmax(p))]

    def _middle(self, value: ArrayLike, size: Any) -> Any:
        return float(np.asarray(value)) if size is None else np.full(size, value, dtype=float)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a reader can move; the defaults are the typical heart's.

    Parameters
    ----------
    form
        Of the QRS: one of ``FORMS``.
    rate
        Beats a minute.
    p
        Size of P, as a factor of the typical.
    pr, qrs
        From the onset of P to that of QRS, and the duration of QRS, in s.
    st
        How much the ST segment is moved in the lead that shows it most, in mV.
    irregular
        Standard deviation of RR that has no rhythm, as a fraction of RR.
    early
        By which fraction of its interval one beat comes too early; 0: it comes on time.
    origin
        Where that beat comes from: ``atria`` or ``ventricles``.
    noise
        Factor of the typical noise.
    """

    form: str = "normal"
    rate: float = 70.0
    p: float = 1.0
    pr: float = 0.154
    qrs: float = 0.094
    st: float = 0.0
    irregular: float = 0.006
    early: float = 0.0
    origin: str = "atria"
    noise: float = 1.0


# Setting → name, unit, factor from setting to unit, and lowest, highest and step of the slider in that unit.
SLIDERS: dict[str, tuple[str, str, float, float, float, float]] = {
    "p": ("Size of P", "%", 100, 0, 200, 10),
    "pr": ("PR interval", "ms", 1000, 120, 320, 2),
    "qrs": ("QRS width", "ms", 1000, 70, 170, 2),
    "st": ("ST level", "mV", 1, -0.3, 0.4, 0.02),
    "rate": ("Heart rate", "a minute", 1, 45, 130, 1),
    "irregular": ("Irregular beats", "%", 100, 0, 20, 0.2),
    "early": ("One beat early", "%", 100, 0, 45, 1),
    "noise": ("Noise", "× the usual", 1, 0, 10, 0.5),
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """Settings, the class that they are about, and whether the network calls it then."""

    settings: Settings
    about: str
    called: bool


@dataclass(frozen=True, kw_only=True)
class Try:
    """Something to try in two steps: what to do, what is seen then, and why."""

    first: str
    step: Step
    why: str
    then: str
    other: Step
    lesson: str


@cache
def body() -> Body:
    """The typical patient."""
    rng: Any = Typical()
    return hearts.draw_body(rng)


@cache
def _leads() -> NDArray[np.float64]:
    return hearts.lead_vectors(body())


@cache
def typical(labels: frozenset[str] = frozenset()) -> Heart:
    """The typical heart of some classes."""
    rng: Any = Typical()
    return hearts.draw_heart(rng, body(), labels)


def _block(form: str) -> frozenset[str]:
    return frozenset() if form == "normal" else frozenset({form})


@cache
def jitter() -> NDArray[np.float64]:
    """How the intervals of the page depart from regular ones: (beats,), standard normal."""
    drawn = np.random.default_rng(12).normal(size=int(SECONDS / 0.3) + 6)
    return (drawn - drawn.mean()) / drawn.std()


@cache
def noise(fs: float) -> NDArray[np.int16]:
    """Noise of a typical recording in I, II, V1 … V6, (8, samples) in ``NOISE_STEP``."""
    rng: Any = Typical()
    drawn = disturbance.draw_disturbance(rng, SECONDS)
    mv = disturbance.electrode_noise(np.random.default_rng(3), drawn, round(SECONDS * fs), fs)
    return np.rint(mv / NOISE_STEP).clip(-32768, 32767).astype(np.int16)


@cache
def _segments(form: str) -> dict[str, NDArray[np.float64]]:
    """Dipole (3,) in mV of a usual ST segment, of a typical elevation and of a typical depression."""
    heart, block, twelve = typical(_block(form)), _block(form), dipole.eight_to_twelve(_leads())
    found = {}
    for name, label in (("usual", ()), ("elevation", ("STE",)), ("depression", ("STD",))):
        rng: Any = Typical(share=0)
        labels = block.union(label)
        _, segment = hearts.make_st(
            rng, heart, body(), hearts.make_waves(heart, body(), twelve, labels), twelve, labels
        )
        found[name] = np.array(segment.dipole)
    return found


def st_level(form: str, direction: str) -> float:
    """Setting ``st`` of the simulator's typical ``elevation`` or ``depression``, in mV."""
    change = _segments(form)[direction] - _segments(form)["usual"]
    level = float(np.abs(dipole.eight_to_twelve(_leads()) @ change).max())
    return level if direction == "elevation" else -level


def _away(form: str, direction: str) -> NDArray[np.float64]:
    """Dipole (3,) that moves ST by 1 mV in the lead that shows it most."""
    return (_segments(form)[direction] - _segments(form)["usual"]) / abs(st_level(form, direction))


def draw(settings: Settings, fs: float) -> NDArray[np.float32]:
    """Let the simulator draw the ECG of some settings: (12, samples) in mV."""
    block = _block(settings.form)
    ectopic = frozenset({"PAC" if settings.origin == "atria" else "PVC"}) if settings.early else frozenset()
    heart = typical(block)
    heart = replace(
        heart,
        rate=settings.rate, p_factor=settings.p, pr=settings.pr, qrs_duration=settings.qrs,
        p_duration=min(heart.p_duration, settings.pr - 0.02), irregularity=settings.irregular,
        pac_coupling=1 - settings.early, pvc_coupling=1 - settings.early,
    )  # fmt: skip
    rng: Any = Typical(jitter())
    on_time = hearts.draw_beats(rng, heart, block, SECONDS)
    rng = Typical(jitter(), int(np.abs(on_time.onset - EARLY_AT).argmin()))
    beats = hearts.draw_beats(rng, heart, block | ectopic, SECONDS)
    eight = _leads()
    waves = hearts.make_waves(heart, body(), dipole.eight_to_twelve(eight), block | ectopic)
    t = waves[CONDUCTED, "T"]
    jt = heart.qtc * np.cbrt(60 / heart.rate) - heart.qrs_duration
    length = jt - heart.t_share * jt * (1 - t.centre[-1])  # from the J point to the peak of T
    away = _away(settings.form, "depression" if settings.st < 0 else "elevation")
    moved = _segments(settings.form)["usual"] + abs(settings.st) * away
    st = dipole.plateau(moved, _slope(), hearts.ST_MEASURED / length)
    waves |= {(kind, "ST"): st for kind in (CONDUCTED, PAC) if (kind, "QRS") in waves}
    placed = [(wave, onset, duration) for _, _, wave, onset, duration in hearts.place(waves, heart, beats)]
    leads = eight @ dipole.draw(placed, round(SECONDS * fs), fs)
    leads += settings.noise * NOISE_STEP * noise(fs)
    return dipole.eight_to_twelve(leads).astype(np.float32)


@cache
def _slope() -> float:
    rng: Any = Typical()
    heart, twelve = typical(), dipole.eight_to_twelve(_leads())
    waves = hearts.make_waves(heart, body(), twelve, frozenset())
    return hearts.make_st(rng, heart, body(), waves, twelve, frozenset())[1].slope


def record(settings: Settings, fs: float) -> Record:
    """The same as a record, of which ``explain`` takes an answer."""
    return Record(name="live", signal=draw(settings, fs), fs=fs, leads=LEADS, source="synthetic", patient_id="live")


def default(form: str = "normal") -> Settings:
    """The typical heart of one form of QRS, its duration as a slider has it."""
    return Settings(form=form, qrs=round(500 * typical(_block(form)).qrs_duration) / 500)


# --- scripts ---------------------------------------------------------------------------------------------------------


def write(folder: Path) -> None:
    """Write what the page loads into a new folder: constants, a script a network, a real ECG, and ``still.svg``."""
    folder.mkdir(parents=True)
    fs = shipped(NETWORKS["simulated"]).system.fs
    text = f"EcgInput.configure({_json(input_constants())});\nModelHeart.configure({_json(heart_constants(fs))});\n"
    (folder / "constants.js").write_text(text, encoding="utf-8")
    for name in NETWORKS:
        text = f"LocalEvidence.register({_json(name)}, {_json(network(name))});\n"
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
    files = [[one.name, base64.b64encode(one.read_bytes()).decode()] for one in (EXAMPLE, EXAMPLE.with_suffix(".dat"))]
    (folder / "example.js").write_text(f"window.ECG_EXAMPLE = {_json(files)};\n", encoding="utf-8")
    (folder / "still.svg").write_text(still(), encoding="utf-8")


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def input_constants() -> dict[str, Any]:
    """What ``ecg-input.js`` has to know: rate, length, classes, leads, parts and filters of the input."""
    recipe = shipped(NETWORKS["simulated"]).system
    bands = {"beats": qrs.ROBUST.band, "edges": (1, 20)}
    return {
        "fs": recipe.fs, "samples": recipe.samples, "classes": CLASSES, "leads": LEADS, "parts": PARTS,
        "shortest": explanation.SHORTEST, "longest": explanation.LONGEST, "words": WORDS,
        "networks": {name: _title(name) for name in NETWORKS},
        "filters": {name: _filter(band, recipe.fs) for name, band in bands.items()},
    }  # fmt: skip


def _filter(band: tuple[float, float], fs: float) -> dict[str, Any]:
    """Sections of a band-pass, their state after a step of 1, and how far ``sosfiltfilt`` mirrors the ends."""
    sections = qrs.bandpass(*band, fs)
    taps = 2 * len(sections) + 1 - min((sections[:, 2] == 0).sum(), (sections[:, 5] == 0).sum())
    return {"sections": sections.tolist(), "start": filters.sosfilt_zi(sections).tolist(), "edge": int(3 * taps)}


def heart_constants(fs: float) -> dict[str, Any]:
    """What ``heart.js`` has to know: lead vectors, typical hearts of each form and their waves, noise, sliders."""
    eight = _leads()
    return {
        "fs": fs, "seconds": SECONDS, "early_at": EARLY_AT, "jitter": jitter().tolist(), "reach": dipole.REACH,
        "st_measured": hearts.ST_MEASURED, "visible": 0.015, "eight": eight.tolist(),
        "twelve": dipole.eight_to_twelve(eight).tolist(), "hearts": {form: _heart(form) for form in FORMS},
        "noise": base64.b64encode(noise(fs).astype("<i2").tobytes()).decode(), "noise_step": NOISE_STEP,
        "typical": {form: asdict(default(form)) for form in FORMS}, "sliders": SLIDERS,
        "tries": [{"about": one.step.about, "settings": asdict(one.step.settings)} for one in TRIES],
    }  # fmt: skip


_KEPT = ("qtc", "t_share", "p_duration", "pvc_duration", "pac_pause", "pac_pr", "rsa", "lf", "lf_phase", "respiration")


def _heart(form: str) -> dict[str, Any]:
    heart, block, twelve = typical(_block(form)), _block(form), dipole.eight_to_twelve(_leads())
    waves = hearts.make_waves(heart, body(), twelve, block | {"PAC", "PVC"})
    named = {
        "P": (CONDUCTED, "P"), "QRS": (CONDUCTED, "QRS"), "T": (CONDUCTED, "T"),
        "PAC P": (PAC, "P"), "PVC QRS": (PVC, "QRS"), "PVC T": (PVC, "T"),
    }  # fmt: skip
    st = {direction: _away(form, direction).tolist() for direction in ("elevation", "depression")}
    return {name: getattr(heart, name) for name in (*_KEPT, "respiration_phase")} | {
        "waves": {name: _wave(waves[key]) for name, key in named.items()},
        "st": st | {"usual": _segments(form)["usual"].tolist(), "slope": _slope()},
    }


def _wave(wave: dipole.Wave) -> dict[str, Any]:
    return {"centre": wave.centre.tolist(), "width": wave.width.tolist(), "dipole": wave.dipole.tolist()}


def network(name: str) -> dict[str, Any]:
    """Weights, calibration and thresholds of what ships, for ``local-evidence.js``."""
    ships = shipped(NETWORKS[name])
    folded_ = [folded(one) for one in ships.networks]
    return {
        "layers": folded_[0][0],
        "weights": [base64.b64encode(numbers.astype("<f4").tobytes()).decode() for _, numbers in folded_],
        "calibration": {
            "slope": ships.calibration.slope.tolist(), "intercept": ships.calibration.intercept.tolist()
        },
        "thresholds": ships.thresholds.mean(axis=0).tolist(),
    }  # fmt: skip


def _title(name: str) -> str:
    members = len(shipped(NETWORKS[name]).runs)
    return "trained on simulated ECGs" if members == 1 else f"then on real ones: mean of {members}"


def folded(network: nn.Module) -> tuple[list[dict[str, Any]], NDArray[np.float64]]:
    """Layers of an own network and all their numbers in a row, batch normalisation folded into the convolutions.

    Of each layer the weights (filters, kernel, channels), then the bias; at the end the factors of the softmax and of
    the map, and the bias of each class.
    """
    assert isinstance(network, LocalEvidence)
    layers, numbers = [], []

    def add(part: str, convolution: nn.Conv1d, scale: Any, shift: Any) -> None:
        weight = convolution.weight.detach().double() * scale[:, None, None]
        filters_, channels, kernel = weight.shape
        stride = convolution.stride[0]
        layers.append({"part": part, "filters": filters_, "channels": channels, "kernel": kernel, "stride": stride})
        numbers.extend([weight.transpose(1, 2).numpy().ravel(), shift.detach().double().numpy()])

    for part, block in (("local", network.local), ("rhythm", network.rhythm), ("join", network.join)):
        for convolution, norm in zip(*(_of_kind(block, kind) for kind in (Conv1d, BatchNorm1d)), strict=True):
            scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
            add(part, convolution, scale, norm.bias.detach().double() - norm.running_mean.double() * scale)
    add("head", network.head, network.head.weight.new_ones(len(network.head.weight)).double(), network.head.bias)
    for values in (network.sharpness.exp(), network.gain.exp(), network.bias):
        numbers.append(values.detach().double().numpy())
    return layers, np.concatenate(numbers)


def _of_kind(block: nn.Module | None, kind: type[nn.Module]) -> list[Any]:
    return [layer for layer in block.children() if isinstance(layer, kind)] if block else []


# --- words and a picture ---------------------------------------------------------------------------------------------


def ask(settings: Settings, name: str = "simulated") -> explanation.Explanation:
    """What torch answers to the ECG of some settings, as ``explain`` gives it, fit or unfit."""
    ships = shipped(NETWORKS[name])
    return explanation.explain(record(settings, ships.system.fs), system=ships, even_if_unfit=True)


def still() -> str:
    """The chart of the model heart with an early ventricular beat and its map, as SVG: for a page without scripts."""
    answer = ask(STILL)
    (window,), name = answer.windows, "PVC"
    return str(
        chart(
            window.signal, window.fs, title="The model heart with one early ventricular beat",
            description="Twelve leads on chart paper, and what speaks for PVC shaded over them.",
            maps=answer.map(name), map_fs=window.fs, parts=window.parts,
        )
    )  # fmt: skip


def networks_text() -> str:
    """What the networks of the page learned from and how well they score, in Markdown."""
    lines = []
    for name, title in NETWORKS.items():
        ships: Shipped = shipped(title)
        count, (value, low, high) = len(ships.networks), ships.score("AUROC")
        numbers = f"{parameter_count(ships.networks[0]):,} numbers"
        what = (
            f"One network of {numbers}"
            if count == 1
            else f"{count} networks of {numbers} each, whose answers are averaged"
        )
        label = "Trained on simulated ECGs" if name == "simulated" else "Then on real ones"
        lines.append(
            f"{label}\n: {what}. Learned from {ships.trained_on}. Macro-AUROC there: {value:.3f} "
            f"({low:.3f} to {high:.3f}).\n"
        )
    return "\n".join(lines)


def tries() -> str:
    """What to try, as HTML in Markdown: each with a button, and the probabilities that torch gives."""
    before, items = ask(Settings()), []
    for number, one in enumerate(TRIES):
        c = CLASSES.index(one.step.about)
        start, (share, called) = percent(before.probabilities[c]), _said(one.step)
        move = f"stays at {share}" if share == start else f"goes from {start} to {share}"
        texts = [f"<strong>{one.first}</strong>", f"{one.step.about} {move} and is {called}.", one.why, one.then]
        share, called = _said(one.other)
        texts += [f"Now {one.other.about} has {share} and is {called}.", one.lesson]
        button = f'<button type="button" class="ecg-button" data-try="{number}" hidden>Show this</button>'
        items.append(f"<li>{' '.join(texts)}\n{button}</li>")
    return '```{raw} html\n<ol class="live-tries">\n' + "\n".join(items) + "\n</ol>\n```\n"


def _said(step: Step) -> tuple[str, str]:
    """Probability of a step's class, and whether it is called."""
    answer, c = ask(step.settings), CLASSES.index(step.about)
    return percent(answer.probabilities[c]), "called" if answer.called[c] else "not called"


STILL = Settings(early=0.3, origin="ventricles")
TRIES = (
    Try(
        first="Lengthen the PR interval to 240 ms.",
        step=Step(settings=Settings(pr=0.24), about="I-AVB", called=True),
        why="What grows in the sum stands before the QRS: in the P window, and from there to the QRS.",
        then="Go on to 320 ms.",
        other=Step(settings=Settings(pr=0.32), about="I-AVB", called=False),
        lesson="The block is worse, and the network loses it: a quarter of a second hardly holds both P and QRS.",
    ),
    Try(
        first="Widen the QRS to 150 ms, and leave its form.",
        step=Step(settings=Settings(qrs=0.15), about="LBBB", called=False),
        why="Width alone makes no bundle branch block.",
        then="Choose the left bundle branch block as its form, as wide as before.",
        other=Step(settings=Settings(form="LBBB", qrs=0.15), about="LBBB", called=True),
        lesson="Most of what is added stands in the QRS.",
    ),
    Try(
        first="Let one beat come early from the ventricles, or pull it on the chart.",
        step=Step(settings=STILL, about="PVC", called=True),
        why="The map lies on that beat.",
        then="Let it come from the atria, as early as before.",
        other=Step(settings=replace(STILL, origin="atria"), about="PAC", called=True),
        lesson="The interval is the same, and its QRS looks like all the others.",
    ),
    Try(
        first="Make the beats irregular, and take P away.",
        step=Step(settings=Settings(irregular=0.14, p=0.0), about="AF", called=True),
        why="What grows in the sum stands where P was missed.",
        then="Give P back, and leave the beats irregular.",
        other=Step(settings=Settings(irregular=0.14), about="AF", called=False),
        lesson="An irregular rhythm with P waves is no atrial fibrillation to this network.",
    ),
)
