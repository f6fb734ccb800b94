"""Step 7: one short table of what the steps found, from the files that they left.

A step has passed if it ended without a complaint and its evidence is there: so a step that did
nothing, or is not in the table of steps, is a failure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from gpu.check.drill import BENCHMARK, FAILED, LOG, PASSED, PROFILE, SANITIZERS, SUMMARY, TESTS

STEPS = ("import", "smoke", "benchmark", "tests", "alone", "profile", "train")
"""What a whole drill has, said here once more on purpose: a step that is gone must be missed."""
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
CLEAN = {
    "racecheck": r"RACECHECK SUMMARY: 0 hazards",
    **dict.fromkeys(("memcheck", "synccheck", "initcheck"), r"ERROR SUMMARY: 0 errors"),
}
LONGEST = 400


class MissingError(Exception):
    """There is no evidence that a step did its work."""


@dataclass
class Outcome:
    """How a step went, as far as its processes tell."""

    seconds: float = 0.0
    complaints: tuple[str, ...] = ()
    skipped: str = ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise MissingError(f"no {path.name}") from error


def _result(name: str, log: str = LOG) -> Callable[[Path, bool], str]:
    """The line that a program prints when it is through."""

    def find(out: Path, dry: bool) -> str:
        found = re.findall(rf"^RESULT {name}: (.*)$", _text(out / log), re.MULTILINE)
        if not found:
            raise MissingError(f"no result of {name} in {log}")
        return found[-1]

    return find


def _benchmark(out: Path, dry: bool) -> str:
    content = json.loads(_text(out / BENCHMARK))
    way = "graph"
    parts = []
    for case in content["cases"]:
        last = case["stages"][-1]["nanoseconds"] if case["stages"] else {}
        if not last.get(way):
            raise MissingError(f"no time of {case['name']}")
        words = f"{case['name']} {median(last[way]) / 1e6:.3g} ms"
        if last.get("wall"):
            words += f" ({median(last['wall']) / 1e6:.3g} eager)"
        if last.get("baseline"):
            words += f", baseline {median(last['baseline']) / median(last[way]):.3g}×"
        parts.append(words)
    if not parts or not content["constants"]["constants"]:
        raise MissingError("nothing was measured")
    return "; ".join(parts)


def _pytest(name: str) -> Callable[[Path, bool], str]:
    def find(out: Path, dry: bool) -> str:
        # The last line of each run of pytest, of which "alone" is the later one.
        runs = re.split(r"^.*?\$ .* -m (?=not alone|alone)", _text(out / TESTS), flags=re.MULTILINE)
        for run in reversed(runs):
            if run.startswith("alone") != (name == "alone"):
                continue
            found = re.findall(r"(?:\d+ \w+, )*\d+ (?:passed|skipped|deselected)[^=\n]*", run)
            if found and (dry or "passed" in found[-1]):
                return found[-1].strip()
        raise MissingError(f"no end of pytest in {TESTS}")

    return find


def sanitizer(text: str, tool: str, dry: bool) -> str:
    """What one of them found; MissingError if it did not get to its end."""
    own = "\n".join(re.findall(rf"^{tool} \| (.*)$", text, re.MULTILINE))
    if not re.search(r"RESULT sanitized: [1-9]\d* calls", own):
        raise MissingError(f"{tool} did not get to its end")
    if dry or re.search(CLEAN[tool], own):
        return f"{tool} clean"
    found = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: .*", own)
    raise MissingError(f"{tool}: {found[-1] if found else 'no summary'}")


def _tests(out: Path, dry: bool) -> str:
    log = _text(out / SANITIZERS)
    parts = [_pytest("tests")(out, dry), *(sanitizer(log, tool, dry) for tool in TOOLS)]
    return ", ".join(parts)


EVIDENCE: dict[str, Callable[[Path, bool], str]] = {
    "import": _result("import"),
    "smoke": _result("smoke"),
    "benchmark": _benchmark,
    "tests": _tests,
    "alone": _pytest("alone"),
    "profile": _result("profile", PROFILE),
    "train": _result("train"),
}


def judge(name: str, outcome: Outcome | None, out: Path, dry: bool) -> tuple[str, str]:
    """The status of a step, and what is to be told of it."""
    if outcome is None:
        return "MISSING", "it was not run"
    if outcome.skipped:
        return "skipped", outcome.skipped
    try:
        found, status = EVIDENCE[name](out, dry), PASSED
    except (MissingError, ValueError, KeyError, IndexError) as error:
        found, status = f"{type(error).__name__}: {error}", "FAILED"
    if outcome.complaints:
        status, found = "FAILED", "; ".join([*outcome.complaints, found])
    return status, found[:LONGEST]


def write(out: Path, outcomes: dict[str, Outcome], dry: bool) -> bool:
    """Writes and returns whether every step has passed, but those that were not asked for."""
    lines = ["# The drill", ""]
    if dry:
        lines += ["A rehearsal on the CPU: nothing here was measured on a GPU.", ""]
    lines += ["| step | status | s | found |", "|---|---|--:|---|"]
    good = True
    for name in dict.fromkeys([*STEPS, *outcomes]):
        outcome = outcomes.get(name)
        status, found = judge(name, outcome, out, dry)
        good = good and status in (PASSED, "skipped")
        seconds = f"{outcome.seconds:.0f}" if outcome else ""
        lines.append(f"| {name} | {status} | {seconds} | {found.replace('|', '/')} |")
    failed = [line for line in (out / FAILED).read_text(encoding="utf-8").splitlines() if line]
    if failed:
        lines += ["", f"{len(failed)} failed tests, in {FAILED}; the first:", ""]
        lines += [f"- {name}" for name in failed[:10]]
    (out / SUMMARY).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return good
