"""Where the time goes: the share of every function, sampled by perf, and of every op in a step.

The native module is built once more with symbols (the same optimisation), and each case runs alone
for some seconds: a profile shows which part takes the time, and does not compare.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import step

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "profile"
PAGE = ROOT / "benchmarks" / "results" / "profile.md"

CASES = {  # name: the case, made by compare_worker; the values that a call handles
    "tf.mst, photograph 128×128": ("mst('photograph', (128, 128))", 128 * 128),
    "tf.mst, photograph 512×512": ("mst('photograph', (512, 512))", 512 * 512),
    "tf.mst, photograph 1024×2048": ("mst('photograph', (1024, 2048))", 1024 * 2048),
    "tf.mst, constant 512×512": ("mst('constant', (512, 512))", 512 * 512),
    "tf.mst, volume 128×128×128": ("mst_of_volume(128)", 128**3),
    "tf.filter, 1×512×512": ("filter_((512, 512), 1)", 512 * 512),
    "tf.filter, 21×128×128": ("filter_((128, 128), 21)", 21 * 128 * 128),
    "tf.filter, 64×512×512": ("filter_((512, 512), 64)", 64 * 512 * 512),
    "tf.filter, 64×512×512, channels last": ("filter_((512, 512), 64, True)", 64 * 512 * 512),
    "tf.filter backward, 64×512×512": ("filter_backward((512, 512), 64)", 64 * 512 * 512),
    "tf.edge_weight and its backward, 256×128×128": (
        "edge_weight(256, 'sqeuclidean')",
        256 * 128 * 128,
    ),
    "tf.affinity, 512×512": ("affinity((512, 512))", 512 * 512),
    "tf.dendrogram, photograph 128×128": ("dendrogram((128, 128))", 128 * 128),
    "tf.dendrogram, photograph 512×512": ("dendrogram((512, 512))", 512 * 512),
    "tf.dendrogram, photograph 1024×2048": ("dendrogram((1024, 2048))", 1024 * 2048),
    "tf.watershed, photograph 512×512": ("watershed((512, 512))", 512 * 512),
    "tf.distance_transform of maxima, 512×512": (
        "distance_transform((512, 512), 'max')",
        512 * 512,
    ),
    "tf.filter of smallest affinities, 3×512×512": ("smallest((512, 512), 3)", 3 * 512 * 512),
    "tf.persistence, components and holes, 512×512": ("persistence((512, 512))", 512 * 512),
}

SCRIPT = """
import sys, time
sys.path.insert(0, {benchmarks!r})
sys.argv[1:] = [{site!r}]
import compare_worker, torch

torch.set_num_threads(1)
call = compare_worker.{case}
call()
print("ready", flush=True)
times = []
end = time.perf_counter() + {seconds} + 1
while time.perf_counter() < end:
    start = time.perf_counter()
    call()
    times.append(time.perf_counter() - start)
print(sorted(times)[len(times) // 2])
"""

OTHER = {"[k]": "the kernel: fresh pages"}


def build() -> None:
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation"]
    command += ["--no-deps", "--no-index", "--target", str(SITE), str(ROOT)]
    command += ["-C", "build-dir=build/profile-objects", "-C", "cmake.build-type=RelWithDebInfo"]
    subprocess.run([*command, "-C", "install.strip=false"], check=True)


def phase(symbol: str, kind: str) -> str:
    """A short name: the function without namespaces, template arguments and parameters."""
    if kind in OTHER:
        return OTHER[kind]
    symbol = re.split(r"\s{2,}", symbol)[0].replace("(anonymous namespace)::", "")
    while (shorter := re.sub(r"<[^<>]*>", "", symbol)) != symbol:
        symbol = shorter
    name = symbol.split("(")[0].split(" ")[-1]
    return name.removeprefix("treefilter::") if "treefilter" in name else "elsewhere"


def profile(case: str, seconds: float) -> tuple[float, dict[str, float]]:
    """A call's median in seconds, and the share of every function."""
    benchmarks = str(Path(__file__).parent)
    script = SCRIPT.format(site=str(SITE), benchmarks=benchmarks, case=case, seconds=seconds)
    data = SITE / "perf.data"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=SITE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()  # set-up is not sampled
        subprocess.run(
            ["perf", "record", "--quiet", "-p", str(process.pid), "-o", str(data), "--", "sleep",
             str(seconds)],
            check=True,
        )  # fmt: skip
        median = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"bench-profile: {case} failed")
    report = subprocess.run(
        ["perf", "report", "-i", str(data), "--no-children", "--sort", "symbol", "--stdio"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    shares: dict[str, float] = {}
    for share, kind, symbol in re.findall(r"^\s+([\d.]+)%\s+(\[[.k]\]) (.*?)\s*$", report, re.M):
        name = phase(symbol, kind)
        shares[name] = shares.get(name, 0) + float(share) / 100
    return float(median), shares


def main(seconds: float = 3.0) -> None:
    if shutil.which("perf") is None:
        raise SystemExit("bench-profile: perf is needed, got none (Debian: apt install linux-perf)")
    build()
    lines = [
        "# Where the time goes",
        "",
        "Made by `make bench-profile`: one thread, each case alone, sampled by perf. The",
        "functions are those of `src/cpu`; their nanoseconds are their share of the call's median.",
    ]
    for name, (case, values) in CASES.items():
        median, shares = profile(case, seconds)
        total = median / values * 1e9
        lines += ["", f"## {name}: {total:.2f} ns per value", ""]
        lines += ["| function | share | ns |", "| --- | --- | --- |"]
        for phase_name, share in sorted(shares.items(), key=lambda item: -item[1]):
            if share >= 0.015:
                lines.append(f"| {phase_name} | {share:.0%} | {share * total:.2f} |")
        print(name, f"{total:.2f} ns")
    lines += ["", step.section().rstrip()]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
