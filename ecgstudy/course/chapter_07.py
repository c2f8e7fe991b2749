"""Checks of chapter 07's exercises."""

from ecgstudy.course.checks import Answer, choice, close, exercise


@exercise("07-1", wrong=[[0.5, 1.0, -1.0, -1.0], [2.0, 4.0, 0.0, 0.0], [0.5, 2.0, 1.0, 0.0], -0.5])
def on_paper(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    if answer == [0.5, 1.0, -1.0, -1.0]:
        return "That is the signed map; one step is missing."
    if answer == [2.0, 4.0, 0.0, 0.0]:
        return "The head reads a mean: by how much does the logit change when one cell of a channel does?"
    hint = "Add the channels up first, each times its own derivative, and only then drop what is negative."
    return close(answer, [0.5, 1.0, 0.0, 0.0], within=0.005, hint=hint)


@exercise("07-2", wrong=[[1.0, 1.0, 0.0], [0.09, 0.09, 0.0], [0.09, 1.0, 0.89], 0.0])
def one_state(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = (
        "head_gradient gives a share for each segment: take the last one of either network. For the third, subtract "
        "the normalised maps of the two networks. A number for each channel is all that Grad-CAM keeps of a gradient."
    )
    return close(answer, [1 / 11, 1.0, 0.0], within=0.01, hint=hint)


@exercise("07-3", wrong=[[0.63, 0.91], [0.91, 0.91], [0.96, 0.89], 0.63])
def on_both_sides(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    if isinstance(answer, list) and len(answer) == 2 and answer[0] == 0.96:
        return "Those look like accuracies, which the normal beats decide: macro-F1 is the mean of the classes' F1."
    hint = "Fit KNeighborsClassifier(1) on one half and score the other, for both splits, the one at random first."
    return close(answer, [0.91, 0.63], within=0.015, hint=hint)


@exercise("07-4", wrong=[[0.2, 0.2, 0.2, 0.2], [0.0, 0.0, 0.0, 0.0], [0.65, 0.65, 0.65, 0.65], 0.2])
def learnt_nothing(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    hint = (
        "Set the seed, make a network, make its maps, take the mean of window_mass; four times. Did you expect chance? "
        "Convolutions pass on where the signal is large, whatever their weights."
    )
    return close(answer, [0.30, 0.32, 0.39, 0.50], within=0.015, hint=hint)


@exercise("07-5", wrong=["a", "c", "d", 0.57])
def against_what(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    return choice(
        answer,
        "b",
        {
            "a": "Something that has never seen a network does as well. Has it been validated, too?",
            "c": "Chance is what a map turned by a random amount has: look at that row.",
            "d": "It has no network in it: it would be the same for any network, trained or not.",
        },
    )


@exercise("07-6", wrong=["a", "b", "d", "P"])
def cannot_hold(answer: Answer) -> str:
    """Return a hint, or "" for a right answer."""
    return choice(
        answer,
        "c",
        {
            "a": "This map has a cell of a few milliseconds, and a P wave lasts about a hundred.",
            "b": "It is low, but one of the two networks is clearly better than the other. What was it given?",
            "d": "Evidence for a class is what the ReLU keeps. Think of evidence that never was in the map.",
        },
    )
