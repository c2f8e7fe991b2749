"""The commands of the course: ``ecgstudy course``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ecgstudy.paths import needs_checkout
from ecgstudy.text import printable

course = typer.Typer(no_args_is_help=True, help="Teach from the book: notebooks, checks of exercises, slides.")


@course.command("notebooks")
def notebooks(
    folder: Annotated[Path, typer.Argument(help="Where to put them; made if it is not there.")],
    solutions: Annotated[bool, typer.Option("--solutions", help="Those with solutions, NN_name_solved.ipynb.")] = False,
    chapter: Annotated[str | None, typer.Option(help="Only this chapter's: 03, or 03_cnn_gap.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what somebody has worked in.")] = False,
) -> None:
    """Write the class's notebook, and one of exercises for each chapter. One that somebody has worked in is kept."""
    from ecgstudy.course.notebooks import write, write_class  # which load nbformat

    needs_checkout("`ecgstudy course notebooks`")
    made = write(folder.expanduser(), solutions=solutions, chapter=chapter, force=force)
    if chapter is None and not solutions:
        made |= write_class(folder.expanduser(), force=force)
    _told(made)


@course.command("chapters")
def chapters(
    folder: Annotated[Path, typer.Argument(help="Where to put them; made if it is not there.")],
    profile: Annotated[str, typer.Option(help="The built book that they come from.")] = "class",
    outputs: Annotated[bool, typer.Option("--outputs", help="With the figures and tables of that book.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what somebody has worked in.")] = False,
) -> None:
    """Write the chapters and the class's notebook for JupyterLab: the built book's numbers stand in their text."""
    from ecgstudy.course.notebooks import write_chapters
    from ecgstudy.profiles import check_profile

    needs_checkout("`ecgstudy course chapters`")
    check_profile(profile)
    _told(write_chapters(folder.expanduser(), profile, outputs=outputs, force=force))


def _told(made: Mapping[Path, str]) -> None:
    kept = "kept, since somebody has worked in it (--force overwrites it)"
    for file, state in made.items():
        typer.echo(printable(f"{file}: {kept if state == 'kept' else state}"))


@course.command("check")
def check(
    folder: Annotated[Path, typer.Argument(help="The class's notebooks: one file a student, or a folder a student.")],
    chapter: Annotated[str | None, typer.Option(help="Only this chapter's exercises: 03.")] = None,
    seconds: Annotated[float, typer.Option("--time", min=1, help="Seconds that a notebook may take.")] = 300,
    memory: Annotated[float, typer.Option(min=128, help="MiB of memory that it may take.")] = 2048,
    jobs: Annotated[int | None, typer.Option("-j", "--jobs", min=1, help="Notebooks at a time.")] = None,
    out: Annotated[Path, typer.Option(help="Where to write the results.")] = Path("results.csv"),
) -> None:
    """Run a class's notebooks, each by itself and with limits, and check their answers. Go on after an interruption."""
    from ecgstudy.course import grading

    def show(line: str) -> None:
        typer.echo(printable(line))

    limits = grading.Limits(seconds, memory)
    for line in grading.grade(folder.expanduser(), out.expanduser(), limits, chapter, jobs, show).summary():
        show(line)
    show(f"{out}: a row for each student's exercise")


@course.command("project")
def project(
    name: Annotated[str, typer.Argument(help="Of the new system: an upper-case letter, then letters and digits.")],
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
) -> None:
    """Begin a project: a folder with a system that is complete, its chapter and its tests, to be changed."""
    needs_checkout("`ecgstudy course project`")
    from ecgstudy.course.project import make

    for file in make(name, folder.expanduser()):
        typer.echo(printable(str(file)))


@course.command("slides")
def slides(
    profile: Annotated[str, typer.Option(help="The book whose figures are shown.")] = "demo",
    pdf: Annotated[bool, typer.Option(help="Print each deck as a PDF, too (with Chromium).")] = True,
) -> None:
    """Make the slides of all sessions from the book that was built last: HTML and PDF in _build/PROFILE/slides."""
    from ecgstudy.course.slides import make  # which loads pandas
    from ecgstudy.profiles import check_profile

    needs_checkout("`ecgstudy course slides`")
    check_profile(profile)
    for path in make(profile, pdf=pdf):
        typer.echo(printable(f"{path}"))


@course.command("bundle")
def bundle(
    file: Annotated[Path, typer.Argument(help="Of the zip.")],
    profile: Annotated[str, typer.Option(help="The built book that it holds.")] = "class",
    wheels: Annotated[bool, typer.Option(help="With the packages, for this system and Python.")] = True,
) -> None:
    """Make a zip for a room without a network: the book, notebooks, what they want simulated, packages, the source."""
    from ecgstudy.course.bundle import make
    from ecgstudy.profiles import check_profile

    needs_checkout("`ecgstudy course bundle`")
    check_profile(profile)
    file = file.expanduser()
    for part in make(file, profile, wheels=wheels, show=typer.echo):
        megabytes = f"{part.packed / 1e6:,.1f} MB ({part.unpacked / 1e6:,.1f} MB unpacked)"
        typer.echo(f"{part.name}: {part.files:,} files, {megabytes}")
    typer.echo(printable(f"{file}: {file.stat().st_size / 1e6:,.1f} MB"))
