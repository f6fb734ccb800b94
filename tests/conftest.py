"""For all tests: devices, hypothesis profiles, the number of threads, a place for compiled code."""

import getpass
import hashlib
import os
import sys
import tempfile
from pathlib import Path

# Before OpenMP is loaded: waiting threads sleep, since other test processes need the cores.
# Spinning makes a call on a small tensor a hundred times slower when all cores are busy.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch
from hypothesis import settings

import treefilter

# A sanitized build must not be mistaken for the installed one.
if not treefilter.__file__.startswith(os.environ.get("TREEFILTER_FROM", "")):
    pytest.exit(f"TREEFILTER_FROM is set, but {treefilter.__file__} was imported", 3)

# Inductor's cache knows nothing of the ops' schemas: code that was compiled for those of another
# working tree calls these with the wrong arguments.
_ops = hashlib.sha256(Path(treefilter._ops.__file__).read_bytes()).hexdigest()[:12]
_kept = Path(tempfile.gettempdir()) / f"treefilter-inductor-{getpass.getuser()}-{_ops}"
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(_kept))

torch.set_num_threads(1)  # pytest-xdist uses the cores; tests of threads set more

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.register_profile("drill", deadline=None, derandomize=True, max_examples=15)
settings.register_profile("few", deadline=None, derandomize=True, max_examples=4)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

PRETEND = os.environ.get("TREEFILTER_PRETEND_GPU") == "1" and not torch.cuda.is_available()
DEVICES = ["cpu", *(["cuda"] if PRETEND or torch.cuda.is_available() else [])]


@pytest.fixture(params=DEVICES, scope="session")
def device(request):
    """Every device that the native code can run on here."""
    return torch.device(request.param)


@pytest.fixture(autouse=PRETEND)
def _pretended_gpu(monkeypatch, request):
    """With TREEFILTER_PRETEND_GPU=1 and no GPU, "cuda" is a pretended one."""
    from pretended_gpu import Native, PretendedGpu, beyond

    if "cuda" in request.node.nodeid and (reason := beyond(request.node.nodeid)):
        pytest.skip(reason)
    monkeypatch.setattr(treefilter._checks, "_DEVICES", ("cpu", "cuda"))
    monkeypatch.setattr(treefilter._ops, "_C", Native(treefilter._ops._C))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    # It makes tensors that are nowhere; on the CPU it is done.
    checks = sys.modules["torch.autograd.gradcheck"]
    monkeypatch.setattr(checks, "_test_undefined_backward_mode", lambda *_: True)
    with PretendedGpu():
        yield


@pytest.fixture(autouse=True)
def _gpu_to_itself(request):
    """A test that is marked ``alone`` does not share the GPU with the processes of pytest-xdist."""
    alone = request.node.get_closest_marker("alone") is not None and "cuda" in request.node.nodeid
    if alone and "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("needs the GPU to itself: run it without -n")


@pytest.fixture
def tensors_on_device(device):
    """New tensors are on the device where a test names none."""
    if device.type == "cpu":
        yield
    else:
        with device:
            yield


@pytest.fixture
def at_thread_counts():
    """Calls a function with 1, 2 and 4 threads and returns the three results."""

    def run(function):
        results = []
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            results.append(function())
        return results

    yield run
    torch.set_num_threads(1)


@pytest.fixture
def assert_same_bits(at_thread_counts):
    """Compares results at 1, 2 and 4 threads, and of each image alone and in its batch."""

    def check(run, batch):
        one, two, four = at_thread_counts(run)
        for a, b, c in zip(one, two, four, strict=True):
            assert torch.equal(a, b)
            assert torch.equal(a, c)
        for i in range(batch):
            for alone, together in zip(run(slice(i, i + 1)), one, strict=True):
                assert torch.equal(alone[0], together[i])

    return check
