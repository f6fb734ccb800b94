"""The drill's main program: runs the steps that are asked for, one after the other.

    python -m gpu.check --out FOLDER [--steps import,smoke] [--cases REGEX] [--tests failed.txt]

The exit status is 0 if every step has passed, 1 if one has not, and 2 where there is no GPU. It is
run from the folder ``benchmarks``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gpu.check import summary
from gpu.check.drill import CARRIED, EMULATED, FAILED, FILES, SUMMARY, Drill
from gpu.check.steps import STEPS, EndError, NoGpuError

FIRST = "import"
NO_GPU = (
    "gpu-check: no CUDA device was found. With DRY=1 the drill is rehearsed on the CPU;\n"
    "what it measures needs a GPU."
)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu-check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the results, emptied")
    parser.add_argument("--steps", default="", help="names with commas; default: all")
    parser.add_argument("--cases", default="", help="of the benchmark: a regular expression")
    parser.add_argument("--tests", default="", help="a file of test names, or paths; default: all")
    parser.add_argument("--site", type=Path, help="the build under test; default: the carried one")
    parser.add_argument("--patience", type=float, help="multiplies limits; default: 1, dry 10")
    parser.add_argument("--examples", default="", help="the profile of hypothesis; default: drill")
    parser.add_argument("--dry", action="store_true", help="a rehearsal on the CPU, in emulation")
    options = parser.parse_args(arguments)
    known = [step.name for step in STEPS]
    options.steps = [name for name in options.steps.replace(" ", ",").split(",") if name] or known
    options.steps.append(FIRST)  # which says what all others are run with
    unknown = sorted(set(options.steps) - set(known))
    if unknown:
        parser.error(f"STEPS must be of {', '.join(known)}, got {', '.join(unknown)}")
    return options


def chosen_tests(words: str) -> tuple[str, ...]:
    """Test names: the lines of a file, or the words themselves."""
    if Path(words).is_file():
        return tuple(Path(words).read_text(encoding="utf-8").split("\n"))
    return tuple(words.split())


def run(drill: Drill, wanted: Sequence[str]) -> bool:
    """Runs the steps; whether all have passed."""
    outcomes: dict[str, summary.Outcome] = {}
    ended = ""
    for step in STEPS:
        if step.name not in wanted:
            outcomes[step.name] = summary.Outcome(skipped="not asked for")
        elif ended:
            outcomes[step.name] = summary.Outcome(complaints=(f"not run: {ended} failed",))
        else:
            drill.say(f"== {step.name}: {step.what} ({time.strftime('%H:%M:%S')})")
            started = time.monotonic()
            try:
                complaints = step.run(drill, step.seconds)
            except EndError as error:
                complaints, ended = error.complaints, step.name
            except OSError as error:  # the other steps are run whatever it is
                complaints = [f"{type(error).__name__}: {error}"]
            outcome = summary.Outcome(time.monotonic() - started, tuple(complaints))
            outcomes[step.name] = outcome
            status, found = summary.judge(step.name, outcome, drill.out, drill.dry)
            drill.say(f"-- {step.name}: {status}: {found}")
        good = summary.write(drill.out, outcomes, drill.dry)
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    tests = tuple(name for name in chosen_tests(options.tests) if name)  # before it is emptied
    if options.tests and not tests:
        print(f"gpu-check: there are no tests in {options.tests}")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (options.out / name).unlink(missing_ok=True)
    (options.out / FAILED).touch()
    default = EMULATED if options.dry else CARRIED / "site"
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as scratch:
        drill = Drill(
            out=options.out.resolve(),
            scratch=Path(scratch),
            dry=options.dry,
            site=(options.site or default).resolve(),
            patience=options.patience or (10 if options.dry else 1),
            cases=options.cases,
            tests=tests,
            examples=options.examples or ("few" if options.dry else "drill"),
        )
        try:
            good = run(drill, options.steps)
        except NoGpuError:
            print(NO_GPU)
            return 2
    print((options.out / SUMMARY).read_text(encoding="utf-8"))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
