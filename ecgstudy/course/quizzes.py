"""The quiz of each chapter: five questions, each with a word on every choice (``book/quizzes/NN_name.yaml``)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ecgstudy.course import rows
from ecgstudy.paths import REPOSITORY, listed

FOLDER = REPOSITORY / "book" / "quizzes"
QUESTIONS = 5
CHOICES = (3, 4)  # of a question, at least and at most


class QuizError(ValueError):
    """A quiz that cannot be shown. The message names the file and the question."""


@dataclass(frozen=True)
class Choice:
    """An answer that one can choose, as Markdown, and what is to be said to whoever chose it."""

    text: str
    feedback: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question, as Markdown, and its choices, one of which is right."""

    text: str
    choices: tuple[Choice, ...]

    @property
    def right(self) -> int:
        """Place of the right choice."""
        return next(place for place, choice in enumerate(self.choices) if choice.right)


def read(path: Path) -> list[Question]:
    """The questions of a quiz, with their numbers as ``results/`` says them.

    Raises
    ------
    QuizError
        for a file that is no quiz: the message names it, the question, and what is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(one.stem for one in listed(path.parent, "*.yaml"))
        raise QuizError(f"{path}: there is no such quiz; there are: {known}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise QuizError(f"{path}: not YAML: {error}") from error
    if not isinstance(content, list) or len(content) != QUESTIONS:
        raise QuizError(f"{path}: a quiz is a list of {QUESTIONS} questions")
    questions = []
    for place, one in enumerate(content, start=1):
        try:
            questions.append(_question(one))
        except (QuizError, rows.RowError) as error:
            raise QuizError(f"{path}, question {place}: {error}") from error
    return questions


def _question(content: Any) -> Question:
    content = _fields(content, {"question", "choices"}, {"numbers"}, "a question")
    numbers = content.get("numbers", {})
    if not isinstance(numbers, dict) or not all(isinstance(one, dict) for one in numbers.values()):
        raise QuizError("numbers: names with what they are, and not anything else")
    choices = content["choices"]
    if not isinstance(choices, list) or not CHOICES[0] <= len(choices) <= CHOICES[1]:
        raise QuizError(f"it has {' or '.join(map(str, CHOICES))} choices")
    told = [_fields(choice, {"text", "feedback"}, {"right"}, "a choice") for choice in choices]
    if sum(choice.get("right") is True for choice in told) != 1:
        raise QuizError("one choice, and no other, is right: true")
    used = rows.names("\n".join([content["question"], *(f"{c['text']}\n{c['feedback']}" for c in told)]))
    if unused := sorted(set(numbers) - used):
        raise QuizError(f"no text names the number {unused[0]!r}")

    def shown(text: str) -> str:
        return rows.filled(text.strip(), numbers)

    made = tuple(Choice(shown(c["text"]), shown(c["feedback"]), c.get("right") is True) for c in told)
    if len({choice.text for choice in made}) < len(made):
        raise QuizError("two of its choices say the same")
    return Question(shown(content["question"]), made)


def _fields(content: Any, needed: set[str], more: set[str], what: str) -> Mapping[str, Any]:
    """A mapping with some fields, all texts but ``choices``, ``numbers`` and ``right``."""
    if not isinstance(content, dict) or not needed <= set(content) <= needed | more:
        wanted = ", ".join([*sorted(needed), *(f"{name} (or not)" for name in sorted(more))])
        raise QuizError(f"{what} has the fields {wanted}")
    for name in needed - {"choices"}:
        if not isinstance(content[name], str) or not content[name].strip():
            raise QuizError(f"{name} of {what} is a text, and not {content[name]!r}")
    return content


def resolved(path: Path) -> str:
    """A quiz as YAML whose numbers stand in its texts, which shows the same without ``results/``."""
    content = [
        {
            "question": question.text,
            "choices": [
                {"text": c.text, "feedback": c.feedback} | ({"right": True} if c.right else {})
                for c in question.choices
            ],
        }
        for question in read(path)
    ]
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=120)
