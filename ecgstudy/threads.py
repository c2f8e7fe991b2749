"""One thread a process: what uses many cores is many processes.

Two threads of torch beside a busy core take five to eight times as long as one, for each waits for the other at every
layer.
"""

import os
import sys
from collections.abc import Mapping

# What torch, numpy and their libraries read when they are loaded.
ONE: Mapping[str, str] = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def one() -> None:
    """Give one thread to this process and to each that it starts."""
    os.environ.update(ONE)
    if "torch" in sys.modules:  # by the program that started this
        sys.modules["torch"].set_num_threads(1)


def one_each() -> None:
    """Do so unless the environment already says how many."""
    if "OMP_NUM_THREADS" not in os.environ:
        one()
