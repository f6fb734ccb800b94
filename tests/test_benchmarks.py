"""The benchmark's statistics, targets and report, and one race. No peer is needed."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib")
import compare
import machine
import report
from race import MAX_ROUNDS, OURS, Record, number_of_rounds, quartiles, ratio
from targets import TARGETS, Target, times

MACHINE = {
    "processor": "Test CPU",
    "cores": 2,
    "cores allowed": 2,
    "gpu": None,
    "cuda back end": False,
    "memory GiB": 1,
    "vector instructions": ["avx2"],
    "instruction set used": "baseline",
    "system": "Test",
    "python": "3",
    "versions": {"torch": "2"},
    "commit": "0000000",
    "date": "2000-01-01",
    "set": "default",
    "complete": True,
}
README = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"


def drifting(median, rounds, rng):
    """Times that double while the contenders run, with some noise."""
    return median * np.linspace(1, 2, rounds) * rng.lognormal(0, 0.02, rounds)


def record(task="mst", seconds=None, **more):
    seconds = {OURS: [1e-3] * 5, "scipy, rooted": [8e-3] * 5} if seconds is None else seconds
    more = {"input": "photograph", "shape": "512x512", "items": 512 * 512, **more}
    return Record(task, seconds=seconds, **more)


def write(folder, name, records, **changes):
    content = {"machine": {**MACHINE, **changes}, "records": [r.to_json() for r in records]}
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


# --- a race ---------------------------------------------------------------------------------------


def test_a_race_is_verified_timed_and_recorded(tmp_path):
    """A race may call the native layer directly, so a change there can break it."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-enable"]
    options = ["--seconds", "0.01", "--results", str(tmp_path), "-k", "filter"]
    # Not from the root, whose folder treefilter has no native module; and not as a worker of xdist,
    # where nothing is timed.
    folder = report.ROOT / "benchmarks"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    subprocess.run([*command, "bench_calls.py", *options], cwd=folder, env=environment, check=True)
    (run,) = report.load(tmp_path)
    seconds = {name: values for case in run.records for name, values in case.seconds.items()}
    assert {OURS, "native"} <= set(seconds)
    assert all(time > 0 for values in seconds.values() for time in values)


def test_a_step_op_by_op(monkeypatch):
    pytest.importorskip("skimage")
    import step

    small = {"BATCH": 2, "FEATURES": 4, "SIZE": 16, "STEPS": 2, "SMALLEST": 0}
    for name, value in small.items():
        monkeypatch.setattr(step, name, value)
    total, _, ops = step.measured()
    monkeypatch.setattr(step, "measured", lambda: (total, step.Speeds(4e9, 2e9, 1e9), ops))
    rows = [line.split("|") for line in step.section().splitlines() if line.startswith("| `")]
    calls, taken, floor = (float(cell) for cell in {row[1].strip(" `"): row[2:5] for row in rows}[
        "treefilter::_edge_scatter"
    ])  # fmt: skip
    assert (calls, taken > 0) == (1, True)
    values, edges = 2 * 4 * 16 * 16, 2 * 2 * 16 * 15  # f and its gradient; weights and theirs
    assert floor == pytest.approx(4 * (2 * values + 2 * edges) / 4e9 * 1e3, abs=0.006)


# --- statistics -----------------------------------------------------------------------------------


def test_quartiles():
    assert quartiles([4, 1, 3, 2, 5]) == (2, 3, 4)


def test_ratio_of_what_drifts_together():
    rng = np.random.default_rng(0)
    found = ratio(drifting(3, 40, rng), drifting(1, 40, rng))
    assert found.low < 3 < found.high
    assert found.high - found.low < 0.5
    assert found.differs


def test_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        a, b = rng.lognormal(0, 0.1, (2, 30))
        found = ratio(a, b)
        hits += found.low <= 1 <= found.high
    assert 180 <= hits <= 200


def test_ratio_is_the_same_every_time():
    a, b = np.random.default_rng(2).random((2, 20)) + 1
    assert ratio(a, b) == ratio(a, b)


def test_higher_confidence_is_wider():
    a, b = np.random.default_rng(3).random((2, 20)) + 1
    narrow, wide = ratio(a, b), ratio(a, b, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(("a", "b"), [([1, 2], [1]), ([], [])])
def test_ratio_of_different_rounds(a, b):
    with pytest.raises(ValueError, match="same rounds"):
        ratio(a, b)


@pytest.mark.parametrize(
    ("duration", "budget", "rounds"),
    [(1e-6, 1.5, MAX_ROUNDS), (0.1, 1.5, 15), (1.0, 1.5, 5), (10.0, 1.5, 3), (1.0, 8.0, 8)],
)
def test_number_of_rounds(duration, budget, rounds):
    assert number_of_rounds(duration, budget) == rounds


# --- comparing two commits ------------------------------------------------------------------------


def verdict(*pairs):
    """Of processes whose versions take so many milliseconds."""
    rng = np.random.default_rng(4)
    case = compare.Case()
    case.pairs = [
        tuple((ms * 1e-3 * rng.lognormal(0, 0.01, 30)).tolist() for ms in pair) for pair in pairs
    ]
    return case.verdict()


def test_verdict():
    assert verdict((3, 2), (3, 2), (3, 2)) == "faster"
    assert verdict((2, 3), (2, 3), (2, 3)) == "SLOWER"
    assert verdict((2, 2), (2, 2), (2, 2)) == ""
    assert verdict((3, 2), (3, 2), (2, 2.1)) == ""  # one pair of processes disagrees
    assert verdict((2.01, 2), (2.01, 2), (2.01, 2)) == ""  # too little to matter


# --- targets --------------------------------------------------------------------------------------


def test_target_takes_the_worst_case():
    slow = record(seconds={OURS: [1e-3] * 5, "scipy, rooted": [2e-3] * 5}, input="random")
    target = Target("a case", times("scipy, rooted", OURS, "mst"), at_least=3, cases=2)
    assert target.row([]) == ("a case", "≥ 3×", "not measured", "–")
    assert target.row([record()])[3] == "yes"
    assert "1 of 2 cases" in target.row([record()])[2]
    _, _, text, met = target.row([record(), slow])
    assert text.startswith("2× (2 to 2): random")
    assert met == "**no**"


def test_threads_are_judged_where_the_machine_has_them():
    (target,) = (t for t in TARGETS if t.case == "two threads, `mst` 1024×2048")

    def threads(arithmetic):
        seconds = {OURS: [1.0] * 5, "treefilter, 1 thread": [1.7] * 5}
        seconds |= {"arithmetic": [1.0] * 5, "arithmetic, 1 thread": [arithmetic] * 5}
        more = {"input": "mst 1024x2048", "shape": "2 threads", "items": 1, "threads": 2}
        return target.row([record("scaling, threads", seconds, **more)])

    assert threads(1.9)[3] == "yes"
    assert threads(1.2)[3] == "not judged"
    assert "two threads of arithmetic scale only 1.2×" in threads(1.2)[2]


# --- report ---------------------------------------------------------------------------------------


def test_record_survives_json():
    once = Record.from_json(json.loads(json.dumps(record(memory={OURS: 1}).to_json())))
    assert once == Record.from_json(once.to_json())
    assert once.seconds[OURS] == [1e-3] * 5


def test_page_has_every_case_and_target(tmp_path):
    scaling = [
        record(shape=f"{n}x{n}", items=n * n, seconds={OURS: [n * n * 1e-8] * 5})
        for n in (128, 256)
    ]
    with_memory = record("filter", seconds={}, memory={OURS: 3 * 2**20}, input="C=1")
    write(tmp_path, "one", [record(), with_memory, *scaling])
    readme = tmp_path / "project.md"
    readme.write_text(README, encoding="utf-8")
    written = report.write(tmp_path, readme)
    assert tmp_path / "one-scaling.png" in written
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| photograph | 512x512 | 1 ms (1 to 1) | 8 ms, 8× (8 to 8) |" in page
    assert "| filter | C=1 | 512x512 | cpu | treefilter | 3.0 MiB |" in page
    assert "![Times over size](one-scaling.png)" in page
    for target in TARGETS:
        assert f"| {target.case} | {target.goal} |" in page


def test_excerpt_is_put_between_the_markers(tmp_path):
    write(tmp_path, "one", [record()])
    readme = tmp_path / "project.md"
    readme.write_text(README, encoding="utf-8")
    report.write(tmp_path, readme)
    text = readme.read_text(encoding="utf-8")
    assert "old" not in text
    assert (
        "| `tf.mst`, photograph 512×512 | 1 ms | 8 times as fast as scipy, rooted (8 to 8) |"
        in text
    )
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    report.write(tmp_path, readme)
    assert readme.read_text(encoding="utf-8") == text


def test_no_results_make_an_empty_excerpt():
    assert report.insert(README, report.excerpt([])) == README.replace("old\n", "")


def test_missing_markers():
    with pytest.raises(ValueError, match="must contain"):
        report.insert("no markers", "")


def test_two_machines_are_merged(tmp_path):
    write(tmp_path, "one", [record()])
    write(tmp_path, "two", [record(device="cuda")], processor="Other CPU", gpu="Test GPU")
    runs = report.load(tmp_path)
    page = report.page(runs, [])
    assert "## Test CPU, 2 cores\n" in page
    assert "## Other CPU, 2 cores, Test GPU\n" in page
    assert "| photograph | 512x512, cuda |" in page


def test_header_names_this_machine():
    header = machine.header()
    assert header["processor"]
    assert header["versions"]["torch"]
    assert machine.slug(header).replace("-", "").isalnum()


def test_committed_page_and_excerpt_are_what_the_report_makes():
    readme = (report.ROOT / "README.md").read_text(encoding="utf-8")
    runs = report.load(report.RESULTS)
    if runs:  # else nothing has been measured, or this is an sdist, which leaves results out
        assert report.insert(readme, report.excerpt(runs)) == readme
        pictures = [path.name for path in report.RESULTS.glob("*.png")]
        page = (report.RESULTS / "README.md").read_text(encoding="utf-8")
        assert report.page(runs, pictures) == page
    assert report.insert(readme, "")  # the markers are there
