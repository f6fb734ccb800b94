"""The published results: records kept in the repository, and the tables made from them.

    tel publish runs/scenes --records results/scenes --pictures
    tel publish --records results --readme README.md

The first command adds finished runs to ``runs.jsonl`` (see ``report.published``) and copies the
pictures that the page shows. The second writes all tables to ``README.md`` in the folder of the
records, and replaces the marked tables of another Markdown file.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import tyro

from tel_segmentation import config
from tel_segmentation.report.format import markdown
from tel_segmentation.report.pictures import SHOWN
from tel_segmentation.report.published import PUBLISHED, published_line, read_published
from tel_segmentation.report.records import Record, find_records
from tel_segmentation.runtime.checkpoint import write_text
from tel_segmentation.runtime.run_folder import PANELS
from tel_segmentation.training.record import portable

INTRODUCTION = """# Measured results

`make tel-results` writes this page from the records in this folder; nothing is entered by hand. The
folder of each data set has a file `runs.jsonl` with one run per line: settings, seed, versions,
metrics, and a thinned history. `make tel-measure-scenes` makes the runs on generated scenes;
`make tel-measure-photos SOURCE=camvid.toml` and, in the same way, `tel-measure-street` and
`tel-measure-mass` make those on photographs. [The package's README](../README.md#results) explains
what is compared and what the numbers show.

"""
MARKED = re.compile(r"(<!-- results: (?P<name>\S+) -->\n).*?(<!-- end of results -->)", re.DOTALL)


@dataclass(frozen=True)
class Publish:
    """Publish records of runs, or make tables from the published records."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of runs to publish."""
    records: Path = Path("results")
    """The folder of the records."""
    pictures: bool = False
    """Also publish the pictures of the runs with seed 0 on points and on dense labels."""
    readme: Path | None = None
    """A Markdown file. Each table between ``<!-- results: EXPERIMENT -->`` and
    ``<!-- end of results -->`` is replaced."""


def run(options: Publish) -> int:
    """Publishes the given runs; if none is given, writes the tables.

    Raises:
        ValueError: a record is malformed, or two runs have the same name.
    """
    if options.runs:
        _publish(options)
    else:
        write_text(options.records / "README.md", tables(options.records))
    if options.readme is not None:
        text = options.readme.read_text(encoding="utf-8")
        write_text(options.readme, with_excerpts(text, options.records))
    return 0


def _publish(options: Publish) -> None:
    """Adds finished runs to the published ones; a published run of the same name is replaced."""
    file = options.records / PUBLISHED
    lines: dict[str, str] = {}
    if file.exists():
        for _, result, history, end in read_published(file):
            lines[result["name"]] = published_line(result, history, end)
    new: set[str] = set()
    for record in find_records(options.runs):
        if not record.finished:
            continue
        name = record.folder.name
        if name in new:
            raise ValueError(f"publish: runs must have different names, got {name!r} twice")
        new.add(name)
        settings = json.loads(config.to_json(portable(config.build(config.Train, record.config))))
        result = record.result | {"name": name, "config": settings}
        lines[name] = published_line(result, record.history, record.end)
        if options.pictures and _is_shown(record):
            _copy_pictures(record, options.records / name / PANELS)
    options.records.mkdir(parents=True, exist_ok=True)
    write_text(file, "".join(lines[name] for name in sorted(lines)))


def _is_shown(record: Record) -> bool:
    """Whether the page shows the run's pictures: seed 0, on points or with all labels."""
    return record.seed == 0 and record.experiment.endswith(("default/point", "default/dense"))


def _copy_pictures(record: Record, folder: Path) -> None:
    """Copies the pictures that the page shows, unless they are in the folder already."""
    for picture in list(record.panels.values())[:SHOWN]:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / picture.name).exists() or not picture.samefile(folder / picture.name):
            shutil.copyfile(picture, folder / picture.name)


def tables(records: Path) -> str:
    """The page of all records."""
    return INTRODUCTION + markdown(find_records([records])) + cost_tables(records)


def cost_tables(records: Path) -> str:
    """What ``tel cost`` measured: the files ``cost-*.json``."""
    parts = []
    for file in sorted(records.glob("cost-*.json")):
        cost = json.loads(file.read_text(encoding="utf-8"))
        height, width = cost["crop"]
        rows = [
            f"| {row['method']} | {row['seconds']:.3f} | {row['time_ratio']:.2f} |"
            f" {_or_dash(row['memory_mb'], '.0f')} | {_or_dash(row['memory_ratio'], '.2f')} |"
            for row in cost["rows"]
        ]
        parts.append(
            f"\n### {file.stem}\n\n"
            f"{cost['model']}, {cost['batch']} images of {height} × {width}, {cost['device']}"
            f" ({cost['threads']} threads), amp {cost['amp']},"
            f" medians of {cost['rounds']} iterations\n\n"
            "| method | s / iteration | ratio | peak memory above the network, MB | ratio |\n"
            "|---|--:|--:|--:|--:|\n" + "\n".join(rows) + "\n"
        )
    return "".join(parts)


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def with_excerpts(text: str, records: Path) -> str:
    """The text of a Markdown file with its marked tables replaced.

    Raises:
        ValueError: a marker names an experiment without records.
    """
    sections = re.split(r"(?=^### )", tables(records), flags=re.MULTILINE)
    by_name = {s.split()[1]: s.split("\n", 2)[2].strip() for s in sections if s.startswith("### ")}

    def table(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in by_name:
            raise ValueError(f"no records of {name!r}; there are: {', '.join(sorted(by_name))}")
        rows = [line for line in by_name[name].split("\n") if line.startswith("|")]
        return match[1] + "\n".join(["", *rows, "", ""]) + match[3]

    return MARKED.sub(table, text)
