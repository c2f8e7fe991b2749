"""The course: the book's exercises, their checks, and the notebooks that students work in.

A student imports one function::

    from ecgstudy.course import check_exercise

    check_exercise("03-1", answer)
"""

from ecgstudy.course.checks import Outcome, check_exercise

__all__ = ["Outcome", "check_exercise"]
