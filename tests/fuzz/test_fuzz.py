"""A short run of the generated calls (CONTRIBUTING.md has the command for a long one)."""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")


@pytest.mark.parametrize("seed", [1, 2])
def test_generated_arguments(seed, tmp_path):
    """In a process of its own: a crash is a failure, and nothing else ends with it."""
    command = [sys.executable, str(RUN), "--seed", str(seed), "--calls", "750"]
    command += ["--progress", str(tmp_path / "call")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    call = (tmp_path / "call").read_text()
    assert result.returncode == 0, f"last call: {call}\n{result.stderr[-9000:]}"
    outcomes = {}
    for line in result.stdout.splitlines():
        kind, outcome, count = line.rsplit(None, 2)
        outcomes[kind, outcome] = int(count)
    # Otherwise the generator has lost its sting.
    assert outcomes["valid", "result"] > 200
    assert outcomes["hostile", "TypeError"] > 100
    assert outcomes["nearly valid", "ValueError"] > 50
    assert {outcome for kind, outcome in outcomes if kind == "valid"} == {"result"}
