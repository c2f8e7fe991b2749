"""Read the waves that cardiologists delineated in every lead of LUDB."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecgstudy.data.formats import LEADS, annotations

_EXTENSIONS = {lead.lower(): lead for lead in LEADS}
_WAVES = {"p": "P", "N": "QRS", "t": "T"}


def read_delineation(path: str | Path) -> pd.DataFrame:
    """Onset, peak and offset of every P, QRS and T wave of one LUDB record.

    Parameters
    ----------
    path
        The record, with or without suffix, or one of its annotation files; these (``1.i`` … ``1.v6``) lie side by side.

    Returns
    -------
    DataFrame
        Columns lead, wave ("P", "QRS", "T"), onset, peak, offset (samples from 0; onset and offset are missing
        where LUDB marks none), by lead and peak.

    Raises
    ------
    RecordError
        if an annotation file is missing, cut short or cannot be read.

    References
    ----------
    Kalyakulina et al., "LUDB: A New Open-Access Validation Tool for Electrocardiogram Delineation Algorithms",
    IEEE Access 8:186181, 2020.
    """
    path = Path(path)
    path = path.with_suffix("") if path.suffix[1:] in _EXTENSIONS else path
    found = [annotations(path, extension) for extension in _EXTENSIONS]
    sample, symbol = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    lead = np.repeat(np.arange(len(found)), [len(one) for one, _ in found])
    at = np.flatnonzero(np.isin(symbol, list(_WAVES)))
    return pd.DataFrame(
        {
            "lead": np.array(list(_EXTENSIONS.values()))[lead[at]],
            "wave": np.array([_WAVES[one] for one in symbol[at]], dtype=str),
            "onset": _beside(at - 1, "(", at, lead, sample, symbol),
            "peak": sample[at],
            "offset": _beside(at + 1, ")", at, lead, sample, symbol),
        }
    )


def _beside(
    place: NDArray[np.intp],
    mark: str,
    at: NDArray[np.intp],
    lead: NDArray[np.intp],
    sample: NDArray[np.int64],
    symbol: NDArray[np.object_],
) -> pd.api.extensions.ExtensionArray:
    """Sample of the annotation next to each wave, where it is in the wave's lead and is that mark; else missing."""
    there = (place >= 0) & (place < len(sample))
    place = np.where(there, place, 0)
    there &= (lead[place] == lead[at]) & (symbol[place] == mark)
    return pd.arrays.IntegerArray(sample[place], ~there)
