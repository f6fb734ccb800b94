"""The drill where there is no GPU: what it notices, what it refuses, and that nothing stops it.

That all of its steps run is for ``make gpu-check DRY=1``.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("matplotlib")
pytest.importorskip("skimage")
from gpu.check import __main__ as program
from gpu.check import drill as processes
from gpu.check import environment, publish, smoke, sources, steps, summary
from gpu.check.drill import FAILED, FILES, LOG, PASSED, ROOT, SANITIZERS, Command, Drill
from gpu.check.steps import STEPS, EndError, NoGpuError, Step

import treefilter as tf

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.fixture
def drill(tmp_path):
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    scratch.mkdir()
    (out / FAILED).touch()
    return Drill(out=out, scratch=scratch, dry=True, site=tmp_path / "site")


def python(code, name="it", log=LOG):
    return Command(name, [sys.executable, "-c", code], log)


# --- processes ------------------------------------------------------------------------------------


def test_how_processes_end(drill):
    commands = [
        python("print('good', flush=True)", "good"),
        python("raise SystemExit(3)", "bad"),
        Command("none", ["there is no such program"]),
        python("raise SystemExit(5)", "five"),
    ]
    assert drill.run(commands, 30) == {
        "good": PASSED,
        "bad": "exit status 3",
        "none": "could not be started",
        "five": "exit status 5",
    }
    fine = Command("five", [sys.executable, "-c", "raise SystemExit(5)"], succeeds=(0, 5))
    assert drill.run([fine], 30) == {"five": PASSED}
    assert "\ngood | good\n" in (drill.out / LOG).read_text(encoding="utf-8")


def test_a_process_that_hangs_is_stopped_with_its_children(drill, monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 0.5)
    child = "import time; time.sleep(5); open('late', 'w')"
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"os.chdir({str(drill.scratch)!r})\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "print('it hangs', flush=True)\n"
        "time.sleep(100)\n"
    )
    other = python("print('beside it', flush=True)", "other", "tests.txt")
    began = time.monotonic()
    endings = drill.run([python(code), other], 2)
    assert endings == {"it": "stopped after 2 s", "other": PASSED}
    assert "it hangs" in (drill.out / LOG).read_text(encoding="utf-8")  # written as it went
    time.sleep(max(0, began + 6 - time.monotonic()))
    assert not (drill.scratch / "late").exists()


def test_patience_multiplies_limits(drill):
    drill.patience = 0.01
    assert drill.run([python("import time; time.sleep(100)")], 50) == {"it": "stopped after 0 s"}


# --- what the summary notices ---------------------------------------------------------------------


def passes(name):
    """A step that does its work."""

    def run(drill, seconds):
        drill.say(f"RESULT {name}: all of it")
        return []

    return Step(name, 1, "", run)


@pytest.fixture
def small(monkeypatch):
    """A drill of three steps."""
    names = ("import", "smoke", "train")
    monkeypatch.setattr(summary, "STEPS", names)
    return [passes(name) for name in names]


def test_all_steps_of_the_drill_are_in_the_table():
    assert tuple(step.name for step in STEPS) == summary.STEPS == tuple(summary.EVIDENCE)
    assert sum(step.seconds for step in STEPS) <= 560  # nine minutes and a bit, if all time out


def test_a_good_drill(drill, small, monkeypatch):
    monkeypatch.setattr(program, "STEPS", small)
    assert program.run(drill, [step.name for step in small])
    text = (drill.out / "summary.md").read_text(encoding="utf-8")
    for step in small:
        assert f"| {step.name} | passed | 0 | all of it |" in text
    assert "nothing here was measured on a GPU" in text


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_step_that_is_gone_is_missed(drill, small, monkeypatch, gone):
    name = small.pop(gone).name
    monkeypatch.setattr(program, "STEPS", small)
    assert not program.run(drill, ["import", "smoke", "train"])
    assert f"| {name} | MISSING |" in (drill.out / "summary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("complaints", [[], ["it: exit status 1"]])
def test_a_step_that_fails_or_does_nothing_is_noticed_and_stops_nothing(
    drill, small, monkeypatch, complaints
):
    small[1] = Step("smoke", 1, "", lambda *_: complaints)
    monkeypatch.setattr(program, "STEPS", small)
    assert not program.run(drill, ["import", "smoke", "train"])
    text = (drill.out / "summary.md").read_text(encoding="utf-8")
    words = "; ".join([*complaints, "MissingError: no result of smoke in log.txt"])
    assert f"| smoke | FAILED | 0 | {words} |" in text
    assert "| train | passed |" in text


def test_an_error_of_the_system_stops_nothing(drill, small, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    small[1] = Step("smoke", 1, "", full)
    monkeypatch.setattr(program, "STEPS", small)
    assert not program.run(drill, ["import", "smoke", "train"])
    text = (drill.out / "summary.md").read_text(encoding="utf-8")
    assert "| smoke | FAILED | 0 | OSError: no space left on device;" in text
    assert "| train | passed |" in text


def test_without_smoke_the_drill_ends(drill, small, monkeypatch):
    def wrong(*_):
        raise EndError(["smoke: exit status 1"])

    small[1] = Step("smoke", 1, "", wrong)
    monkeypatch.setattr(program, "STEPS", small)
    assert not program.run(drill, ["import", "smoke", "train"])
    text = (drill.out / "summary.md").read_text(encoding="utf-8")
    assert "| smoke | FAILED |" in text
    assert "| train | FAILED |  | not run: smoke failed;" in text.replace("| 0 |", "|  |")


def test_steps_that_are_not_asked_for_are_skipped(drill, small, monkeypatch):
    monkeypatch.setattr(program, "STEPS", small)
    assert program.run(drill, ["import"])
    text = (drill.out / "summary.md").read_text(encoding="utf-8")
    assert "| smoke | skipped |" in text


CUT = "memcheck | (5, 7), grid: 90 calls\n"
END = "{tool} | RESULT sanitized: 90 calls\n{tool} | ========= {summary}\n"


@pytest.mark.parametrize("tool", summary.TOOLS)
def test_sanitizers_are_read(tool):
    kind = "RACECHECK SUMMARY: {} hazards displayed ({} errors, 0 warnings)"
    kind = kind if tool == "racecheck" else "ERROR SUMMARY: {} errors"
    clean = END.format(tool=tool, summary=kind.format(0, 0))
    assert summary.sanitizer(clean, tool, dry=False) == f"{tool} clean"
    found = END.format(tool=tool, summary=kind.format(10, 10))
    with pytest.raises(summary.MissingError, match=f"{tool}: .*SUMMARY: 10"):
        summary.sanitizer(found, tool, dry=False)
    with pytest.raises(summary.MissingError, match=f"{tool} did not get to its end"):
        summary.sanitizer(CUT, tool, dry=False)
    with pytest.raises(summary.MissingError, match="no summary"):  # as without the sanitizer
        summary.sanitizer(clean.replace("SUMMARY", ""), tool, dry=False)


def test_the_end_of_pytest_is_read(drill):
    text = "$ python -m pytest -m not alone -n 8\n..F\n{}$ python -m pytest -m alone\n.\n{}"
    log = drill.out / "tests.txt"
    log.write_text(text.format("1 failed, 900 passed in 99s\n", "5 passed in 9s\n"))
    assert summary._pytest("tests")(drill.out, False) == "1 failed, 900 passed in 99s"
    assert summary._pytest("alone")(drill.out, False) == "5 passed in 9s"
    log.write_text(text.format("", "9 skipped in 9s\n"))
    for name in ("tests", "alone"):
        with pytest.raises(summary.MissingError):
            summary._pytest(name)(drill.out, False)


# --- steps ----------------------------------------------------------------------------------------


class Told(Drill):
    """A drill that runs nothing, and is told how what it runs ends."""

    def run(self, commands, seconds):
        self.ran = [*getattr(self, "ran", []), *commands]
        return {c.name: self.endings.get(c.name, [PASSED]).pop(0) for c in commands}


@pytest.fixture
def told(drill):
    told = Told(out=drill.out, scratch=drill.scratch)
    told.endings = {}
    return told


def names(told):
    return [command.name for command in told.ran]


def test_a_build_that_does_not_import_is_made_again(told):
    unusable = f"exit status {environment.UNUSABLE}"
    told.endings = {"import": [unusable, PASSED], "build": [PASSED], "sources": [PASSED]}
    assert steps.imported(told, 9) == []
    assert names(told) == ["import", "build", "sources", "import"]
    assert told.site == told.scratch / "site"
    build = told.ran[1]
    assert build.environment["TREEFILTER_CUDA"] == "ON"
    assert {"--no-index", "--no-deps", "--no-build-isolation"} <= set(build.arguments)


def test_without_a_build_the_drill_ends(told):
    unusable = f"exit status {environment.UNUSABLE}"
    told.endings = {"import": [unusable, unusable], "build": ["exit status 1"], "sources": [PASSED]}
    with pytest.raises(EndError, match="build: exit status 1"):
        steps.imported(told, 9)
    told.endings = {"import": [f"exit status {environment.NO_GPU}"]}
    with pytest.raises(NoGpuError):
        steps.imported(told, 9)


def test_wrong_results_are_looked_at_by_memcheck(told):
    told.endings = {"smoke": ["exit status 1"]}
    with pytest.raises(EndError, match="smoke: exit status 1"):
        steps.smoke(told, 9)
    assert names(told)[-2:] == ["smoke", "memcheck"]


def test_sanitizers_have_ports_of_their_own_and_our_kernels(drill):
    drill.dry = False
    commands = steps.sanitizers(drill, steps.SANITIZER_TOOLS, "gpu.check.sanitized")
    ports = [c.arguments[c.arguments.index("--port") + 1] for c in commands]
    assert len(set(ports)) == len(ports) == 4
    for command in commands:
        assert ("kns=treefilter" in command.arguments) == (command.name != "initcheck")
        assert command.log == SANITIZERS


def test_failed_tests_are_run_again(drill, tmp_path):
    test = tmp_path / "test_it.py"
    test.write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('device', ['cpu', 'cuda'])\n"
        "def test_it(device):\n    assert device == 'cpu'\n"
    )
    failed = tmp_path / "failed.txt"
    arguments = [
        "-p",
        "gpu.check.failures",
        "-p",
        "no:cacheprovider",
        "-n",
        "2",
        "-q",
        "test_it.py",
    ]
    environment = drill.environment(GPU_CHECK_FAILED=str(failed), PYTEST_XDIST_AUTO_NUM_WORKERS="1")
    environment["PYTHONPATH"] = str(ROOT / "benchmarks")
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert failed.read_text(encoding="utf-8") == "test_it.py::test_it[cuda]\n"
    assert program.chosen_tests(str(failed)) == ("test_it.py::test_it[cuda]", "")
    drill.tests = ("tests/test_mst.py::test_it[cuda]",)
    command = steps._pytest(drill, "tests", "not alone")
    assert command.arguments[-1] == str(ROOT / "tests/test_mst.py::test_it[cuda]")
    assert command.succeeds == (0, 5)  # of the two runs, one may have none of them


# --- the whole program ----------------------------------------------------------------------------


@without_gpu
def test_without_a_gpu_there_is_a_clear_message(tmp_path, capfd):
    assert program.main(["--out", str(tmp_path)]) == 2
    assert "gpu-check: no CUDA device was found. With DRY=1" in capfd.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} <= set(FILES)


def test_what_is_asked_for_must_exist(tmp_path, capsys):
    with pytest.raises(SystemExit):
        program.parse(["--out", str(tmp_path), "--steps", "smoke,smok"])
    assert "STEPS must be of import, smoke, " in capsys.readouterr().err
    empty = tmp_path / "failed.txt"
    empty.touch()
    assert program.main(["--out", str(tmp_path / "out"), "--tests", str(empty)]) == 0
    assert f"there are no tests in {empty}" in capsys.readouterr().out


def test_results_are_few_files():
    assert len(FILES) <= 8
    assert all("/" not in name for name in FILES)


# --- smoke, sources, results ----------------------------------------------------------------------


def test_smoke_finds_what_is_wrong(tmp_path, capsys):
    path = tmp_path / "expected-cpu.pt"
    assert smoke.main(["make", str(path), "--dry"]) == 0
    assert smoke.check(path, None, "cpu") == 0
    assert "RESULT smoke: 0 wrong, bits not compared" in capsys.readouterr().out
    for name, change in (
        ("mst.parent", lambda t: t.roll(1)),
        ("filter", lambda t: t * 1.001),
        ("filter.backward.a", lambda t: t * torch.nan),
        ("distance_transform.nearest", lambda t: t + 1),
    ):
        known = torch.load(path, weights_only=True)
        known["made"][name] = change(known["made"][name])
        torch.save(known, tmp_path / "changed.pt")
        assert smoke.check(tmp_path / "changed.pt", None, "cpu") == 1, name
        assert f"WRONG {name} against the CPU" in capsys.readouterr().out


def test_smoke_tells_other_bits(tmp_path, capsys):
    values, bits = tmp_path / "expected-cpu.pt", tmp_path / "expected-emulation.pt"
    smoke.main(["make", str(values), "--dry"])
    smoke.main(["bits", str(bits), str(values)])
    assert smoke.check(values, bits, "cpu") == 0
    assert "RESULT smoke: 0 wrong, 0 with other bits" in capsys.readouterr().out
    known = torch.load(bits, weights_only=True)
    known["filter"] = known["mst.order"]
    torch.save(known, bits)
    assert smoke.check(values, bits, "cpu") == 0
    told = capsys.readouterr().out
    assert "filter: other bits than the emulation's" in told
    assert "RESULT smoke: 0 wrong, 1 with other bits" in told


def test_a_build_of_other_sources_does_not_fit(tmp_path, monkeypatch):
    site = tmp_path / "site"
    site.mkdir()
    assert not sources.fits(site)
    (site / sources.DIGEST).write_text(f"{sources.digest()} abc\n", encoding="utf-8")
    assert sources.fits(site)
    assert sources.commit(site) == "abc"
    assert sources.commit(tmp_path) == "unknown"
    changed = tmp_path / "root"
    (changed / "src").mkdir(parents=True)
    (changed / "src" / "core.h").write_text("// other", encoding="utf-8")
    monkeypatch.setattr(sources, "ROOT", changed)
    assert not sources.fits(site)


@pytest.fixture
def left(tmp_path):
    """What a drill on a GPU leaves, made up."""
    folder = tmp_path / "left"
    folder.mkdir()
    stage = {"stage": "mst", "bytes": 4, "nanoseconds": {"graph": [9], "wall": [9]}, "memory": 0}
    header = {"gpu": "Test GPU 9", "cuda back end": True, "processor": "Some CPU", "cores": 4}
    header |= {"date": "2000-01-01", "commit": "abc", "cpu threads": 4, "complete": True}
    row = {"name": "copy bandwidth, kernel", "unit": "B/s", "cycles": 0}
    row |= {"lower": 1e12, "median": 1e12, "upper": 1e12}
    case = {"name": "c", "title": "t", "batch": 1, "weights as on the CPU": True, "stages": [stage]}
    content = {
        "dry": False,
        "machine": {**MACHINE, **header},
        "constants": {"device": {}, "constants": [row]},
        "cases": [case],
    }
    (folder / "benchmark.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "summary.md").write_text("# The drill\n\n| step |\n|---|\n| x |\n", encoding="utf-8")
    costs = {"model": "net", "crop": [8, 8], "batch": 2, "amp": "off"}
    names = ("partial CE", "TEL")
    costs["rows"] = [
        {"method": m, "seconds": s, "time_ratio": s, "memory_mb": 9.0, "memory_ratio": 1.5}
        for m, s in zip(names, (1.0, 1.25), strict=True)
    ]
    (folder / "train.json").write_text(json.dumps({"cost": costs}), encoding="utf-8")
    return folder


MACHINE = {
    "cores allowed": 4, "memory GiB": 9, "vector instructions": [], "instruction set used": "avx2",
    "system": "Linux", "python": "3", "versions": {"torch": "2"},
}  # fmt: skip


def test_results_are_published_under_the_name_of_the_device(left, tmp_path):
    results = tmp_path / "results"
    written = publish.publish(left, results)
    named = {"gpu-test-gpu-9.json", "gpu-test-gpu-9-drill.md", "gpu-test-gpu-9.png", "gpu.md"}
    assert {path.name for path in written} == named
    text = (results / "gpu-test-gpu-9-drill.md").read_text(encoding="utf-8")
    assert text.startswith("# The drill on Test GPU 9, 2000-01-01\n\nCommit abc.")
    assert "| TEL | 1250.0 ms | 1.25× | 9 MB | 1.50× |" in text


def test_a_rehearsal_is_not_published(left, tmp_path, capsys):
    path = left / "benchmark.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "dry": True}), encoding="utf-8")
    assert publish.main([str(left), "--results", str(tmp_path / "results")]) == 1
    assert "must be of a run on a GPU, got a rehearsal" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_the_plain_script_calls_every_op():
    """What a sanitizer is to see: every op that has kernels."""
    source = Path(steps.__file__).with_name("sanitized.py").read_text(encoding="utf-8")
    ops = {name for name in vars(tf._ops) if f"_ops.{name}(" in source}
    registered = {
        schema.name.removeprefix("treefilter::_")
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("treefilter::")
    }
    # On a GPU these are made of torch's own operations and of other ops.
    made = {"edge_list", "order", "ranks", "bottleneck_sums", "persistence"}
    assert registered - ops == made
