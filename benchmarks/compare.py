"""Measures two commits against each other, interleaved, and prints what changed.

    make bench-compare BASE=main~3 [CASES=regex] [SECONDS=2] [NEW=ref] [THREADS=1]

Each version is built into a folder of its own. Two processes, one for each version, are measured in
alternating rounds on the same inputs. This is repeated with five pairs of processes, because the
addresses that a process happens to get change its speed. With one thread the processor's time is
compared, so that other processes disturb less. The result is "faster" or "slower" where
the 99 % interval of the ratio excludes 1 (there are dozens of cases: at 95 % one or two would do so
by chance), every pair of processes agrees on the direction, and the difference is above 2 %.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from race import Ratio, ratio

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "compare"
PAIRS = 5
CONFIDENCE = 0.99
LEAST_CHANGE = 0.02
"""Two builds of the same source differed by up to 1.5 %."""
MIN_SAMPLE = 0.002
"""In seconds; shorter calls are repeated within a sample."""


def install(ref: str | None) -> Path:
    """Builds a commit, or the working tree for None, and returns where it is installed."""
    name, source = "working-tree", ROOT
    if ref is not None:
        name = _output("git", "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").strip()
        source = BUILD / name / "source"
    site = BUILD / name / "site"
    if ref is not None and (site / "treefilter").exists():
        return site
    shutil.rmtree(site, ignore_errors=True)  # pip would keep files that are already there
    if ref is not None:
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir(parents=True)
        archive = subprocess.run(
            ["git", "archive", name], cwd=ROOT, check=True, capture_output=True
        )
        subprocess.run(["tar", "-x"], cwd=source, check=True, input=archive.stdout)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation"]
    command += ["--no-deps", "--no-index", "--target", str(site), str(source)]
    command += ["-C", f"build-dir={BUILD / name / 'objects'}"]
    if subprocess.run(command).returncode:
        sys.exit(f"compare: {ref or 'the working tree'} does not build")
    return site


def _output(*command: str) -> str:
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        sys.exit(
            f"compare: {' '.join(command)} failed: {result.stderr.strip() or 'no such commit'}"
        )
    return result.stdout


class Worker:
    """A process that measures one version."""

    def __init__(self, site: Path, threads: int) -> None:
        environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("compare_worker.py")),
                site,
                str(threads),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=BUILD,  # not the repository, which has a source folder of the package's name
            env=environment,
        )
        hello = self._answer()
        self.cases = hello["cases"]
        if not hello["from"].startswith(str(site)):
            sys.exit(f"compare: treefilter was imported from {hello['from']}, not from {site}")

    def ask(self, **request: object) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"compare: a worker ended with status {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Case:
    """The samples of both versions, from every pair of processes."""

    def __init__(self) -> None:
        self.pairs: list[tuple[list[float], list[float]]] = []
        self.skip = ""
        self.same_result = True

    def run(self, name: str, workers: tuple[Worker, Worker], seconds: float) -> None:
        ready = {}
        for which in (0, 1) if len(self.pairs) % 2 else (1, 0):
            ready[which] = workers[which].ask(case=name)
        versions = {0: "base", 1: "new"}
        errors = [f"{versions[i]}: {ready[i]['skip']}" for i in (0, 1) if "skip" in ready[i]]
        if errors:
            self.skip = "; ".join(errors)
            return
        self.same_result &= ready[0]["checksum"] == ready[1]["checksum"]
        slower = max(answer["seconds"] for answer in ready.values())
        calls = max(1, round(MIN_SAMPLE / slower))
        round_time = 2 * slower * (calls if calls == 1 else calls + 1)
        rounds = max(3, min(200, round(seconds / PAIRS / round_time)))
        samples: tuple[list[float], list[float]] = ([], [])
        for number in range(rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                samples[which].append(workers[which].ask(case=name, calls=calls)["seconds"])
        self.pairs.append(samples)

    @property
    def sides(self) -> tuple[list[float], list[float]]:
        """All samples of the base and of the new version, in the same order of rounds."""
        base, new = ([s for pair in self.pairs for s in pair[which]] for which in (0, 1))
        return base, new

    @property
    def medians(self) -> tuple[float, float]:
        base, new = self.sides
        return statistics.median(base), statistics.median(new)

    @property
    def speedup(self) -> Ratio:
        return ratio(*self.sides, CONFIDENCE)

    def verdict(self) -> str:
        speedup = self.speedup
        each = [statistics.median(base) / statistics.median(new) for base, new in self.pairs]
        agree = len({value > 1 for value in each}) == 1
        if not (agree and speedup.differs and abs(speedup.value - 1) > LEAST_CHANGE):
            return ""
        return "faster" if speedup.value > 1 else "SLOWER"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"


def measure(
    sites: tuple[Path, Path], pattern: str, seconds: float, threads: int
) -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for pair in range(PAIRS):
        base, new = Worker(sites[0], threads), Worker(sites[1], threads)
        for name in new.cases:
            if re.search(pattern, name):
                if sys.stderr.isatty():
                    print(f"\r{pair + 1}/{PAIRS} {name:60}", end="", file=sys.stderr, flush=True)
                case = cases.setdefault(name, Case())
                if not case.skip:
                    case.run(name, (base, new), seconds)
        base.close()
        new.close()
    if sys.stderr.isatty():
        print(f"\r{'':70}\r", end="", file=sys.stderr)
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("--new", help="the commit to judge; default: the working tree")
    parser.add_argument("--cases", default="", help="regular expression of the cases' names")
    parser.add_argument("--seconds", type=float, default=2, help="time for each case (default: 2)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    sites = install(options.base), install(options.new)
    cases = measure(sites, options.cases, options.seconds, options.threads)
    if not cases:
        sys.exit(f"compare: no case matches {options.cases!r}")
    print(f"{'case':48}{'base ms':>9}{'new ms':>9}{'base/new':>10}  99 % interval")
    for name, case in cases.items():
        if case.skip:
            print(f"{name:48}skipped: {case.skip}")
            continue
        base, new = map(milliseconds, case.medians)
        r = case.speedup
        other = "" if case.same_result else "  other bits in the result"
        times = f"{name:48}{base:>9}{new:>9}{r.value:>9.3f}x"
        print(f"{times}  {r.low:.3f} to {r.high:.3f}  {case.verdict()}{other}".rstrip())


if __name__ == "__main__":
    main()
