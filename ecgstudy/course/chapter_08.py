"""Checks of chapter 08's exercises."""

from ecgstudy.course.checks import Answer, choice, close, exercise


@exercise("08-1", wrong=[[31.4, 31.4], [8032, 31.4], [4.75, 19], [1, 1]])
def easy_and_hard(answer: Answer) -> str:
    """Check how many easy records cost as much as a hard one."""
    wanted = [31.3772, 8032.55]
    if not isinstance(answer, list) or len(answer) != len(wanted):
        return close(answer, wanted, 0, "")
    return close(
        answer[0],
        wanted[0],
        0.01 * wanted[0],
        "Divide the hard record's loss, −log 0.2, by an easy record's, −log 0.95.",
    ) or close(
        answer[1],
        wanted[1],
        0.01 * wanted[1],
        "Cross-entropy is right. Under the focal loss each of the two costs still has to be multiplied by its "
        "own (1 − p)².",
    )


@exercise("08-2", wrong=[[0.293, 0.382], [0.5, 1.0], [0.382, 1.0], [0.194, 0.397], 0.38])
def cautious(answer: Answer) -> str:
    """Check the macro-F2 of yes to everything and of a cautious expert."""
    return close(
        answer,
        [0.38194, 0.29347],
        0.002,
        "Count tp, fp and fn of each class, take F2 of each, then the mean. The expert has no false "
        "positives, and its "
        "fn are the positives that it does not call.",
    )


@exercise("08-3", wrong=[[0.5, 0.5, 0.5], [0.3, 0.3, 0.3], "b", [0.9, 0.9]])
def seen(answer: Answer) -> str:
    """Check the macro-F2 of thresholds that have seen the test."""
    return close(
        answer,
        [0.3823, 0.5127, 0.2936],
        0.003,
        "Take best_thresholds(targets, probabilities, f2) of each fold's own test records, call from them, "
        "and take the mean "
        "of macro_f2 over the folds; the third number does the same with `shuffled`.",
    )


@exercise(
    "08-4",
    wrong=[
        [0.048, 0.080, 0.120, 0.160, 0.060],
        [0.048, 0.060, 0.060, 0.040, 0.060],
        [0.012, 0.020, 0.030, 0.040, 0.012],
        [0.048, 0.060, 0.060, 0.060, 0.048],
    ],
)
def corrected(answer: Answer) -> str:
    """Check p-values corrected by Holm."""
    wanted = [0.048, 0.060, 0.060, 0.060, 0.060]
    if not isinstance(answer, list) or len(answer) != len(wanted):
        return close(answer, wanted, 0.0005, "")
    if close(answer[:4], wanted[:4], 0.0005, "wrong"):
        return close(
            answer[:4],
            wanted[:4],
            0.0005,
            "The factors fall from the number of arms to 1, which is where Holm differs from Bonferroni. Then go "
            "through them "
            "in order: none may be smaller than the one before.",
        )
    return close(
        answer[4], wanted[4], 0.0005, "How many arms are in the family now, and which factor does the smallest p get?"
    )


@exercise("08-5", wrong=["a", "c", "d"])
def converged(answer: Answer) -> str:
    """Check what the rows say of the convergence of macro-F2."""
    return choice(
        answer,
        "b",
        {
            "a": "Look at exact match: how many records has the network wholly right, once it has converged so fast?",
            "c": "Look at exact match, and at F2 with and without tuned thresholds: what do they say of all classes?",
            "d": "Look at the limits of the difference in F2, and in AUROC.",
        },
    )
