"""Profiles: the parameters that make one notebook a test of seconds or a study of days."""

import difflib
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import yaml

from ecgstudy import threads
from ecgstudy.paths import NOTEBOOKS, own_cohorts

PROFILES = ("smoke", "class", "demo", "real", "paper")
# What IPython itself puts into a notebook's namespace; everything else there was declared or passed in.
_SHELL = {"In", "Out", "get_ipython", "exit", "quit", "open", "papermill"}

# What each parameter takes, in every notebook that has it. A parameter that is not here takes what its values in its
# notebook's block are like.
_WHOLE = {
    "arm_seeds", "batch", "channels", "convolutions", "costly_every", "depth", "draws", "epochs", "every", "explained",
    "filters", "folds", "levels", "limit", "mapped", "members", "pairs", "patience", "per_class", "pools", "records",
    "repeats", "replicas", "rhythm", "seed", "seeds", "small_epochs", "small_records", "st_cases", "strips",
    "synthetic_records",
}  # fmt: skip
_NUMBERS = {
    "balance", "chance", "dilation", "dropout", "fs", "gamma", "kernel", "key_weight", "rate", "roll", "seconds",
    "width",
}  # fmt: skip
_SWITCHES = {"relu", "require_real", "save"}
_CHOICES = {
    "cohort": ("synthetic", "real"),
    "schedule": ("constant", "one-cycle", "published"),
    "source": ("mitdb", "simulated", "at hand"),
}
_LISTS = {"losses", "methods", "systems"}  # each of its items once, of what the package has
_NULL = {"balance", "limit", "patience", "records"}  # None is a value of these: no limit, no patience
# No number is negative; of these, none is 0 either, which would mean nothing, or everything.
_POSITIVE = {
    "batch", "channels", "draws", "epochs", "every", "filters", "folds", "fs", "kernel", "levels", "limit", "members",
    "records", "repeats", "seconds", "seeds", "small_epochs", "small_records", "synthetic_records", "width",
}  # fmt: skip
_LARGEST = 2**53  # up to which floats hold every whole number
_OWN = bool(os.environ.get("ECGSTUDY_NOTEBOOKS"))  # whether the chapters are a user's own


class ProfileError(ValueError):
    """A profile or parameter that does not exist, with the nearest one that does, or a value that does not fit."""


class BookError(RuntimeError):
    """A notebook that failed or a page that does not render: which one, why, and where to look."""


def nearest(word: str, known: Iterable[str], end: str = "") -> str:
    """Write ``; did you mean 'epochs'?`` where a known word is near, else ``end``."""
    spelt = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(str(word).casefold(), spelt, n=1)
    return f"; did you mean {spelt[near[0]]!r}?" if near else end


def check_profile(profile: str) -> None:
    """Raise ``ProfileError`` when there is no such profile."""
    if profile not in PROFILES:
        hint = nearest(profile, PROFILES, ".")
        raise ProfileError(f"no profile {profile!r}{hint} Profiles are {', '.join(PROFILES)}.")


def typed(name: str, value: Any, notebook: str = "", *, names: bool = True) -> Any:
    """Read a parameter's value and check it: one typing for the command line, for papermill and for profiles.

    Parameters
    ----------
    name
        Of the parameter.
    value
        Text, which means what papermill's own command line makes of it, with ``null``, ``true``, ``false`` and
        ``[a, b]`` as YAML has them; or a value that is no text any more.
    notebook
        Whose parameter it is: chapter 11 has no use for ``records=null``.
    names
        Whether what a list names must be there: a system, say. To know that takes seconds, for it loads torch.

    Returns
    -------
    Any
        An int, a float (or an int, where a whole number was given for one), a bool, a text, a list of texts, or None.

    Raises
    ------
    ProfileError
        in one sentence: the parameter, what it takes, the value.
    """
    read = _of_text(value) if isinstance(value, str) else value
    if name in _NULL and notebook != "11_simulator":
        if read is None:
            return None
        null = ", or null"
    else:
        null = ""
    least = "above 0" if name in _POSITIVE else "0 or more"
    if name in _WHOLE:
        if isinstance(read, Integral) and not isinstance(read, bool) and (name in _POSITIVE) <= int(read) <= _LARGEST:
            return int(read)
        wanted = f"a whole number (int), {least}"
    elif name in _NUMBERS:
        fits = isinstance(read, Real) and not isinstance(read, bool) and not read < 0 and read <= _LARGEST  # NaN is not
        if fits and (read or name not in _POSITIVE):
            return int(read) if isinstance(read, Integral) else float(read)
        wanted = f"a number (float), {least}"
    elif name in _SWITCHES:
        if isinstance(read, bool):
            return read
        wanted = "true or false (bool)"
    elif name in _CHOICES:
        choices = [*_CHOICES[name], *(own_cohorts() if name == "cohort" else ())]
        if isinstance(value, str) and value in choices:
            return value
        wanted = f"one of {', '.join(choices)} (text)"
    elif name in _LISTS:
        items = list(read) if isinstance(read, list | tuple) else []
        there = _there_is(name) if names else items
        known = all(isinstance(item, str) and item in there for item in items)
        if items and known and len(set(items)) == len(items):
            return items
        there = _there_is(name)
        wanted = f"a list such as [{', '.join(there[:2])}], each once, of {', '.join(there)}"
    else:
        return _like_its_block(name, value, notebook)
    raise ProfileError(f"parameter {name!r} takes {wanted}{null}; it was given {value!r}")


def _there_is(name: str) -> tuple[str, ...]:
    """What a list may name: the package's losses, methods or systems."""
    # Imported here: most parameters need none of it, and torch takes seconds.
    from ecgstudy.explain.methods import METHODS
    from ecgstudy.losses import LOSSES
    from ecgstudy.systems import catalogue

    systems = [cls.name for cls in catalogue.with_chapter()]
    there: dict[str, Iterable[str]] = {"losses": LOSSES, "methods": METHODS, "systems": systems}
    return tuple(there[name])


def _like_its_block(name: str, value: Any, notebook: str) -> Any:
    """Read a parameter that only its notebook's block has: it takes values of the same kind as those there."""
    block = _block(notebook) if notebook else {}
    if name not in block:
        # Of the known parameters, in the hope that one is meant.
        every = sorted({*_WHOLE, *_NUMBERS, *_SWITCHES, *_CHOICES, *_LISTS})
        raise ProfileError(f"no parameter {name!r}{nearest(name, every)}")
    known: list[Any] = [_of_text(text) if isinstance(text, str) else text for text in _in_each_profile(block[name])]
    read: Any = _of_text(value) if isinstance(value, str) else value
    kinds: set[type] = {float if isinstance(one, Real) and not isinstance(one, bool) else type(one) for one in known}
    if len(kinds := kinds - {type(None)}) > 1 or "" in known:
        raise ProfileError(f"parameter {name!r} needs values of one kind in its block: it has {block[name]}")
    if None in known and read is None:
        return None
    if kinds <= {bool}:
        fits, wanted = isinstance(read, bool), "true or false (bool)"
    elif kinds <= {float}:
        least = min(one for one in known if one is not None)
        bound = ", above 0" if least > 0 else ", 0 or more" if least == 0 else ""
        whole = all(isinstance(one, Integral) for one in known if one is not None)
        number = isinstance(read, Integral if whole else Real) and not isinstance(read, bool)
        fits = number and -_LARGEST <= read <= _LARGEST and not (bound and (read < 0 or (least > 0 and read == 0)))
        wanted = f"a whole number (int){bound}" if whole else f"a number (float){bound}"
    elif kinds <= {list}:
        fits, wanted = isinstance(read, list | tuple), "a list"
    else:
        fits, wanted, read = isinstance(value, str) and value != "", "a text", value
    if not fits:
        raise ProfileError(f"parameter {name!r} takes {wanted}; it was given {value!r}")
    return read


def _of_text(text: str) -> Any:
    """Value that a text stands for, by the rules of papermill's ``-p`` and, where these leave a text, of YAML."""
    words = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    if text.startswith("["):
        try:
            return yaml.load(text, yaml.BaseLoader)
        except yaml.YAMLError:
            pass
    return text


def file() -> Path:
    """The file that holds the profiles."""
    return NOTEBOOKS / "profiles.yaml"


class _Once(yaml.BaseLoader):
    """YAML as text, in which no key stands twice: YAML itself takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, *options: Any, **named: Any) -> dict[Any, Any]:
        names = [self.construct_scalar(key) for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} stands twice")
        return super().construct_mapping(node, *options, **named)


@lru_cache(maxsize=4)
def _parsed(path: Path, text: str) -> dict[str, dict[str, Any]]:
    """Notebook → parameter → its value as text: one for all profiles, or a mapping from each profile to its own."""
    try:
        # As text: YAML's own typing takes 1e-3 for a text and 010 for 8.
        blocks = yaml.load(text, _Once)
        blocks = {notebook: block or {} for notebook, block in blocks.items()}
        for notebook, block in blocks.items():
            if not isinstance(block, dict):
                raise ValueError(f"{notebook} has {block!r}")
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())
        raise ProfileError(f"{path} is no mapping of notebooks to their parameters: {why}") from error
    for notebook, block in blocks.items():
        for name, value in block.items():
            if isinstance(value, dict) and set(value) != set(PROFILES):
                raise ProfileError(
                    f"{path}: {notebook}: {name} needs one value, or one for each of {', '.join(PROFILES)}"
                )
    return blocks


def _block(notebook: str) -> dict[str, Any]:
    """Parameters of a notebook, those of ``all`` among them."""
    if not file().exists():
        own = "which ECGSTUDY_NOTEBOOKS names: copy the study's notebooks/profiles.yaml there, and add your block"
        raise ProfileError(f"{file()} is missing in the folder of chapters{f', {own}' if _OWN else ''}")
    try:
        text = file().read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProfileError(f"{file()} is no mapping of notebooks to their parameters: {error}") from error
    blocks = _parsed(file(), text)
    return {**blocks.get("all", {}), **blocks.get(notebook, {})}


def profile_values(profile: str, notebook: str, *, names: bool = True) -> dict[str, Any]:
    """Parameters that ``profile`` gives to ``notebook`` (its name without ``.ipynb``); ``names`` as for ``typed``.

    Raises
    ------
    ProfileError
        when there is no such profile, or the file of profiles holds what a parameter does not take.
    """
    check_profile(profile)
    given = {name: _of_profile(value, profile) for name, value in _block(notebook).items()}
    try:
        return {name: typed(name, value, notebook, names=names) for name, value in given.items()}
    except ProfileError as error:
        raise ProfileError(f"{file()}: {notebook}: {error}") from None


def _of_profile(value: Any, profile: str) -> Any:
    return value[profile] if isinstance(value, dict) else value


def _in_each_profile(value: Any) -> list[Any]:
    return [_of_profile(value, profile) for profile in PROFILES]


def settings(notebook: str, namespace: Mapping[str, Any]) -> SimpleNamespace:
    """Parameters of a notebook: those passed with ``-p``, else the profile's.

    From here on its process has one thread (``threads.one_each``).

    Parameters
    ----------
    notebook
        Its name without ``.ipynb``.
    namespace
        ``globals()``, called right after the parameters cell and before anything else is defined there. A parameter
        left at ``...`` takes the profile's value; None is a value like any other.

    Raises
    ------
    ProfileError
        for an unknown profile, for a parameter the notebook does not know (papermill would only warn), and for a
        value that a parameter does not take.
    """
    threads.one_each()
    given = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_")
        and name not in _SHELL
        and not isinstance(value, ModuleType)  # what a user's own start-up files import
        and not callable(value)
    }
    profile = given.pop("profile")
    values = profile_values(profile, notebook)
    lacking = sorted(name for name in set(given) - set(values) if given[name] is ...)
    if lacking:
        hint = nearest(lacking[0], set(values) - set(given), "")
        near = hint.replace("did you mean", "the block has")[:-1] if hint else ""
        raise ProfileError(
            f"{file()}: {notebook} lacks {lacking[0]!r}, which its notebook declares: give it a line there{near}"
        )
    unknown = sorted(set(given) - set(values))
    if unknown:
        hint = nearest(unknown[0], values, ".")
        raise ProfileError(f"{notebook} has no parameter {unknown[0]!r}{hint} Its parameters: {', '.join(values)}.")
    values.update({name: typed(name, value, notebook) for name, value in given.items() if value is not ...})
    return SimpleNamespace(profile=profile, **values)
