"""What several test files share."""

import os
from pathlib import Path

import pytest
import torch

# The tensors of tests are small: more threads would only wait for each other, badly so on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real recordings, or a skip that says how to give one."""
    root = os.environ.get("ECGSTUDY_DATA")
    if not root or not (Path(root) / "challenge-2021").is_dir():
        pytest.skip("no real recordings: set ECGSTUDY_DATA to the folder that holds challenge-2021/, ludb/ ...")
    return Path(root).resolve()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test session keeps its caches to itself."""
    monkeypatch.setenv("ECGSTUDY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
