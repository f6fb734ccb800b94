"""The table of the drill's steps, and what each of them runs.

A step returns its complaints: an empty list if it ran to its end. Whether it also found what it was
to find is judged by ``summary``, from the files that it left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpu.check import environment
from gpu.check.drill import (
    BENCHMARK,
    CARRIED,
    FAILED,
    PASSED,
    PROFILE,
    ROOT,
    SANITIZERS,
    TESTS,
    TRAIN,
    Command,
    Drill,
)

SANITIZER_TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
WORKERS = 8
TEST_SECONDS = 60  # of one test
BUILD_SECONDS, MEMCHECK_SECONDS = 240, 60
OURS = "kns=treefilter"  # in the mangled names of our kernels
DRY_TESTS = {
    "tests": ("tests/test_take.py", "tests/test_threads.py"),
    "alone": ("tests/test_cuda.py",),
}
SECTIONS = ("SpeedOfLight", "LaunchStats", "Occupancy", "MemoryWorkloadAnalysis", "WarpStateStats")
PROFILED_KERNELS = 12


class NoGpuError(Exception):
    """There is nothing to check here."""


class EndError(Exception):
    """A step failed without which no other makes sense."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("; ".join(complaints))
        self.complaints = complaints


@dataclass(frozen=True)
class Step:
    name: str
    seconds: int  # of its processes, together
    what: str
    run: Callable[[Drill, int], list[str]]


def _complaints(endings: dict[str, str]) -> list[str]:
    return [f"{name}: {ending}" for name, ending in endings.items() if ending != PASSED]


# --- 0: import ------------------------------------------------------------------------------------


def imported(drill: Drill, seconds: int) -> list[str]:
    """The versions, and a build that imports: the carried one, or one that is made here."""
    dry = ["--dry"] if drill.dry else []
    command = Command("import", drill.module("gpu.check.environment", *dry))
    ending = drill.run([command], seconds)["import"]
    if ending == f"exit status {environment.NO_GPU}":
        raise NoGpuError
    if ending == f"exit status {environment.UNUSABLE}" and not drill.dry:
        drill.site = drill.scratch / "site"
        endings = drill.run([_build(drill)], BUILD_SECONDS)
        stamp = Command("sources", drill.module("gpu.check.sources", drill.site))
        drill.run([stamp], seconds)
        ending = drill.run([command], seconds)["import"]
        if endings["build"] != PASSED:
            raise EndError(_complaints(endings))
    if ending == f"exit status {environment.UNUSABLE}":
        raise EndError(["import: there is no build of treefilter that works here"])
    return _complaints({"import": ending})


def _build(drill: Drill) -> Command:
    """For the GPU at hand alone, and for one instruction set."""
    options = ["--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    options += ["-C", f"build-dir={drill.scratch / 'objects'}"]
    options += ["-C", "cmake.define.TREEFILTER_VARIANTS="]
    arguments = drill.module("pip", "install", *options, "--target", drill.site, ROOT)
    environment = {"TREEFILTER_CUDA": "ON", "CUDAARCHS": "native", "CUDACXX": _nvcc()}
    return Command("build", arguments, environment=environment)


def _nvcc() -> str:
    return environment.tool("nvcc") or "nvcc"


# --- 1: smoke -------------------------------------------------------------------------------------


def smoke(drill: Drill, seconds: int) -> list[str]:
    """Against what was carried; what was not is made here first."""
    expected = []
    for whose in ("cpu", "emulation"):
        path = CARRIED / f"expected-{whose}.pt"
        if drill.dry or not path.exists():
            path = drill.scratch / path.name
            made = _expected(drill, path, expected, seconds)
            if made:
                return made
        if path.exists():
            expected.append(path)
    command = Command("smoke", drill.module("gpu.check.smoke", "check", *expected))
    complaints = _complaints(drill.run([command], seconds))
    if complaints:
        drill.run(sanitizers(drill, ("memcheck",), "gpu.check.smoke", "kernels"), MEMCHECK_SECONDS)
        raise EndError(complaints)
    return []


def _expected(drill: Drill, path: Path, values: list[Path], seconds: int) -> list[str]:
    """The CPU's results, or the bits of the emulation that is given the CPU's ``values``.

    The former are those of a build with the CPU's own code: the installed one, if dry.
    """
    if values and not drill.dry:
        return []  # where there is no emulation, its bits are not compared
    if values:
        arguments, more = drill.module("gpu.check.smoke", "bits", path, *values), {}
    else:
        dry = ["--dry"] if drill.dry else []
        more = {"PYTHONPATH": "", "TREEFILTER_FROM": ""} if drill.dry else {}
        arguments = drill.module("gpu.check.smoke", "make", path, *dry)
    command = Command(path.stem, arguments, environment=more)
    return _complaints(drill.run([command], seconds))


# --- 2: benchmark ---------------------------------------------------------------------------------


def benchmark(drill: Drill, seconds: int) -> list[str]:
    options = ["--drill", "--no-reference", "--output", drill.out / BENCHMARK]
    options += ["--cpu-seconds", "0.001", "--seconds", "0.1", "--cases", drill.cases]
    options += ["--dry"] if drill.dry else []
    command = Command("benchmark", drill.module("gpu.measure", *options))
    return _complaints(drill.run([command], seconds))


# --- 3: tests and sanitizers; 4: tests that need the GPU to themselves ----------------------------


def tests(drill: Drill, seconds: int) -> list[str]:
    workers = ("-n", str(2 if drill.dry else WORKERS), "--dist", "worksteal")
    commands = [_pytest(drill, "tests", "not alone", *workers)]
    commands += sanitizers(drill, SANITIZER_TOOLS, "gpu.check.sanitized")
    return _complaints(drill.run(commands, seconds))


def alone(drill: Drill, seconds: int) -> list[str]:
    return _complaints(drill.run([_pytest(drill, "alone", "alone")], seconds))


def _pytest(drill: Drill, name: str, marked: str, *options: str) -> Command:
    chosen = drill.tests or (DRY_TESTS[name] if drill.dry else ("tests",))
    paths = [str(ROOT / path) for path in chosen]
    arguments = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "-q", "-m", marked]
    arguments += ["-k", "cpu or test_cuda" if drill.dry else "cuda", "-p", "gpu.check.failures"]
    arguments += ["-p", "no:cacheprovider", "--timeout", f"{TEST_SECONDS * drill.patience:g}"]
    arguments += ["--timeout-method", "thread", *options, *paths]
    return Command(
        name,
        drill.module("pytest", *arguments),
        TESTS,
        {
            "GPU_CHECK_FAILED": str(drill.out / FAILED),
            "HYPOTHESIS_PROFILE": drill.examples,
        },
        succeeds=(0, 5) if drill.tests or drill.dry else (0,),  # 5: no test has the mark
    )


def sanitizers(drill: Drill, tools: tuple[str, ...], *module: str) -> list[Command]:
    """A process for each tool; if dry, the program alone."""
    program = drill.module(*module)
    commands = []
    for number, tool in enumerate(tools):
        found = environment.tool("compute-sanitizer") or "compute-sanitizer"
        options = ["--tool", tool, "--port", str(49152 + 100 * number), "--error-exitcode", "1"]
        # initcheck must see what torch's kernels write, too.
        options += [] if tool == "initcheck" else ["--kernel-name", OURS]
        arguments = program if drill.dry else [found, *options, *program]
        more = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        commands.append(Command(tool, arguments, SANITIZERS, more))
    return commands


# --- 5: profile; 6: train -------------------------------------------------------------------------


def profile(drill: Drill, seconds: int) -> list[str]:
    """Counters of some kernels, then a table of all operations."""
    dry = ["--dry"] if drill.dry else []
    counters = drill.module("gpu.check.profile", "kernels", *dry)
    if not drill.dry:
        options = ["--clock-control", "none", "--profile-from-start", "off"]
        options += ["--kernel-name-base", "mangled", "-k", "regex:treefilter"]
        options += ["--launch-count", str(PROFILED_KERNELS)]
        options += [word for section in SECTIONS for word in ("--section", section)]
        counters = [environment.tool("ncu") or "ncu", *options, *counters]
    table = drill.module("gpu.check.profile", "table", *dry)
    commands = [
        Command("ncu", counters, PROFILE),
        Command("torch's profiler", table, PROFILE),
        # Trees and plans without clusters of blocks: which of the two is faster is to be measured.
        Command("torch's profiler, no clusters", table, PROFILE, {"TREEFILTER_PHASES": "kernel"}),
    ]
    endings: dict[str, str] = {}
    for command in commands:
        endings |= drill.run([command], seconds // (2 if command is commands[0] else 4))
    return _complaints(endings)


def train(drill: Drill, seconds: int) -> list[str]:
    options = [drill.scratch, drill.out / TRAIN, *(["--dry"] if drill.dry else [])]
    command = Command("train", drill.module("gpu.check.train", *options))
    return _complaints(drill.run([command], seconds))


STEPS = (
    Step("import", 45, "versions; the build under test imports", imported),
    Step("smoke", 30, "small images: eager, captured, from two streams", smoke),
    Step("benchmark", 120, "constants and whole cases, verified first", benchmark),
    Step("tests", 170, "all tests on the GPU; beside them four sanitizers", tests),
    Step("alone", 30, "tests that need the GPU to themselves", alone),
    Step("profile", 50, "counters of kernels; torch's profiler", profile),
    Step("train", 100, "tree energy loss against partial cross entropy", train),
)
"""In this order; the summary is written after each."""
