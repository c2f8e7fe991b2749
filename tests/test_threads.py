"""One thread a process, whatever starts it."""

import os
import subprocess
import sys

import pytest

from ecgstudy import threads
from ecgstudy.paths import NOTEBOOKS

TOLD = "import os, torch; print(torch.get_num_threads(), os.environ['OMP_NUM_THREADS'])"
NOTEBOOK = f"from ecgstudy.profiles import settings; settings('10_leaderboard', {{'profile': 'smoke'}}); {TOLD}"
COMMAND = f"from ecgstudy.cli import app; app(['data', 'list'], standalone_mode=False); {TOLD}"


@pytest.mark.parametrize("code", [NOTEBOOK, f"import torch; {NOTEBOOK}", COMMAND], ids=["notebook", "torch", "command"])
@pytest.mark.parametrize(("said", "number"), [("", "1"), ("2", "2")])
def test_a_process_has_one_thread_unless_it_is_told_otherwise(code, said, number):
    environment = {name: value for name, value in os.environ.items() if name not in threads.ONE}
    environment |= {"OMP_NUM_THREADS": said} if said else {}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, encoding="utf-8", check=True
    )
    assert run.stdout.split()[-2:] == [number, number]


def test_every_notebook_asks_for_it():
    texts = {path.name: path.read_text(encoding="utf-8") for path in NOTEBOOKS.glob("*.ipynb")}
    assert len(texts) > 14
    assert not [name for name, text in texts.items() if "= settings(" not in text and "threads.one_each()" not in text]
