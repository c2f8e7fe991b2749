"""The annotated beats of MIT-BIH."""

from pathlib import Path

import pandas as pd

from ecgstudy.data.formats import read_annotation

# ANSI/AAMI EC57's five groups of the PhysioNet beat symbols (de Chazal et al. 2004, table I).
AAMI = {
    **dict.fromkeys("NLRBej", "N"),
    **dict.fromkeys("AaJSn", "S"),
    **dict.fromkeys("VEr", "V"),
    "F": "F",
    **dict.fromkeys("/fQ?", "Q"),
}
"""Beat symbol → N, S, V, F or Q."""

# The 44 records without pacing in halves: de Chazal, O'Dwyer and Reilly, "Automatic classification of heartbeats using
# ECG morphology and heartbeat interval features", IEEE Trans. Biomed. Eng. 51:1196, 2004. One patient is in both: 201
# and 202.
# fmt: off
DS1 = ("101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122", "124", "201", "203", "205", "207",
       "208", "209", "215", "220", "223", "230")
DS2 = ("100", "103", "105", "111", "113", "117", "121", "123", "200", "202", "210", "212", "213", "214", "219", "221",
       "222", "228", "231", "232", "233", "234")
# fmt: on
PACED = ("102", "104", "107", "217")


def read_beats(path: str | Path) -> pd.DataFrame:
    """Every annotated beat of one MIT-BIH record.

    Parameters
    ----------
    path
        The record, with or without suffix; ``<record>.atr`` lies beside it.

    Returns
    -------
    DataFrame
        Columns sample (of the beat's mark, from 0), symbol (PhysioNet's) and aami (N, S, V, F, Q), in time order;
        annotations of rhythm, noise and the like are left out.

    Raises
    ------
    RecordError
        if the annotation file is missing or cannot be read.
    """
    beats = read_annotation(path, "atr")
    beats["aami"] = beats["symbol"].map(AAMI)
    return beats.dropna(subset="aami").reset_index(drop=True)
