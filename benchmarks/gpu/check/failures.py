"""A pytest plugin: writes the name of every test that fails into a file, at once.

    GPU_CHECK_FAILED=failed.txt pytest -p gpu.check.failures

The file is what ``TESTS=failed.txt`` runs again.
"""

import os
from pathlib import Path

import pytest

failed: set[str] = set()


@pytest.hookimpl
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    path = os.environ.get("GPU_CHECK_FAILED")
    # Of pytest-xdist's processes, the one that collects all reports.
    if not path or "PYTEST_XDIST_WORKER" in os.environ:
        return
    if report.failed and report.nodeid not in failed:
        failed.add(report.nodeid)
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(report.nodeid + "\n")


@pytest.hookimpl
def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot be imported is run again as a whole."""
    if report.failed:
        pytest_runtest_logreport(report)  # type: ignore[arg-type]
