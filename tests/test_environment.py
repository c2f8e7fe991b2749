"""The lock and its conda face hold the same pins; ``python -m tests.test_environment`` writes the conda face."""

import re

import yaml

from ecgstudy.paths import REPOSITORY


def lock():
    """Name → version of every pin of requirements.lock."""
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    return dict(re.match(r"([\w.-]+)==([^ ;]+)", line).groups() for line in lines if line.strip())


def conda_face():
    """The text of environment.yml: Python from conda, every pin of the lock through pip, torch's CPU build."""
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    head = [
        "# The pins of requirements.lock for conda: conda env create -f environment.yml. Written by `make lock`.",
        "name: ecgstudy",
        "channels: [conda-forge]",
        "dependencies:",
        "  - python=3.11",
        "  - pip",
        "  - pip:",
        "      - --extra-index-url https://download.pytorch.org/whl/cpu",
    ]
    return "\n".join([*head, *(f'      - "{line}"' if ";" in line else f"      - {line}" for line in lines), ""])


def test_environment_yml_holds_the_pins_of_the_lock():
    assert (REPOSITORY / "environment.yml").read_text() == conda_face()
    pip = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"][-1]["pip"]
    pins = dict(re.match(r"([\w.-]+)==([^ ;]+)", line).groups() for line in pip if not line.startswith("--"))
    assert pins == lock()


def test_every_dependency_is_pinned():
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [d for extra in project["optional-dependencies"].values() for d in extra]
    names = {re.match(r"[\w.-]+", d).group().lower() for d in wanted}
    assert names <= set(lock())


def test_no_cuda_in_the_lock():
    assert not [name for name in lock() if name.startswith(("nvidia", "cuda", "triton"))]


def test_what_is_installed_is_what_is_pinned():
    from importlib.metadata import version

    for name in ("numpy", "torch", "jupyter-book", "papermill", "wfdb"):
        assert version(name).split("+")[0] == lock()[name]


if __name__ == "__main__":
    print(conda_face(), end="")
