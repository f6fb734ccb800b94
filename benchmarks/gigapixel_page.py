"""The page and the plot of ``gigapixel.py``: what was measured, and what follows on paper."""

import json

import report

FILE, PAGE = report.RESULTS / "tiled.json", report.RESULTS / "tiled.md"
PLOT = report.RESULTS / "tiled.png"
LIMIT = "2 GiB"
"""Of the worker in the large run; the scheduler and the main process have what is left of 3 GB."""


def write() -> None:
    """The page and the plot, of the file."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    rows = []
    for run in content["runs"]:
        pixels = run["side"] ** 2
        rows.append(
            [
                run["title"],
                f"{run['side']}² × {run['channels']}, {pixels / 1e6:,.1f} Mpx",
                f"{(-run['side'] // run['tile']) ** 2} of {run['tile']}²",
                f"{run['processor']:,.0f} s",
                f"{run['seconds']:,.0f} s",
                f"{1e6 * run['processor'] / pixels:.2f} µs",
                f"{run['peak'] / 2**20:,.0f} MiB",
            ]
        )
    head = ["run", "size", "chunks", "processor", "wall clock", "processor, a pixel", "peak memory"]
    one, many = content["runs"][:2]
    text = f"""# The tree filter over tiles

Made by `make bench-tiled` from `tiled.json` beside this page; nothing here is typed. Each run reads
a uint8 zarr store and writes a float32 one, in a process of its own, whose start is in its times,
like reading and writing. Memory is all that the process and its workers have resident, Python and
torch included. In *limited memory* the worker may have {LIMIT}. Where the wall clock is far beyond
the processor time, other programs had the processor.

{_machine(content["machine"])}

{report.table(head, rows)}

Tiles take {many["processor"] / one["processor"]:.1f} times the processor time of one piece
(the aim is at most 3), and {many["peak"] / one["peak"]:.2f} times its memory. The largest
difference of the two results is {content["difference"]:.1g}.

![Memory over time](tiled.png)

{_on_paper(content["messages"], many)}"""
    PAGE.write_text(text, encoding="utf-8")
    _plot(content["runs"])


def _machine(found: dict) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return (
        f"{found['processor']}, {found['cores']} cores, {found['memory GiB']} GiB; "
        f"{found['date']}, commit {found['commit']}; {versions}."
    )


def _on_paper(told: dict, run: dict) -> str:
    """100,000² × 3 on 16 machines, from what was measured."""
    side, tile, machines, cores = 100_000, 2048, 16, 8
    count = (side // -tile) ** 2
    border = 4 * tile * count
    hours = run["processor"] / run["side"] ** 2 * side**2 / 3600
    gigabytes = {name: size * border / 1e9 for name, size in told["bytes"].items()}
    seconds = {name: time * border for name, time in told["seconds"].items()}
    rows = [
        [name, f"{told['bytes'][name]:.0f}", f"{size:.1f} GB"] for name, size in gigabytes.items()
    ]
    a_pixel = 1e6 * run["processor"] / run["side"] ** 2
    minutes = 60 * hours / machines / cores
    read = 2 * 3 * side**2 / machines / 1e9
    return f"""## On paper: {side:,}² × 3 on {machines} machines

<!-- paper: begin -->
{count:,} tiles of {tile}² have {border / 1e6:.0f} million border pixels. At the {a_pixel:.2f} µs a
pixel of the run over tiles, map and finish are {hours:.1f} processor hours, {minutes:.1f}
minutes on {machines} machines of {cores} cores. Each machine reads its part of the image twice:
{read:.0f} GB of uint8. Measured on a photograph, tiles tell each other, in bytes a border pixel:

{report.table(["message", "bytes", "all tiles"], rows)}

In one task, merging all candidates would take {seconds["merge"]:.0f} s, and the exchange takes
{seconds["exchange"]:.0f} s, with the pruned skeletons in one memory. Merged pairwise,
as `treefilter.dask` does, candidates are reduced on all machines, and the last merge joins two
halves. What is decided of all tiles goes to all machines. The exchange is the bottleneck: for more
tiles or tens of channels, filter a few channels at a time along one tree; beyond, skeletons have
to be pruned to the borders of groups of tiles before they meet.
<!-- paper: end -->
"""


def _plot(runs: list[dict]) -> None:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
    last = next(run for run in runs if run["title"] == "limited memory")
    axis.plot(*zip(*[(t, m / 2**30) for t, m in last["memory"]], strict=True))
    size = 4 * last["side"] ** 2 / 2**30
    axis.set(
        xlabel="seconds",
        ylabel="GiB resident",
        title=f"{last['side']}² pixels ({size:.1f} GiB in float32), {LIMIT} for the worker",
        ylim=(0, None),
    )
    figure.savefig(PLOT, dpi=120)
