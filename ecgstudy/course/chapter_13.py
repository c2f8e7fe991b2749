"""Checks of chapter 13's exercises."""

from ecgstudy.course.checks import Answer, close, exercise


@exercise("13-1", wrong=[[0.2, 0.1, 1, 0.5], [0.111, 0.111, 1, 1], [1, 0, 1, 0], [0.111, 0, 1, 0.5]])
def ceilings_on_paper(answer: Answer) -> str:
    """Check what perfect maps have on cells."""
    wanted = [1 / 9, 0, 1, 4 / 9]
    if not isinstance(answer, list) or len(answer) != len(wanted):
        return close(answer, wanted, 0, "")
    hints = (
        "Only one of the two cells of a second has a value. Which share of its length is evidence? That is the mass "
        "inside; then take chance off.",
        "Both cells of a second have the same value. What does a level map have?",
        "The cells with a value and the key are the same moments.",
        "Two cells have the same value, and each is half evidence. Which share of the mass is inside, and what is left "
        "of it when chance is taken off?",
    )
    found = (close(one, right, 0.003, hint) for one, right, hint in zip(answer, wanted, hints, strict=True))
    return next(filter(None, found), "")


@exercise(
    "13-2",
    wrong=[
        [["LBBB", "RBBB"], ["AF", "I-AVB", "PAC", "PVC", "STD", "STE"]],
        [["AF", "PAC", "PVC"], ["LBBB", "RBBB"]],
        [["LBBB", "RBBB"], ["PAC", "PVC"]],
        [[], ["AF", "PAC", "PVC"]],
        ["LBBB", "RBBB"],
    ],
)
def without_a_fault(answer: Answer) -> str:
    """Check on which classes a perfect map loses, and on which it can be told from blind maps."""
    if not isinstance(answer, list) or len(answer) != 2 or not all(isinstance(part, list) for part in answer):
        return "Two lists of names of classes are asked for, such as [['NSR'], ['NSR']]."
    behind, testable = ({f"{name}".strip() for name in part} for part in answer)
    if behind != {"LBBB", "RBBB"}:
        return (
            "For the first list compare the perfect map of ceilings.scores(cases, cells) with the QRS detector of "
            "ceilings.scores(cases), class by class."
        )
    if testable != {"AF", "PAC", "PVC"}:
        return (
            "For the second list both come from ceilings.scores(cases, cells). The floor is the larger one of the two "
            "blind maps, and never below chance; the perfect map must be above it by more than the margin."
        )
    return ""


@exercise(
    "13-3",
    wrong=[
        [0.95, 0.95, 0.95, 0.95],
        [0.4935, 0.653, 0.947, 0.892],
        [0.4935, 0.558, 0.892, 0.947],
        [0.4935, 0.653, 0.653, 0.653],
        0.947,
    ],
)
def inside(answer: Answer) -> str:
    """Check how often two kinds of intervals hold the truth."""
    wanted = [0.4935, 0.653, 0.892, 0.947]
    if not isinstance(answer, list) or len(answer) != len(wanted):
        return close(answer, wanted, 0, "")
    return close(
        answer[:2],
        wanted[:2],
        0.012,
        "Patients alone: resampled = weights @ scores.mean(axis=0) has a row for each resample. Take quantiles over "
        "these rows, and count the studies whose limits lie on either side of 0: first of one training, then of five.",
    ) or close(
        answer[2:],
        wanted[2:],
        0.012,
        "Both sources: interval_over_trainings wants the mean over patients of each training, the resamples of the "
        "mean over trainings, and the number of patients. First of two trainings, then of five.",
    )


@exercise(
    "13-4",
    wrong=[
        ["supported", "undecided", "supported", "no difference", "not supported", "not supported"],
        ["supported", "no difference", "supported", "no difference", "not testable", "not supported"],
        ["supported", "undecided", "no difference", "no difference", "not testable", "not supported"],
        ["supported", "undecided", "supported", "undecided", "not testable", "not supported"],
        "supported",
    ],
)
def words(answer: Answer) -> str:
    """Check verdicts that are read from intervals, ceilings and floors."""
    wanted = ["supported", "undecided", "supported", "no difference", "not testable", "not supported"]
    if not isinstance(answer, list) or len(answer) != len(wanted):
        return "Six words are asked for, in a list: the verdicts of A to F."
    hints = (
        "A: on which side of 0 is the whole interval?",
        "B: it holds 0. Is each of its limits nearer to 0 than the smallest effect of interest?",
        "C: ask first on which side of 0 the whole interval is. How large the effect is comes after that.",
        "D: it holds 0. Is each of its limits nearer to 0 than the smallest effect of interest?",
        "E: before you read the interval, take the floor from the ceiling.",
        "F: on which side of 0 is the whole interval, and is there room between floor and ceiling?",
    )
    given = [f"{one}".strip().lower() for one in answer]
    return next((hint for one, right, hint in zip(given, wanted, hints, strict=True) if one != right), "")


@exercise(
    "13-5",
    wrong=[
        [6, 0.1277, 0.3027, 0.0496],
        [7, 0.3027, 0.1277, 0.0496],
        [7, 0.0496, 0.3027, 0.0496],
        [7, 0.1277, 0.0496, 0.0071],
        [7, 0.1277, 0.3027, 0.0071],
    ],
)
def family(answer: Answer) -> str:
    """Check what a family that grows does to a verdict, and to the share of false ones."""
    wanted = [7, 0.1277, 0.3027, 0.0496]
    if not isinstance(answer, list) or len(answer) != len(wanted):
        return close(answer, wanted, 0, "")
    hints = (
        "Correct the first map together with each number of maps that have arrived, and look when it is no longer "
        "significant.",
        "A lab has a success as soon as the smallest p so far, times the number of maps so far, is significant. "
        "np.minimum.accumulate(labs, axis=1) has the smallest p so far.",
        "A family of one is not corrected. How often is the smallest of all p-values significant as it is?",
        "Count labs in which any p is below the fixed border, and not the share of all p-values.",
    )
    within = (0.1, 0.003, 0.003, 0.002)
    found = (close(one, right, far, hint) for one, right, far, hint in zip(answer, wanted, within, hints, strict=True))
    return next(filter(None, found), "")
