"""Attempts whose outcome is known, to try the runner on."""

import os
import time
from pathlib import Path

from tests.attack.runner import READ


def well(seed: int, number: int, folder: Path) -> str:
    """Go well in an empty folder."""
    assert not list(folder.iterdir())
    (folder / "left").write_bytes(b"")
    return READ


def raises(seed: int, number: int, folder: Path) -> str:
    """Raise what nobody expects."""
    raise ValueError(f"attempt {number}")


def sleeps(seed: int, number: int, folder: Path) -> str:
    """Take too long."""
    time.sleep(60)
    return READ


def dies(seed: int, number: int, folder: Path) -> str:
    """End the process."""
    os._exit(3)
