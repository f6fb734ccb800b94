"""The command ``tel report``: a set of runs as one page that needs nothing but a browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tel_segmentation.checkpoint import write_text
from tel_segmentation.report_format import markdown
from tel_segmentation.report_page import page
from tel_segmentation.report_records import find_records


@dataclass(frozen=True)
class Report:
    """Make a page (and Markdown tables) of a set of runs."""

    runs: Positional[tuple[Path, ...]]
    """Folders of runs, or of folders of runs."""
    output: Path = Path("report.html")
    """The page: one file with everything in it."""
    markdown: Path | None = None
    """Also write the tables as Markdown."""
    title: str = "What sparse labels are worth"
    pictures: int = 4
    """Images that each experiment shows."""


def run(options: Report) -> Path:
    """Reads the records, writes the page, and returns its path.

    Raises:
        ValueError: a folder holds no record, or a record is malformed; it names the file.
    """
    if options.pictures < 0:
        raise ValueError(f"pictures must not be negative, got {options.pictures}")
    records = find_records(options.runs)
    html = page(records, options.title, options.pictures)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.output, html)
    if options.markdown is not None:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        write_text(options.markdown, markdown(records))
    finished = sum(record.finished for record in records)
    print(f"{finished} of {len(records)} runs finished: {options.output}")
    return options.output
