"""Checks of answers: right, or a hint that does not give the answer away.

A module for each chapter, such as ``ecgstudy.course.chapter_03``, holds its checks and is imported when it is wanted.
"""

import importlib
import math
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ecgstudy.course
from ecgstudy.profiles import nearest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MIME = "application/vnd.ecgstudy.answer+json"

Answer = Any  # what JSON can hold: see ``plain``
Function = Callable[[Answer], str]


@dataclass(frozen=True)
class Outcome:
    """What a check says of an answer: true where it is right.

    Attributes
    ----------
    number
        Of the exercise: ``03-1``.
    right
        Whether the answer is.
    hint
        What to think about, where it is not.
    answer
        As JSON can hold it; None where it cannot.
    """

    number: str
    right: bool
    hint: str = ""
    answer: Answer = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{self.number}: right." if self.right else f"{self.number}: not yet. {self.hint}"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        # A notebook keeps the answer beside the sentence, so that a class can be checked without running it.
        return {"text/plain": repr(self), MIME: {"exercise": self.number, "answer": self.answer}}


@dataclass(frozen=True)
class Check:
    """A check of one exercise.

    Attributes
    ----------
    number
        Of the exercise.
    hint_for
        Returns the hint for an answer, or "" for a right one.
    wrong
        Answers that students give: each is refused.
    """

    number: str
    hint_for: Function
    wrong: Sequence[Answer]


_CHECKS: dict[str, Check] = {}


def exercise(number: str, *, wrong: Sequence[Answer]) -> Callable[[Function], Function]:
    """Make a function the check of an exercise.

    Parameters
    ----------
    number
        Of the exercise: ``03-1``.
    wrong
        At least three wrong answers, such as students give.
    """

    def decorated(function: Function) -> Function:
        _CHECKS[number] = Check(number, function, wrong)
        return function

    return decorated


def chapters() -> list[str]:
    """Numbers of the chapters that have checks: ``01``, ``02`` and so on."""
    modules = (module.name for module in pkgutil.iter_modules(ecgstudy.course.__path__))
    return sorted(name.removeprefix("chapter_") for name in modules if re.fullmatch(r"chapter_\d\d", name))


def checks_of(chapter: str) -> dict[str, Check]:
    """Return the checks of a chapter (``03``) by the numbers of their exercises."""
    importlib.import_module(f"ecgstudy.course.chapter_{chapter}")
    return {number: check for number, check in sorted(_CHECKS.items()) if number.startswith(f"{chapter}-")}


def check_of(number: str) -> Check:
    """Return the check of an exercise.

    Raises
    ------
    ValueError
        naming the nearest, when there is no such exercise.
    """
    number, there = str(number).strip(), chapters()
    chapter = number.partition("-")[0]
    known = checks_of(chapter) if chapter in there else {}
    if number in known:
        return known[number]
    every = known or [one for chapter in there for one in checks_of(chapter)]
    hint = nearest(number, every, f"; numbers are written as {min(every, default='03-1')}")
    raise ValueError(f"there is no exercise {number!r}{hint}")


def check_exercise(number: str, answer: object) -> Outcome:
    """Say whether an answer is right, and what to think about if it is not.

    Parameters
    ----------
    number
        Of the exercise, as the book has it: ``"03-1"``.
    answer
        A number, a text, a list or a dict of these; arrays and tensors count as lists.

    Returns
    -------
    Outcome
        True where the answer is right; it prints as one sentence.

    Raises
    ------
    ValueError
        when there is no such exercise.
    """
    check = check_of(number)
    if answer is None or answer is ...:
        return Outcome(check.number, False, "Give `answer` a value first, and run that cell.")
    try:
        known = plain(answer)
    except TypeError as error:
        return Outcome(check.number, False, f"{error}.")
    try:
        hint = check.hint_for(known)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Of another form than the exercise asks for, such as a list where a dict is wanted.
        hint = f"The answer has another form than the exercise asks for ({type(error).__name__}: {error})."
    return Outcome(check.number, not hint, hint, _for_json(known))


def plain(answer: object) -> Answer:
    """Return an answer as JSON can hold it: arrays, series and tensors become lists, their numbers Python's own.

    Raises
    ------
    TypeError
        when it is, or holds, anything but numbers, texts, lists and dicts.
    """
    if answer is None or isinstance(answer, bool | int | float | str):
        # Subclasses such as numpy's float64 and str_ become Python's own.
        return next((kind(answer) for kind in (bool, int, float, str) if isinstance(answer, kind)), None)
    if isinstance(answer, Mapping):
        return {str(plain(key)): plain(value) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [plain(value) for value in answer]
    if isinstance(answer, set | frozenset):
        return sorted((plain(value) for value in answer), key=str)
    if hasattr(answer, "tolist") and not isinstance(answer, type):
        return plain(answer.tolist())
    raise TypeError(f"An answer is a number, a text, a list or a dict of these, and no {type(answer).__name__}")


def _for_json(answer: Answer) -> Answer:
    if isinstance(answer, dict):
        return {key: _for_json(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [_for_json(value) for value in answer]
    return None if isinstance(answer, float) and not math.isfinite(answer) else answer  # which JSON cannot write


def close(answer: Answer, expected: "ArrayLike", within: float, hint: str) -> str:
    """Return a hint unless an answer is a number, or a list of them, near what is expected.

    Parameters
    ----------
    answer, expected
        Numbers or (nested) lists of them.
    within
        How far each number may be off.
    hint
        For an answer of the right form with a wrong number.
    """
    import numpy as np  # which every command would load

    wanted = np.asarray(expected, dtype=float)
    if (told := _no_number(answer)) or (wanted.ndim == 0 and isinstance(answer, list | dict)):
        return told or f"One number is asked for, and this is a {type(answer).__name__}."
    try:
        given = np.asarray(answer, dtype=float)
    except (TypeError, ValueError):  # rows of different lengths
        return "Numbers are asked for in rows of equal length."
    if given.shape != wanted.shape:
        return f"Numbers of shape {wanted.shape} are asked for, and these have shape {given.shape}."
    if np.isnan(given).any():
        return "There is a NaN in the answer: something was divided by zero, or a value is missing."
    return "" if bool((np.abs(given - wanted) <= within).all()) else hint


def _no_number(answer: Answer) -> str:
    """What is wrong with the first thing in an answer that is no number."""
    if isinstance(answer, list):
        return next((told for told in map(_no_number, answer) if told), "")
    if isinstance(answer, bool):
        return f"A number is asked for, and {answer} is none."
    if isinstance(answer, str):
        return f"A number is asked for, and {answer!r} is a text."
    return "" if isinstance(answer, int | float) else f"A number is asked for, and this is a {type(answer).__name__}."


def choice(answer: Answer, right: str, hints: Mapping[str, str]) -> str:
    """Return the hint for a letter that is chosen wrongly, and "" for the right one.

    Parameters
    ----------
    answer
        A letter, of any case; spaces and brackets around it do not matter.
    right
        The right letter.
    hints
        Of each of the other letters.
    """
    letters = sorted({right, *hints})
    of_them = f"one of the letters {', '.join(letters)}, in quotes"
    if not isinstance(answer, str):
        return f"The answer is {of_them}."
    letter = answer.strip(" \t\n().").lower()
    if letter not in letters:
        return f"{answer!r} is no choice here: the answer is {of_them}."
    return "" if letter == right else hints[letter]
