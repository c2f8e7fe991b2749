"""Checks of chapter 14's exercises."""

from ecgstudy.course.checks import Answer, choice, close, exercise


@exercise(
    "14-1",
    wrong=[
        [0.04, 0.48, 0.18, 0.56],
        [0.5, 0.5, 0.5, 0.5],
        [0.88, 0.67, 0.79, 0.71],
        [0.0, 0.63, 0.2, 0.53],
        0.56,
    ],
)
def early(answer: Answer) -> str:
    """Check shares of early premature beats."""
    return close(
        answer,
        [0.0398, 0.5642, 0.1780, 0.4794],
        0.006,
        "early(name, variety) has a ratio for each premature beat; the mean of `ratio < limit` is a share. The plain "
        'variety is "". Take the beats as they come, and not the coupling that was drawn: a T wave may hold them back.',
    )


@exercise(
    "14-2",
    wrong=[
        [["intervals"], []],
        [["intervals"], ["intervals"]],
        [["intervals"], ["intervals", "forms", "diagnoses", "atria", "recorders"]],
        [["intervals", "atria"], ["intervals", "forms", "diagnoses", "recorders"]],
        [["intervals"], ["intervals", "forms", "recorders"]],
        ["intervals", "forms"],
    ],
)
def keys(answer: Answer) -> str:
    """Check which steps move beats, and which change answer keys."""
    if not isinstance(answer, list) or len(answer) != 2 or not all(isinstance(part, list) for part in answer):
        return "Two lists of steps are asked for, such as [[], []] where no step does anything."
    moved, changed = ({f"{step}".strip() for step in part} for part in answer)
    if moved != {"intervals"}:
        return "For the first list compare parameters['beats']['onset'] of each record with that of the plain one."
    if changed != {"intervals", "forms", "diagnoses", "recorders"}:
        return (
            "For the second list ask of each record whether evidence.equals(plain.evidence). One that differs among "
            "the sixty is enough; and a key has leads as well as times."
        )
    return ""


@exercise(
    "14-3",
    wrong=[[0.0667, 0.0167, 0.9333], [0.0667, 0.0667, 0.9333], [0.3333, 0.0667, 0.7333], [0.0667, 0.3333, 0.9333], 0.5],
)
def filtered(answer: Answer) -> str:
    """Check how many hearts are read as STD before and after a filter."""
    return close(
        answer,
        [0.0667, 0.3333, 0.7333],
        0.01,
        "Of each heart: read_as_std(st_level(heart, recorded(heart, low_cut))), where a cut of 0 is no filter. The "
        "order is: normal hearts without the filter, the same with it, hearts with STD with it.",
    )


@exercise("14-4", wrong=["a", "b", "d", 0.025])
def one_class(answer: Answer) -> str:
    """Check what the rows of the classes say of a gain in the mean."""
    hints = {
        "a": "Count the classes whose lower limit is above zero.",
        "b": "Look at the rows of the three classes one by one: how many of them are surely above zero?",
        "d": "Does the interval of the class that gains most hold zero? And does that of any class lie below it?",
    }
    return choice(answer, "c", hints)


@exercise(
    "14-5",
    wrong=[
        [0.506, 0.666, 0.666, 0.607],
        [0.506, 0.514, 0.666, 0.607],
        [0.547, 0.666, 0.514, 0.607],
        [0.506, 0.666, 0.607, 0.514],
        0.514,
    ],
)
def thresholds(answer: Answer) -> str:
    """Check F1 at thresholds from simulated records, development records, and the tested records themselves."""
    wanted = [0.5058, 0.6661, 0.5139, 0.6071]
    if not isinstance(answer, list) or len(answer) != len(wanted):
        return close(answer, wanted, 0, "")
    hints = (
        "The simulated thresholds are in `called` already: metrics.macro_f1(labels[tested], called[tested]).",
        "Choose on labels[development] and p[development], and score the same records.",
        "Keep the thresholds of the development records, and score p[tested] >= thresholds.",
        "Choose on labels[tested] and p[tested], and score the same records.",
    )
    found = (close(one, right, 0.003, hint) for one, right, hint in zip(answer, wanted, hints, strict=True))
    return next(filter(None, found), "")


@exercise(
    "14-6",
    wrong=[[0.5, 0.646, 0.722], [0.275, 0.722, 0.646], [0.275, 0.646, 0.646], [0.275, 0.912, 0.918], 0.275],
)
def by_design(answer: Answer) -> str:
    """Check what a blind reader scores when sources are left out, and a network over all pairs and within a source."""
    wanted = [0.2750, 0.6459, 0.7222]
    if not isinstance(answer, list) or len(answer) != len(wanted):
        return close(answer, wanted, 0, "")
    hints = (
        "The reader's answer to all records of a fold is labels[fold != one].mean(axis=0), of all records there. Score "
        "the tested records alone, all sources at once.",
        "All pairs: metrics.macro_auroc(labels[tested], p[tested]).",
        "Pairs of one source: within takes the labels, the answers and the folds of the tested records.",
    )
    found = (close(one, right, 0.003, hint) for one, right, hint in zip(answer, wanted, hints, strict=True))
    return next(filter(None, found), "")


@exercise(
    "14-7",
    wrong=[
        [0.7263, 0.7263, 0.9509, 0.9526],
        [0.7263, 0.5451, 0.9509, 0.5],
        [0.5451, 0.7263, 0.9526, 0.9509],
        [0.7200, 0.5451, 0.9509, 0.9526],
        0.95,
    ],
)
def averaged(answer: Answer) -> str:
    """Check what the mean of two networks reads, of their answers and of their weights, apart and kin."""
    return close(
        answer,
        [0.7263, 0.5451, 0.9509, 0.9526],
        0.005,
        "Take the mean of every floating-point tensor of state_dict, those of normalisation too, and load it into a "
        "network of the same shape. The first of each pair is the area of the mean of two probabilities. The order is: "
        "apart, answers and weights; kin, answers and weights.",
    )
