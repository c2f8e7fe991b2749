"""The table of all exercises, as the book's page has it."""

from ecgstudy.course.exercises import paths, read_page


def table() -> str:
    """Markdown: how many exercises there are, and a table of them with a link to each."""
    rows = [(page, one) for page in map(read_page, paths()) for one in page.exercises]
    hurt = sum(one.hurts for _, one in rows)
    hours = sum(one.minutes for _, one in rows) / 60
    lines = [
        f"{len(rows)} exercises, {hurt} of them hurt on purpose; together about {hours:.0f} hours.\n",
        "| number | title | kind | level | minutes | |",
        "|---|---|---|---:|---:|---|",
    ]
    for page, one in rows:
        marked = "hurts on purpose" if one.hurts else ""
        cells = (
            f'<a href="{page.name}.html#ex-{one.number}">{one.number}</a>',
            one.title,
            one.kind,
            one.level,
            one.minutes,
            marked,
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"
