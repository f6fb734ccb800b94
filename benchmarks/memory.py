"""Peak memory of one call above its inputs: measured in a process of its own.

    python memory.py MODULE FUNCTION NAME '[arguments]' '[small arguments]'

``MODULE.FUNCTION(*arguments)`` makes the inputs and returns calls by name; ``NAME`` is measured.
Before that the same is done with small arguments, so that loading libraries is not counted.
Linux only: the peak is the kernel's (VmHWM), reset when the inputs exist.
"""

import ctypes
import gc
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path


def peak(module: str, function: str, name: str, arguments: list, small: list) -> int:
    """Bytes that the call needed at its peak above what was resident before it."""
    command = [sys.executable, __file__, module, function, name]
    command += [json.dumps(arguments), json.dumps(small)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"memory: {' '.join(command)} failed:\n{result.stderr}")
    return int(result.stdout.split()[-1])


def _status(key: str) -> int:
    found = re.search(rf"{key}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found, key
    return int(found[1]) * 1024


def _measure(module: str, function: str, name: str, arguments: str, small: str) -> int:
    import torch

    torch.set_num_threads(1)
    prepare = getattr(importlib.import_module(module), function)
    prepare(*json.loads(small))[name]()
    call = prepare(*json.loads(arguments))[name]
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # free memory that is still resident would be used first
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _status("VmRSS")
    result = call()  # alive until the peak is read
    after = _status("VmHWM")
    del result
    return after - before


if __name__ == "__main__":
    print(_measure(*sys.argv[1:]))
