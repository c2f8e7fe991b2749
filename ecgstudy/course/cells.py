"""Runs the cells of a student's notebook in this process and tells, line by line, which answers they displayed.

``python -m ecgstudy.course.cells CELLS FD``: a JSON list of code, and the number of a pipe. Nothing here is trusted:
the student's code can do to it what it likes, and the grader checks every answer again.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from ecgstudy.course.checks import MIME

_LONGEST = 500  # characters of an error


class _Shell(InteractiveShell):
    """IPython without a terminal or a kernel: no history is kept, and no window opens."""

    def enable_gui(self, gui: str | None = None) -> None:
        """Take figures as they are: nobody looks at them."""

    def showtraceback(self, *args: Any, **kwargs: Any) -> None:
        """Print nothing: the last line of an error is told."""


def main(cells: str, pipe: str) -> None:
    """Run all cells; one that fails does not stop those after it."""
    fd = int(pipe)

    def tell(**what: Any) -> None:
        line = memoryview(json.dumps(what).encode() + b"\n")
        while line:
            line = line[os.write(fd, line) :]

    def answered(data: dict[str, Any]) -> None:
        if MIME in data:
            tell(answer=data[MIME])

    class Hook(DisplayHook):
        def write_format_data(self, format_dict: dict[str, Any], md_dict: object = None) -> None:
            answered(format_dict)

    class Publisher(DisplayPublisher):
        def publish(self, data: dict[str, Any], *_: object, **__: object) -> None:
            answered(data)

    shell = _Shell.instance(displayhook_class=Hook, display_pub_class=Publisher)
    if shell.history_manager is not None:
        shell.history_manager.enabled = False
    for number, code in enumerate(json.loads(Path(cells).read_text(encoding="utf-8")), 1):
        tell(cell=number)
        result = shell.run_cell(code, store_history=False)
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            said = "".join(traceback.format_exception_only(error)).strip().split("\n")[-1]
            tell(error=said[:_LONGEST], number=number, memory=isinstance(error, MemoryError))
    tell(end=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
