"""Exercises as pages of the book hold them: ``book/exercises/NN_name.md`` is the only source of each."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import NoReturn

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ecgstudy.paths import REPOSITORY

FOLDER = REPOSITORY / "book" / "exercises"
KINDS = ("Predict", "Change", "Explain")

_HEADING = re.compile(r"(\d\d-\d+) · (\S.*)")
_ABOUT = re.compile(rf"\*({'|'.join(KINDS)}) · level ([123]) · (\d+) minutes?( · hurts on purpose)?\*")
_OPTION = re.compile(r":([\w-]+):(.*)")


class PageError(ValueError):
    """A page of exercises that does not keep to the format. The message names the page and the line."""


@dataclass(frozen=True)
class Exercise:
    """One exercise with its solution.

    Attributes
    ----------
    number, title
        ``03-1``, and what its heading says besides.
    kind, level, minutes, hurts
        One of ``KINDS``; 1 to 3; how long it takes; whether it does on purpose what one must not do.
    question
        Markdown.
    given
        Code that students are given, maybe none.
    solution
        Code that goes on from the given code and sets ``answer``.
    output
        What given code and solution print.
    explanation
        Markdown.
    line
        Of the page on which it begins.
    """

    number: str
    title: str
    kind: str
    level: int
    minutes: int
    hurts: bool
    question: str
    given: str
    solution: str
    output: str
    explanation: str
    line: int


@dataclass(frozen=True)
class Page:
    """A page of exercises.

    Attributes
    ----------
    name
        Of the chapter's notebook: ``03_cnn_gap``.
    title, opening
        Its heading, and the Markdown below it.
    exercises
        In their order.
    """

    name: str
    title: str
    opening: str
    exercises: list[Exercise]

    @property
    def chapter(self) -> str:
        """Number of the chapter: ``03``."""
        return self.name[:2]


def paths(folder: Path | None = None) -> list[Path]:
    """Files of the pages, by chapter; of the book's, if no other folder is named."""
    return sorted((folder or FOLDER).glob("[0-9][0-9]_*.md"))


def read(path: Path) -> list[Exercise]:
    """Read the exercises of a page.

    Raises
    ------
    PageError
        naming page and line, where the page does not keep to the format.
    """
    return read_page(path).exercises


def read_page(path: Path) -> Page:
    """Read a page of exercises: see ``read``."""
    return _Reader(path).page()


@dataclass(frozen=True)
class _Block:
    """A directive: its options, what is in it, and the line of the page on which that begins."""

    options: dict[str, str]
    text: str
    line: int


class _Reader:
    """Goes through a page from its first line to the heading of the quiz, or its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = path.read_text(encoding="utf-8").splitlines()
        tokens = MarkdownIt("commonmark").parse("\n".join(self.lines))
        self.tokens = [token for token in tokens if token.level == 0 and token.nesting >= 0]
        # A heading's text is in the token that follows it.
        self.headings = {id(a): b.content for a, b in pairwise(tokens) if a.type == "heading_open"}

    def fail(self, line: int, what: str) -> NoReturn:
        path = self.path.relative_to(REPOSITORY) if self.path.is_relative_to(REPOSITORY) else self.path
        raise PageError(f"{path.as_posix()}, line {line}: {what}")

    def page(self) -> Page:
        if not self.tokens or self.tokens[0].type != "heading_open" or self.tokens[0].tag != "h1":
            self.fail(1, "a page of exercises begins with its title, `# Exercises: NAME`")
        if not re.match(r"\d\d_", self.path.stem):
            self.fail(1, "a page of exercises is named as its chapter's notebook is: NN_name.md")
        parts = self.parts()
        title, (opening, before) = self.headings[id(self.tokens[0])], next(parts)
        if before:
            self.fail(_line(before[0]), "an exercise stands below its heading, `## NN-K · Title`")
        exercises = [self.exercise(heading, tokens) for heading, tokens in parts]
        for place, one in enumerate(exercises, 1):
            if one.number != f"{self.path.stem[:2]}-{place}":
                self.fail(
                    one.line, f"{one.number} should be {self.path.stem[:2]}-{place}: the page's {place}. exercise"
                )
        if not exercises:
            self.fail(len(self.lines), "there is no exercise here: each begins with `## NN-K · Title`")
        return Page(self.path.stem, title, opening, exercises)

    def parts(self) -> Iterator[tuple]:
        """First the text below the title, and fences there; then for each ``##`` its token and those below it."""
        heads = [place for place, token in enumerate(self.tokens) if token.type == "heading_open" and token.tag == "h2"]
        heads = [*heads, len(self.tokens)]
        first = self.tokens[1 : heads[0]]
        yield self.text(first), [token for token in first if token.type == "fence"]
        for head, end in pairwise(heads):
            if self.headings[id(self.tokens[head])] == "Quiz":
                return
            yield self.tokens[head], self.tokens[head + 1 : end]

    def text(self, tokens: Sequence[Token]) -> str:
        """Lines of the page from the first of some tokens to the last."""
        return "\n".join(self.lines[_line(tokens[0]) - 1 : _end(tokens[-1])]).strip() if tokens else ""

    def exercise(self, heading: Token, tokens: list[Token]) -> Exercise:
        line = _line(heading)
        if not (named := _HEADING.fullmatch(self.headings[id(heading)])):
            self.fail(line, "a heading is `## NN-K · Title` or `## Quiz`")
        number, title = named.groups()
        label, two = f"ex-{number}", "below it stand one ````{exercise} and one ````{solution}, nothing else"
        for token in tokens:
            if token.type != "fence" or not re.match(r"\{(exercise|solution)\}", token.info):
                self.fail(_line(token), f"{number}: {two}")
        if [token.info.split() for token in tokens] != [["{exercise}"], ["{solution}", label]]:
            self.fail(line, f"{number}: {two}, of which the second begins ````{{solution}} {label}")
        asked, solved = (self.block(token) for token in tokens)
        if asked.options != {"label": label, "nonumber": ""}:
            self.fail(_line(tokens[0]), f"{number}: an exercise has the options `:label: {label}` and `:nonumber:`")
        if solved.options != {"class": "dropdown"}:
            self.fail(_line(tokens[1]), f"{number}: a solution has the option `:class: dropdown`")
        first, _, question = asked.text.partition("\n")
        if not (about := _ABOUT.fullmatch(first.strip())):
            form = f"`*KIND · level L · M minutes*`, KIND one of {', '.join(KINDS)}, L from 1 to 3"
            self.fail(asked.line, f"{number}: the first line says {form}, and ends ` · hurts on purpose*` if it does")
        question, given = self.question(number, question, asked.line + 1)
        solution, output, explanation = self.solution(number, solved)
        kind, level, minutes, hurts = about.groups()
        return Exercise(
            number, title, kind, int(level), int(minutes), bool(hurts), question, given, solution, output, explanation,
            line,
        )  # fmt: skip

    def block(self, token: Token) -> _Block:
        """A directive's options, and what stands below them."""
        lines = token.content.split("\n")
        found = list(takewhile(bool, (_OPTION.fullmatch(line.strip()) for line in lines)))
        options = {option[1]: option[2].strip() for option in found if option}
        blank = list(takewhile(lambda line: not line.strip(), lines[len(found) :]))
        start = len(found) + len(blank)
        return _Block(options, "\n".join(lines[start:]).rstrip(), _line(token) + 1 + start)

    def question(self, number: str, text: str, line: int) -> tuple[str, str]:
        """The question without the code in it, and that code."""
        fences = _fences(text, "python")
        if len(fences) > 1:
            self.fail(line + _line(fences[1]) - 1, f"{number}: a question has at most one ```python")
        lines = text.split("\n")
        for fence in fences:
            del lines[_line(fence) - 1 : _end(fence)]
        question = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        if "`answer`" not in question:
            self.fail(line, f"{number}: a question says what to put into `answer`")
        given = "".join(fence.content for fence in fences).rstrip()
        self.compiles(number, given, line)
        return question, given

    def solution(self, number: str, block: _Block) -> tuple[str, str, str]:
        """The code, what it prints, and the explanation."""
        tokens = _fences(block.text, "python", "text")
        wanted = "a solution has one ```python, then one ```text with what is printed, then `Why:`"
        if [token.info.strip() for token in tokens] != ["python", "text"]:
            self.fail(block.line, f"{number}: {wanted}")
        lines = block.text.split("\n")
        between = lines[_end(tokens[0]) : _line(tokens[1]) - 1]
        explanation = "\n".join(lines[_end(tokens[1]) :]).strip()
        if _line(tokens[0]) != 1 or "".join(between).strip() or not explanation.startswith("Why: "):
            self.fail(block.line, f"{number}: {wanted}")
        code = tokens[0].content.rstrip()
        self.compiles(number, code, block.line)
        if not re.search(r"^answer\b", code, re.MULTILINE):
            self.fail(block.line, f"{number}: the solution's code sets `answer`")
        return code, tokens[1].content.rstrip(), explanation

    def compiles(self, number: str, code: str, line: int) -> None:
        try:
            compile(code, number, "exec")
        except SyntaxError as error:
            self.fail(line, f"{number}: its code is no Python: {error.msg}: {(error.text or '').strip()}")


def _fences(text: str, *languages: str) -> list[Token]:
    tokens = [token for token in MarkdownIt("commonmark").parse(text) if token.type == "fence" and token.level == 0]
    return [token for token in tokens if token.info.strip() in languages]


def _line(token: Token) -> int:
    """Line on which a token begins, from 1."""
    assert token.map is not None  # as every block has one
    return token.map[0] + 1


def _end(token: Token) -> int:
    assert token.map is not None
    return token.map[1]
