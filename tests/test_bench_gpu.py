"""The GPU benchmark without a GPU: logic, arithmetic, and what it refuses to publish."""

import copy
import json
import subprocess

import pytest
import torch

pytest.importorskip("matplotlib")
pytest.importorskip("skimage")
import report
from gpu import bench, measure
from gpu import machine as gpu_machine
from gpu import report as gpu_report
from gpu import timing as gpu_timing
from gpu.cases import (
    AFFINITY,
    CASES,
    DISTANCE,
    DRY_CASES,
    FEATURES,
    FILTER,
    FILTER_BACKWARD,
    GUIDE_BACKWARD,
    IMAGE,
    MST,
    ONE_TREE,
    STEP,
    TRANSFORM,
    Case,
    weight_of,
)
from gpu.floor import bytes_moved
from gpu.predictions import GOALS, PREDICTIONS, assumed
from gpu.verify import WrongError, verify
from gpu.work import Work

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    """The folder and the content of a dry run."""
    folder = tmp_path_factory.mktemp("dry")
    assert measure.main(["--dry", "--results", str(folder), "--cpu-seconds", "0.001"]) == 0
    return folder, json.loads((folder / "gpu-dry.json").read_text(encoding="utf-8"))


@pytest.fixture
def measured(dry):
    """The content of a run on a GPU, with invented times; never written to a file."""
    content = copy.deepcopy(dry[1])
    content["constants"]["constants"][0] |= {"lower": 1e12, "median": 1e12, "upper": 1e12}
    content["cases"] = [
        {
            "name": case.name,
            "title": case.title,
            "batch": case.batch,
            "weights as on the CPU": True,
            "stages": [
                {
                    "stage": stage,
                    "bytes": bytes_moved(case, stage),
                    "nanoseconds": {"graph": [200_000] * 3, "cpu": [3_000_000] * 3},
                }
                for stage in case.stages
            ],
        }
        for case in CASES
    ]
    return content


# --- the dry run ----------------------------------------------------------------------------------


def test_dry_run_measures_every_stage(dry):
    _, content = dry
    assert content["dry"]
    assert content["machine"]["complete"]
    assert content["machine"]["cpu threads"] == torch.get_num_threads()
    assert [case["name"] for case in content["cases"]] == [case.name for case in DRY_CASES]
    for case, of_case in zip(DRY_CASES, content["cases"], strict=True):
        assert [record["stage"] for record in of_case["stages"]] == case.stages
        assert of_case["weights as on the CPU"]
        for record in of_case["stages"]:
            ways = {"graph", "queued", "wall", "cpu", "reference"}
            ways |= {"baseline"} if case.loss and record["stage"] == STEP else set()
            assert set(record["nanoseconds"]) == ways
            assert all(ns and min(ns) > 0 for ns in record["nanoseconds"].values())
            assert record["inputs"] >= 2


def test_dry_page(dry):
    folder, content = dry
    written = gpu_report.write(folder, dry=True)
    assert {path.name for path in written} == {"gpu-dry.png", "gpu.md"}
    page = (folder / "gpu.md").read_text(encoding="utf-8")
    assert gpu_report.DRY in page
    assert "![Measured, predicted and least times of all stages](gpu-dry.png)" in page
    for case in content["cases"]:
        assert f"### {case['name']}\n" in page
        for record in case["stages"]:
            assert f"| {record['stage']} | " in page
    assert page.count("not measured") == len(GOALS)  # no goal is about a dry case


def test_dry_runs_are_not_published(dry, tmp_path):
    with pytest.raises(ValueError, match="must be measured on a GPU, got a dry run"):
        gpu_report.write(dry[0])
    partial = ["--cases", "TEL"]  # would replace a whole one
    for arguments in (["--dry"], ["--dry", "--results", str(report.RESULTS)], partial):
        with pytest.raises(SystemExit):
            measure.parse(arguments)
    assert report.load(dry[0]) == []  # the CPU's page leaves all of them out
    assert gpu_report.write(tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_wrong_result_is_not_timed(tmp_path, monkeypatch):
    def check(stage, *arguments):
        if stage == FILTER:
            raise WrongError("on purpose")

    monkeypatch.setattr(bench, "verify", check)
    more = ["--cases", "forward", "--cpu-seconds", "0", "--no-reference"]
    assert measure.main(["--dry", "--results", str(tmp_path), *more]) == 1
    content = json.loads((tmp_path / "gpu-dry.json").read_text(encoding="utf-8"))
    assert not content["machine"]["complete"]
    (case,) = content["cases"]
    assert FILTER not in [record["stage"] for record in case["stages"]]
    assert STEP in [record["stage"] for record in case["stages"]]


def test_what_cannot_be_timed_is_told(tmp_path, monkeypatch, capsys):
    def timed(self, way, calls):
        if way == "graph":
            raise RuntimeError("cannot be captured")
        return [1e-6]

    monkeypatch.setattr(gpu_timing.DryClock, "measure", timed)
    more = ["--cases", "snake", "--cpu-seconds", "0", "--no-reference"]
    assert measure.main(["--dry", "--results", str(tmp_path), *more]) == 1
    assert "FAILED dry, snake: mst, graph: cannot be captured" in capsys.readouterr().err
    gpu_report.write(tmp_path, dry=True)
    assert "| mst | failed | " in (tmp_path / "gpu.md").read_text(encoding="utf-8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured(tmp_path):
    with pytest.raises(SystemExit, match="no CUDA device"):
        measure.main(["--results", str(tmp_path)])
    assert not list(tmp_path.iterdir())


# --- bytes, predictions, goals --------------------------------------------------------------------


def test_bytes():
    case = Case("", 2, 3, (4, 5), (IMAGE, FEATURES), width=7)
    nodes, edges = 2 * 20, 2 * (3 * 5 + 4 * 4)
    x, a, edge, weight = 3 * nodes, nodes, nodes, edges
    plan = 2 * (4 * 20 + 36)
    features = 7 * nodes
    expected = {
        weight_of(IMAGE): 3 * nodes + weight,
        weight_of(FEATURES): features + weight,
        MST: 2 * (weight + 3 * edge + plan),
        ONE_TREE: weight + 3 * edge + plan,
        AFFINITY: 2 * (weight + edge + a),
        FILTER: 2 * (x + x + a + plan),
        FILTER_BACKWARD: 2 * (x + x + a + plan) + x + a,
        GUIDE_BACKWARD: 2 * a + edge + 2 * features,
        DISTANCE: weight + edge + plan + nodes,
    }
    for stage, floats in expected.items():
        assert bytes_moved(case, stage) == 4 * floats, stage
    assert bytes_moved(case, TRANSFORM) == 4 * (weight + edge + plan) + 13 * nodes
    once = [stage for stage in expected if stage not in (ONE_TREE, DISTANCE)]
    assert bytes_moved(case, STEP) == sum(bytes_moved(case, stage) for stage in once)
    assert [*expected, TRANSFORM, STEP] == case.stages


def test_a_plan_has_the_size_that_is_counted():
    from treefilter._native import _C

    assert _C.plan_size(20) == 4 * 20 + 36


def test_per_channel_affinities_are_counted():
    one = Case("", 2, 6, (4, 5), (FEATURES,), width=7)
    each = Case("", 2, 6, (4, 5), (FEATURES,), width=7, per_channel=True)
    more = 4 * 2 * 5 * 20
    assert bytes_moved(each, FILTER) - bytes_moved(one, FILTER) == more
    assert bytes_moved(each, FILTER_BACKWARD) - bytes_moved(one, FILTER_BACKWARD) == 2 * more


def test_predictions_and_goals_are_of_cases_and_stages_that_exist():
    stages = {case.name: case.stages for case in CASES}
    for name, predicted in PREDICTIONS.items():
        assert set(predicted) <= set(stages[name])
        assert all(0 < low <= high for low, high in predicted.values())
    for goal in GOALS:
        assert goal.stage in stages[goal.case]
        if goal.over:
            assert goal.over[1] in stages[goal.over[0]]


@pytest.mark.parametrize("name", [name for name in PREDICTIONS if STEP in PREDICTIONS[name]])
def test_predictions_add_up(name):
    parts = [span for stage, span in PREDICTIONS[name].items() if stage != STEP]
    low, high = PREDICTIONS[name][STEP]
    assert 0.85 * low <= sum(part[0] for part in parts) <= high
    assert low <= 1.02 * sum(part[1] for part in parts) <= 1.15 * high


def test_assumed_constants():
    assert assumed("copy bandwidth in L2, kernel, 8 MiB") == "5.5 TB/s"
    assert assumed("copy bandwidth, kernel") == "4.3 TB/s"
    assert assumed("latency of DRAM, 1024 MiB") == "–"


def test_goals_are_met_or_missed(measured):
    rows = gpu_report.goals_table(measured).splitlines()
    assert "| TEL 128² B=4 | whole step | ≤ 0.25 ms | 0.2 ms | yes |" in rows
    assert "| 1024×2048 snake | mst | ≤ 10× 1024×2048 | 1× | yes |" in rows
    case = CASES[1]
    floors = 200e-6 / (bytes_moved(case, STEP) / 1e12)
    assert floors < 2
    assert any(f"bandwidth floor | {floors:.3g}× | yes |" in row for row in rows)
    for record in measured["cases"][0]["stages"]:
        record["nanoseconds"]["graph"] = [300_000] * 3
    rows = gpu_report.goals_table(measured).splitlines()
    assert "| TEL 128² B=4 | whole step | ≤ 0.25 ms | 0.3 ms | **no** |" in rows


def test_the_page_sets_predictions_beside_measurements(measured):
    page = gpu_report.page({"gpu-x": measured}, [])
    assert "| 75 to 105 µs; 1.9× |" in page
    assert "| 3 ms; 15× |" in page
    misses = gpu_report.misses_table(measured)
    assert "| TEL 128² B=4 | mst | 200 µs | 105 µs | 95 µs |" in misses
    assert STEP not in misses
    for record in (r for case in measured["cases"] for r in case["stages"]):
        record["nanoseconds"]["graph"] = [1_000]
    assert gpu_report.misses_table(measured).startswith("None")


# --- verification ---------------------------------------------------------------------------------


def test_verify():
    tree = [torch.tensor([[0, 0, 1]], dtype=torch.int32)] * 2
    verify(MST, tree, tree)
    other = [tree[0] + torch.tensor([[0, 1, 0]]), *tree[1:]]
    with pytest.raises(WrongError, match="1 of 3 values of parent differ"):
        verify(MST, other, tree)
    y = [torch.linspace(-1, 2, 50)]
    verify(FILTER, [y[0] + 1e-6], y)
    for wrong in (y[0] + 1e-4, y[0] * torch.nan):
        with pytest.raises(WrongError, match=r"filter: relative error .* of result 0"):
            verify(FILTER, [wrong], y)
    verify(FILTER_BACKWARD, [y[0] + 1e-4], y)
    seeds = torch.zeros(50, dtype=torch.int64)
    verify(TRANSFORM, [y[0], seeds], [y[0], seeds])
    with pytest.raises(WrongError, match="another seed"):
        verify(TRANSFORM, [y[0], seeds + 1], [y[0], seeds])


def test_other_trees_in_ties_are_judged_by_the_loss():
    loss, gradient = torch.tensor(5.0), torch.ones(3)
    verify(STEP, [loss, gradient], [loss, -gradient], same_trees=False)
    with pytest.raises(WrongError):
        verify(STEP, [loss, gradient], [loss, -gradient])
    with pytest.raises(WrongError):
        verify(STEP, [loss + 1, gradient], [loss, gradient], same_trees=False)


# --- inputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", DRY_CASES, ids=lambda case: case.name)
def test_stages_repeat_and_one_image_is_the_first_of_many(case):
    work = Work(case, torch.device("cpu"))
    alone = work.to("cpu", images=1)
    alone.record()
    for stage in case.stages:
        results = work.stage(stage)()
        for first, again in zip(results, work.stage(stage)(), strict=True):
            assert torch.equal(first, again)
        if stage in (STEP, MST):  # the sum over the batch; the trees of all guides
            continue
        for many, one in zip(results, alone.stage(stage)(), strict=True):
            assert torch.equal(many[:1], one)


def test_rotations_have_inputs_of_their_own():
    case = DRY_CASES[0]
    images = [Work(case, torch.device("cpu"), rotation).guides[IMAGE] for rotation in range(6)]
    for i, image in enumerate(images):
        assert image.is_contiguous()
        assert not any(torch.equal(image, other) for other in images[:i])
    assert bench.rotations(case, MST, 0, 16) == 2
    assert bench.rotations(case, MST, 4 * bytes_moved(case, MST), 16) == 8
    assert bench.rotations(case, MST, 2**40, 16) == 16


# --- what needs a compiler, and what needs a GPU --------------------------------------------------


def test_constants_program(tmp_path):
    compiler = gpu_machine.nvcc()
    if compiler is None:
        pytest.skip("needs nvcc")
    program = tmp_path / "constants"
    gpu_machine.build_constants(compiler, "sm_90", program)  # warnings are errors
    if not torch.cuda.is_available():
        run = subprocess.run([program], capture_output=True, text=True, check=False)
        assert run.returncode == 1
        assert "constants: no CUDA device" in run.stderr
        assert not run.stdout


@needs_gpu
def test_constants():
    found = gpu_machine.constants()
    assert found["device"]["name"] == torch.cuda.get_device_name()
    for row in found["constants"]:
        assert 0 < row["lower"] <= row["median"] <= row["upper"]
    assert gpu_report.bandwidth({"constants": found}) > 1e10


@needs_gpu
def test_clock():
    clock = gpu_timing.GpuClock(0.01)
    inputs = [torch.rand(2**20, device="cuda") for _ in range(3)]
    calls = [lambda x=x: x * 2 for x in inputs]
    for way in gpu_timing.WAYS:
        samples = clock.measure(way, calls)
        assert samples
        assert all(1e-7 < sample < 1e-2 for sample in samples)
    assert 4 * 2**20 <= clock.memory(calls[0]) < 5 * 2**20


def test_the_committed_page_is_what_the_report_makes():
    runs = gpu_report.load(report.RESULTS)
    path = report.RESULTS / gpu_report.PAGE
    if not runs:
        assert not path.exists()
        return
    pictures = [picture.name for picture in report.RESULTS.glob("gpu-*.png")]
    assert path.read_text(encoding="utf-8") == gpu_report.page(runs, pictures)
