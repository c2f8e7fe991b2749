"""Read one ECG of any data set and format into one form: float32 mV, standard lead order, labels, notes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ecgstudy.data import devices
from ecgstudy.data.arrays import holds_samples, read_array
from ecgstudy.data.formats import Reading, read_struct, read_wfdb
from ecgstudy.data.formats import RecordError as RecordError
from ecgstudy.data.labels import classes_of
from ecgstudy.data.leads import CANONICAL, check_electrodes, check_limb_leads
from ecgstudy.data.leads import LEADS as LEADS
from ecgstudy.data.measures import clipped, extent, one_span, without_constant_ends
from ecgstudy.paths import by_machine, files_below, is_file
from ecgstudy.text import printable

_HIGHEST_ECG = 20.0  # mV, beyond any surface ECG: noted
_LOWEST_ECG = 0.05  # mV from peak to peak in the largest lead of a second or more, less than any ECG: noted
_HIGHEST_VALUE = 1e6  # mV, beyond any amplifier: refused
_MOST_LEADS = 1000  # body surface maps have up to 256
_OURS = (".hea", ".mat", ".npy", ".csv")  # WFDB, CPSC 2018 and plain arrays
SUFFIXES = (*_OURS, *devices.SUFFIXES)
"""Suffixes of files that are records."""


@dataclass(frozen=True, eq=False)
class Record:
    """One ECG.

    Attributes
    ----------
    name
        The data set's own name of the record.
    signal
        (leads, samples) float32 in mV; missing samples are NaN.
    fs
        Sampling rate in Hz.
    leads
        Names of the leads; LEADS where all twelve are there.
    source
        Data set, or source folder of Challenge 2021.
    patient_id
        Unique across data sets; ``<source>/<name>`` where the patient is unknown.
    labels
        Those of ``labels.CLASSES`` that the codes name; in a cohort of one's own, those of its classes.
    codes
        Diagnoses as the data set writes them, none dropped.
    age, sex
        Years; "F" or "M"; None where unknown.
    notes
        What was unusual in the files and how the reader handled it, each "kind: detail".
    fold
        The data set's official fold (PTB-XL's ``strat_fold``, 1 to 10), None where there is none.
    identity
        What a device's file says of who it is, where and when: empty unless ``show_identity`` asked for it.

    In all of these texts, characters that do not print are written as their escapes.
    """

    name: str
    signal: np.ndarray
    fs: float
    leads: tuple[str, ...]
    source: str
    patient_id: str
    labels: frozenset[str] = frozenset()
    codes: tuple[str, ...] = ()
    age: float | None = None
    sex: str | None = None
    notes: tuple[str, ...] = ()
    fold: int | None = None
    identity: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Make every text printable, for the tables, pages and terminals that show it."""
        for name, value in vars(self).items():
            if isinstance(value, str):
                object.__setattr__(self, name, printable(value))
            elif isinstance(value, tuple):
                object.__setattr__(self, name, tuple(printable(v) if isinstance(v, str) else v for v in value))
        object.__setattr__(self, "identity", {key: printable(text) for key, text in self.identity.items()})

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.signal.shape[1] / self.fs

    @cached_property
    def signal_hash(self) -> str:
        """Hex digest of the signal in whole microvolts and its rate: equal for a signal under two names or gains."""
        microvolts = np.multiply(self.signal, 1000, dtype=np.float64)
        np.rint(microvolts, out=microvolts)
        if not (microvolts.min() >= -(2.0**31) and microvolts.max() <= 2.0**31 - 1):  # seldom, and slow
            np.fmax(microvolts, -(2.0**31), out=microvolts)  # a missing sample is the lowest number
            np.minimum(microvolts, 2.0**31 - 1, out=microvolts)
        whole = microvolts.astype("<i4", order="C")
        digest = hashlib.sha256(f"{self.fs:g} Hz {whole.shape}".encode())
        digest.update(whole)
        return digest.hexdigest()


def read_record(
    path: str | Path,
    *,
    fs: float | None = None,
    leads: Sequence[str] | None = None,
    source: str | None = None,
    show_identity: bool = False,
) -> Record:
    """Read one ECG with its labels.

    Reads WFDB records (header ``.hea`` with ``.dat`` or Challenge ``.mat``), CPSC 2018's MATLAB structs (``.mat``,
    labels from ``REFERENCE.csv`` beside them), and plain arrays in mV (``.npy``; ``.csv``, with or without a line
    of lead names, another of units, columns of times and counters, which are no leads). Labels, age, sex, patient and
    fold of PTB-XL come from ``ptbxl_database.csv`` above the record.

    The integers of Challenge 2020/2021 are microvolts in every source but ``st_petersburg_incart``, although some
    headers say otherwise: 200/mV in records of ``ptb-xl`` that equal PTB-XL's own integers one by one, 4880/mV in
    three of ``georgia`` whose amplitudes are those of the others. The gain is therefore taken from the source,
    and a note tells where the header differs. LUDB's headers state each lead's own range as its gain, so that every
    lead would span 1 mV. Its steps are microvolts and are read as such, with a note.

    It also reads the files of devices: DICOM ECG, SCP-ECG, HL7 aECG, GE MUSE and Philips Sierra XML, EDF, EDF+, BDF
    and ISHNE, recognised by their content. These need the extra ``devices``. The rhythm is read, not the median beats
    beside it; limb leads that are not stored are computed from I and II; a sample that stands for none, or a pause, is
    NaN. Nothing is taken from a file that states no unit of voltage. Age and sex are kept (more than 89 years are told
    as 90). Names, identifiers, dates and places stay out of record, notes and errors.

    Notes also say what is wrong with the leads but was left unchanged: limb leads that contradict each other, by how
    much and why (see `ecgstudy.data.leads`); missing, flat and clipped leads; a scale that was lost
    or is no ECG's.

    Reading ends in seconds, whatever a file says: a record has at most 2**27 samples and 1,000 leads, a CSV at most
    128 MB. A file that is larger, unpacks to far more than its size, or is a pipe or a device is refused.

    Parameters
    ----------
    path
        The record, with or without suffix.
    fs
        Rate in Hz: of an array (default: what its column of times says), or in place of what the header says.
    leads
        Names of the leads: of an array (default: the twelve of LEADS in order), or in place of the header's.
    source
        Name of the data set, default from the folder.
    show_identity
        Whether to put what a device's file says of who it is, where and when into ``identity``.

    Raises
    ------
    RecordError
        naming the file, what is wrong and the remedy.

    References
    ----------
    The header format: physionet.org/physiotools/wag/header-5.htm; signal formats: signal-5.htm there.
    """
    file = Path(path).absolute()
    try:
        file = file_of(file)
        with np.errstate(over="ignore", under="ignore"):  # an overflow gives infinity, which is refused as such
            if file.suffix not in _OURS:
                name = file.stem if file.suffix.lower() in devices.SUFFIXES else file.name  # DICOM's may be a UID
                return _record(devices.read_device(file, source, leads, show_identity), name, fs, None)
            read = {".hea": read_wfdb, ".mat": read_struct}.get(file.suffix, read_array)
            return _record(read(file, source, leads), file.stem, fs, leads)
    except RecordError as error:
        raise RecordError(printable(f"{file}: {error}")) from error.__cause__
    except (OSError, MemoryError) as error:
        remedy = "run again" if by_machine(error) else "check that the file is there and readable"
        raise RecordError(printable(f"{file}: cannot be read ({error or 'no memory left'}); {remedy}")) from error


def find_records(folder: str | Path, unlisted: list[Path] | None = None) -> list[Path]:
    """Every record under a folder, sorted, each once: paths for `read_record`.

    A ``.csv`` counts if its first line is all numbers or names a standard lead, an ``.xml`` or ``.ecg`` and a file
    without suffix if its content is that of a device's ECG, a ``.dcm`` unless it says that it is something else. Files
    that systems and editors leave beside data (``._1.hea``, ``1.hea~``) do not count, but empty files with the suffix
    of a record do, and so does a folder where a record belongs (``1.hea/``): reading tells. Links to folders are
    followed. Folders that may not be listed are skipped and added to ``unlisted``.

    Raises
    ------
    RecordError
        if there is no such folder, or the machine fails to list one.
    """

    def pass_by(error: OSError) -> None:
        if by_machine(error):
            raise RecordError(printable(f"{error.filename}: cannot be listed ({error}); run again")) from error
        if unlisted is not None:
            unlisted.append(Path(error.filename))

    folder = Path(folder)
    if not folder.is_dir():
        raise RecordError(f"{folder}: no such folder; check the path or fetch the data set")
    files = list(files_below(folder, pass_by, misplaced=(".hea", ".npy", ".mat")))
    headers = {path for path in files if path.suffix == ".hea"}
    found = []
    for path in files:
        match path.suffix:
            case ".hea" | ".npy":
                found.append(path)
            case ".mat" if path.with_suffix(".hea") not in headers:
                found.append(path)
            case ".csv" if is_file(path) and holds_samples(path):
                found.append(path)
            case _ if devices.holds_ecg(path):
                found.append(path)
    return sorted(found)


def file_of(path: Path) -> Path:
    """The file of a record, named with or without suffix, from which it is read: the header if there is one.

    Raises
    ------
    RecordError
        when there is none.
    """
    if path.suffix in (".hea", ".dat", ".mat"):
        candidates = [path.with_suffix(".hea"), path]
    else:
        candidates = [path, *(Path(f"{path}{suffix}") for suffix in SUFFIXES)]
    odd = path.suffix != ".dat" and path.suffix.lower() not in SUFFIXES and path.is_file()
    if odd and devices.format_of(path):
        return path
    for candidate in candidates:
        if candidate.suffix.lower() in SUFFIXES and candidate.is_file():
            return candidate
    if odd:
        raise RecordError(
            "is of no format that is read: WFDB (name its .hea), Challenge or CPSC .mat, CSV, NumPy, DICOM, SCP-ECG, "
            "HL7 aECG, GE MUSE or Philips Sierra XML, EDF, BDF, ISHNE; export it as one of them"
        )
    if path.is_dir():
        raise RecordError("is a folder, not a record; name a record in it, or allow that it is listed")
    names = ", ".join(dict.fromkeys(candidate.name for candidate in candidates))
    raise RecordError(f"no such record (looked for {names}); check the path or fetch the data set")


def _record(reading: Reading, name: str, fs: float | None, leads: Sequence[str] | None) -> Record:
    """Check a reading and put its leads in standard order."""
    notes = reading.notes
    if fs is not None and reading.fs is not None and fs != reading.fs:
        notes.append(f"rate: {fs:g} Hz as the caller says, not {reading.fs:g}")
    fs = reading.fs if fs is None else float(fs)
    if fs is None:
        raise RecordError("states no sampling rate; pass fs= in Python or --fs on the command line, in Hz")
    if not 10 <= fs <= 1e5:
        raise RecordError(f"a sampling rate of {fs:g} Hz cannot be an ECG's; pass the right one as fs=, in Hz")
    if leads is not None and len(leads) != len(reading.signal):
        raise RecordError(f"holds {len(reading.signal)} leads, not {len(leads)}; name as many in leads=")
    if len(reading.leads) > _MOST_LEADS:
        raise RecordError(f"holds {len(reading.leads):,} leads, no ECG has more than {_MOST_LEADS:,}; export fewer")
    names = _lead_names(leads or reading.leads, notes)
    signal = reading.signal
    if set(LEADS) <= set(names):
        if names != list(LEADS):
            if extra := [lead for lead in names if lead not in LEADS]:
                notes.append(f"extra leads: {', '.join(extra)} left out")
            else:
                notes.append(f"lead order: {' '.join(names)} in the file, put in standard order")
            signal = signal[[names.index(lead) for lead in LEADS]]
        names = list(LEADS)
    else:
        notes.append(f"fewer leads: {', '.join(names)}")
    with np.errstate(invalid="ignore"):  # of a signalling NaN, as damaged files hold
        signal = signal.astype(np.float32, order="C", copy=False)
    if signal.size and np.isnan(signal.min()):
        signal = np.where(np.isnan(signal), np.float32(np.nan), signal)  # quiet ones alone
    _inspect(signal, fs, names, notes)
    return Record(
        name=name,
        signal=signal,
        fs=fs,
        leads=tuple(names),
        source=reading.source,
        patient_id=reading.patient_id or f"{reading.source}/{name}",
        labels=classes_of(reading.codes),
        codes=reading.codes,
        age=reading.age,
        sex=reading.sex,
        notes=tuple(notes),
        fold=reading.fold,
        identity=reading.identity,
    )


def _lead_names(names: Sequence[str], notes: list[str]) -> list[str]:
    """Standard spelling, none empty, none twice."""
    unique: dict[str, int] = {}  # name → the number that its next copy may have
    respelt = []
    for number, raw in enumerate(names, 1):
        name = CANONICAL.get(raw.strip().lower(), raw.strip())
        if name.lower() != raw.strip().lower():
            respelt.append(f"{raw.strip()} read as {name}")
        if not name:
            name = f"lead {number}"
            notes.append(f"lead names: none for number {number}, called {name!r}")
        if name in unique:
            while (renamed := f"{name} ({unique[name]})") in unique:
                unique[name] += 1
            notes.append(f"lead names: a further {name} called {renamed!r}")
            name = renamed
        unique[name] = 2
    if respelt:
        notes.append(f"lead names: {', '.join(respelt)}")
    return list(unique)


def _inspect(signal: np.ndarray, fs: float, names: list[str], notes: list[str]) -> None:
    """Note missing, flat, clipped, padded and implausible samples and leads; refuse what cannot be an ECG."""
    if not signal.size:
        raise RecordError("holds no samples; download or export it again")
    whole, (low, high, missing) = signal, (reach := extent(signal))
    if missing.sum() == signal.size:
        raise RecordError("every sample is missing (NaN); leave this record out")
    if missing.any():
        counts = (f"{count} in {lead}" for count, lead in zip(missing, names, strict=True) if count)
        notes.append(f"missing samples: {', '.join(counts)}, read as NaN")
    highest = float(np.fmax.reduce(np.fmax(high, -low)))
    if not highest <= _HIGHEST_VALUE:
        raise RecordError(f"amplitudes up to {highest:g} mV cannot be an ECG's; correct its gain or unit")
    if highest > _HIGHEST_ECG:
        notes.append(f"amplitude: up to {highest:.4g} mV, more than an ECG's; check its gain and unit")
    if flat := [lead for lead, is_flat in zip(names, reach.flat, strict=True) if is_flat]:
        notes.append(f"flat leads: {', '.join(flat)}")
    if len(flat) < len(names):
        signal, constant = without_constant_ends(signal, fs)
        notes += [f"constant {where}: all leads for {seconds:.3g} s" for where, seconds in constant]
    rests, middle = clipped(signal, fs, reach)
    notes += [f"clipped: {names[lead]} at {at:.4g} mV for {count} samples" for lead, at, count in rests]
    spans = high - low
    if 0 < (largest := float(np.fmax.reduce(spans))) < _LOWEST_ECG and whole.shape[1] >= fs:
        notes.append(f"amplitude: no more than {largest:.4g} mV, less than an ECG's; check its gain and unit")
    if same := one_span(spans):
        notes.append(f"scale: every lead spans {same:.4g} mV, as if scaled by its own range")
    notes += check_limb_leads(whole, names, spans, fs) or check_electrodes(whole, names, fs, high + low - 2 * middle)
