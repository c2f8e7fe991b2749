"""Checks of chapter 09's exercises."""

from ecgstudy.course.checks import Answer, close, exercise


@exercise("09-1", wrong=[[0.2, -0.5, -0.05, 0.333], [0, 0, 0, 1], [0, -1, -1, 0.1667], [0, -1, -0.0526, 0.333]])
def by_hand(answer: Answer) -> str:
    """Check four values of excess mass."""
    wanted = [0, -1, -1 / 19, 1 / 6]
    if not isinstance(answer, list) or len(answer) != len(wanted):
        return close(answer, wanted, 0, "")
    hints = (
        "A level map has as much of its mass inside the key as the key has of the time.",
        "A map outside the key has a mass of 0 inside. What does the formula then give for each share of time?",
        "A map outside the key has a mass of 0 inside. What does the formula then give for each share of time?",
        "After adding 1 the map is 2 inside the key and 1 outside. Which share of its sum is inside?",
    )
    found = (close(one, right, 0.003, hint) for one, right, hint in zip(answer, wanted, hints, strict=True))
    return next(filter(None, found), "")


@exercise(
    "09-2", wrong=[[0.140, 0.158, 0.140, 0.158], [0.158, 0.140, 0.052, 0.132], [0.14, 0.158, 0.138, 0.302], 0.158]
)
def one_class(answer: Answer) -> str:
    """Check means of excess mass with and without one class."""
    return close(
        answer,
        [0.1404, 0.1577, 0.1318, 0.0524],
        0.001,
        "The contributions come first each time. For the last two numbers leave out the class whose evidence "
        "holds every QRS: "
        "which class has its evidence in all of every beat?",
    )


@exercise("09-3", wrong=[[0.0, 0.0], [0.5, 0.0], [1.0, 1.0], 0.5])
def picked(answer: Answer) -> str:
    """Check the mean of random maps, and the best of them."""
    return close(
        answer,
        [-0.0109, 0.5731],
        0.004,
        "localisation(maps, key)['excess mass'] has one number a record. The first answer is their mean, the "
        "second is for "
        "the figure that you would choose.",
    )


@exercise(
    "09-4",
    wrong=[
        [0.34, 0.34, 0.82, 0.82],
        [0.82, 0.34, 0.82, 0.82],
        [0.34, 0.82, 0.82, 0.34],
        [0.26, 0.74, 0.90, 0.90],
    ],
)
def two_beats(answer: Answer) -> str:
    """Check areas under curves of deletion and insertion."""
    wanted = [0.34, 0.82, 0.82, 0.82]
    if not isinstance(answer, list) or len(answer) != len(wanted):
        return close(answer, wanted, 0, "")
    return close(
        answer[:2],
        wanted[:2],
        0.005,
        "Deletion: write the probability after 0, 1, … 5 segments are gone. It stays high as long as C or E "
        "is left. Then "
        "take trapezia: half of the first and the last value.",
    ) or close(
        answer[2:],
        wanted[2:],
        0.005,
        "Insertion: start from the empty record. Which segment do both maps put back first, and does the "
        "network need more?",
    )


@exercise("09-5", wrong=[[0.98, 0.98, 0.05], [0.05, 0.05, 0.98], [0.5, 0.5, 0.5], [0.98, 0.55, 0.05]])
def right_and_empty(answer: Answer) -> str:
    """Check how often STD is called, rightly called, and there."""
    return close(
        answer,
        [0.97866, 0.05344, 0.05229],
        0.0006,
        "The second number is of the called records only: the share of them that have the label. Shares lie "
        "between 0 and 1.",
    )
