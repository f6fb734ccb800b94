"""From the files of results to the page, its plots and the excerpt in the project's README.

    python report.py [--results FOLDER] [--readme FILE]

Each machine's run is a JSON file in the folder; the page has a section for each.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import plots
from race import OURS, Quartiles, Record, quartiles, ratio
from targets import FORWARD, MEMCPY, PHOTOGRAPH, TARGETS

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PICTURE = "smoothing.png"
MARKERS = "<!-- {}: begin -->", "<!-- {}: end -->"
BEGIN, END = (marker.format("benchmark") for marker in MARKERS)

INTRODUCTION = """\
# Measurements

Made by `make bench-report` from the JSON files beside this page, which `make bench` and
`make bench-full` write; nothing here is typed. [How it is measured](../README.md).

- A time is a median; in parentheses the quartiles. "4.2× (4.1 to 4.4)" says how many times as long
  the other one took: the ratio of medians and its 95 % confidence interval, over rounds in which
  both ran. Below 1 the other one is faster. "4.2 of it" is the reverse: ours takes as long as
  4.2 memcpys, forward passes or photographs.
- One thread unless stated. Every result is verified before it is timed. Making the inputs is not
  timed: other libraries get finished graphs.
- igraph turns its list of weights into an array, and rustworkx calls a Python function for every
  weight, within the timed call. scipy and higra compute in float64. "scipy, rooted" is
  `minimum_spanning_tree` and `breadth_first_order`. "higra" is `bpt_canonical` as it is called by
  default; "edge set only" leaves out altitudes and the tree as a graph.
- "memcpy" is `out.copy_(x)` of what is filtered into existing memory of the same layout. Our calls
  allocate their results. Each call finds the caches as the one before it has left them.
"""
TASKS = {
    "mst, edge set": "Minimum spanning tree: the edge set",
    "mst": "`tf.mst`: edge set, root, plan",
    "mst of an edge list": "`tf.mst` of graphs that are no grids",
    "mst of a volume": "`tf.mst` of a 3-D grid",
    "mst of a volume, 26 neighbours": "`tf.mst` of a 3-D grid, 26 neighbours",
    "edge_weight, forward": "`tf.edge_weight`, forward",
    "edge_weight, forward and backward": "`tf.edge_weight`, forward and backward",
    "affinity": "`tf.affinity`",
    "filter": "`tf.filter`",
    "filter, channels last": "`tf.filter`, channels last",
    "filter, backward": "`tf.filter`, backward in x and affinity",
    "a call": "What a call costs: functions and the layer on 4 pixels",
    "distance, one source": "`tf.distance` from one source",
    "distance_transform, sum": "`tf.distance_transform`, sums",
    "distance_transform, max": "`tf.distance_transform`, maxima",
    "dendrogram": "`tf.mst` and `tf.dendrogram`",
    "single linkage": "Single linkage of points: `tf.mst`, `tf.dendrogram`, `tf.linkage`",
    "watershed": "`tf.mst` and `tf.watershed`",
    "persistence": "`tf.persistence`, components and holes",
    "filter, min": "`tf.filter` of smallest affinities",
    "smoothing": "Edge-preserving smoothing of a photograph",
    "scaling, channels": "Scaling: channels",
    "scaling, threads": "Scaling: threads",
    "scaling, busy core": "Scaling: as many threads as cores, one of which is busy",
    "scaling, batch": "Scaling: batch",
    "scaling, workers": "Scaling: workers of a DataLoader, one for each core",
}
MEASURES = MEMCPY, FORWARD, PHOTOGRAPH
"""Units in which our times are given, rather than competitors."""
NOTE = """\
Ratios are of medians, with 95 % confidence intervals. "scipy, rooted" is its tree and breadth-first
order, "edge set only" the tree before it is rooted; a memcpy copies what is filtered.
[All measurements](benchmarks/results/README.md), with the targets that are met and missed.
"""
NO_RATIO = "smoothing", "a call"
EXCERPT = (
    ("`tf.mst`, photograph 512×512", "mst", "photograph", "512x512", "scipy, rooted"),
    ("`tf.mst`, photograph 1024×2048", "mst", "photograph", "1024x2048", "scipy, rooted"),
    ("edge set only, 512×512", "mst, edge set", "photograph", "512x512", "scipy"),
    ("edge set only, 512×512", "mst, edge set", "photograph", "512x512", "higra"),
    ("`tf.mst`, 8 nearest neighbours", "mst of an edge list", "8 nearest neighbours", "",
     "scipy, rooted"),
    ("`tf.edge_weight`, 256×128×128, forward and backward", "edge_weight, forward and backward",
     "C=256", "128x128", "torch slicing"),
    ("`tf.distance`, 512×512", "distance, one source", "photograph", "512x512", "scipy dijkstra"),
    ("`tf.filter`, 21×128×128", "filter", "C=21", "128x128", MEMCPY),
    ("`tf.filter`, 64×512×512", "filter", "C=64", "512x512", MEMCPY),
)  # fmt: skip


class Run(NamedTuple):
    """One file of results."""

    name: str
    machine: dict
    records: list[Record]

    @property
    def title(self) -> str:
        parts = [self.machine["processor"], f"{self.machine['cores']} cores"]
        if self.machine["gpu"]:
            parts.append(self.machine["gpu"])
        return ", ".join(parts)


def load(folder: Path) -> list[Run]:
    """All but those that have pages of their own: of GPUs, σ, layers and tiles."""
    runs = []
    for path in sorted(folder.glob("*.json")):
        if path.stem.startswith(("gpu", "sigma", "layers", "tiled")):
            continue
        content = json.loads(path.read_text(encoding="utf-8"))
        records = [Record.from_json(record) for record in content["records"]]
        runs.append(Run(path.stem, content["machine"], records))
    return runs


# --- words ----------------------------------------------------------------------------------------


def unit_of(seconds: float) -> tuple[str, float]:
    """The unit that suits a time, and the factor to it."""
    if seconds < 1e-3:
        return "µs", 1e6
    return ("ms", 1e3) if seconds < 1 else ("s", 1)


def time_in_words(seconds: float) -> str:
    unit, factor = unit_of(seconds)
    return f"{digits(seconds * factor)} {unit}"


def digits(value: float) -> str:
    """Three of them, never an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def spread_in_words(stats: Quartiles) -> str:
    unit, factor = unit_of(stats.median)
    lower, median, upper = (digits(value * factor) for value in stats)
    return f"{median} {unit} ({lower} to {upper})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


# --- parts of the page ----------------------------------------------------------------------------


def machine_table(machine: dict) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    vector = ", ".join(machine["vector instructions"])
    cores = f"{machine['cores']} cores, {machine['cores allowed']} allowed"
    rows = [
        ["processor", f"{machine['processor']} ({vector}); {cores}"],
        ["instruction set used", machine["instruction set used"]],
        ["memory", f"{machine['memory GiB']} GiB"],
        ["GPU", machine["gpu"] or "none"],
        ["system", f"{machine['system']}, Python {machine['python']}"],
        ["packages", packages],
        ["treefilter", f"commit {machine['commit']}"],
        ["date", f"{machine['date']}, {machine['set']} set"],
    ]
    if not machine["complete"]:
        rows.append(["complete", "no: some cases failed"])
    return table(["", ""], rows)


def task_table(task: str, records: Sequence[Record]) -> str:
    """A row for each race, a column for each contender."""
    names = dict.fromkeys(name for record in records for name in record.seconds)
    rows = []
    for record in records:
        where = "" if record.device == "cpu" else f", {record.device}"
        row = [record.input, record.shape + where]
        first = next(iter(record.seconds))
        for name in names:
            if name not in record.seconds:
                row.append("")
            elif name == first or task in NO_RATIO:
                row.append(spread_in_words(quartiles(record.seconds[name])))
            else:
                row.append(compared(record, first, name))
        rows.append(row)
    return table(["input", "size", *names], rows)


def compared(record: Record, first: str, name: str) -> str:
    """A contender's time, and its ratio to the first."""
    times = record.seconds[name], record.seconds[first]
    median = time_in_words(quartiles(times[0]).median)
    if name in MEASURES:
        r = ratio(*reversed(times))
        return f"{median}; {digits(r.value)} of it ({digits(r.low)} to {digits(r.high)})"
    r = ratio(*times)
    return f"{median}, {digits(r.value)}× ({digits(r.low)} to {digits(r.high)})"


def memory_table(records: Sequence[Record]) -> str:
    rows = [
        [record.task, record.input, record.shape, record.device, name, f"{size / 2**20:.1f} MiB"]
        for record in records
        for name, size in record.memory.items()
    ]
    return table(["task", "input", "size", "device", "", "peak above the inputs"], rows)


def targets_table(records: Sequence[Record]) -> str:
    return table(
        ["case", "target", "measured (worst case)", "met?"], [t.row(records) for t in TARGETS]
    )


def page(runs: Sequence[Run], pictures: Sequence[str]) -> str:
    parts = [INTRODUCTION]
    for run in runs:
        parts += [f"## {run.title}\n", machine_table(run.machine)]
        parts += ["### Targets\n", targets_table(run.records)]
        if f"{run.name}-scaling.png" in pictures:
            parts += ["### Scaling\n", f"![Times over size]({run.name}-scaling.png)\n"]
        for task in dict.fromkeys([*TASKS, *(record.task for record in run.records)]):
            of_task = [r for r in run.records if r.task == task and r.seconds]
            if of_task:
                parts += [f"### {TASKS.get(task, task)}\n", task_table(task, of_task)]
            if of_task and task == "smoothing" and PICTURE in pictures:
                parts.append(f"![The same photograph, smoothed by each]({PICTURE})\n")
        with_memory = [record for record in run.records if record.memory]
        if with_memory:
            parts += ["### Peak memory\n", memory_table(with_memory)]
    return "\n".join(parts)


def excerpt(runs: Sequence[Run]) -> str:
    """The table in the project's README."""
    parts = []
    for run in runs:
        rows = []
        for title, task, input_, shape, other in EXCERPT:
            for record in run.records:
                key = record.task, record.input, record.device
                if key != (task, input_, "cpu") or shape not in ("", record.shape):
                    continue
                if other not in record.seconds:
                    continue
                ours, theirs = record.seconds[OURS], record.seconds[other]
                r = ratio(ours, theirs) if other == MEMCPY else ratio(theirs, ours)
                words = "memcpys" if other == MEMCPY else f"times as fast as {other}"
                interval = f"{digits(r.low)} to {digits(r.high)}"
                time = time_in_words(quartiles(ours).median)
                rows.append([title, time, f"{digits(r.value)} {words} ({interval})"])
        if rows:
            caption = f"{run.title}; {run.machine['instruction set used']} code, one thread:\n"
            parts += [caption, table(["", "time", ""], rows)]
    return "\n".join([*parts, NOTE]) if parts else ""


def insert(text: str, content: str, name: str = "benchmark") -> str:
    """The text with its part between the markers of that name replaced."""
    first, last = (marker.format(name) for marker in MARKERS)
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"report: text must contain {first} and {last}")
    return f"{before}{first}\n{content}{last}{after}"


def write(folder: Path, readme: Path) -> list[Path]:
    """Writes the page, the plots and the excerpt; returns what was written."""
    runs = load(folder)
    written = [readme]
    readme.write_text(insert(readme.read_text(encoding="utf-8"), excerpt(runs)), encoding="utf-8")
    if runs:
        for run in runs:
            path = folder / f"{run.name}-scaling.png"
            if plots.scaling(run.records, run.title, path):
                written.append(path)
        pictures = [path.name for path in folder.glob("*.png")]
        (folder / "README.md").write_text(page(runs, pictures), encoding="utf-8")
        written.append(folder / "README.md")
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    options = parser.parse_args()
    for path in write(options.results, options.readme):
        print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
