"""Beats whose classes two waves tell, and a small system that learns them in seconds."""

import numpy as np
import pandas as pd

from ecgstudy.data.beats import Beats
from ecgstudy.systems.beat_gradcam import BeatSystem

SYSTEM = BeatSystem(
    width=0.25, every=3, epochs=4, beats=800, batch=32, rate=5e-3, rhythm=False, median=False, balance=0
)
PATIENT_OF = {f"r{i}": f"p{i // 2}" for i in range(8)}


def planted_beats() -> Beats:
    """400 beats with a slow wave at P and a quick one after R, whose signs tell the class, and nothing else does.

    Were there a wave in some classes only, standardising would spread it: mean and deviation of the beat would tell.
    """
    rng = np.random.default_rng(0)
    target = rng.choice(4, size=400, p=[0.4, 0.2, 0.2, 0.2])
    signal = 0.05 * rng.normal(size=(400, 2, 264)).astype(np.float32)
    for start, half, classes in ((48, 12, (1, 3)), (120, 6, (2, 3))):
        wave = np.repeat([0.8, -0.8] * (12 // half), half).astype(np.float32)
        signal[:, :, start : start + 24] += np.where(np.isin(target, classes), 1, -1)[:, None, None] * wave
    record = np.array([f"r{i % 8}" for i in range(400)])
    table = pd.DataFrame({"record": record, "patient_id": record, "sample": np.arange(400)})
    table["aami"] = np.array(["N", "S", "V", "F"])[target]
    medians = {name: np.median(signal[record == name], axis=0) for name in np.unique(record)}
    return Beats(signal, rng.normal(size=(400, 4)).astype(np.float32), table, medians)
