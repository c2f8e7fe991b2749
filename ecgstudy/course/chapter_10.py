"""Checks of chapter 10's exercises."""

from ecgstudy.course.checks import Answer, close, exercise


@exercise("10-1", wrong=[[0.5, 0.5, 0.5], [0.8, 0.2, 0.5], [0.5, 0.5, 0.64], [0.8, 0.8, 0.8]])
def pooled(answer: Answer) -> str:
    """Check areas within two hospitals and over both."""
    wanted = [0.5, 0.5, 0.8]
    if not isinstance(answer, list) or len(answer) != len(wanted):
        return close(answer, wanted, 0, "")
    return close(
        answer[:2],
        wanted[:2],
        0.001,
        "Within a hospital all scores are equal. What is a tie worth?",
    ) or close(
        answer[2],
        wanted[2],
        0.001,
        "Of all pairs of a positive and a negative record, how many have the positive one in A and the "
        "negative one in B? "
        "Pairs from one hospital are ties and count half.",
    )


@exercise("10-2", wrong=[[0.041, 0.041, 0.041], [0.041, 0.017, 0.017], [0.041, 0.010, 0.041], 0.041])
def widths(answer: Answer) -> str:
    """Check widths of intervals by patient and by window."""
    return close(
        answer,
        [0.041, 0.0173, 0.041],
        0.002,
        "The groups decide: np.arange(len(windows)) makes a group of each window, patients_of_windows keeps "
        "those of a "
        "patient together. A width is high less low.",
    )


@exercise(
    "10-3",
    wrong=[
        [0.0112, 0.0112, 0.004, 0.064],
        [0.0112, 0.007, 0.004, 0.064],
        [0.0112, 0.007, -0.0155, 0.0855],
        [0.0107, 0.0067, 0.015, 0.055],
    ],
)
def trainings(answer: Answer) -> str:
    """Check an interval that knows patients and trainings."""
    wanted = [0.0112, 0.0074, -0.0051, 0.0747]
    if not isinstance(answer, list) or len(answer) != len(wanted):
        return close(answer, wanted, 0, "")
    return close(
        answer[:2],
        wanted[:2],
        0.0004,
        "Take the macro-AUROC of each of the eleven, then of the mean probabilities of each pair: "
        "itertools.combinations(eleven, 2). Then np.std with ddof=1.",
    ) or close(
        answer[2:],
        wanted[2:],
        0.001,
        "Variances add, not standard deviations: the root of three squares, times 1.96, on either side of "
        "difference.value.",
    )


@exercise("10-4", wrong=[[0.0085, 0.0085], [-0.0012, 0.0085], [0.93, 0.92], 0.0085])
def teams(answer: Answer) -> str:
    """Check gains of a team where it was chosen and elsewhere."""
    return close(
        answer,
        [0.00849, -0.00122],
        0.0008,
        "For each fold: choose the team by its score there, then take that same team's score less the trees', "
        "on this fold "
        "and on all records of the others.",
    )


@exercise("10-5", wrong=[[0.0104, 0.0284], [0.0403, 0.0104], [0.0568, 0.0208], [0.0284, 0.0284]])
def overlapping(answer: Answer) -> str:
    """Check half widths of a difference, unpaired and paired."""
    return close(
        answer,
        [0.0284, 0.0104],
        0.001,
        "Half a width is (high less low) / 2. Unpaired: the root of the sum of squares of the two halves. "
        "Paired: from the "
        "limits that bootstrap_difference gives.",
    )
