"""Checks of chapter 12's exercises."""

from ecgstudy.course.checks import Answer, choice, close, exercise
from ecgstudy.data.labels import CLASSES


@exercise("12-1", wrong=[[1, 3], [2, 3], [2, 2], 4])
def windows(answer: Answer) -> str:
    """Check the depths whose windows hold two PR intervals."""
    wanted = [2, 4]
    if not isinstance(answer, list) or len(answer) != len(wanted):
        return close(answer, wanted, 0, "")
    return close(
        answer,
        wanted,
        0,
        "Turn each interval into samples at 125 Hz and count both ends. The window must have at least so many "
        "samples; a depth "
        "is a whole number.",
    )


@exercise(
    "12-2",
    wrong=[["LBBB"], ["LBBB", "PAC", "STD", "STE"], ["AF", "I-AVB", "RBBB", "PVC"], ["LBBB", "PAC", "STE"], "LBBB"],
)
def behind(answer: Answer) -> str:
    """Check the classes whose maps are not above chance."""
    right = {"NSR", "LBBB", "PAC", "STD", "STE"}
    if not isinstance(answer, list) or not {*answer} <= {*CLASSES}:
        return f"The answer is a list of names out of {', '.join(CLASSES)}."
    if {*answer} == right:
        return ""
    if {*answer} & ({*CLASSES} - right):
        return "At least one of these lies wholly above 0. Look at the column `low`: chance is an excess mass of 0."
    return "All of these belong to it, and at least one is missing: a lower limit of 0 is not above 0 either."


@exercise("12-3", wrong=[[0.711, 0.711, 0.711], [0.881, 0.881, 0.881], [1.0, 0.88, 0.74], 0.881])
def zero(answer: Answer) -> str:
    """Check shares of a map whose zero is moved."""
    return close(
        answer,
        [0.8808, 1.0, 0.7443],
        0.003,
        "The map is share times evidence, not the share alone. Move the evidence, compute shares and map "
        "anew, cut what is "
        "negative, and divide the first cell by the sum. The order is c = 0, −1, 10.",
    )


_PROBABILITIES = {
    "PAC": [0.449, 0.100, 0.483, 0.104],
    "AF": [0.878, 0.462, 0.002, 0.000],
    "I-AVB": [0.829, 0.831, 0.015, 0.015],
}


@exercise(
    "12-4",
    wrong=[
        {"PAC": [0.45, 0.48, 0.10, 0.10], "AF": [0.88, 0.00, 0.46, 0.00], "I-AVB": [0.83, 0.02, 0.83, 0.02]},
        {"PAC": [0.45, 0.45, 0.10, 0.10], "AF": [0.88, 0.46, 0.0, 0.0], "I-AVB": [0.83, 0.83, 0.02, 0.02]},
        {"PAC": [0.45, 0.10, 0.48, 0.10]},
        "PAC",
    ],
)
def whose(answer: Answer) -> str:
    """Check probabilities of chimeras of leads and intervals."""
    if not isinstance(answer, dict) or {*answer} != {*_PROBABILITIES}:
        return f"The answer is a dict with the keys {', '.join(_PROBABILITIES)}, and four numbers for each."
    hint = (
        "{}: copy the input that gives the leads, and replace its rows 12 to 17 by the other's. The order is "
        "both, leads only, "
        "intervals only, neither; the first input gives the leads."
    )
    found = (close(answer[name], four, 0.02, hint.format(name)) for name, four in _PROBABILITIES.items())
    return next(filter(None, found), "")


@exercise("12-5", wrong=["a", "b", "d"])
def late_key(answer: Answer) -> str:
    """Check what a wrong key does to a map."""
    return choice(
        answer,
        "c",
        {
            "a": (
                "Look at the AUROC of the taught network. How many samples does a cell see on either side of its own "
                "place?"
            ),
            "b": "Look at the excess mass in the two keys. A cell sees more than its own place.",
            "d": "Compare the excess mass of the two networks in the right key.",
        },
    )
