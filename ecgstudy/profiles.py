"""Profiles: the parameter files that make one notebook a test of seconds or a study of days."""

import difflib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import yaml

from ecgstudy.paths import NOTEBOOKS

PROFILES = ("smoke", "demo", "real", "paper")
# What IPython itself puts into a notebook's namespace; everything else there was declared or passed in.
_SHELL = {"In", "Out", "get_ipython", "exit", "quit", "open", "papermill"}


class ProfileError(ValueError):
    """A profile or parameter that does not exist, with the nearest one that does."""


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def profile_values(profile: str, notebook: str) -> dict[str, Any]:
    """Parameters that ``profile`` gives to ``notebook`` (its name without ``.ipynb``).

    Raises
    ------
    ProfileError
        when there is no such profile.
    """
    if profile not in PROFILES:
        raise ProfileError(
            f"no profile {profile!r}{_nearest(str(profile), list(PROFILES))} Profiles are {', '.join(PROFILES)}."
        )
    text = yaml.safe_load((NOTEBOOKS / "profiles" / f"{profile}.yaml").read_text())
    return {**text.get("all", {}), **text.get(notebook, {})}


def settings(notebook: str, namespace: Mapping[str, Any]) -> SimpleNamespace:
    """Parameters of a notebook: those passed with ``-p``, else the profile's.

    Parameters
    ----------
    notebook
        Its name without ``.ipynb``.
    namespace
        ``globals()``, called right after the parameters cell and before anything else is defined there. A parameter
        left at None takes the profile's value.

    Raises
    ------
    ProfileError
        for an unknown profile, for a parameter the notebook does not know (papermill would only warn), and for one
        that neither the profile nor the caller gave a value.
    """
    given = {k: v for k, v in namespace.items() if not k.startswith("_") and k not in _SHELL and k != "settings"}
    profile = given.pop("profile")
    values = profile_values(profile, notebook)
    unknown = sorted(set(given) - set(values))
    if unknown:
        hint = _nearest(unknown[0], sorted(values))
        raise ProfileError(f"{notebook} has no parameter {unknown[0]!r}{hint} Its parameters: {', '.join(values)}.")
    values.update({k: v for k, v in given.items() if v is not None})
    return SimpleNamespace(profile=profile, **values)
