"""What all steps share: folders, the environment of a process, and processes that have limits.

Nothing here imports torch or treefilter: what is wrong with them is for a step to find.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[3]
CARRIED = ROOT / "build" / "gpu-check"
"""What ``make gpu-build`` made: ``site`` (treefilter), ``packages``, ``expected-*.pt``."""
EMULATED = ROOT / "build" / "emulated"
LOG, TESTS, FAILED = "log.txt", "tests.txt", "failed.txt"
BENCHMARK, SANITIZERS, PROFILE = "benchmark.json", "sanitizers.txt", "profile.txt"
TRAIN, SUMMARY = "train.json", "summary.md"
FILES = (LOG, TESTS, FAILED, BENCHMARK, SANITIZERS, PROFILE, TRAIN, SUMMARY)
"""All that a run leaves in its folder."""
GRACE = 5.0
"""Seconds between the request to stop and the end."""
PASSED = "passed"


@dataclass(frozen=True)
class Command:
    """A process: what it is called in messages, its arguments, where its lines go."""

    name: str
    arguments: list[str]
    log: str = LOG
    environment: dict[str, str] = field(default_factory=dict)
    succeeds: tuple[int, ...] = (0,)  # exit statuses


@dataclass
class Drill:
    out: Path
    scratch: Path  # for whatever must not come back
    dry: bool = False
    site: Path = CARRIED / "site"
    patience: float = 1.0  # limits are multiplied by it
    cases: str = ""
    tests: tuple[str, ...] = ()
    examples: str = "drill"  # the profile of hypothesis
    python: str = sys.executable

    def environment(self, **more: str) -> dict[str, str]:
        """PYTHONPATH begins with the build under test."""
        packages = [] if self.dry else [CARRIED / "packages"]
        tel = ROOT / "examples" / "tel_segmentation"
        paths = [self.site, *packages, tel, ROOT / "benchmarks"]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TREEFILTER_FROM": str(self.site),
            **more,
        }

    def module(self, name: str, *arguments: object) -> list[str]:
        return [self.python, "-m", name, *map(str, arguments)]

    def say(self, line: str, log: str = LOG) -> None:
        print(line, flush=True)
        with (self.out / log).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def run(self, commands: list[Command], seconds: float) -> dict[str, str]:
        """Runs them at once, for so many seconds at most; how each ended, by its name."""
        limit = seconds * self.patience
        end = time.monotonic() + limit
        with contextlib.ExitStack() as stack:
            logs = {name: self._open(stack, name) for name in {c.log for c in commands}}
            running = [self._start(command, logs[command.log], commands) for command in commands]
            return {
                command.name: _ending(command, process, reader, end, limit)
                for command, (process, reader) in zip(commands, running, strict=True)
            }

    def _open(self, stack: contextlib.ExitStack, name: str) -> IO[str]:
        return stack.enter_context((self.out / name).open("a", encoding="utf-8", buffering=1))

    def _start(
        self, command: Command, log: IO[str], commands: list[Command]
    ) -> tuple[subprocess.Popen[str] | None, threading.Thread | None]:
        alone = sum(other.log == command.log for other in commands) == 1
        prefix = "" if alone else f"{command.name} | "
        log.write(f"{prefix}$ {' '.join(command.arguments)}\n")
        try:
            process = subprocess.Popen(
                command.arguments,
                cwd=ROOT / "benchmarks",
                env=self.environment(**command.environment),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # a group of its own, to be stopped with all its children
            )
        except OSError as error:
            log.write(f"{prefix}{error}\n")
            return None, None
        shown = command.log == LOG
        reader = threading.Thread(target=_copy, args=(process, log, prefix, shown), daemon=True)
        reader.start()
        return process, reader


def _copy(process: subprocess.Popen[str], log: IO[str], prefix: str, shown: bool) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        with contextlib.suppress(ValueError):  # a process that outlives its step writes nowhere
            log.write(prefix + line)
        if shown:
            print(line, end="", flush=True)


def _ending(
    command: Command,
    process: subprocess.Popen[str] | None,
    reader: threading.Thread | None,
    end: float,
    limit: float,
) -> str:
    if process is None or reader is None:
        return "could not be started"
    try:
        status = process.wait(timeout=max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        _stop(process)
        reader.join(GRACE)
        return f"stopped after {limit:.0f} s"
    _end_group(process, signal.SIGKILL)  # children that it left behind
    reader.join(GRACE)
    return PASSED if status in command.succeeds else f"exit status {status}"


def _stop(process: subprocess.Popen[str]) -> None:
    _end_group(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=GRACE)
    _end_group(process, signal.SIGKILL)
    process.wait()


def _end_group(process: subprocess.Popen[str], which: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, which)
