"""How long a chapter takes: to read, by its words, and to run, as it was measured when this book was made."""

import json
import re
from typing import Any

from ecgstudy.studies import chapters

WORDS_A_MINUTE = 200
# Listings, formulas, roles' names and addresses are not read as words.
_NOT_WORDS = re.compile(
    r"```\w+\n.*?```|\$\$.*?\$\$|\$[^$]*\$|\{[\w:]+\}(`[^`]*`)?|\]\([^)]*\)|^:\w+:[^\n]*", re.DOTALL | re.MULTILINE
)
_WORD = re.compile(r"[^\W_]+(?:['’.,-][^\W_]+)*")


def minutes_to_read(notebook: dict[str, Any]) -> int:
    """Minutes that the prose and the captions of a notebook take at ``WORDS_A_MINUTE``, at least one."""
    return max(1, round(sum(len(_WORD.findall(text)) for text in _told(notebook)) / WORDS_A_MINUTE))


def _told(notebook: dict[str, Any]) -> list[str]:
    texts = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    captions = [cell["metadata"].get("mystnb", {}).get("figure", {}).get("caption", "") for cell in notebook["cells"]]
    return [_NOT_WORDS.sub(" ", text) for text in [*texts, *captions]]


def time_line(notebook: dict[str, Any], name: str, profile: str) -> str:
    """Say how long a chapter takes to read and took to run: a line of Markdown.

    Parameters
    ----------
    notebook
        As ``execute`` leaves it, with the seconds that it took.
    name, profile
        Of the chapter, and what it was executed with.
    """
    minutes, seconds = minutes_to_read(notebook), notebook["metadata"]["ecgstudy"]["seconds"]
    took = f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
    first = ", once its networks were trained" if chapters.trains(name, profile) else ""
    reading = f"{minutes} minute{'s' if minutes > 1 else ''} to read."
    return f"*{reading} It ran in {took} on the machine that made this page (profile {profile}){first}.*"


def with_time(text: str, name: str, profile: str) -> str:
    """Put ``time_line`` at the end of a notebook's first cell, its opening: the notebook's JSON, before and after.

    A notebook that is not as ``execute`` leaves it stays as it is.
    """
    notebook = json.loads(text)
    if "seconds" not in notebook["metadata"].get("ecgstudy", {}):
        return text
    opening = notebook["cells"][0]
    opening["source"] = "".join(opening["source"]).rstrip() + f"\n\n{time_line(notebook, name, profile)}\n"
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
