"""A folder for a student's project: a system that is complete, under a name of the student's, to be changed."""

import re
from pathlib import Path

from ecgstudy.paths import NOTEBOOKS, REPOSITORY, written_whole
from ecgstudy.systems.catalogue import CATALOGUE
from ecgstudy.text import quoted

TEMPLATE = REPOSITORY / "book" / "teaching" / "template"
_NAME = re.compile(r"[A-Z][A-Za-z0-9]{1,29}")


def make(name: str, folder: Path) -> list[Path]:
    """Write a project into a new folder: system, chapter, profiles, and the tests that it has to pass.

    Parameters
    ----------
    name
        Of the system: an upper-case letter, then letters and digits.
    folder
        That is not there, or empty.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ValueError
        when the name does not suit, or a system of the study has it.
    FileExistsError
        when there is something in the folder.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the system's name: take an upper-case letter, then letters and digits")
    if name.casefold() in {re.sub(r"\W", "", known).casefold() for known in CATALOGUE}:
        raise ValueError(f"the study has a system {name!r} already: take a name that is none of {quoted(CATALOGUE)}")
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} {'is not empty' if folder.is_dir() else 'is a file'}: name a new folder")
    with written_whole(folder) as partial:
        partial.mkdir(parents=True)
        for path in sorted(TEMPLATE.glob("*.*")):
            text = _renamed(path.read_text(encoding="utf-8"), name)
            if path.name == "profiles.yaml":  # chapters of one's own stand beside the study's
                text = f"{(NOTEBOOKS / path.name).read_text(encoding='utf-8')}\n{text}"
            (partial / _renamed(path.name, name)).write_text(text, encoding="utf-8", newline="\n")
    return sorted(folder.iterdir())


def _renamed(text: str, name: str) -> str:
    return text.replace("Seventh", name).replace("seventh", name.lower())
