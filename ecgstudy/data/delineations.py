"""Read the waves that cardiologists delineated in every lead of LUDB."""

from pathlib import Path

import numpy as np
import pandas as pd

from ecgstudy.data.formats import LEADS, read_annotation

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
    tables = [read_annotation(path, extension) for extension in _EXTENSIONS]
    marks = pd.concat(tables, ignore_index=True)
    marks["lead"] = np.repeat(list(_EXTENSIONS.values()), list(map(len, tables)))
    before, after = marks.shift(1), marks.shift(-1)
    opened = (before["symbol"] == "(") & (before["lead"] == marks["lead"])
    closed = (after["symbol"] == ")") & (after["lead"] == marks["lead"])
    waves = pd.DataFrame(
        {
            "lead": marks["lead"],
            "wave": marks["symbol"].map(_WAVES),
            "onset": before["sample"].where(opened).astype("Int64"),
            "peak": marks["sample"],
            "offset": after["sample"].where(closed).astype("Int64"),
        }
    )
    return waves.dropna(subset="wave").reset_index(drop=True)
