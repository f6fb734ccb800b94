"""Step 5: where the time of a step of the tree energy loss goes.

    ncu --profile-from-start off … python -m gpu.check.profile kernels
    python -m gpu.check.profile table [--dry]

``kernels`` runs one step between the profiler's start and stop; ``table`` runs ten steps under
torch's profiler and prints the time of each operation and kernel.
"""

import sys

import torch

from gpu.cases import CASES, DRY_CASES
from gpu.work import Work

STEPS = 10
ROWS = 40


def work(dry: bool) -> Work:
    case = next(case for case in (DRY_CASES if dry else CASES) if case.loss)
    print(f"{case.name}: {case.title}", flush=True)
    return Work(case, torch.device("cpu" if dry else "cuda"))


def kernels(dry: bool) -> None:
    step = work(dry).step
    step()
    if dry:
        return
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    step()
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()


def table(dry: bool) -> None:
    from torch.profiler import ProfilerActivity, profile

    step = work(dry).step
    for _ in range(3):
        step()
    activities = [ProfilerActivity.CPU, *([] if dry else [ProfilerActivity.CUDA])]
    with profile(activities=activities) as found:
        for _ in range(STEPS):
            step()
        if not dry:
            torch.cuda.synchronize()
    averages = found.key_averages()
    order = "self_cpu_time_total" if dry else "self_device_time_total"
    print(averages.table(sort_by=order, row_limit=ROWS, max_name_column_width=90))
    ours = [event for event in averages if event.key.startswith("treefilter::")]
    calls = sum(event.count for event in ours) / STEPS
    launched = [event for event in averages if "LaunchKernel" in event.key]
    launches = sum(event.count for event in launched) / STEPS
    host = sum(event.self_cpu_time_total for event in averages) / STEPS
    print(
        f"RESULT profile: {calls:g} of our ops and {launches:g} launches a step,"
        f" {host:.0f} µs of the host's time under the profiler"
    )


if __name__ == "__main__":
    {"kernels": kernels, "table": table}[sys.argv[1]]("--dry" in sys.argv)
