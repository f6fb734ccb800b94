"""The command ``tel report``: a set of runs as one page, for which a browser is enough."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tel_segmentation.paper.beside import beside
from tel_segmentation.paper.page import find_costs, paper_page
from tel_segmentation.report.format import markdown
from tel_segmentation.report.page import page
from tel_segmentation.report.pictures import SHOWN
from tel_segmentation.report.records import Record, find_records, has_results
from tel_segmentation.runtime.checkpoint import write_text

TITLE = "What sparse labels are worth"


@dataclass(frozen=True)
class Report:
    """Make a page (and Markdown tables) of a set of runs."""

    runs: Positional[tuple[Path, ...]]
    """Folders of runs, or folders that contain such folders."""
    output: Path = Path("report.html")
    """The page, a single file that contains everything."""
    markdown: Path | None = None
    """Also write the tables as Markdown."""
    title: str = TITLE
    pictures: int = SHOWN
    """Number of images shown for each experiment."""
    paper: bool = False
    """Show the paper's tables and figures instead, and beside them the results of ``tel run``."""


def run(options: Report) -> Path:
    """Reads the records, writes the page, and returns its path.

    Raises:
        ValueError: a folder holds no record, or a record is malformed; the message names the file.
    """
    if options.pictures < 0:
        raise ValueError(f"pictures must not be negative, got {options.pictures}")
    if options.paper:
        records, html, tables = _beside_the_paper(options)
    else:
        records = find_records(options.runs)
        html = page(records, options.title, options.pictures)
        tables = markdown(records)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.output, html)
    if options.markdown is not None:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        write_text(options.markdown, tables)
    finished = sum(record.finished for record in records)
    print(f"{finished} of {len(records)} runs finished: {options.output}")
    return options.output


def _beside_the_paper(options: Report) -> tuple[list[Record], str, str]:
    """The records, the page and the Markdown of ``--paper``."""
    costs = find_costs(options.runs)
    # Measured costs are not runs: a folder may contain nothing else.
    runs = [path for path in options.runs if has_results(path) or not costs]
    records = find_records(runs)
    title = "The paper’s tables" if options.title == TITLE else options.title
    return records, paper_page(records, costs, title, options.pictures), beside(records, costs)
