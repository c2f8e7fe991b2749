import json

import pytest
import yaml

from ecgstudy.book import notebook_names
from ecgstudy.paths import NOTEBOOKS
from ecgstudy.profiles import PROFILES, ProfileError, profile_values, settings


def declared(name):
    """Parameters in the tagged cell of a notebook, by executing that cell."""
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
    (cell,) = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    namespace = {}
    exec("".join(cell["source"]), {}, namespace)
    return namespace


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", notebook_names())
def test_a_profile_gives_exactly_the_declared_parameters(profile, name):
    assert set(profile_values(profile, name)) == set(declared(name)) - {"profile"}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_speaks_only_of_notebooks_there_are(profile):
    sections = yaml.safe_load((NOTEBOOKS / "profiles" / f"{profile}.yaml").read_text())
    assert set(sections) - {"all"} <= set(notebook_names())


def test_the_first_code_cell_holds_the_parameters():
    # settings() takes every name it finds for a parameter that was passed in.
    for name in notebook_names():
        cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
        first = next(c for c in cells if c["cell_type"] == "code")
        assert first["metadata"].get("tags") == ["parameters"], name


def test_passed_parameters_replace_the_profiles():
    p = settings("03_cnn_gap", {"profile": "demo", "epochs": 3, "width": None})
    assert p.epochs == 3
    assert p.width == profile_values("demo", "03_cnn_gap")["width"]
    assert p.profile == "demo"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"profile": "dmo"}, "no profile 'dmo'; did you mean 'demo'"),
        ({"profile": "demo", "epoch": 3}, "no parameter 'epoch'; did you mean 'epochs'"),
        ({"profile": 3}, "no profile 3"),
    ],
)
def test_what_does_not_exist_is_an_error_that_names_what_does(given, message):
    with pytest.raises(ProfileError, match=message):
        settings("03_cnn_gap", given)
