"""SLURM on this machine: a controller and two node daemons on loopback, started and stopped here, nothing kept.

``python -m tests.slurm COMMAND ...`` runs a command while they are up. They are Debian's: ``apt-get install`` PACKAGES.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

PACKAGES = "slurmctld slurmd slurm-client munge"
NODES = ("node1", "node2")
_CONF = """\
ClusterName=ecgstudy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
ReturnToService=2
SlurmdTimeout=10
BatchStartTimeout=300
KillWait=2
JobRequeue=0
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]},{ports[2]} CPUs=1 RealMemory=64000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE
"""


def lacking() -> list[str]:
    """Programs that are not installed."""
    return [name for name in ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "srun") if not _program(name)]


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _version() -> tuple[int, ...]:
    said = subprocess.run([str(_program("slurmd")), "-V"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in said.split()[-1].split(".")[:2])


@dataclass
class Cluster:
    """Daemons that run, by name, and what a client's environment needs to find them."""

    folder: Path
    environment: dict[str, str]
    daemons: dict[str, subprocess.Popen]

    def states(self) -> dict[str, str]:
        """State of each node, as ``sinfo`` tells it."""
        command = ["sinfo", "--Node", "--noheader", "--format=%N %T"]
        said = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, check=False)
        return dict(line.split()[:2] for line in said.stdout.splitlines())

    def kill_busy_node(self) -> str:
        """Kill a node that has a job, as if its power had gone: the daemon and all that it has started."""
        for name in NODES:
            if jobs := [one for one in psutil.process_iter() if _of_node(one, name)]:
                steps = {parent.pid: parent for one in jobs for parent in _parents(one) if "slurm" in parent.name()}
                for one in (psutil.Process(self.daemons[name].pid), *steps.values(), *jobs):
                    with suppress(psutil.Error):
                        one.kill()
                self.daemons[name].wait()
                return name
        return ""

    def alive(self) -> list[str]:
        """Daemons and jobs that still run."""
        left = [name for name, daemon in self.daemons.items() if daemon.poll() is None]
        return left + [f"{one.pid}" for one in psutil.process_iter() if _of_cluster(one, self.folder)]


def _parents(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.parents()
    except psutil.Error:
        return []


def _of_node(process: psutil.Process, name: str) -> bool:
    try:
        return process.environ().get("SLURMD_NODENAME") == name
    except (psutil.Error, OSError):
        return False


def _of_cluster(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get("SLURM_CONF") == f"{folder}/slurm.conf"
    except (psutil.Error, OSError):
        return False


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a cluster in a folder of its own, wait until its nodes are idle, and stop it at the end.

    A job's socket lies there, and the path of a socket has at most 107 bytes: below pytest's folders it is longer, and
    SLURM cancels the job without saying why.

    Jobs of a node that dies have failed: SLURM could start them again itself, but waits for two minutes.

    Raises
    ------
    RuntimeError
        when it does not come up: with what its daemons said.
    """
    with tempfile.TemporaryDirectory() as folder:
        yield from _running(Path(folder))


def _running(folder: Path) -> Iterator[Cluster]:
    (folder / "state").mkdir()
    with ExitStack() as sockets:  # held together, so that all are different
        several = [sockets.enter_context(socket.socket()) for _ in range(3)]
        for one in several:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in several]
    host = socket.gethostname().partition(".")[0]
    about = {
        "host": host,
        "user": psutil.Process().username(),
        "ports": ports,
        "folder": folder,
        "nodes": ",".join(NODES),
    }
    (folder / "slurm.conf").write_text(_CONF.format(**about))
    # Control groups are not ours to make. Before 23.11 a plugin had to be named, which then does nothing.
    (folder / "cgroup.conf").write_text(f"CgroupPlugin={'disabled' if _version() >= (23, 11) else 'cgroup/v1'}\n")
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    # Snakemake's plugin takes SLURM_CONF from srun's environment (slurm-jobstep 0.6.1).
    srun = folder / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {_program("srun")} "$@"\n')
    srun.chmod(0o755)
    environment = {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{srun.parent}:{os.environ['PATH']}"}
    made = Cluster(folder, environment, {})
    files = {"socket": "socket", "pid-file": "pid", "log-file": "munged.log", "seed-file": "seed"}
    commands = {
        "munged": [
            *(f"--{name}={folder}/munge.{end}" for name, end in files.items()),
            f"--key-file={folder}/munge.key",
        ],
        "slurmctld": ["-D"],
        **{node: ["-D", "-N", node] for node in NODES},
    }
    commands["munged"] += ["--foreground", "--force"]
    try:
        for name, options in commands.items():
            program = _program("slurmd" if name in NODES else name)
            with (folder / f"{name}.log").open("w") as log:
                made.daemons[name] = subprocess.Popen(
                    [program, *options], env=os.environ | environment, stdout=log, stderr=log, start_new_session=True
                )
            if name == "munged":
                _until((folder / "munge.socket").exists, made)
        _until(lambda: list(made.states().values()) == ["idle"] * len(NODES), made)
        yield made
    finally:
        for daemon in reversed(made.daemons.values()):
            daemon.terminate()
        for daemon in made.daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for one in psutil.process_iter():
            if _of_cluster(one, folder):
                one.kill()


def _until(true, made: Cluster, patience: float = 60) -> None:
    begun = time.monotonic()
    while not true():
        dead = [name for name, daemon in made.daemons.items() if daemon.poll() is not None]
        if dead or time.monotonic() - begun > patience:
            said = "\n".join(f"{name}: {(made.folder / f'{name}.log').read_text()[-2000:]}" for name in made.daemons)
            raise RuntimeError(f"SLURM does not come up (ended: {', '.join(dead) or 'none'}):\n{said}")
        time.sleep(0.2)


if __name__ == "__main__":
    with cluster() as running:
        sys.exit(subprocess.run(sys.argv[1:], env=os.environ | running.environment, check=False).returncode)
