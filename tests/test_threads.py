"""One thread a process, whatever starts it."""

import os
import subprocess
import sys

import pytest

from ecgstudy import threads

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
