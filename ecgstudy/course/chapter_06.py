"""Checks of chapter 06's exercises."""

from ecgstudy.course.checks import Answer, choice, close, exercise


@exercise("06-1", wrong=[[0.638, 0.2, 0.193], [0.638, 0.638, 0.638], [0.828, 0.828, 0.828], 0.638])
def a_softmax(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = (
        "Write the softmax as a fraction: 24 cells of padding above, all cells below. What happens to a common factor "
        "in both, and what to a power?"
    )
    return close(answer, [0.6384, 0.6384, 0.1929], within=0.003, hint=hint)


@exercise("06-2", wrong=[[43.5, 10.0], [43.5, 0.54], [0.046, 0.0001], 43.5])
def easy_ones(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    if isinstance(answer, list) and len(answer) == 2 and isinstance(answer[1], float) and answer[1] in (10.0, 0.54):
        return "One of the two is missing in your second ratio: the weights with b, or the factors with r."
    hint = (
        "Write both terms of the loss: for a positive with (1 − p) to the r, for a negative with p to the r. There are "
        "950 of the one and one of the other. Cross-entropy is b = 0 and r = 0."
    )
    told = close(answer, [43.47, 0.123], within=0.3, hint=hint)
    return told or close(answer[1], 0.123, within=0.005, hint=hint)  # a small number, which that would let pass


@exercise("06-3", wrong=[[0.93, 0.08], [0.08, 0.08], [0.92, 0.07], 0.93])
def bright_against_it(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = (
        "Multiply the attention by whether the contribution is negative, sum over cells, and take two means: over the "
        "pairs of record and class in `there`, then over all others."
    )
    return close(answer, [0.085, 0.927], within=0.01, hint=hint)


@exercise("06-4", wrong=["a", "c", "d", 1])
def steady(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    return choice(
        answer,
        "b",
        {
            "a": "Look at the last row: it is as steady. Has it found the cause of the answer?",
            "c": "Then the second column would say the same as the first. Does it?",
            "d": "How many networks does the map of that row know?",
        },
    )


@exercise("06-5", wrong=[[45, 35.7], [2.6, 2.05], [2.05, 35.7], 35.7])
def one_cell_many_beats(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = (
        "The stride gives how long a cell lasts, the receptive field how much it sees: samples over the rate are "
        "seconds, and seconds times the pulse over 60 are beats."
    )
    return close(answer, [2.56, 35.7], within=0.1, hint=hint)
