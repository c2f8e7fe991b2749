"""Checks of chapter 03's exercises."""

from ecgstudy.course.checks import Answer, choice, close, exercise


@exercise("03-1", wrong=[0.0, 0.1, 0.5, 1.0])
def yes_to_everything(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = "Take a hundred people. How many are tp, fp and fn, if the program never says no?"
    return close(answer, 0.357, within=0.005, hint=hint)


@exercise("03-2", wrong=[[0.325, 0.325], [0.325, 0.225], [0.247, 0.325], 0.325])
def thresholds(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = (
        "The first is what the code prints. For the second `best_thresholds` may see only records with `~test`, and "
        "its thresholds are then used for those of `test`."
    )
    return close(answer, [0.325, 0.247], within=0.003, hint=hint)


@exercise("03-3", wrong=[[0.5, 0.5], [0.0625, 0.0625], [0.0625, 0.5], [1.0, 0.0625]])
def what_the_loss_wants(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = "Compute both losses for every p of the grid, and draw them. Where is the lowest point of each?"
    return close(answer, [0.0625, 1.0], within=0.002, hint=hint)


@exercise("03-4", wrong=[0.0064, 0.0, 0.5, 1.0])
def how_local(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = "Compare `maps.cam` of both inputs cell by cell: where does any class differ? Give the share of cells."
    return close(answer, 0.9, within=0.02, hint=hint)


@exercise("03-5", wrong=["a", "b", "c"])
def red_or_blue(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hints = {
        "a": "Compute the logits of both: the mean of a map plus its bias.",
        "b": "Does a constant that is added to all cells change which of two is the larger?",
        "c": "Count the cells above 0 in `cam` and in `second_cam`.",
    }
    return choice(answer, "d", hints)
