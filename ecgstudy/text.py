"""Text that comes out of files, made fit to be shown: no control characters, no folders of this machine."""

import os
import re
import unicodedata
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from ecgstudy.paths import REPOSITORY, cache_root, data_root


def printable(text: str, keep: str = "") -> str:
    r"""Replace every character that does not print by its escape, such as ``\x1b``, except those to ``keep``.

    These are control characters, which may move a cursor or rewrite a terminal's title; marks that change the direction
    of writing; and bytes of a file's name that are not text.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep or unicodedata.category(c) == "Zs" else _escape(c) for c in text)


def quoted(names: Iterable[str]) -> str:
    """Names in a row, each in quotation marks, since some hold a comma: ``'Local evidence, simulated', 'CNN-GAP'``."""
    return ", ".join(repr(name) for name in names)


def no_formula(text: str) -> str:
    """Put a quotation mark before a text that a spreadsheet, which opens a CSV, would take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python holds a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def without_folders(text: str, elsewhere: Path | None = None) -> str:
    """Shorten the paths in a text, so that they do not tell whose machine it is: relative to data root or repository.

    The folder of caches becomes ``$ECGSTUDY_CACHE``, the home folder ``~``. Paths below ``elsewhere``,
    any other folder, are relative to it.
    """
    root = data_root()
    home = Path.home()
    # A table of labels above the data root is named by its relative path, too.
    known = {str(folder): os.path.relpath(folder, root) for folder in root.parents if len(folder.parts) > 2}
    known |= {str(home): "~", os.path.realpath(home): "~", str(REPOSITORY): ".", str(cache_root()): "$ECGSTUDY_CACHE"}
    given = os.environ.get("ECGSTUDY_DATA")
    known |= {str(folder): "." for folder in (elsewhere, given and Path(given).expanduser().absolute(), root) if folder}
    for folder, name in sorted(known.items(), key=lambda item: -len(item[0])):
        if len(Path(folder).parts) > 1:  # not / itself
            whole = rf"(?<![\w.~-]){re.escape(folder)}(?:{re.escape(os.sep)}(?=\S)|(?![\w.-]))"
            text = re.sub(whole, partial(_shorter, name), text)
    return text


def _shorter(name: str, found: re.Match[str]) -> str:
    if not found[0].endswith(os.sep):
        return name
    return "" if name == "." else f"{name}{os.sep}"
