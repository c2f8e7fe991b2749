"""Checks of chapter 05's exercises."""

from ecgstudy.course.checks import Answer, close, exercise


@exercise("05-1", wrong=[[1.2, 0.0, 0.0], [1.2, 1.2, 0.0], [0.0, 0.8, 1.2], 1.2])
def the_padding_wins(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = "Write down which cells each mask keeps, and take the largest of them. How many are twice the record's?"
    return close(answer, [1.2, 0.8, 0.0], within=0.005, hint=hint)


@exercise("05-2", wrong=[0.512, 1210, 0.744, 4.84])
def what_the_winner_has_seen(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    if isinstance(answer, int | float) and answer > 100:
        return "Those are samples, and seconds are asked for."
    if isinstance(answer, int | float) and answer < 1:
        return "A step deep in the network is many samples of the ECG: let s grow with each pooling."
    hint = "Go layer by layer with two numbers, field and step; the step is doubled after each of the six poolings."
    return close(answer, 9.68, within=0.1, hint=hint)


@exercise("05-3", wrong=[[0, 12], [12, 12], [6, 6], 12])
def one_beat_in_a_minute(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = (
        "Join the six parts along time for the one, and average six probabilities for the other. How large can a mean "
        "of six be, if five are next to nothing?"
    )
    return close(answer, [12, 0], within=0.4, hint=hint)


@exercise("05-4", wrong=[0.1, 0.5, 0.9, 0.05])
def what_it_means(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    if isinstance(answer, int | float) and abs(answer - 0.1) < 0.001:
        return "That would be the answer to a loss without weights."
    hint = "Set the derivative with respect to p to 0, or try many p and take that of the smallest loss."
    return close(answer, 0.679, within=0.005, hint=hint)


@exercise("05-5", wrong=[[0.392, 0.356, 0.268], [0.275, 0.392, 0.268], [0.392, 0.392, 0.268], 0.392])
def tuned_on_what_it_is_scored_on(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    if not close(answer, [0.392, 0.356, 0.268], within=0.003, hint="not these"):
        return "The second is tuned on the test records, which flatters as much as the first: choose on validation."
    hint = "In each fold choose thresholds once, on validation records, and use them on both parts. Then use one half."
    return close(answer, [0.3923, 0.2747, 0.2678], within=0.002, hint=hint)


@exercise("05-6", wrong=[[3.08, 0.0], [0.0, 0.0], [3.08, 3.08], 3.08])
def the_mask_that_comes_too_late(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = (
        "Compare network(x) with network(batch) without its last row, for both networks, the shipped one first. One of "
        "them does not care who else is in the batch."
    )
    # Another machine's float32 may differ in the last digits of either.
    return close(answer, [0.0, 3.083], within=0.02, hint=hint)


@exercise("05-7", wrong=[[0.83, 0.0, 0.26, 0.0], [0.26, 0.03, 0.83, 0.76], [0.83, 0.83, 0.26, 0.26], 0.83])
def a_map_of_nothing(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = (
        "Make both maps with map_of and take means over the records: first of trials.gini, then of "
        "trials.localisation(m, key)['excess mass']. A network that has learnt nothing still has a map."
    )
    return close(answer, [0.831, 0.765, 0.255, 0.033], within=0.01, hint=hint)
