"""Were electrodes exchanged, or leads turned upside down? A model of how P, QRS and T go through the twelve leads.

What exchanged electrodes do to the leads is exact algebra, and breaks no law of the limb leads. So each exchange is
undone, and the model says how much better the beat then looks like one with all electrodes in place. The model is a
multivariate t distribution of the median beat's eleven parts in I, II and V1 to V6, fitted to real records. Shape of
the waves and redundancy of leads are what others use, too (Kors JA, van Herpen G. Am J Cardiol 2001; 88:396-399;
Jekova I et al. Comput Cardiol 2013; Han C et al. J Electrocardiol 2014; 47:781-787).
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgstudy.data.leads import LEADS
from ecgstudy.paths import told_if_broken, written_whole

Array = NDArray[np.floating]

EIGHT = (0, 1, *range(6, 12))  # leads that no law gives
# Parts of the beat in s from the middle of QRS: P early and late, five of QRS, ST, T early, middle and late.
PARTS = (
    *((-0.24, -0.16), (-0.16, -0.09), (-0.06, -0.036), (-0.036, -0.012), (-0.012, 0.012), (0.012, 0.036)),
    *((0.036, 0.06), (0.08, 0.13), (0.14, 0.22), (0.22, 0.32), (0.32, 0.42)),
)
_BEFORE, _AFTER, _LEVEL = 0.26, 0.44, (-0.1, -0.06)  # s: what is cut out of a beat, and where it has zero
_MOST_BEATS = 12
FEWEST_BEATS = 3
# Both chosen by the detection rate on records that the model was not fitted to (of .003 to .3, and of 2 to infinity).
SHRINKAGE, FREEDOM = 0.01, 5.0
FILE = Path(__file__).with_name("placement.csv")


_FAR_APART = (("V1", "V5"), ("V1", "V6"), ("V2", "V5"), ("V2", "V6"))  # see Exchange.matters


class Exchange(NamedTuple):
    """What may have been done to the leads.

    Attributes
    ----------
    group
        ``limb leads``, ``V leads`` or ``sign``.
    what
        In words, as in ``RA and LA exchanged``.
    leads
        That it changes.
    matters
        Whether it makes a record unfit: it changed the answers of an own network that had learned from plain hearts as
        much as another training did. One that has seen varied hearts bears it (results/quality.csv), others may not.
    undo
        (8, 8): from the leads as they are to the leads as they should be.
    handicap
        Taken from the logarithm of the likelihood ratio: LA and LL exchanged look like a heart with another axis.
    """

    group: str
    what: str
    leads: tuple[str, ...]
    matters: bool
    undo: Array
    handicap: float = 0.0


def _of_electrodes(names: Sequence[str]) -> Array:
    """What hanging each electrode of a circle where the next one belongs does to I, II and V1 to V6: (8, 8)."""
    everything = ("RA", "LA", "LL", *LEADS[6:])
    potentials = np.zeros((9, 8))  # of the electrodes against RA's
    potentials[1, 0] = potentials[2, 1] = 1
    potentials[3:, :2], potentials[3:, 2:] = 1 / 3, np.eye(6)
    place = list(range(9))
    for one, other in pairwise((*names, names[0])):
        place[everything.index(one)] = everything.index(other)
    seen = np.zeros((8, 9))
    seen[0, [1, 0]] = seen[1, [2, 0]] = 1, -1
    seen[2:, :3], seen[2:, 3:] = -1 / 3, np.eye(6)
    return seen @ potentials[place]


def _exchanges() -> tuple[Exchange, ...]:
    limb, chest = LEADS[:6], LEADS[6:]
    found = [
        Exchange("limb leads", f"{' and '.join(names)} exchanged", limb, names != ("LA", "LL"), _of_electrodes(names))
        for names in (("RA", "LA"), ("RA", "LL"), ("LA", "LL"))
    ]
    found[2] = found[2]._replace(handicap=6.0)
    for names in (("RA", "LA", "LL"), ("RA", "LL", "LA")):
        found.append(Exchange("limb leads", "all three limb electrodes exchanged", limb, True, _of_electrodes(names)))
    for pair in combinations(chest, 2):
        found.append(
            Exchange("V leads", f"{' and '.join(pair)} exchanged", pair, pair in _FAR_APART, _of_electrodes(pair))
        )
    whole = np.eye(8)
    found.append(Exchange("V leads", "V1 to V6 in the reverse order", chest, True, whole[[0, 1, *range(7, 1, -1)]]))
    found.append(Exchange("sign", "all leads upside down", LEADS, True, -whole))
    found.append(Exchange("sign", "the limb leads upside down", limb, True, np.diag([-1.0] * 2 + [1.0] * 6)))
    found.append(Exchange("sign", "the V leads upside down", chest, True, np.diag([1.0] * 2 + [-1.0] * 6)))
    for number, lead in enumerate(chest):
        flipped = whole.copy()
        flipped[number + 2, number + 2] = -1
        found.append(Exchange("sign", f"{lead} upside down", (lead,), False, flipped))
    return tuple(one._replace(undo=np.linalg.inv(one.undo)) for one in found)


EXCHANGES = _exchanges()
_HANDICAPS = np.array([one.handicap for one in EXCHANGES])
_UNDO = np.stack([np.eye(8), *(one.undo for one in EXCHANGES)])


def beat_parts(x: Array, at: NDArray[np.intp], fs: float) -> Array | None:
    """Mean over each of ``PARTS`` of the median beat: (leads, 11) in mV; None with fewer than three whole beats.

    Parameters
    ----------
    x
        (leads, samples) in mV.
    at
        Middles of QRS complexes, in samples.
    fs
        In Hz, at least 84: a part of QRS lasts 24 ms.
    """
    before, after = round(_BEFORE * fs), round(_AFTER * fs)
    whole = at[(at >= before) & (at + after <= x.shape[1])]
    if len(whole) < FEWEST_BEATS:
        return None
    level, *parts = _places(before, after, fs)
    # Evenly over the record: the first beats need not be like the others.
    whole = whole[np.linspace(0, len(whole) - 1, min(len(whole), _MOST_BEATS)).round().astype(int)]
    beats = np.stack([x[:, middle - before : middle + after] for middle in whole])
    beats -= beats[..., level].mean(axis=-1, keepdims=True)
    beat = np.median(beats, axis=0)
    return np.stack([beat[:, part].mean(axis=1) for part in parts], axis=1)


@lru_cache(maxsize=16)
def _places(before: int, after: int, fs: float) -> list[slice]:
    """Where zero and each of ``PARTS`` is in a beat that was cut out."""
    time = np.arange(-before, after) / fs
    inside = [(time > _LEVEL[0]) & (time < _LEVEL[1]), *((time >= start) & (time < end) for start, end in PARTS)]
    places = [np.flatnonzero(one) for one in inside]
    return [slice(int(one[0]), int(one[-1]) + 1) for one in places]


class Model(NamedTuple):
    """Mean (88,) of the parts of a beat of size 1, and what whitens them: (88, 88), lower triangular."""

    mean: Array
    whitening: Array

    def gains(self, parts: Array) -> NDArray[np.float64]:
        """How much likelier the beat is if each of ``EXCHANGES`` is undone: logarithm of the ratio less handicap.

        ``parts`` is (…, 8, 11), those of I, II and V1 to V6 in any unit: size does not count. Gives (…, exchanges).
        """
        undone = np.einsum("hab,...bk->...hak", _UNDO, parts)
        likely = self.log_likelihood(undone)
        return likely[..., 1:] - likely[..., :1] - _HANDICAPS

    def log_likelihood(self, parts: Array) -> NDArray[np.float64]:
        """Of beats (…, 8, 11), up to a constant."""
        size = np.sqrt((parts**2).mean(axis=(-2, -1), keepdims=True))
        flat = (parts / np.maximum(size, 1e-12)).reshape(*parts.shape[:-2], -1) - self.mean
        far = ((flat @ self.whitening.T) ** 2).sum(axis=-1)
        return -(FREEDOM + len(self.mean)) / 2 * np.log1p(far / FREEDOM)


def fitted(parts: Array) -> Model:
    """Fit the model to (records, 8, 11)."""
    size = np.sqrt((parts**2).mean(axis=(1, 2), keepdims=True))
    flat = (parts / size).reshape(len(parts), -1)
    covariance = np.cov(flat.T)
    even = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    lower = np.linalg.cholesky((1 - SHRINKAGE) * covariance + SHRINKAGE * even)
    return Model(flat.mean(axis=0), np.linalg.inv(lower))


@lru_cache(maxsize=1)
def committed() -> Model:
    """Open the model in ``placement.csv``: its mean, then the rows of the whitening up to the diagonal."""
    with told_if_broken(FILE):
        rows = [np.array(line.split(","), float) for line in FILE.read_text(encoding="ascii").split()]
        whitening = np.zeros((len(rows) - 1, len(rows) - 1))
        for number, row in enumerate(rows[1:]):
            whitening[number, : number + 1] = row
    return Model(rows[0], whitening)


def write(model: Model, path: Path = FILE) -> None:
    """Write a model as ``committed`` reads it, in four digits."""
    rows = [model.mean, *(row[: number + 1] for number, row in enumerate(model.whitening))]
    with written_whole(path) as partial:
        partial.write_text("".join(",".join(f"{value:.4g}" for value in row) + "\n" for row in rows), encoding="ascii")
