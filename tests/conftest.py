"""What several test files share."""

import os
from pathlib import Path

# The tensors of tests are small: more threads would only wait for each other, badly so on a busy machine. This has to
# stand before torch is imported, and goes for the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import scipy.io

from ecgstudy import workers
from ecgstudy.data.records import LEADS

# Begun last, any of these would leave the other cores idle for minutes.
LONGEST = ("test_workflow", "test_access", "test_distributed", "test_own_cohort", "test_sixth_paper", "test_trainings")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with the longest tests first; all others keep their order."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


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


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is done in the process of the test, unless it asks for workers, which take seconds to start."""
    monkeypatch.setattr(workers, "processes", lambda: 1)


@pytest.fixture
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root in somebody's home: every data set with two small records, laid out as upstream lays them out."""
    root = tmp_path / "home" / "jane.doe" / "ecg"
    monkeypatch.setenv("ECGSTUDY_DATA", str(root))
    rng = np.random.default_rng(0)
    leads = "".join(f"{{name}}{{suffix}} {{kind}} 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
    for place, kind, comments in (
        ("challenge-2021/training/georgia/g1/E00001.mat", "16+24", "#Age: 60\n#Sex: Female\n#Dx: 164889003\n"),
        ("challenge-2021/training/georgia/g1/E00002.mat", "16+24", "#Age: 70\n#Sex: Male\n#Dx: 427172004\n"),
        ("ptb-xl/records500/00000/00001_hr.dat", "16", ""),
        ("ptb-xl/records500/00000/00002_hr.dat", "16", ""),
        ("ludb/data/1.dat", "16", "#<diagnoses>:\n#Complete right bundle branch block.\n"),
        ("ludb/data/2.dat", "16", "#<diagnoses>:\n#Complete left bundle branch block.\n"),
    ):
        file = root / place
        file.parent.mkdir(parents=True, exist_ok=True)
        digital = rng.integers(-500, 500, (5500, 12)).astype("<i2")
        file.write_bytes(bytes(24) * kind.endswith("24") + digital.tobytes())
        lines = f"{{name}} 12 500 5500\n{leads}{comments}".format(name=file.stem, suffix=file.suffix, kind=kind)
        file.with_suffix(".hea").write_text(lines)
        if file.parent.parent.name == "ludb":
            for lead in LEADS:
                file.with_suffix(f".{lead.lower()}").write_bytes(annotation([(500, "("), (50, "N"), (50, ")")]))
    (root / "cpsc-2018-original").mkdir()
    for name in ("A0001", "A0002"):
        fields = [("sex", "O"), ("age", "O"), ("data", "O")]
        ecg = np.array([[("Male", np.array([[52]], np.uint8), rng.normal(size=(12, 5000)))]], fields)
        scipy.io.savemat(root / "cpsc-2018-original" / f"{name}.mat", {"ECG": ecg}, do_compression=True)
    (root / "mitdb").mkdir()
    for name in ("100", "101"):
        (root / "mitdb" / f"{name}.dat").write_bytes(rng.integers(-500, 500, (7200, 2)).astype("<i2").tobytes())
        lead_lines = "".join(f"{name}.dat 16 200 11 0 0 0 0 {lead}\n" for lead in ("MLII", "V5"))
        (root / "mitdb" / f"{name}.hea").write_text(f"{name} 2 360 7200\n{lead_lines}")
        (root / "mitdb" / f"{name}.atr").write_bytes(annotation([(360, "N")] * 10 + [(200, "V")] * 5))
    return root


def annotation(marks: list[tuple[int, str]]) -> bytes:
    """A WFDB annotation file: each mark so many samples after the one before."""
    label = {"N": 1, "V": 5, "(": 39, ")": 40}
    return b"".join((label[symbol] << 10 | wait).to_bytes(2, "little") for wait, symbol in marks) + bytes(2)
