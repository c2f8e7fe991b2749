"""A cohort of one's own: a folder of records and a table of their labels, added once and then known by a name.

``add_cohort`` reads everything once and says what it found before anything runs. It writes one small file,
``own/NAME.json`` in the cache folder, that says where folder, table and mapping are and what the classes are called;
``cohort_of`` makes the cohort from it. Recordings are only read.
"""

import csv
import difflib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd

from ecgstudy.data import cohort as cohorts
from ecgstudy.data.cohort import Cohort
from ecgstudy.data.labels import CLASSES, MISSING, classes_of, codes_in, spelled
from ecgstudy.data.manifest import DataError
from ecgstudy.data.records import LEADS, SUFFIXES, Record, RecordError, find_records, read_record
from ecgstudy.paths import by_machine, cache_root, own_cohorts, told_if_broken, written_whole
from ecgstudy.profiles import nearest
from ecgstudy.text import printable

FOLDS = 5  # of the chapters: a fifth of the patients is tested on
MOST_CLASSES = 100
_BUILT_IN = ("synthetic", "real", "by-source", "synthetic-large", "paper", "all")
_LARGEST_TABLE = 2**26  # bytes
_RECORD, _PATIENT, _FOLD = ("record", "name", "file", "filename"), ("patient", "patient_id"), ("fold", "strat_fold")
_LABELS = ("labels", "label", "codes", "code", "diagnosis", "diagnoses", "classes", "class")
_NOT_CLASSES = ("age", "sex", "gender", "fs", "rate", "height", "weight", "date")
# Columns that tables of the study have beside those of the classes.
_RESERVED = {
    *("record", "name", "split", "part", "run", "fold", "member", "source", "patient_id", "class", "metric", "records"),
    *("signal_hash", "fs", "seconds", "samples", "offset", "age", "sex", "codes", "notes", "none", "all"),
    *("leads", "low", "high", "flat", "missing", "error", "test records", "value", "n", "place", "shard"),
}
_TRUE, _FALSE = {"true", "yes", "y", "x"}, {"", "false", "no", "n", "nan", "none", "null"}


@dataclass(frozen=True)
class Own:
    """What the file of a cohort of one's own says."""

    name: str
    folder: Path
    labels: Path | None  # the table
    mapping: Path | None  # of its codes
    classes: tuple[str, ...]  # in the order of the columns
    fs: float | None  # in Hz, of arrays (.npy, .csv) that state none
    files: str  # hash of what the files were when the cohort was added

    @property
    def file(self) -> Path:
        """Where it is written."""
        return cache_root() / "own" / f"{self.name}.json"


@dataclass(frozen=True)
class Checked:
    """What ``add_cohort`` found."""

    own: Own
    findings: pd.DataFrame  # finding, number, and which (the first of them)
    classes: pd.DataFrame  # class, records, patients
    warnings: tuple[str, ...]  # sentences on what may be meant but makes a study weak


@dataclass(frozen=True)
class _Row:
    """What the table says of a record; no codes where they stand in the record's own header."""

    patient: str
    fold: int | None
    codes: tuple[str, ...] | None
    line: int


@dataclass
class _Table:
    """A table of labels as it was read."""

    rows: dict[str, _Row] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)  # columns, with the first cell that is neither 0 nor 1
    columns: tuple[str, ...] = ()  # those of one class each
    coded: bool = False  # whether it has labels


@dataclass(frozen=True)
class _Plan:
    """Everything that is known before a signal is read."""

    paths: dict[str, Path]  # record → file
    mapping: dict[str, str | None]  # code → class, None for one that is left out on purpose
    class_of: Callable[[str], str | None] | None  # None while the classes are still to be found
    without_row: list[str]
    table: _Table


def add_cohort(
    name: str,
    folder: str | Path,
    *,
    labels: str | Path | None = None,
    mapping: str | Path | None = None,
    classes: Sequence[str] | None = None,
    fs: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Make a folder of records known as a cohort; from then on ``cohort=NAME`` means it everywhere.

    Parameters
    ----------
    name
        Letters, digits, ``.``, ``_`` and ``-``. A cohort of that name is replaced.
    folder
        Every record below it that ``read_record`` reads.
    labels
        CSV with a row a record: ``record`` (its path below the folder, or its name alone if no other has it), and if
        they are known ``patient`` and ``fold``; then ``labels``, with several codes in one text, or a column of 0 and 1
        for each class. Without it, or without labels in it, the codes of the records' own headers count. A comma or
        semicolon separates codes, except within one that ``mapping`` or else ``classes`` names.
    mapping
        CSV of ``code`` and ``class``; several codes may be one class, and a code without a class is left out on
        purpose. Without it, codes that mean one of the study's nine classes do, and other texts of a table are
        classes themselves.
    classes
        Names and order of the classes, 1 to 100, of those that there are.
    fs
        Rate in Hz of arrays (.npy, .csv) that state none.
    progress
        ``progress(done, total)`` is called after each record.

    Raises
    ------
    DataError
        for what cannot be meant: names the file, the line and the remedy. Nothing is kept then.
    """
    _check_name(name)
    folder = Path(folder).expanduser().resolve()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one that holds the records")
    own = Own(name, folder, _table_at(labels), _table_at(mapping), (), fs, "")
    plan = _plan(own, classes or ())
    own = replace(own, files=_files(own, plan.paths))
    read: list[Record] = []
    failed: list[tuple[str, Exception]] = []
    for done, one in enumerate(_read(own, plan), start=1):
        if isinstance(one, tuple):
            failed.append(one)
        else:
            # Only what is known of the record: signals of a folder may not fit into memory.
            one.signal_hash  # noqa: B018, computed while the signal is there
            read.append(_without_signal(one))
        if progress:
            progress(done, len(plan.paths))
    if not read:
        raise DataError(f"{folder}: none of its {len(failed)} records can be read: {failed[0][1]}")
    found = Counter(code for record in read for code in set(record.codes))
    own = replace(own, classes=_classes(own, found, plan, classes))
    class_of = _class_of(own, plan)
    checked = _checked(own, plan, read, failed, found, class_of)
    about = json.dumps(asdict(own), indent=1, ensure_ascii=False, default=str)
    with written_whole(own.file) as partial_file:
        partial_file.write_text(about + "\n", encoding="utf-8")
    return checked


def own(name: str) -> Own:
    """Open a cohort of one's own.

    Raises
    ------
    DataError
        when there is none of that name, or its folder or a table is not there any more.
    """
    file = _file(name)
    with told_if_broken(file):
        about = json.loads(file.read_text(encoding="utf-8"))
        path = {key: about[key] and Path(about[key]) for key in ("folder", "labels", "mapping")}
        found = Own(**about | path | {"classes": tuple(about["classes"])})
    for what, place in path.items():
        if place and not place.exists():
            raise DataError(
                f"{found.file}: the {what} of the cohort {name!r}, {place}, cannot be found: bring it back, or add "
                f"the cohort again from where it is now (`ecgstudy data add {name} FOLDER`), or forget it "
                f"(`ecgstudy data remove {name}`)"
            )
    return found


def classes(cohort: str) -> tuple[str, ...]:
    """Classes of the cohort that a parameter names: the study's nine, unless it is one of one's own."""
    return own(cohort).classes if cohort in own_cohorts() else CLASSES


def class_of(cohort: str) -> Callable[[str], str | None] | None:
    """What tells the class of a code in one's own cohort; None for a cohort of the study."""
    return _plan(own(cohort)).class_of if cohort in own_cohorts() else None


def remove(name: str) -> Path:
    """Forget a cohort of one's own: its file is removed, recordings and tables stay. Give the removed file's path.

    Raises
    ------
    DataError
        when there is none of that name.
    """
    file = _file(name)
    file.unlink()
    return file


def cohort_of(
    name: str,
    fs: float,
    *,
    limit: int | None = None,
    tell: bool = True,
    dtype: str = "float32",
    progress: Callable[[int, int | None], None] | None = None,
) -> Cohort:
    """Make the cohort of that name at ``fs`` Hz, or open it; if files changed since, it is made anew.

    Parameters
    ----------
    limit
        Take at most so many records, evenly spaced.
    tell
        Print what changed, what is left out, and what a limit leaves.
    dtype, progress
        As for ``cohort.build_cohort``.

    Raises
    ------
    DataError
        as ``own``, and when files changed while they were read.
    """
    known = own(name)
    whole = _plan(known)
    files = _files(known, whole.paths)
    plan = _thinned(whole, limit)
    made = _recipe(known, plan, files, fs, dtype).cohort(progress)
    if tell:
        if files != known.files:
            print(
                f"Files of the cohort {name!r} changed since it was added: it was read anew. `ecgstudy data add` with "
                "the same arguments says what is in it now."
            )
        if len(plan.paths) < len(whole.paths):
            print(f"Of its {len(whole.paths):,} records {len(plan.paths):,} are taken; -p records=null takes all.")
        for reason, rows in made.left_out.groupby("reason"):
            print(f"Left out, {reason}: {cohorts.in_short([f'{r.name} ({r.detail})' for r in rows.itertuples()])}.")
    return made


def recipe(name: str, fs: float, *, limit: int | None = None, dtype: str = "float32") -> cohorts.Recipe:
    """How ``cohort_of`` makes a cohort of what the files are now."""
    known = own(name)
    whole = _plan(known)
    return _recipe(known, _thinned(whole, limit), _files(known, whole.paths), fs, dtype)


def _recipe(known: Own, plan: _Plan, files: str, fs: float, dtype: str) -> cohorts.Recipe:
    identity = {
        "cohort": "own",
        "own": known.name,
        "files": files,
        "records": hashlib.sha256(repr(list(plan.paths)).encode("utf-8", "backslashreplace")).hexdigest(),
        "rate": known.fs,
        "reader": cohorts.reader(),
    }

    def read(first: int, last: int) -> Iterator[Record | tuple[str, Exception]]:
        yield from _read(known, replace(plan, paths=dict(islice(plan.paths.items(), first, last))))
        if _files(known, _plan(known).paths) != files:
            raise DataError(
                f"files of the cohort {known.name!r} changed while it was built, nothing was kept: run again"
            )

    return cohorts.Recipe(fs, identity, len(plan.paths), read, dtype, classes=known.classes)


def read_all(name: str, limit: int | None = None) -> Iterator[Record | tuple[str, Exception]]:
    """Read the records of a cohort of one's own with their labels; one that cannot be read is (name, error)."""
    known = own(name)
    yield from _read(known, _thinned(_plan(known), limit))


def state(name: str) -> str:
    """Hash of everything that the cohort depends on: its file, and what its recordings and tables are now."""
    known = own(name)
    text = f"{known.classes} {known.fs} {_files(known, _plan(known).paths)}"
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


# What is there


def _file(name: str) -> Path:
    known = own_cohorts()
    if name not in known:
        there = ", ".join(known) or "none yet"
        raise DataError(
            f"no cohort {name!r} of your own ({there}){nearest(name, known)}: `ecgstudy data add` makes one"
        )
    return known[name]


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,59}", name, re.ASCII):
        raise DataError(f"{name!r} cannot be a cohort's name: take letters, digits, ., _ and -")
    if name.casefold() in _BUILT_IN:
        raise DataError(f"{name!r} is a cohort of the study: take another name")
    for other in own_cohorts():
        if other != name and other.casefold() == name.casefold():
            raise DataError(f"{name!r} differs from your cohort {other!r} in case only: take another name")


def _table_at(path: str | Path | None) -> Path | None:
    if path is None:
        return None
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise DataError(f"{file}: no such file")
    return file


def _files(own: Own, paths: Mapping[str, Path]) -> str:
    """Hash of what the files are: of recordings their sizes and times, of tables their content."""
    digest = hashlib.sha256(cohorts.dependencies(list(paths.values())).encode())
    for table in (own.labels, own.mapping):
        digest.update(b"-" if table is None else hashlib.sha256(table.read_bytes()).digest())
    return digest.hexdigest()


def _plan(own: Own, given: Sequence[str] = ()) -> _Plan:
    """Read the tables and list the records; ``given`` are the classes that a new cohort is to have."""
    tables = {own.labels, own.mapping}
    unlisted: list[Path] = []
    found = [path for path in find_records(own.folder, unlisted) if path.resolve() not in tables]
    if unlisted:
        raise DataError(f"{unlisted[0]}: may not be listed; allow it, or move it elsewhere")
    if not found:
        raise DataError(f"{own.folder}: holds no records that can be read here")
    short = Counter(map(_bare, found))
    paths = {}
    for path in found:
        named = _bare(path) if short[_bare(path)] == 1 else path
        paths[printable(named.relative_to(own.folder).as_posix())] = path
    mapping = _read_mapping(own.mapping) if own.mapping else {}
    table = _read_labels(own.labels, paths, mapping or given or own.classes) if own.labels else _Table()
    chosen = {name: path for name, path in paths.items() if not own.labels or name in table.rows}
    plan = _Plan(chosen, mapping, None, [name for name in paths if name not in chosen], table)
    return replace(plan, class_of=_class_of(own, plan)) if own.classes else plan


def _bare(path: Path) -> Path:
    """A record without the suffix of its format; a UID, as DICOM's files are called, has none."""
    return path.with_suffix("") if path.suffix.lower() in SUFFIXES else path


def _thinned(plan: _Plan, limit: int | None) -> _Plan:
    if limit is None or limit >= len(plan.paths):
        return plan
    names = list(plan.paths)[:: len(plan.paths) // limit][:limit]
    return replace(plan, paths={name: plan.paths[name] for name in names})


def _read(own: Own, plan: _Plan) -> Iterator[Record | tuple[str, Exception]]:
    for name, path in plan.paths.items():
        array = own.fs is not None and path.suffix in (".npy", ".csv")
        try:
            record = cohorts.patiently(partial(read_record, fs=own.fs if array else None), path)
        except RecordError as error:
            if by_machine(error):
                raise
            yield name, cohorts.told(path, error)[1]
            continue
        row = plan.table.rows.get(name)
        codes: tuple[str, ...] = record.codes if row is None or row.codes is None else row.codes
        classes = frozenset(filter(None, map(plan.class_of, codes))) if plan.class_of else frozenset()
        if row and row.patient:
            patient = f"{own.name}/{row.patient}"
        elif record.patient_id == f"{record.source}/{record.name}":  # how the reader writes that it is unknown
            patient = f"{own.name}/record {name}"
        else:
            patient = record.patient_id
        fold = row.fold if row else record.fold
        yield replace(record, name=name, source=own.name, patient_id=patient, labels=classes, codes=codes, fold=fold)


def _without_signal(record: Record) -> Record:
    """The record with an empty signal but the hash of the one it had."""
    light = replace(record, signal=record.signal[:, :0].copy())
    light.__dict__["signal_hash"] = record.signal_hash
    return light


# Tables


def _lines(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Names of the columns of a CSV, and its rows with their line numbers, however a spreadsheet wrote it."""
    if file.stat().st_size > _LARGEST_TABLE:
        raise DataError(f"{file}: larger than {_LARGEST_TABLE >> 20} MB, no table of labels is")
    raw = file.read_bytes()
    for encoding in ("utf-16",) if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252", "latin-1"):
        try:
            text = raw.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise DataError(f"{file}: is no text; save it as CSV in UTF-8")
    lines = text.splitlines(keepends=True)
    skipped = 0
    while lines and (not lines[0].strip() or re.match(r"sep=.$", lines[0].strip())):  # the latter is Excel's
        lines, skipped = lines[1:], skipped + 1
    if not lines or "\0" in text:
        raise DataError(f"{file}: {'is no text' if lines else 'is empty'}; save it as CSV in UTF-8")
    separator = max(",;\t", key=lines[0].count)
    try:
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
        rows = [(skipped + reader.line_num, [" ".join(cell.split()) for cell in row]) for row in reader]
    except csv.Error as error:
        raise DataError(f"{file}: line {skipped + reader.line_num}: {error}; correct its quotes") from None
    (_, names), *body = [(number, row) for number, row in rows if any(row)]
    while names and not names[-1]:
        names = names[:-1]
    lower = [name.casefold() for name in names]
    for name in names:
        if lower.count(name.casefold()) > 1:
            raise DataError(f"{file}: its first line names {name!r} twice; give each column its own name")
    for number, row in body:
        if any(row[len(names) :]):
            raise DataError(
                f"{file}: line {number} has {len(row)} cells, its first line {len(names)}: put quotes around a "
                f"cell that holds {separator!r}"
            )
        row += [""] * (len(names) - len(row))
    return names, body


def _column(names: Sequence[str], wanted: Iterable[str]) -> int | None:
    lower = [name.casefold() for name in names]
    return next((lower.index(one) for one in wanted if one in lower), None)


def _truth(cell: str) -> bool | None:
    """What a cell of a 0/1 column says, also ``1,0`` as spreadsheets in many languages write it; None if nothing."""
    text = cell.strip().casefold().replace(",", ".")
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    return {"0": False, "1": True}.get(re.sub(r"\.0*$", "", text))


def _read_labels(file: Path, paths: Mapping[str, Path], codes_known: Iterable[str]) -> _Table:
    names, body = _lines(file)
    record, patient, fold = (_column(names, wanted) for wanted in (_RECORD, _PATIENT, _FOLD))
    if record is None:
        near = nearest(_RECORD[0], names)
        raise DataError(f"{file}: has no column 'record', but {', '.join(names)}{near}: name its first line")
    if not body:
        raise DataError(f"{file}: has no row below its first line")
    texts = _column(names, _LABELS)
    others = [c for c in range(len(names)) if c not in (record, patient, fold, texts) and names[c]]
    table = _Table()
    flags, other = [], []
    for c in others:
        if texts is not None or names[c].casefold() in _NOT_CLASSES:
            table.unread.append(names[c])
            continue
        number, cell = next(((number, row[c]) for number, row in body if _truth(row[c]) is None), (0, ""))
        if 2 * sum(_truth(row[c]) is None for _, row in body) >= len(body):  # of something else
            other.append(f"{names[c]} (line {number}: {cell!r})")
        elif number:
            raise DataError(
                f"{file}: line {number}: {cell!r} in the column {names[c]!r} is neither 0 nor 1: correct it"
            )
        else:
            flags.append(c)
    table.unread += other
    table.columns = tuple(printable(names[c]) for c in flags)
    table.coded = texts is not None or bool(flags)
    if other and not flags:
        raise DataError(
            f"{file}: has neither a column 'labels' nor columns of 0 and 1, but {', '.join(other)}: name the column of "
            "the codes 'labels', or write 0 or 1"
        )
    known, whole = _by_any_name(paths), _with_separators(codes_known)
    unknown = []
    for number, row in body:
        if not row[record]:
            raise DataError(f"{file}: line {number} names no record")
        name = _found(row[record], known, f"{file}: line {number}")
        if name is None:
            unknown.append((number, row[record]))
            continue
        codes: tuple[str, ...] | None = tuple(names[c] for c in flags if _truth(row[c])) if flags else None
        if texts is not None:
            codes = (*whole.findall(row[texts]), *codes_in(whole.sub("", row[texts])))
        told = _Row(
            printable(row[patient]) if patient is not None and row[patient].casefold() not in MISSING else "",
            None if fold is None else _fold(file, number, row[fold]),
            codes if codes is None else tuple(dict.fromkeys(map(printable, codes))),
            number,
        )
        if before := table.rows.get(name):
            if replace(told, line=before.line) != before:
                raise DataError(
                    f"{file}: lines {before.line} and {number} say different things of {name}: keep one row a "
                    "record, with several labels in one cell as in A;B"
                )
            table.twice.append(name)
        else:
            table.rows[name] = told
    if unknown:
        number, word = unknown[0]
        more = f"; so are {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise DataError(
            f"{file}: line {number}: record {word!r} is not in the folder{_near(word, paths)}{more}. Correct the "
            "name, or take the row out"
        )
    return table


def _with_separators(codes: Iterable[str]) -> re.Pattern[str]:
    """What finds those codes in a cell of several that hold a comma, semicolon or bar themselves."""
    names = [" ".join(code.split()) for code in codes]
    held = sorted((re.escape(name) for name in names if re.search("[,;|]", name)), key=len, reverse=True)
    return re.compile(rf"(?:^|(?<=[,;|]))\s*({'|'.join(held) or '(?!)'})\s*(?=[,;|]|$)", re.IGNORECASE)


def _by_any_name(paths: Mapping[str, Path]) -> dict[str, list[str]]:
    """Every way to write a record → the records that it may mean."""
    known: dict[str, list[str]] = {}
    for name, path in paths.items():
        for word in {name, f"{name}{path.suffix}", _bare(path).name, path.name}:
            known.setdefault(word, []).append(name)
    return known


def _found(word: str, known: Mapping[str, list[str]], where: str) -> str | None:
    word = printable(word.replace("\\", "/")).removeprefix("./")
    if len(meant := known.get(word, [])) > 1 and word not in meant:
        some = ", ".join(meant[:5])
        raise DataError(f"{where}: record {word!r} may be any of {some}: write its path below the folder")
    return word if word in meant else next(iter(meant), None)


def _near(word: str, paths: Iterable[str]) -> str:
    """The nearest names: those that a spreadsheet robbed of their zeros, else those that look alike."""
    names = list(paths)
    bare = [name for name in names if name.rpartition("/")[2].lstrip("0") == word.lstrip("0")]
    near = bare or difflib.get_close_matches(word, names, n=3)
    return f"; the nearest {'are' if len(near) > 1 else 'is'} {', '.join(near[:3])}" if near else ""


def _fold(file: Path, number: int, cell: str) -> int | None:
    if not cell:
        return None
    text = re.sub(r"[.,]0*$", "", cell)
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII):
        raise DataError(f"{file}: line {number}: fold {cell!r} is no whole number")
    return int(text)


def _read_mapping(file: Path) -> dict[str, str | None]:
    """Code → class; None for a code that is left out on purpose."""
    names, body = _lines(file)
    code, label = _column(names, ("code",)), _column(names, ("class",))
    if code is None or label is None:
        raise DataError(f"{file}: needs the columns code and class, and has {', '.join(names)}")
    found: dict[str, str | None] = {}
    for number, row in body:
        key, name = spelled(row[code]), row[label] or None
        if not key:
            raise DataError(f"{file}: line {number} names no code")
        if key in found and found[key] != name:
            raise DataError(f"{file}: line {number}: {key!r} is {found[key]!r} above: give it one class")
        found[key] = name
    if not any(found.values()):
        raise DataError(f"{file}: maps no code to a class")
    return found


# Classes


def _of_nine(code: str, table: _Table) -> str | None:
    """The one of the nine that a code means; a table's small number is no code of CPSC 2018."""
    if table.coded and code.isdecimal() and len(code) < 3:
        return None
    return next(iter(classes_of([code])), None)


def _classes(own: Own, found: Counter[str], plan: _Plan, given: Sequence[str] | None) -> tuple[str, ...]:
    """What the classes of a new cohort are."""
    where, table = own.mapping or own.labels or own.folder, plan.table
    if given is not None:
        classes, where = [" ".join(name.split()) for name in given], Path("--classes")
    elif plan.mapping:
        classes = list(dict.fromkeys(filter(None, plan.mapping.values())))
    else:
        texts = table.columns or sorted(found, key=str.casefold)
        nine = {_of_nine(code, table) for code in texts} - {None}
        others = [code for code in texts if not _of_nine(code, table)]
        if nine and (not table.coded or all(code.isdecimal() for code in others)):
            classes = list(CLASSES)  # codes of other diagnoses are among those of every hospital
        else:
            classes = [name for name in CLASSES if name in nine] + others
    if not classes:
        raise DataError(f"{where}: no record has a label; fill the column of labels, or name a table")
    if len(classes) > MOST_CLASSES:
        raise DataError(
            f"{where}: {len(classes)} different labels would be as many classes, and {MOST_CLASSES} are the most: "
            "map them to fewer with a mapping of code and class"
        )
    seen: dict[str, str] = {}
    for name in classes:
        if other := seen.get(name.casefold()):
            same = "stands twice" if other == name else f"and {other!r} differ only in case"
            raise DataError(f"{where}: the class {name!r} {same}: write it in one way")
        if not name or len(name) > 80 or not name.isprintable():
            raise DataError(f"{where}: {name[:80]!r} cannot be a class's name: take a short text")
        if name.casefold() in _RESERVED or name.casefold().startswith("called "):
            raise DataError(f"{where}: a class called {name!r} would be taken for another column: call it otherwise")
        seen[name.casefold()] = name
    return CLASSES if set(classes) == set(CLASSES) and given is None else tuple(classes)


def _class_of(own: Own, plan: _Plan) -> Callable[[str], str | None]:
    """What tells the class of a code, None for one that has none."""
    folded = {code.casefold(): name for code, name in plan.mapping.items()}
    spelt = {name.casefold(): name for name in own.classes}

    def by_mapping(code: str) -> str | None:
        name = plan.mapping.get(code, folded.get(code.casefold()))
        return name if name in own.classes else None

    def by_name(code: str) -> str | None:
        nine = _of_nine(code, plan.table)
        return nine if nine in own.classes else spelt.get(code.casefold())

    return by_mapping if plan.mapping else by_name


# What is said of it


def _checked(
    own: Own,
    plan: _Plan,
    read: Sequence[Record],
    failed: Sequence[tuple[str, Exception]],
    found: Counter[str],
    class_of: Callable[[str], str | None],
) -> Checked:
    rows: list[tuple[str, int, str]] = []

    def say(finding: str, which: Sequence[str], number: int | None = None) -> None:
        if which or number:
            rows.append((finding, len(which) if number is None else number, cohorts.in_short(which, 3)))

    first: dict[str, str] = {}
    kept, few, doubled = [], [], []
    for record in read:
        if record.leads != LEADS:
            few.append(f"{record.name} ({' '.join(record.leads[:4])} …)")
        elif record.signal_hash in first:
            doubled.append(record.name)
        else:
            first[record.signal_hash] = record.name
            kept.append(record)
    labels = {r.name: frozenset(filter(None, map(class_of, r.codes))) for r in read}
    hashes = {r.name: r.signal_hash for r in read}
    pairs = [(first[hashes[name]], name) for name in doubled]
    say("records in the folder", [], len(plan.paths) + len(plan.without_row))
    say("records of the cohort", [], len(kept))
    say("left out: cannot be read", [f"{name}: {printable(str(error))}" for name, error in failed])
    say("left out: not twelve leads", few)
    say("left out: the same signal under a second name", [f"{b} = {a}" for a, b in pairs if labels[a] == labels[b]])
    say("the same, and the labels differ", [f"{b} = {a}" for a, b in pairs if labels[a] != labels[b]])
    say("left out: not in the table", plan.without_row)
    ignored = {code.casefold() for code, name in plan.mapping.items() if name is None}
    unmapped = {code: n for code, n in found.items() if class_of(code) is None}
    say(
        "codes without a class, on purpose",
        [f"{c} ({unmapped[c]})" for c in sorted(unmapped) if c.casefold() in ignored],
    )
    say(
        "codes that mean no class",
        [f"{c} ({n})" for c, n in Counter(unmapped).most_common() if c.casefold() not in ignored],
    )
    there = {code.casefold() for code in found}
    say("codes of the mapping that no record has", [code for code in plan.mapping if code.casefold() not in there])
    say("without any label: taken as none of the classes", [r.name for r in kept if not labels[r.name]])
    unknown = [r.name for r in kept if r.patient_id == f"{own.name}/record {r.name}"]
    say("patient unknown: each taken as a patient of its own", unknown)
    folds = pd.DataFrame([(r.patient_id, r.fold) for r in kept], columns=["patient", "fold"])
    several = folds.dropna().groupby("patient")["fold"].nunique()
    say(
        "patients in several folds: all their records go to the highest",
        [p.partition("/")[2] for p in several.index[several > 1]],
    )
    if (missing := int(folds["fold"].isna().sum())) and missing < len(folds):
        say("without a fold: so that the folds of the table are not used", [], missing)
    say("rows of the table that stand twice", plan.table.twice)
    say("columns of the table that are not read", plan.table.unread)
    if not kept:
        raise DataError(f"{own.folder}: no record is left of {len(plan.paths)}: {'; '.join(few[:3])}")
    if not any(labels[r.name] for r in kept):
        codes = ", ".join(f"{c} ({n})" for c, n in found.most_common(5)) or "none at all"
        raise DataError(
            f"{own.labels or own.folder}: no record has a label of the classes {', '.join(own.classes[:9])}. Its "
            f"codes are {codes}: fill the column of labels, or map them with a mapping of code and class"
        )
    patients = {
        name: len({r.patient_id for r in kept if name in labels[r.name]}) for name in own.classes
    }  # of each class
    table = pd.DataFrame(
        {
            "class": list(own.classes),
            "records": [sum(name in labels[r.name] for r in kept) for name in own.classes],
            "patients": list(patients.values()),
        }
    )
    warnings = []
    total = len({r.patient_id for r in kept})
    if total < 2 * FOLDS:
        warnings.append(
            f"There are {total} patients, and the chapters test on a fifth of them: they need {FOLDS} for that, and "
            "two in each fifth for an interval."
        )
    if none := [name for name, number in patients.items() if not number]:
        warnings.append(f"No record has {', '.join(none)}: what no record has can neither be learnt nor scored.")
    if rare := [f"{name} ({number})" for name, number in patients.items() if 0 < number < FOLDS]:
        warnings.append(
            f"Fewer patients than the {FOLDS} folds of the chapters have {', '.join(rare)}: some folds have none of "
            "them to learn from, or none to be tested on."
        )
    if everyone := [name for name, number in zip(table["class"], table["records"], strict=True) if number == len(kept)]:
        warnings.append(f"Every record has {', '.join(everyone)}: no score of that means anything.")
    return Checked(own, pd.DataFrame(rows, columns=["finding", "number", "which"]), table, tuple(warnings))
