"""Checks of chapter 02's exercises."""

from ecgstudy.course.checks import Answer, choice, close, exercise


@exercise("02-1", wrong=[0.0, 0.1, 0.15, -0.1])
def the_st_level(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = (
        "A level is a difference of two points of the ECG. What does the filter do to the one, and what to the other?"
    )
    return close(answer, 0.25, within=0.01, hint=hint)


@exercise("02-2", wrong=[[0.1, 0.0, 0.0], [0.092, 0.092, 0.092], [0.5, 0.5, 0.05], 0.09])
def the_monitor(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = "Three calls of `moved`: 0.5 Hz with lfilter, 0.5 Hz with filtfilt, 0.05 Hz with lfilter. No two are equal."
    return close(answer, [0.099, 0.022, 0.013], within=0.003, hint=hint)


@exercise("02-3", wrong=[60, 50, 12, 0])
def the_hum(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = "Half the new rate is a mirror. How far above it is the hum, and where does that lead on the other side?"
    return close(answer, 40, within=0.2, hint=hint)


@exercise("02-4", wrong=[0.0, 0.05, 0.8, 1.0])
def windows(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = "A window counts if the key of PVC is False in all its leads and samples. How many of 300 windows do?"
    return close(answer, 0.633, within=0.01, hint=hint)


@exercise("02-5", wrong=["a", "c", "d"])
def zeros(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hints = {
        "a": "Print a sample of the padding for each order.",
        "c": "Neither order tells the length of a record; the mask does. What is in the padding, each time?",
        "d": "Compare the first 500 samples of both. What about the others?",
    }
    return choice(answer, "b", hints)
