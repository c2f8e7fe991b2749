"""Checks of chapter 11's exercises."""

from ecgstudy.course.checks import Answer, close, exercise


@exercise("11-1", wrong=[[0.36, 0.12, 0.80], [0.12, 0.12, 0.12], [0.12, 0.36, 0.36], 0.36])
def changed(answer: Answer) -> str:
    """Check shares of time that change without a finding."""
    return close(
        answer,
        [0.123, 0.360, 0.797],
        0.01,
        "A moment counts if any of the twelve leads differs by 0.02 mV or more; take the share of such "
        "moments in each of "
        "the records 0 to 19, then the mean. The order is PVC, PAC, AF.",
    )


@exercise("11-2", wrong=[[0.0356, 0.0551], [0.0382, 0.0525], [0.0194, 0.0713], 0.0453])
def corrected(answer: Answer) -> str:
    """Check limits that allow for shared training records."""
    return close(
        answer,
        [0.02945, 0.06123],
        0.0005,
        "Half the width grows by the square root of (1/5 + n_test/n_train) over 1/5. Three folds train and "
        "one is tested, so "
        "that n_test/n_train is 1/3.",
    )


@exercise("11-3", wrong=[[0.7, 0.7, 0.7], [0.865, 0.865, 0.7], [0.865, 0.738, 0.7], 0.865])
def tuned(answer: Answer) -> str:
    """Check what a simulator tuned on the test set scores."""
    return close(
        answer,
        [0.865, 0.7006, 0.7000],
        0.003,
        "scores(*test) has a number for each setting; the largest is the reported one. Take the same "
        "setting's number from "
        "scores(*new), and then the mean of all of these.",
    )


@exercise("11-4", wrong=[[0.6, 40], [0.945, 3], [1.0, 100], [0.945, 40]])
def together(answer: Answer) -> str:
    """Check the AUROC of many weak features, and how many are needed."""
    wanted = [0.9455, 74]
    if not isinstance(answer, list) or len(answer) != len(wanted):
        return close(answer, wanted, 0, "")
    return close(
        answer[0],
        wanted[0],
        0.003,
        "Turn 0.6 into a distance d, multiply it by the root of 40, and turn it back: AUROC = Φ(distance / √2).",
    ) or close(
        answer[1],
        wanted[1],
        1.01,
        "Turn .985 into a distance as well. By what factor is it larger than one feature's d, and what is "
        "that factor's square?",
    )


@exercise("11-5", wrong=[[1.0, 1.0], [0.5, 0.5], [0.05, 0.95], 0.95])
def perfect(answer: Answer) -> str:
    """Check what a perfect reader scores."""
    return close(
        answer,
        [0.95, 0.9767],
        0.002,
        "metrics.exact_match and metrics.macro_auroc take the labels first. The perfect network's answers "
        "stand in `truth`, "
        "and serve as calls and as scores.",
    )
