"""The nine classes of the study, and how every data set writes them."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

CLASSES = ("NSR", "AF", "I-AVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE")

# One row per class: every spelling that means it. The vocabularies do not clash, so they share one table.
#   SNOMED CT: the code, then those the PhysioNet/CinC Challenges of 2020 and 2021 score as the same diagnosis;
#     164884008 (ventricular ectopics) is what Challenge 2020 wrote for CPSC 2018's PVC. Incomplete blocks, other
#     unscored neighbours (paired or bigeminal beats, paroxysmal AF, inferior ST depression) stay what they are.
#   SCP-ECG: PTB-XL's statements. NORM is a normal ECG, which the other data sets call sinus rhythm; SR alone is not.
#   CPSC: the integers of CPSC 2018's REFERENCE.csv.
#   names: Challenge 2020's first release, and CLASSES itself.
#   LUDB: its statements, or their part before the colon or comma. STEMI is not STE: in its eight records the
#     ST segment is no higher than in the other 192.
_SPELLINGS = {
    # class    SNOMED CT                                 SCP-ECG  CPSC names     LUDB
    "NSR": ("426783006", "NORM", "1", "Normal", "NSR", "Rhythm: Sinus rhythm"),
    "AF": ("164889003", "AFIB", "2", "AF", "Rhythm: Atrial fibrillation"),
    "I-AVB": ("270492004", "1AVB", "3", "I-AVB", "I degree AV block"),
    "LBBB": ("164909002", "733534002", "CLBBB", "4", "LBBB", "Complete left bundle branch block"),
    "RBBB": ("59118001", "713427006", "CRBBB", "5", "RBBB", "Complete right bundle branch block"),
    "PAC": ("284470004", "63593006", "6", "PAC", "Atrial extrasystole"),
    "PVC": ("427172004", "17338001", "164884008", "7", "PVC", "Ventricular extrasystole"),
    "STD": ("429622005", "STD_", "8", "STD"),
    "STE": ("164931005", "STE_", "9", "STE"),
}
MISSING = ("", "nan", "none", "null", "<na>", "unknown")
"""What headers and tables write, in any case, for what is not known."""
_CLASS_OF = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}

# PTB-XL's diagnostic superclass of each diagnostic SCP-ECG statement (scp_statements.csv, Wagner et al. 2020).
_SUPERCLASS_STATEMENTS = {
    "NORM": "NORM",
    "MI": "IMI ASMI ILMI AMI ALMI INJAS LMI INJAL IPLMI IPMI INJIN INJLA PMI INJIL",
    "STTC": "NDT NST_ DIG LNGQT ISC_ ISCAL ISCIN ISCIL ISCAS ISCLA ANEUR EL ISCAN",
    "CD": "LAFB IRBBB 1AVB IVCD CRBBB CLBBB LPFB WPW ILBBB 3AVB 2AVB",
    "HYP": "LVH LAO/LAE RVH RAO/RAE SEHYP",
}
_OTHER_STATEMENTS = """ABQRS PVC STD_ VCLVH QWAVE LOWT NT_ PAC LPR INVT LVOLT HVOLT TAB_ STE_ PRC(S) SR AFIB STACH SARRH
    SBRAD PACE SVARR BIGU AFLT SVTAC PSVT TRIGU"""  # of form and rhythm
SUPERCLASSES = tuple(_SUPERCLASS_STATEMENTS)
_SUPERCLASS_OF = {code: name for name, codes in _SUPERCLASS_STATEMENTS.items() for code in codes.split()}

SCP_STATEMENTS = frozenset(_SUPERCLASS_OF) | frozenset(_OTHER_STATEMENTS.split())
"""The 71 statements of PTB-XL's ``scp_statements.csv``."""

CHALLENGE_2020: Mapping[str, str] = {
    "270492004": "IAVB",
    "164889003": "AF",
    "164890007": "AFL",
    "426627000": "Brady",
    "713427006": "CRBBB",
    "713426002": "IRBBB",
    "445118002": "LAnFB",
    "39732003": "LAD",
    "164909002": "LBBB",
    "251146004": "LQRSV",
    "698252002": "NSIVCB",
    "10370003": "PR",
    "284470004": "PAC",
    "427172004": "PVC",
    "164947007": "LPR",
    "111975006": "LQT",
    "164917005": "QAb",
    "47665007": "RAD",
    "59118001": "RBBB",
    "427393009": "SA",
    "426177001": "SB",
    "426783006": "NSR",
    "427084000": "STach",
    "63593006": "SVPB",
    "164934002": "TAb",
    "59931005": "TInv",
    "17338001": "VPB",
}
"""The 27 scored SNOMED CT codes of Challenge 2020 with their abbreviations, in the order of its ``weights.csv``."""

CHALLENGE_2020_EQUIVALENT: Mapping[str, str] = {
    "59118001": "713427006",
    "63593006": "284470004",
    "17338001": "427172004",
}
"""Scored code → the scored code it is counted as."""

CHALLENGE_2020_MERGED = tuple(code for code in CHALLENGE_2020 if code not in CHALLENGE_2020_EQUIVALENT)
"""The 24 codes left after merging, in the same order."""


def spelled(code: object) -> str:
    """Write a code as its vocabulary does: without blanks and quotes, a whole number without point and exponent.

    ``59118001.0`` and ``np.int64(5)`` are what tables make of integers, ``"5.9118001E7"`` is what spreadsheets do. A
    number that was rounded on the way (``"1.64889E+08"``) stays as it is and matches no code.

    Raises
    ------
    ValueError
        for what is neither text nor a number.
    """
    if isinstance(code, bool | np.bool_) or not isinstance(code, str | int | float | np.integer | np.floating):
        raise ValueError(f"{code!r} is not a code: give codes as text or whole numbers")
    if isinstance(code, str):
        text = code.strip().strip("'\"").strip()
    else:
        text = repr(float(code)) if isinstance(code, float | np.floating) else str(int(code))
    number = re.fullmatch(r"(\d+)(?:\.(\d*))?(?:[eE]\+?(\d{1,2}))?", text, re.ASCII)
    if number:
        decimals, shift = number[2] or "", int(number[3] or 0)
        if len(decimals) >= shift and not decimals[shift:].strip("0"):
            text = number[1] + decimals[:shift]
    return text


def codes_in(text: str) -> tuple[str, ...]:
    """The codes in one field of a header or a table, however it lists them, in the spelling of their vocabulary.

    With commas, semicolons, bars or (numbers and known words) blanks in between; as the text of a list, or of a
    mapping from the codes, in Python's or JSON's notation. None for "nan", "unknown" and the like.
    """
    text = text.strip()
    mapping = text.startswith("{")
    if text[:1] + text[-1:] in ("[]", "{}", "()"):
        text = text[1:-1]
    found: list[str] = []
    for part in re.split(r"[,;|]", text):
        whole = part.partition(":")[0] if mapping else part
        words = list(map(spelled, whole.split()))
        known = all(word.isdecimal() or word in _CLASS_OF or word in SCP_STATEMENTS for word in words)
        found += words if known else [spelled(whole)]
    return tuple(code for code in found if code.lower() not in MISSING)


def _texts(codes: Iterable[object]) -> Iterator[str]:
    """Spellings of codes, without missing ones."""
    if isinstance(codes, str | bytes):
        raise ValueError(f"codes={codes!r} is one text: give a list of codes")
    return (spelled(code) for code in codes if not (pd.api.types.is_scalar(code) and pd.isna(code)))


def _class_of(code: str) -> str | None:
    """One of CLASSES, or None. Only LUDB's statements, which are words, go on after a colon or a comma."""
    statement = code.replace(",", ":").split(":")[0]
    return _CLASS_OF.get(code) or (_CLASS_OF.get(statement) if " " in statement else None)


def classes_of(codes: Iterable[object]) -> frozenset[str]:
    """Those of the nine classes that the codes name.

    Parameters
    ----------
    codes
        SNOMED CT codes, SCP-ECG statements, CPSC 2018's integers, class names or LUDB's statements, also mixed. Text or
        numbers; missing ones (None, NaN) are skipped.

    Raises
    ------
    ValueError
        if ``codes`` is one text, or a code is neither text nor a number.
    """
    return frozenset(filter(None, map(_class_of, _texts(codes))))


def unmapped(codes: Iterable[object]) -> Counter[str]:
    """Count the codes that name none of the nine classes; for parameters and errors see `classes_of`."""
    return Counter(code for code in _texts(codes) if _class_of(code) is None)


def superclasses(scp_codes: Iterable[str]) -> frozenset[str]:
    """PTB-XL's diagnostic superclasses (NORM, MI, STTC, CD, HYP) of SCP-ECG statements.

    Every statement counts, whatever its likelihood (0 means that none was given), as in Wagner et al.,
    "PTB-XL, a large publicly available electrocardiography dataset", Scientific Data 7:154, 2020.

    Raises
    ------
    ValueError
        for what is none of PTB-XL's statements.
    """
    codes = frozenset(_texts(scp_codes))
    if unknown := codes - SCP_STATEMENTS:
        raise ValueError(f"{sorted(unknown)} are not statements of PTB-XL's scp_statements.csv: leave them out")
    return frozenset(_SUPERCLASS_OF[code] for code in codes & _SUPERCLASS_OF.keys())


def multi_hot(labels: Sequence[Collection[str]], classes: Sequence[str] = CLASSES) -> np.ndarray:
    """Label sets as booleans, (records, classes).

    Raises
    ------
    ValueError
        if a label is none of ``classes``.
    """
    if unknown := {label for labelset in labels for label in labelset} - set(classes):
        raise ValueError(f"{sorted(unknown)} not among the classes {tuple(classes)}: map codes with classes_of first")
    return np.array([[name in labelset for name in classes] for labelset in labels], dtype=bool).reshape(
        len(labels), len(classes)
    )
