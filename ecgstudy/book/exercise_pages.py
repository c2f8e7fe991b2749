"""The table of all exercises, as the book's page has it."""

from ecgstudy.course.exercises import paths, read_page


def table() -> str:
    """Markdown: how many exercises there are, and a table of them with a link to each."""
    rows = [(page, one) for page in map(read_page, paths()) for one in page.exercises]
    hurt = sum(one.hurts for _, one in rows)
    lines = [
        f"{len(rows)} exercises, {hurt} of them hurt on purpose, {sum(one.minutes for _, one in rows) / 60:.0f} hours.\n",
        "| number | title | kind | level | minutes | |",
        "|---|---|---|---:|---:|---|",
    ]
    for page, one in rows:
        marked = "hurts on purpose" if one.hurts else ""
        cells = f"[{one.number}]({page.name}.md)", one.title, one.kind, one.level, one.minutes, marked
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"
