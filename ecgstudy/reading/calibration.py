"""Calibration: from the probability that a network gives to the share of records that have the class there.

Platt's scaling, two numbers a class. Isotonic regression was tried on the same answers and lost on those of the
networks that learned from real records, whose rarest class has eleven: it has no more to fit a staircase to.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
_FLOOR = 1e-6  # a probability in float32 may round to 0 or 1, whose logits are infinite
_FLATTEST = 1e-3  # slope: an answer that ranks no better than chance keeps its order, and tells next to nothing


def logit(p: Array) -> NDArray[np.float64]:
    """Logarithm of the odds of probabilities, those beyond 1e-6 of 0 and 1 taken as that."""
    p = np.clip(np.asarray(p, dtype=np.float64), _FLOOR, 1 - _FLOOR)
    return np.log(p) - np.log1p(-p)


def sigmoid(z: Array) -> NDArray[np.float64]:
    """Probability of logits."""
    return np.exp(-np.logaddexp(0, -np.asarray(z, dtype=np.float64)))


@dataclass(frozen=True, eq=False)
class Calibration:
    """Slope and intercept (classes,) on the logit: what Platt's scaling has learned of each class."""

    slope: NDArray[np.float64]
    intercept: NDArray[np.float64]

    def __call__(self, p: Array) -> NDArray[np.float64]:
        """Calibrated probabilities of (..., classes)."""
        return sigmoid(self.slope * logit(p) + self.intercept)


def fitted(p: Array, targets: NDArray[np.bool_]) -> Calibration:
    """Platt's scaling (Platt 1999) of each class of (records, classes), with his targets that no record reaches."""
    both = np.array([_platt(z, y) for z, y in zip(logit(p).T, np.asarray(targets, dtype=bool).T, strict=True)])
    return Calibration(both[:, 0], both[:, 1])


def cross_fitted(p: Array, targets: NDArray[np.bool_], fold: NDArray[np.intp]) -> NDArray[np.float64]:
    """Calibrate each fold of (records, classes) by what the others teach."""
    calibrated = np.empty(np.shape(p))
    for f in np.unique(fold):
        calibrated[fold == f] = fitted(p[fold != f], targets[fold != f])(p[fold == f])
    return calibrated


def _platt(z: NDArray[np.float64], y: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept of the likeliest sigmoid, by Newton's method with ever shorter steps."""
    positives, negatives = int(y.sum()), int((~y).sum())
    target = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    middle, spread = z.mean(), max(z.std(), 1e-9)
    x = np.column_stack([(z - middle) / spread, np.ones(len(z))])

    def loss(w: NDArray[np.float64]) -> float:
        return float((np.logaddexp(0, x @ w) - target * (x @ w)).sum())

    w = np.array([0.0, np.log((positives + 1) / (negatives + 1))])
    for _ in range(100):
        q = sigmoid(x @ w)
        gradient = x.T @ (q - target)
        step = np.linalg.solve((x * (q * (1 - q))[:, None]).T @ x + 1e-9 * np.eye(2), gradient)
        length = 1.0
        while loss(w - length * step) > loss(w) and length > 1e-9:
            length /= 2
        w = w - length * step
        if np.abs(length * step).max() < 1e-9:
            break
    slope = max(float(w[0] / spread), _FLATTEST)
    # A straightened slope turns around the middle of the answers, where the share of positives is what it was.
    return slope, float(w[1] - slope * middle)
