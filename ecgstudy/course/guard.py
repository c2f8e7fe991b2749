"""Between the grader and a notebook that is not trusted: sets limits, starts it, and ends whatever it has started.

Run by its path, with nothing but the standard library: ``python -I guard.py LIMITS COMMAND ...``. It ends what it
started when the command ends, or when its standard input is closed, as it is when the grader is killed.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux: processes whose parents have ended become children of this one


def main(limits: str, *command: str) -> int:
    """Run a command and return its exit code, 128 and the signal's number if a signal ended it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    set_limits(json.loads(limits))
    # The pipe of answers, the only one of the grader's that stays open, is handed on.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, close_fds=False)
    threading.Thread(target=_follow, args=(child.pid,), daemon=True).start()
    code = child.wait()
    end(child.pid)
    return code if code >= 0 else 128 - code


def set_limits(limits: dict[str, int]) -> None:
    """Set limits of this process and its children by their names in ``resource``, none above what is allowed."""
    import resource

    for name, value in limits.items():
        kind = getattr(resource, name)
        _, most = resource.getrlimit(kind)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        with contextlib.suppress(OSError, ValueError):  # macOS knows some by name alone
            resource.setrlimit(kind, (value, value))


def _follow(pid: int) -> None:
    while os.read(0, 1):
        pass
    end(pid)
    os._exit(137)


def end(pid: int) -> None:
    """Kill a session's processes and, on Linux, all others that are children of this process, until there are none."""
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    for _ in range(1000):
        left = _children()
        for other in left:
            with contextlib.suppress(OSError):
                os.kill(other, signal.SIGKILL)
        with contextlib.suppress(OSError):  # those that were handed to this process
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not left:
            return


def _children() -> list[int]:
    """Processes whose parent is this one; none where there is no ``/proc``."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, parent = status.read_bytes().rpartition(b")")[2].split()[:2]
            if int(parent) == os.getpid() and state != b"Z":
                found.append(int(status.parent.name))
    return found


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
