"""The directive ``{quiz} NN_name``: a chapter's five questions with feedback in the page.

A question is a group of radio buttons, which browsers lead by keyboard, and a button that checks. What is to be said
to each choice stands in a fold below, which opens without scripts; ``book.js`` shows the part for one's choice instead,
and the fold only once the right one has been found.
"""

from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ecgstudy.course import quizzes
from ecgstudy.course.rows import RowError


class Quiz(SphinxDirective):
    """The quiz that ``book/quizzes/NN_name.yaml`` holds."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Its questions, one below the other."""
        name = self.arguments[0]
        path = Path(self.env.srcdir) / "book" / "quizzes" / f"{name}.yaml"
        try:
            questions = quizzes.read(path)
        except (quizzes.QuizError, RowError) as error:
            raise self.error(str(error)) from error
        self.env.note_dependency(str(path))
        found: list[nodes.Node] = [_html('<div class="quiz" data-plain>')]
        for place, question in enumerate(questions, start=1):
            found += self._question(question, place, f"quiz-{name}-{place}")
        return [*found, _html("</div>")]

    def _question(self, question: quizzes.Question, place: int, name: str) -> list[nodes.Node]:
        name = escape(name)
        found = [_html(f'<fieldset class="quiz-question" id="{name}"><legend>{place}. ')]
        found += [*self._inline(question.text), _html("</legend>")]
        for letter, choice in zip("abcd", question.choices, strict=False):
            one = f"{name}-{letter}"
            button = f'<input type="radio" name="{name}" id="{one}" value="{letter}">'
            found += [_html(f'<div class="quiz-choice">{button}<label for="{one}">')]
            found += [*self._inline(choice.text), _html("</label></div>")]
        check = f'<button type="button" class="quiz-check" hidden>Check answer {place}</button>'
        found += [_html(f'{check}<div class="quiz-said" role="status"></div>')]
        found += [_html(f'<details class="quiz-answers"><summary>The answer to question {place}</summary><ul>')]
        for letter, choice in zip("abcd", question.choices, strict=False):
            right, mark = (" data-right", "✓ Right: ") if choice.right else ("", "")
            found += [_html(f'<li data-letter="{letter}"{right}><strong>{mark}'), *self._inline(choice.text)]
            found += [
                _html('</strong> <span class="quiz-feedback">'),
                *self._inline(choice.feedback),
                _html("</span></li>"),
            ]
        return [*found, _html("</ul></details></fieldset>")]

    def _inline(self, text: str) -> list[nodes.Node]:
        children, messages = self.parse_inline(" ".join(text.split()))
        return [*children, *messages]


def _html(text: str) -> nodes.Node:
    return nodes.raw("", text, format="html")


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    app.add_directive("quiz", Quiz)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
