"""Checks of chapter 01's exercises."""

from ecgstudy.course.checks import Answer, choice, close, exercise


@exercise("01-1", wrong=[25, 5, 1, 0])
def one_signal_two_names(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = "Put the first record of a pair into a fold. In how many of the five may the second be, and in how many not?"
    return close(answer, 20, within=0.01, hint=hint)


@exercise("01-2", wrong=[[0.5, 0.5], [0.5, 0.77], [0.98, 0.5], 0.77])
def dice(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = (
        "The first number is that of the code as it is. For the second give `cross_val_score` other folds and "
        "`groups=patient`. What should a classifier reach whose labels are dice?"
    )
    return close(answer, [0.787, 0.502], within=0.06, hint=hint)


@exercise("01-3", wrong=[0.5, 0.69, 0.89, 1.0])
def the_folder(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = "The mean of all nine classes is asked for, and the scores are those of the folder, not of a network."
    return close(answer, 0.716, within=0.005, hint=hint)


@exercise("01-4", wrong=[[1, 1], [0.5, 0.5], [1.0, 0.0], 1.0])
def physics(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = "Two unknown numbers and thousands of equations: least squares, for example `np.linalg.lstsq`, I first."
    return close(answer, [1.75, 1.648], within=0.005, hint=hint)


@exercise("01-5", wrong=["a", "c", "d"])
def what_nsr_means(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hints = {
        "a": "Sicker hearts would explain more findings, but not that a *normal* one has them. What does the word say?",
        "c": "The folder has many records with two labels. Look at which of the nine is never among them.",
        "d": "Where does a beat of a patient with a bundle branch block begin? Does the block change that?",
    }
    return choice(answer, "b", hints)
