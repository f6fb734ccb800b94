"""What the trees cost: time and memory of a training iteration (paper, Tab. 4 and 5).

    tel cost photos --output cost.json
    tel cost cityscapes-hrnet --batch 2 --amp fp16

Partial cross entropy, TEL low and TEL low+high train on the same batches of generated scenes. Their
iterations are interleaved, so that other load on the machine affects all of them alike. With the
preset of a public data set, the network has that data set's number of classes; otherwise, that of
the scenes. The result has the median time, and the median over the rounds of the ratio to partial
cross entropy. Memory is the peak above what the network itself takes: in torch's allocator on a
GPU, in a separate process on a CPU.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from tqdm import trange

from tel_segmentation import config, presets
from tel_segmentation.config import Loss
from tel_segmentation.data.datasets import ade20k, cityscapes, voc_classes
from tel_segmentation.data.datasets.public import public_dataset
from tel_segmentation.data.loading import open_source, training_batches
from tel_segmentation.data.sample import Batch, Sample, Source
from tel_segmentation.losses.methods import title
from tel_segmentation.runtime import checkpoint, memory
from tel_segmentation.runtime.distributed import start
from tel_segmentation.training.diagnosis import Window
from tel_segmentation.training.record import device_name, portable, revision
from tel_segmentation.training.state import State
from tel_segmentation.training.step import tuned_convolutions, update

CLASSES = {
    "voc": voc_classes.CLASSES, "cityscapes": cityscapes.CLASSES, "ade20k": ade20k.CLASSES,
}  # fmt: skip
Peaks = tuple[float | None, float | None]
"""Peak memory above the network's own, and in total, in MB; None where it cannot be measured."""
WARM = 2  # iterations before those that are timed


@dataclass(frozen=True)
class Cost:
    """Measure what the tree energy loss adds to an iteration."""

    preset: tyro.conf.Positional[str] = "photos"
    """The preset whose network, batch, crop and precision are measured."""
    rounds: int = 15
    """Timed iterations of each method."""
    batch: int | None = None
    """Images per iteration; by default the preset's. The paper's table is per GPU."""
    amp: str = "off"
    device: str = "auto"
    threads: int = 1
    output: Path | None = None
    """File for the JSON; by default it goes to the standard output."""


class Measured:
    """A network that is trained with one method, one timed iteration at a time."""

    def __init__(
        self, options: config.Train, batches: list[Batch], source: Source, device: torch.device
    ) -> None:
        self.options, self.batches, self.device = options, batches, device
        self.state = State(options, source, device)
        self.objective = self.state.distributed()
        self.window = Window(len(source.classes), device)

    def iteration(self, index: int) -> float:
        """Runs one iteration of ``tel train``; returns its time in seconds."""
        self.state.iteration = index
        batches = [self.batches[index % len(self.batches)]]
        self._wait()
        began = time.perf_counter()
        with tuned_convolutions(self.device):
            update(self.options, self.state, self.objective, batches, self.window)
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Classes:
    """A source with another number of classes, which determines the size of the logits."""

    def __init__(self, source: Source, count: int) -> None:
        self._source = source
        self.classes = tuple(str(number) for number in range(count))
        self.colors = ((0, 0, 0),) * count

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        return self._source[index]


def measure(options: Cost) -> dict[str, Any]:
    """Time and memory of a preset."""
    amp: Any = options.amp
    base = dataclasses.replace(presets.PRESETS[options.preset][1], amp=amp)
    if options.batch is not None:
        base = dataclasses.replace(base, batch=options.batch)
    return {"preset": options.preset, **measured(base, options)}


def measure_recipe(base: config.Train, name: str, output: Path, rounds: int) -> None:
    """Writes time and memory of any configuration as JSON, together with the configuration."""
    options = Cost(name, rounds, device=base.device, threads=base.threads or 1)
    result = {"preset": name, "recipe": base.recipe, **measured(base, options)}
    result["config"] = json.loads(config.to_json(portable(base)))
    output.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_text(output, json.dumps(result, indent=1) + "\n")


def measured(base: config.Train, options: Cost) -> dict[str, Any]:
    """Measures partial cross entropy, TEL low and TEL low+high with a configuration's network."""
    classes = class_count(base.data.source)
    device = start(options.device)
    torch.set_num_threads(options.threads)
    tel = dataclasses.replace(base.loss, method="tel")
    levels: tuple[config.Level, ...] = ("low", "low+high")
    trees = [dataclasses.replace(tel, tel=dataclasses.replace(tel.tel, level=x)) for x in levels]
    plans = [_plan(base, loss) for loss in (Loss(method="partial"), *trees)]
    peaks = [_memory(plan, options, classes) for plan in plans]
    source = _source(plans[0], classes)
    batches = _batches(plans[0], source, device)
    methods = [Measured(plan, batches, source, device) for plan in plans]
    seconds: list[list[float]] = [[] for _ in methods]
    for index in trange(WARM + options.rounds, desc=f"cost of {options.preset}"):
        for method, times in zip(methods, seconds, strict=True):
            times.append(method.iteration(index))
    del methods
    rows = []
    for plan, times, (above, peak) in zip(plans, seconds, peaks, strict=True):
        counted = times[WARM:]
        ratios = [t / base for t, base in zip(counted, seconds[0][WARM:], strict=True)]
        rows.append(
            {
                "method": title(plan.loss),
                "seconds": statistics.median(counted),
                "time_ratio": statistics.median(ratios),
                "memory_mb": above,
                "memory_ratio": _ratio(above, peaks[0][0]),
                "peak_mb": peak,
                "peak_ratio": _ratio(peak, peaks[0][1]),
            }
        )
    return {
        "model": plans[0].model.name,
        "crop": plans[0].data.crop,
        "batch": plans[0].batch,
        "classes": len(source.classes),
        "amp": base.amp,
        "device": device_name(device),
        "threads": options.threads,
        "rounds": options.rounds,
        "torch": torch.__version__,
        "git": revision(),
        "rows": rows,
    }


def class_count(source: str) -> int | None:
    """The number of classes of the public data set that a configuration names, or None.

    The data set need not be on the disk.
    """
    public = public_dataset(source)
    return len(CLASSES[public[0]]) if public else None


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value and base else None


def _plan(base: config.Train, loss: Loss) -> config.Train:
    data = dataclasses.replace(
        base.data,
        source="scenes:default",
        annotation="point",
        size=None,
        short_side=None,
        train=base.batch * 2,
        workers=0,
    )
    model = dataclasses.replace(base.model, weights="none")
    # One batch of one process, as in the paper's tables, without accumulation of gradients.
    return dataclasses.replace(base, data=data, model=model, loss=loss, accumulate=1)


def _source(plan: config.Train, classes: int | None) -> Source:
    source = open_source(plan.data, "train")
    return source if classes is None else Classes(source, classes)


def _batches(plan: config.Train, source: Source, device: torch.device) -> list[Batch]:
    taken = zip(range(2), training_batches(source, plan, start=0), strict=False)
    return [batch.to(device) for _, batch in taken]


def _memory(plan: config.Train, options: Cost, classes: int | None) -> Peaks:
    """The peaks in megabytes, measured in a new process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak, (plan, options.device, options.threads, classes))


def _peak(plan: config.Train, device_name: str, threads: int, classes: int | None) -> Peaks:
    device = start(device_name)
    torch.set_num_threads(threads)
    source = _source(plan, classes)
    method = Measured(plan, _batches(plan, source, device), source, device)
    memory.reset_peak(device)
    before = memory.held(device)
    for index in range(3):
        method.iteration(index)
    after = memory.peak(device)
    return (None if after is None or before is None else after - before), after


def run(options: Cost) -> None:
    """Measures a preset and writes the result."""
    if options.preset not in presets.PRESETS:
        known = ", ".join(presets.PRESETS)
        raise ValueError(f"preset must be one of {known}, got {options.preset!r}")
    if options.batch is not None and options.batch < 1:
        raise ValueError(f"batch must be at least 1, got {options.batch}")
    text = json.dumps(measure(options), indent=1)
    if options.output is None:
        print(text)
    else:
        checkpoint.write_text(options.output, text + "\n")
