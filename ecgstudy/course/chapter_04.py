"""Checks of chapter 04's exercises."""

from ecgstudy.course.checks import Answer, close, exercise


@exercise("04-1", wrong=[0.0, 0.5, 1.0, "0.25"])
def it_cannot_say_no(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    if isinstance(answer, int | float) and abs(answer - 0.5) < 0.01:
        return "That is how low the attention branch alone can go. The answer is a mean of two branches."
    return close(answer, 0.25, within=0.005, hint="What is the sigmoid of the smallest mean that a ReLU leaves?")


@exercise("04-2", wrong=[0.01, 0.495, 0.0014, 0.0002])
def one_gamma(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    if isinstance(answer, int | float) and abs(answer - 0.495) < 0.01:
        return "A sum of squares grows with the number of cells. Does its root?"
    hint = "Write the norm of a map that is the same in all of n cells, and make gamma times it equal for both n."
    return close(answer, 0.0704, within=0.001, hint=hint)


@exercise("04-3", wrong=[0.5, 1.0, 0.2, 0.941])
def who_moves(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    if isinstance(answer, int | float) and abs(answer - 0.2) < 0.01:
        return "You compared the steps of R and of the logits. How far does the map move when its logit does?"
    if isinstance(answer, int | float) and abs(answer - 0.941) < 0.01:
        return "That is the other map's share."
    hint = "Call loss.backward(), step both tensors against their gradients, and compare the maps before and after."
    return close(answer, 1 / 17, within=0.005, hint=hint)


@exercise("04-4", wrong=[[0.640, 0.673], [0.673, 0.673], [0.647, 0.642], 0.673])
def best_gamma(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = (
        "Choose fold by fold, an arm a fold: a column's largest value, and then the row where the other table's column "
        "is largest. Both means are of test scores, the one chosen on test records first."
    )
    return close(answer, [0.6728, 0.6404], within=0.002, hint=hint)


@exercise("04-5", wrong=[[1.0, 0.64, 0.01], [0.06, 0.01, 0.64], [0.10, 0.64, 0.01], 0.06])
def two_seconds(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = (
        "Call excess() of both scores, with the cells and without, and take 'perfect map' and 'QRS detector' in the "
        "order that the question has. A perfect map is no longer perfect on cells."
    )
    return close(answer, [0.06, 0.64, 0.01], within=0.015, hint=hint)


@exercise("04-6", wrong=[[0.0078, 1.0], [0.0078, 0.0386], [0.24, 0.0078], 0.0078])
def of_ninety_one(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = (
        "The smallest belongs to no record lost. For the largest: how many records are wrong with the better network, "
        "and could each of them have been right before? The smaller p comes first."
    )
    return close(answer, [0.0078125, 0.2430], within=0.003, hint=hint)
