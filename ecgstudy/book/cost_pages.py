"""What the page "Beyond one machine" shows of ``results/costs.csv``: growth, a figure, estimates for large corpora."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ecgstudy.book import plots
from ecgstudy.book.report import number
from ecgstudy.profiles import profile_values
from ecgstudy.studies import costs
from ecgstudy.systems.catalogue import by_name

# What is estimated: recordings of the full corpora, a million, ten million, of ten seconds at 500 Hz each.
CORPORA = (88_000, 1_000_000, 10_000_000)
SECONDS, RATE, STORED = 10, 500, 125  # Hz of a recording, and of the cohort that the small networks take
LEADS, BYTES = 12, 4
# Arithmetic of an NVIDIA H200 in bfloat16 (dense, NVIDIA's data sheet), and the share that 1-D networks may reach.
PEAK, SHARE = 989e12, 0.2
NOT_MEASURED = "not measured"


def _rows() -> pd.DataFrame:
    return costs.committed()


def _curves(varied: tuple[str, ...]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Each task and what is varied, with its rows in the order of the amounts; those of one point are no curve."""
    for (task, what), rows in _rows().groupby(["task", "varied"], sort=False):
        if what in varied and len(rows) > 1:
            yield task, what, rows.sort_values("amount")


def exponent(rows: pd.DataFrame) -> float:
    """With which power of the amount the seconds of the processor grow: the slope of a line through the logarithms."""
    return float(np.polyfit(np.log(rows["amount"]), np.log(rows["cpu_seconds"]), 1)[0])


def growth_table() -> str:
    """How the seconds of the processor and the memory grow, in the book's Markdown."""
    lines = [
        "| work | grows | from – to | seconds of the processor | power | memory, least – most (MiB) |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for task, what, rows in _curves(("records", "samples")):
        first, last = rows.iloc[0], rows.iloc[-1]
        cells = (task, what, f"{first['amount']:,} – {last['amount']:,}")
        seconds = f"{_short(first['cpu_seconds'])} – {_short(last['cpu_seconds'])}"
        # The largest amount need not take the most: inputs are kept up to a limit, and read batch by batch above it.
        memory = f"{rows['peak_mib'].min():,.0f} – {rows['peak_mib'].max():,.0f}"
        lines.append(f"| {' | '.join(cells)} | {seconds} | {number(exponent(rows), 2)} | {memory} |")
    return "\n".join(lines) + "\n"


def side_by_side_table() -> str:
    """What more processes and more shards change, in the book's Markdown."""
    lines = ["| work | | seconds of the processor | seconds on the clock |", "|---|---:|---:|---:|"]
    for task, what, rows in _curves(("processes", "shards")):
        for row in rows.itertuples():
            many = f"{row.amount} {what if row.amount > 1 else what.removesuffix('es' if what == 'processes' else 's')}"
            lines.append(f"| {task} | {many} | {_short(row.cpu_seconds)} | {_short(row.wall_seconds)} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else "What they change was not measured.\n"


def large_table() -> str:
    """What the largest cohort took, in the book's Markdown; what was not measured is said."""
    lines = ["| work | records | minutes of the processor | memory (MiB) |", "|---|---:|---:|---:|"]
    rows = _rows().query("varied == 'records'").set_index(["task", "amount"])
    for point in (point for point in costs.points() if point.records == costs.LARGE):
        cells = f"{NOT_MEASURED} | {NOT_MEASURED}"
        if (point.task, point.amount) in rows.index:
            row = rows.loc[(point.task, point.amount)]
            cells = f"{number(row['cpu_seconds'] / 60, 1)} | {row['peak_mib']:,.0f}"
        lines.append(f"| {point.task} | {point.records:,} | {cells} |")
    return "\n".join(lines) + "\n"


def not_measured() -> str:
    """The points of the study that the committed table lacks: a sentence."""
    there = set(_rows()[["task", "varied", "amount"]].itertuples(index=False, name=None))
    absent: dict[str, list[str]] = {}
    for point in costs.points():
        if (point.task, point.varied, point.amount) not in there:
            absent.setdefault(f"{point.task}, {point.varied}", []).append(f"{point.amount:,}")
    told = "; ".join(f"{what} {' and '.join(amounts)}" for what, amounts in absent.items())
    return f"Not measured, since the machine was too busy: {told}.\n" if absent else "All points were measured.\n"


def stored_or_simulated() -> str:
    """Whether it is cheaper to read a simulated record than to simulate it again: a sentence or two."""
    rows = _rows().query("varied == 'records'").sort_values("amount").drop_duplicates("task", keep="last")
    rows = rows.set_index("task")
    cpu, clock = (1000 * rows[f"{seconds}_seconds"] / rows["records"] for seconds in ("cpu", "wall"))
    text = (
        f"To simulate a record of 1,000 samples takes {_short(cpu['simulation'])} ms of the processor, to read it back "
        f"{_short(cpu['random reads'])} ms."
    )
    if "cold reads" in clock and "cold reads, prefetched" in clock:
        text += (
            f" From a disk that has not been read yet, a record takes {_short(clock['cold reads'])} ms on the clock, "
            f"and {_short(clock['cold reads, prefetched'])} ms where its batch is announced."
        )
    return f"{text}\n"


def estimates_table() -> str:
    """Paper estimates for large corpora: storage, reading, simulating, in the book's Markdown."""
    lines = [f"| | {' | '.join(f'{n:,} recordings' for n in CORPORA)} |", "|---|---:|---:|---:|"]
    stored = LEADS * SECONDS * BYTES
    for rate in (STORED, RATE):
        cells = [_bytes(n * stored * rate) for n in CORPORA]
        lines.append(f"| cohort at {rate} Hz, float32 | {' | '.join(cells)} |")
    few, many = (row for _, row in _rows().query("task == 'training, noise'").sort_values("amount").iterrows())
    growth = (many["peak_mib"] - few["peak_mib"]) / (many["records"] - few["records"])
    cells = [_bytes(2**20 * (few["peak_mib"] + n * growth)) for n in CORPORA]
    lines.append(f"| memory of a process that trains on it | {' | '.join(cells)} |")
    for title, each in (
        ("to read recordings into it, core-hours", _each("cohort, real", "records")),
        ("to simulate as many at 500 Hz, core-hours", _each("simulation", "samples", SECONDS * RATE)),
    ):
        cells = [NOT_MEASURED if each is None else _hours(n * each / 3600) for n in CORPORA]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    for row in _rows().query("task == 'paper network'").itertuples():
        epochs = profile_values("paper", by_name(row.varied).chapter)["epochs"]
        cells = [_hours(gpu_hours(row.amount, n, epochs)) for n in CORPORA]
        lines.append(f"| {row.varied} as published, {epochs:,} epochs, GPU-hours | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def gpu_hours(multiply_adds: float, records: float, epochs: float) -> float:
    """Hours of a GPU: two operations a multiply-add, a pass forward and one back that is worth two."""
    return 6 * multiply_adds * records * epochs / (PEAK * SHARE) / 3600


def assumptions() -> str:
    """What the estimates assume, as a list in the book's Markdown."""
    networks = _rows().query("task == 'paper network'")
    work = ", ".join(f"{row.varied} {number(row.amount / 1e9, 1)}" for row in networks.itertuples())
    return (
        f"- A recording has {LEADS} leads and {SECONDS} s at {RATE} Hz.\n"
        f"- GPU-hours = 6 × multiply-adds × recordings × epochs / ({PEAK / 1e12:g} × 10¹² × {SHARE:g}) / 3,600. The "
        f"peak is that of an NVIDIA H200 in bfloat16. That {100 * SHARE:g} % of it are reached is assumed.\n"
        f"- Thousand million multiply-adds of one input as published: {work}.\n"
        "- One network on all recordings, without its ensemble and without folds.\n"
    )


def growth_figure() -> str:
    """Curves of the processor's seconds, as a drawing in the page."""
    curves = list(_curves(("records", "samples")))
    plots.style()
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    looks = plots.looks(dict.fromkeys(task for task, _, _ in curves))
    for ax, varied in zip(axes, ("records", "samples"), strict=True):
        for task, what, rows in curves:
            if what == varied:
                ax.loglog(rows["amount"], rows["cpu_seconds"], marker="o", markersize=3, label=task, **looks[task])
        ends = np.array(ax.get_xlim())
        ax.loglog(ends, ends / ends[0] * ax.get_ylim()[0], color="0.6", linestyle=":", label="linear")
        ax.set_xlabel(varied if varied == "records" else "samples of a record")
        plots.legend_above(ax, fontsize=7, ncols=2)
    axes[0].set_ylabel("seconds of the processor")
    figure.tight_layout()
    alt = "Seconds of the processor over records and over samples, both axes logarithmic, one line a kind of work."
    svg = plots.svg(figure).replace("<svg ", f'<svg role="img" aria-label="{alt}" style="max-width:100%" ', 1)
    return f"```{{raw}} html\n{svg}```\n"


def _each(task: str, varied: str, amount: int | None = None) -> float | None:
    """Seconds of the processor for a record, at one amount or at the largest; None where it was not measured."""
    rows = _rows()
    rows = rows[(rows["task"] == task) & (rows["varied"] == varied)].sort_values("amount")
    if amount is not None:
        rows = rows[rows["amount"] == amount]
    return None if rows.empty else float(rows["cpu_seconds"].iloc[-1] / rows["records"].iloc[-1])


def _short(value: float) -> str:
    """A number with two digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _bytes(value: float) -> str:
    return f"{value / 1e12:,.1f} TB" if value >= 1e12 else f"{value / 1e9:,.1f} GB"
