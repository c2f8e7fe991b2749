"""The command line: ``ecgstudy run``, ``book``, ``train``, ``explain``, ``data``, ``course`` and the others."""

import csv
import errno
import functools
import http.server
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ecgstudy import __version__, threads
from ecgstudy.course.cli import course
from ecgstudy.data.manifest import DataError
from ecgstudy.paths import RESULTS, data_root, needs_checkout, own_cohorts, written_whole
from ecgstudy.profiles import BookError, ProfileError, check_profile, nearest
from ecgstudy.text import printable, quoted

if TYPE_CHECKING:
    from ecgstudy.studies import Study


class Commands(TyperGroup):
    """Commands that report an expected error in one sentence and end with exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (BookError, DataError, MemoryError, OSError, ValueError) as error:
            raise _fail(error) from None


class OfRepository(TyperCommand):
    """A command that works on the repository, which an installed package lacks."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command, where there is one."""
        needs_checkout(f"`{ctx.command_path}`")
        return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # what a user wrote is shown as it is, brackets included
    help=__doc__,
)
data = typer.Typer(
    no_args_is_help=True, help="List, fetch and check the data sets of data_manifest.yaml; add cohorts of your own."
)
app.add_typer(data, name="data")
app.add_typer(course, name="course")

Profile = Annotated[str, typer.Option(help="smoke, class, demo, real or paper: a column of notebooks/profiles.yaml.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", help="NAME=VALUE: a parameter that replaces the profile's (repeatable)."),
]

Jobs = Annotated[
    int | None,
    typer.Option("-j", "--jobs", min=1, help="Processes, one thread each; by default as many as fit on this machine."),
]


def _fail(error: Exception) -> typer.Exit:
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        text = "not enough memory: free some, or take fewer records"
    typer.secho(printable(f"ecgstudy: {text}", keep="\n"), fg="red", err=True)
    return typer.Exit(1)


def _say(text: str) -> None:
    """Print lines that may hold names of files: no character of theirs moves a cursor."""
    typer.echo(printable(text, keep="\n"))


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"ecgstudy {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Prepare the terminal and this process."""
    threads.one_each()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a locale that has no é must not end a command
    if "RANK" in os.environ:  # by torchrun: the process of rank 0 goes on, the others help it train
        from ecgstudy import distributed

        distributed.join()


def _parse(parameters: list[str] | None) -> dict[str, str]:
    parsed = {}
    for parameter in parameters or []:
        name, equals, value = parameter.partition("=")
        if not equals:
            raise ProfileError(f"-p {parameter}: write it as NAME=VALUE")
        parsed[name] = value
    return parsed


@app.command(cls=OfRepository)
def run(
    notebooks: Annotated[
        list[str] | None, typer.Argument(help="Which notebooks, e.g. 03_cnn_gap; by default all.")
    ] = None,
    profile: Profile = "demo",
    parameter: Parameters = None,
    force: Annotated[bool, typer.Option(help="Also execute what has not changed.")] = False,
    jobs: Jobs = None,
) -> None:
    """Train what the notebooks need and execute them with papermill; what has not changed is not executed again."""
    from ecgstudy.book.build import run_notebooks

    # The kernels may be started elsewhere: a relative folder must mean the same there.
    os.environ["ECGSTUDY_DATA"] = str(data_root())
    for path in run_notebooks(profile, notebooks, _parse(parameter), force=force, jobs=jobs):
        typer.echo(path)


@app.command("book", cls=OfRepository)
def build(profile: Profile = "demo", parameter: Parameters = None, jobs: Jobs = None) -> None:
    """Execute what has changed and render the book."""
    from ecgstudy.book.build import render, run_notebooks

    os.environ["ECGSTUDY_DATA"] = str(data_root())
    run_notebooks(profile, None, _parse(parameter), jobs=jobs)
    typer.echo("rendering ...")
    page = render(profile)
    typer.echo(f"The book: {page.as_uri()}")


@app.command(cls=OfRepository)
def train(
    entries: Annotated[
        list[str] | None, typer.Argument(help="Which entries, e.g. CNN-GAP, or questions, e.g. gamma; by default all.")
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help='real, by-source, synthetic, synthetic-large, paper, "ablations real", "ablations synthetic", '
            "explanations, trial, sanity, transfer, realism, fitness, unlike or costs (repeatable); by default all but "
            "paper."
        ),
    ] = None,
    again: Annotated[bool, typer.Option(help="Also those that have committed answers.")] = False,
    jobs: Jobs = None,
    dry: Annotated[bool, typer.Option(help="Only list what is missing.")] = False,
) -> None:
    """Train or compute what the studies lack (hours; resumable) and write their tables."""
    from ecgstudy.studies import claims, committing
    from ecgstudy.studies.catalogue import STUDIES

    complete = True
    for study, name, asked in _asked(entries, part):
        missing = study.missing(name, asked, again=again) if asked else {}
        complete &= not missing
        for answer, seconds in missing.items():
            about = f", about {_duration(seconds)}" if seconds else ""
            typer.echo(f"{name}: {answer} is missing{about}")
        if dry or not missing:
            continue
        for answer, seconds in study.answer_all(name, list(missing), jobs):
            typer.echo(f"{name}: {answer} done after {seconds / 60:.1f} min")
    if complete:
        typer.echo("nothing is missing")
    if not dry:
        with committing():
            for study in STUDIES:
                typer.echo(study.write())
            typer.echo(claims.write())


def _asked(entries: list[str] | None, part: list[str] | None) -> "list[tuple[Study, str, list[str]]]":
    """Studies, each with one of its parts and what is asked for there, of what was named; all but paper by default."""
    from ecgstudy.studies.catalogue import STUDIES

    known = {name: study for study in STUDIES for name in study.parts()}
    for name in part or ():
        if name not in known:
            raise ProfileError(f"no part {name!r}; there are {', '.join(known)}{nearest(name, known)}")
    parts = part or [name for name in known if name != "paper"]
    there = {name: known[name].entries(name) for name in parts}
    every = dict.fromkeys(entry for found in there.values() for entry in found)
    for entry in entries or ():
        if entry not in every:
            hint = nearest(entry, every)
            if part:
                raise ProfileError(f"{' and '.join(part)} has no {entry!r}; it has {quoted(every)}{hint}")
            raise ProfileError(f"no part has {entry!r}{hint or '.'} There are {quoted(every)}.")
    return [(known[name], name, [e for e in entries or there[name] if e in there[name]]) for name in parts]


@app.command(cls=OfRepository)
def plan(
    file: Annotated[Path, typer.Argument(help="Where to write it: JSON.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Entries or questions, as `train` takes them; with --profile chapters, as `run` does."),
    ] = None,
    part: Annotated[list[str] | None, typer.Option(help="As of `train` (repeatable).")] = None,
    profile: Annotated[str | None, typer.Option(help="Plan the book of this profile, and no studies.")] = None,
    parameter: Parameters = None,
    again: Annotated[bool, typer.Option(help="Also what has committed answers, or chapters as they were.")] = False,
) -> None:
    """Write what studies lack, or what a profile's book trains, as jobs for workflow/Snakefile."""
    from ecgstudy import plans

    if profile and part:
        raise ProfileError("--part is of the studies and --profile of the book: take one of them")
    if parameter and not profile:
        raise ProfileError("parameters are of chapters: name their --profile, too")
    file = file.resolve()
    if profile:
        check_profile(profile)
        made = plans.of_book(file, profile, names or [], _parse(parameter), again=again)
    else:
        made = plans.of_studies(file, _asked(names, part), again=again)
    plans.write(made, file)
    _say(f"{file}: {len(made):,} job{'s' if len(made) != 1 else ''}")


@app.command(cls=OfRepository)
def job(
    file: Annotated[Path, typer.Argument(help="What `plan` wrote.")],
    name: Annotated[str, typer.Argument(help="A job's hash.")],
) -> None:
    """Do one job of a plan: workflow/Snakefile calls this."""
    from ecgstudy import plans

    plans.do(file.resolve(), name)


def _duration(seconds: float) -> str:
    """A time in words: in days or hours where there are at least two of them, else in minutes."""
    for unit, size in (("days", 86400), ("h", 3600)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds / 60:.0f} min"


@app.command(cls=OfRepository)
def score(
    cohort: Annotated[str, typer.Argument(help="A cohort of your own: see `ecgstudy data add`.")],
    entries: Annotated[list[str] | None, typer.Argument(help="Which entries, e.g. ECGMaster; by default all.")] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Train them on the cohort's own folds, instead of the shipped networks.")
    ] = False,
    profile: Annotated[str, typer.Option(help="Whose sizes the trained ones have.")] = "real",
    out: Annotated[Path | None, typer.Option(help="CSV for every metric with its interval.")] = None,
) -> None:
    """Score networks on a cohort of your own: those that ship with the study as they are, or trained on it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from ecgstudy.studies import own_scores

    check_profile(profile)
    rows = own_scores.trained(cohort, entries, profile=profile) if train else own_scores.zero_shot(cohort, entries)
    shown = rows[rows["metric"].isin(("AUROC", "F1"))].copy()
    shown["text"] = [f"{r.value:.3f} ({r.low:.3f}-{r.high:.3f})" for r in shown.itertuples()]
    wide = shown.pivot(index=["entry", "class"], columns="metric", values="text").reindex(
        list(dict.fromkeys(zip(shown["entry"], shown["class"], strict=True)))
    )
    positives = shown[shown["metric"] == "AUROC"].set_index(["entry", "class"])["n"]
    table = Table("entry", "class", "records", "AUROC", "F1", box=box.SIMPLE, pad_edge=False)
    for (entry, name), row in wide.iterrows():
        cells = (entry, name or "mean of classes", f"{positives[entry, name]:,}", row["AUROC"], row["F1"])
        table.add_row(*(printable(cell.replace("nan (nan-nan)", "not defined")) for cell in cells))
    Console(markup=False, highlight=False).print(table)
    if out:
        with written_whole(out.resolve()) as partial:
            rows.to_csv(partial, index=False)
        _say(f"{out}: {len(rows):,} numbers")


@app.command("verify-results", cls=OfRepository)
def verify_results(
    retrain: Annotated[
        str | None,
        typer.Option(help="Also train this run again: COHORT/QUESTION/ARM/FOLD of an ablation, or `smallest`."),
    ] = None,
) -> None:
    """Recompute the committed results from the committed answers; exit code 1 if something differs."""
    from ecgstudy.studies import verify

    right = True
    for check in verify.checks():
        typer.echo(f"results/{check.file}: {check.values:,} values, largest difference {check.largest:.1e}")
        for wrong in check.wrong[:10]:
            typer.echo(f"  {wrong}")
        if len(check.wrong) > 10:
            typer.echo(f"  and {len(check.wrong) - 10:,} more")
        right &= not check.wrong
    for file, command in verify.not_recomputed().items():
        typer.echo(f"results/{file}: not from committed answers; made by `{command}`")
    if retrain:
        name = verify.SMALLEST if retrain == "smallest" else retrain
        typer.echo(f"{name}: training again ...")
        result = verify.train_again(name)
        for metric, row in result.scores.iterrows():
            values = f"committed {row['committed']:.4f}, again {row['again']:.4f}, tolerance {row['tolerance']:.3f}"
            typer.echo(f"  {metric}: {values}")
        same = "the same to rounding" if result.largest <= verify.SAME else "not the same to rounding"
        typer.echo(f"  largest difference of a probability {result.largest:.1e}: {same} ({result.seconds:.0f} s)")
        right &= result.right
    raise typer.Exit(0 if right else 1)


@app.command()
def explain(
    records: Annotated[list[Path], typer.Argument(help="ECGs, or folders of them.")],
    system: Annotated[
        str, typer.Option(help="Whose networks: Local evidence, CNN-GAP, xECGNet, BUTTeam, ECGMaster ..., or `all`.")
    ] = "Local evidence",
    class_: Annotated[
        list[str] | None,
        typer.Option("--class", help="A finding to explain, e.g. AF (repeatable); default: those called."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the pages, index.html and table.csv.")] = Path("ecg-explained"),
    show_identity: Annotated[bool, typer.Option(help="Also show what the files say of the patients.")] = False,
    even_if_unfit: Annotated[bool, typer.Option(help="Answer although a record is unfit to be read.")] = False,
    fs: Annotated[float | None, typer.Option(help="Rate in Hz of arrays that state none.")] = None,
    jobs: Jobs = None,
) -> None:
    """Read ECGs, answer, and show why: a page each. No medical device. Exit code 1: some failed; 3: some are unfit."""
    from ecgstudy.data.labels import CLASSES
    from ecgstudy.reading import many
    from ecgstudy.reading.shipped import ENTRIES

    if system != "all" and system not in ENTRIES:
        raise ValueError(f"no system {system!r}; there are {quoted([*ENTRIES, 'all'])}{nearest(system, ENTRIES)}")
    for name in class_ or ():
        if name not in CLASSES:
            raise ValueError(f"no finding {name!r}; there are {', '.join(CLASSES)}{nearest(name, CLASSES)}")
    systems = tuple(ENTRIES) if system == "all" else (system,)
    settings = many.Settings(systems, tuple(class_ or ()), show_identity, even_if_unfit, fs)
    table = many.read_many(records, out, settings, jobs)
    for file, error in table.loc[table["error"] != "", ["file", "error"]].drop_duplicates().itertuples(index=False):
        typer.secho(printable(f"{file}: {error}"), fg="red", err=True)
    _say(many.summary(table))
    _say(f"The pages: {(out / many.INDEX).resolve().as_uri()}")
    raise typer.Exit(many.exit_code(table))


@app.command(cls=OfRepository)
def serve(
    profile: Profile = "demo",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on localhost; 0 takes a free one.")] = 8000,
) -> None:
    """Show the built book on localhost."""
    from ecgstudy.book.build import build_folder

    check_profile(profile)
    folder = build_folder(profile) / "_build" / "html"
    if not (folder / "index.html").exists():
        raise FileNotFoundError(f"no book under {folder}: build it with `make book PROFILE={profile}`")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        taken = "another program uses it" if error.errno == errno.EADDRINUSE else error.strerror
        raise OSError(f"the book cannot be shown at port {port}: {taken}. Name another one with --port") from None
    with server:
        typer.echo(f"The book: http://127.0.0.1:{server.server_port}/  (Ctrl-C ends)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("")


@data.command("list")
def data_list() -> None:
    """Show each data set, its licence, and whether it is at hand."""
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from ecgstudy.data import manifest

    # The title stands below the name, else it would push the licence off a terminal of 80 columns.
    numbers = [Column(title, justify="right", no_wrap=True) for title in ("records", "at hand")]
    columns = Column("data set", min_width=25), Column("version", no_wrap=True), Column("licence", max_width=19)
    table = Table(*columns, *numbers, box=box.SIMPLE, pad_edge=False)
    for name, dataset in manifest.load_manifest().items():
        found = dataset.at_hand()
        state = (f"{len(found.records):,}" if dataset.record_files else "yes") if found.any else "no"
        if found.unlisted and not found.any:
            state = "unreadable"
        records = f"{dataset.records:,}" if dataset.record_files else ""
        title = Text.assemble((name, "bold"), "\n", dataset.title)
        table.add_row(title, dataset.version, dataset.licence, records, state)
    _say(f"Data sets under {data_root()}")
    Console(markup=False, highlight=False).print(table)
    _say_own()


def _say_own() -> None:
    """Tell of the user's own cohorts, whatever became of their folders."""
    from ecgstudy.data import own

    for name in own_cohorts():
        try:
            known = own.own(name)
        except (DataError, ValueError) as error:
            _say(f"Your cohort {name}: {error}")
        else:
            _say(f"Your cohort {name}: {known.folder}; {len(known.classes)} classes: {', '.join(known.classes)}")


@data.command("add")
def data_add(
    name: Annotated[str, typer.Argument(help="What the cohort shall be called.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the records.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV: record, patient, fold, and labels or a column of 0 and 1 for each class."),
    ] = None,
    mapping: Annotated[Path | None, typer.Option(help="CSV of code and class.")] = None,
    classes: Annotated[
        str | None, typer.Option(help='Names of the classes with commas between them, in their order: a,"b, c".')
    ] = None,
    fs: Annotated[float | None, typer.Option(help="Rate in Hz of arrays that state none.")] = None,
) -> None:
    """Make a folder of records of your own known as a cohort: -p cohort=NAME. Recordings are only read."""
    from rich import box
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Column, Table

    from ecgstudy.data import own

    names = None if classes is None else next(csv.reader([" ".join(classes.split())], skipinitialspace=True)) or [""]
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        checked = own.add_cohort(name, folder, labels=labels, mapping=mapping, classes=names, fs=fs, progress=show)
    console = Console(markup=False, highlight=False)
    for frame in (checked.findings, checked.classes):
        numbers = [isinstance(cell, int) for cell in frame.astype(object).iloc[0]]
        titles = [
            Column(str(title), justify="right" if number else "left", min_width=8 if number else 20, overflow="fold")
            for title, number in zip(frame, numbers, strict=True)
        ]
        table = Table(*titles, box=box.SIMPLE, pad_edge=False)
        for row in frame.astype(object).itertuples(index=False):
            table.add_row(*(f"{cell:,}" if isinstance(cell, int) else printable(cell) for cell in row))
        console.print(table)
    for warning in checked.warnings:
        _say(f"Warning: {warning}")
    _say(f"{checked.own.file}: {name}, for example `ecgstudy run 04_xecgnet --profile smoke -p cohort={name}`")


@data.command("remove")
def data_remove(name: Annotated[str, typer.Argument(help="A cohort of your own.")]) -> None:
    """Forget a cohort of your own; recordings and tables stay where they are."""
    from ecgstudy.data import own

    _say(f"{own.remove(name)}: removed; the recordings are as they were")


@data.command("build")
def data_build(
    cohort: Annotated[str, typer.Option(help="synthetic, real, or a cohort of your own.")],
    fs: Annotated[str, typer.Option(help="Rate in Hz, written as in the profile: 125 and 125.0 are two cohorts.")],
    records: Annotated[
        str,
        typer.Option(help="How many to simulate; of real ones at most so many of each folder, of your own in all."),
    ] = "null",
    balance: Annotated[
        str, typer.Option(help="Of simulated records: 0: classes as frequent as in CPSC 2018; 1: equally frequent.")
    ] = "null",
    seed: Annotated[str, typer.Option(help="Of simulated records.")] = "0",
    variety: Annotated[
        str, typer.Option(help="Of simulated records, in what they differ more: all, or steps joined by +.")
    ] = "",
    shard: Annotated[
        str | None, typer.Option(help="i/n: make only the i-th of n parts, which other jobs may make at the same time.")
    ] = None,
    jobs: Jobs = None,
) -> None:
    """Build a cohort's cache before it is needed, by many processes, or as jobs of a cluster that share the cache."""
    from ecgstudy.data.building import Build
    from ecgstudy.profiles import typed

    given = {"fs": fs, "records": records, "balance": balance, "seed": seed}
    build = Build(
        typed("cohort", cohort), **{name: typed(name, value) for name, value in given.items()}, variety=variety
    )
    if shard is None:
        made = build.whole(jobs)
        _say(f"{made.folder}: {len(made):,} records, {len(made.left_out):,} left out, checksum {made.checksum}")
        return
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise ValueError(f"--shard {shard}: write it as i/n, for example 3/8")
    absent = build.shard(int(number), int(count))
    some = ", ".join(map(str, absent[:20])) + (" ..." if len(absent) > 20 else "")
    _say(f"shard {shard} is there; {f'{len(absent)} lack: {some}' if absent else 'the cohort is whole'}")


@data.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="A data set of `ecgstudy data list`.")],
    records: Annotated[
        str | None,
        typer.Option(
            help="Only these records: names with commas, a file with one name a line, or `study` for those it reads."
        ),
    ] = None,
    connections: Annotated[int, typer.Option(min=1, help="Files to download at the same time.")] = 8,
) -> None:
    """Download a data set to $ECGSTUDY_DATA and check it; files that are there and right are not fetched again."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ecgstudy.data import audit, fetch
    from ecgstudy.data.manifest import data_set

    data_set(name)
    chosen = None if records is None else fetch.record_names(records)
    if records == "study":
        chosen = audit.study_records(name)
    label, rate = TextColumn("{task.description}", markup=False), "{task.completed} files, {task.fields[rate]:.1f} MB/s"
    with Progress(label, BarColumn(), TextColumn(rate), TimeRemainingColumn()) as bar:
        task = bar.add_task(name, total=None, rate=0.0)

        def show(state: fetch.Progress) -> None:
            bar.update(task, completed=state.files, total=state.files_total, rate=state.rate / 1e6)

        summary = fetch.fetch(name, records=chosen, connections=connections, progress=show)
    for note in summary.notes:
        _say(note)
    _say(f"{summary.folder}: {summary.files:,} files, {summary.fetched:,} of them fetched now")


@data.command("verify")
def data_verify(name: Annotated[str, typer.Argument(help="A data set of `ecgstudy data list`.")]) -> None:
    """Check every file of a data set against its checksum."""
    from ecgstudy.data import manifest

    report = manifest.verify(name)
    _say(report.text())
    raise typer.Exit(0 if report.whole else 1)


@data.command("audit", cls=OfRepository)
def data_audit() -> None:
    """Read every real record at hand and write what the book's audit shows of them to results/audit.csv."""
    from ecgstudy.data import audit, cohort, manifest

    there = manifest.at_hand()
    paths = cohort.record_paths(list(there) or manifest.SIGNALS)  # which raises, where nothing is at hand
    failed: list[cohort.RecordError] = []
    table = audit.renewed(audit.audit(cohort.read_all(paths, failed)), there)
    if failed:
        told = "\n".join(map(str, failed))
        raise OSError(f"{told}\nnothing was written: run again, or bring such files anew with `ecgstudy data fetch`")
    audit.write(table)
    _say(f"{RESULTS / 'audit.csv'}: {len(table):,} records, of which {len(paths):,} were read now")
    for name, error in table.loc[table["error"] != "", ["name", "error"]].to_numpy():
        _say(f"{name} could not be read: {error}")
    if lacking := [name for name in manifest.SIGNALS if name not in there]:
        _say(f"not at hand under {data_root()}, their rows are as they were: {', '.join(lacking)}")


@data.command("simulate")
def data_simulate(
    records: Annotated[int, typer.Option(min=1, help="How many records.")],
    out: Annotated[Path, typer.Option(help="Folder for <name>.hea and .dat (WFDB) and the answer keys.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same records.")] = 0,
    fs: Annotated[float, typer.Option(help="Rate in Hz.")] = 500,
    balance: Annotated[float, typer.Option(help="0: classes as frequent as in CPSC 2018; 1: equally frequent.")] = 0,
) -> None:
    """Simulate a cohort as WFDB records, with evidence.csv, waves.csv and parameters.json: what is known of them."""
    from rich.progress import track

    from ecgstudy.data.simulator import synthetic

    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} {'is not empty' if out.is_dir() else 'is a file'}: name a new folder")
    with written_whole(out) as partial:
        partial.mkdir(parents=True)
        simulated = (synthetic.simulate(i, seed, fs=fs, balance=balance) for i in range(records))
        synthetic.write(track(simulated, "simulating", total=records), partial)
    _say(f"{out}: {records:,} records, seed {seed}")


if __name__ == "__main__":
    app()
