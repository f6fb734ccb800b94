"""The records that are kept with the code, and the tables that are made of them.

    tel publish runs/scenes --records results/scenes --pictures
    tel publish --records results --readme README.md

The first copies the records of finished runs (result, history, and for generated scenes pictures
of the first seed). The second writes ``README.md`` of the records' folder from them, and puts the
tables named there between the markers of another Markdown file.
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
from tel_segmentation.report.records import find_records
from tel_segmentation.runtime.checkpoint import write_text
from tel_segmentation.training.record import RESULT, portable
from tel_segmentation.training.tracking import HISTORY

INTRODUCTION = """# Measured results

Made from the records in this folder by `make tel-results`; nothing here is typed. The runs are made
by `make tel-measure-scenes` and `make tel-measure-photos SOURCE=camvid.toml`. What is compared, and
what to think of it, is in [the package's README](../README.md#results).

"""
MARKED = re.compile(r"(<!-- results: (?P<name>\S+) -->\n).*?(<!-- end of results -->)", re.DOTALL)


@dataclass(frozen=True)
class Publish:
    """Copy run records, make tables of them."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of runs to copy records from."""
    records: Path = Path("results")
    """The folder of the records."""
    pictures: bool = False
    """Copy the panels of the first seed's runs on points too."""
    readme: Path | None = None
    """A Markdown file with ``<!-- results: EXPERIMENT -->`` … ``<!-- end of results -->``."""


def run(options: Publish) -> int:
    """Copies, or makes the tables where there is nothing to copy."""
    for folder in options.runs:
        _copy(folder, options)
    if not options.runs:
        write_text(options.records / "README.md", tables(options.records))
    if options.readme is not None:
        text = options.readme.read_text(encoding="utf-8")
        write_text(options.readme, with_excerpts(text, options.records))
    return 0


def _copy(folder: Path, options: Publish) -> None:
    for record in find_records([folder]):
        if not record.finished:
            continue
        target = options.records / record.folder.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(record.folder / HISTORY, target / HISTORY)
        result = json.loads((record.folder / RESULT).read_text(encoding="utf-8"))
        settings = config.build(config.Train, result["config"])
        result |= {"name": target.name, "config": json.loads(config.to_json(portable(settings)))}
        write_text(target / RESULT, json.dumps(result, indent=1) + "\n")
        shown = (
            options.pictures and record.seed == 0 and record.experiment.endswith("default/point")
        )
        full = options.pictures and record.seed == 0 and record.experiment.endswith("default/dense")
        if (shown or full) and (record.folder / "panels").is_dir():
            shutil.copytree(record.folder / "panels", target / "panels", dirs_exist_ok=True)


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
    """A Markdown file with its marked tables made anew.

    Raises:
        ValueError: a marker names an experiment that there are no records of.
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
