"""Invented runs, for tests of their report."""

import functools
import json
from statistics import fmean

import numpy as np
from scipy import ndimage

from tel_segmentation import config
from tel_segmentation.evaluation.pictures import failure, panel

CLASSES = ("plain", "rows", "columns", "checker", "dots", "noise")
COLORS = (
    (78, 89, 104), (230, 126, 34), (52, 152, 219), (39, 174, 96), (241, 196, 15), (155, 89, 182),
)  # fmt: skip
METHODS = {  # name: loss, mIoU, accuracy of prediction and of pseudo label
    "partial CE": (config.Loss("partial"), 0.52, 0.70, None),
    "naive": (config.Loss("naive"), 0.53, 0.71, 0.74),
    "Gated CRF": (config.Loss("gated_crf"), 0.56, 0.74, None),
    "TEL low": (config.Loss("tel", tel=config.TreeEnergy(level="low")), 0.61, 0.79, 0.82),
    "TEL high": (config.Loss("tel", tel=config.TreeEnergy(level="high")), 0.57, 0.75, 0.77),
    "TEL low+high": (config.Loss("tel"), 0.63, 0.81, 0.84),
    "full": (config.Loss("full"), 0.74, 0.90, None),
}


@functools.cache
def scene(index):
    rng = np.random.default_rng(index)
    field = rng.normal(size=(6, 64, 64))
    truth = ndimage.gaussian_filter(field, (0, 9, 9)).argmax(0)
    base = rng.uniform(0.2, 0.8, (6, 3))[truth]
    image = np.clip(base + rng.normal(scale=0.04, size=base.shape), 0, 1)
    sparse = np.full((64, 64), -1)
    for y, x in rng.integers(3, 61, (9, 2)):
        sparse[y - 1 : y + 2, x - 1 : x + 2] = truth[y, x]
    return image, truth, sparse


def guess(index, seed, quality):
    """A prediction with wrong patches."""
    _, truth, _ = scene(index)
    rng = np.random.default_rng(100 * index + seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(64, 64)), 3)
    wrong = noise > np.quantile(noise, quality)
    return np.where(wrong, (truth + rng.integers(1, 6)) % 6, truth)


def metrics(miou, rng):
    iou = [round(float(value), 4) for value in np.clip(rng.normal(miou, 0.07, 6), 0, 1)]
    values = {"miou": fmean(iou), "accuracy": miou + 0.18, "boundary_miou": miou - 0.15}
    return values | {"iou": iou, "protocol": {"scales": [1.0]}, "iteration": 300}


def make_run(folder, experiment, method, seed, shift=0.0, pictures=True, **more):
    """Writes the folder of a finished run; returns its result."""
    loss, miou, predicted, pseudo = METHODS.get(method, METHODS["TEL low"])
    rng = np.random.default_rng([seed, len(method), len(experiment), int(1000 * miou)])
    folder.mkdir(parents=True)
    settings = json.loads(config.to_json(config.Train(loss=loss, seed=seed)))
    last = metrics(miou + shift + 0.01 * seed, rng)
    result = {
        "name": folder.name,
        "experiment": experiment,
        "method": method,
        "seed": seed,
        "finished": True,
        "iterations": 300,
        "classes": list(CLASSES),
        "colors": [list(color) for color in COLORS],
        "labelled_ratio": 1.0 if method == "full" else 0.0148 + 0.0003 * seed,
        "wall_seconds": 61.5,
        "seconds_per_iteration": 0.12 + 0.02 * method.startswith("TEL"),
        "peak_memory_mb": 640.0,
        "device": "cpu",
        "threads": 1,
        "git": "0123456789abcdef",
        "versions": {"torch": "2.13.0", "treefilter": "0.1.0"},
        "parameters": 284_310,
        "weights": "random initialisation",
        "evaluation": {
            "split": "test",
            "last": last,
            "best": metrics(miou + 0.01, rng),
            "confusion": rng.integers(1, 1000, (6, 6)).tolist(),
            "failures": [{"name": "scene-0", "miou": 0.1234, "file": "01-scene-0.png"}],
        },
        "diagnostics": {"affinity_low": 0.95, "affinity_high": 0.41} if "TEL" in method else {},
        "config": settings,
    } | more
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.json").write_text(json.dumps(settings))
    write_history(folder / "history.jsonl", rng, miou, predicted, pseudo)
    if pictures:
        quality = [miou + 0.15, miou + 0.12, miou + 0.2]
        for index in range(3):
            write_panel(folder / "panels" / f"scene-{index}.png", index, seed, quality, pseudo)
        (folder / "failures").mkdir()
        image, truth, _ = scene(0)
        worst = failure(image, truth, guess(0, seed, 0.3), COLORS)
        worst.save(folder / "failures" / "01-scene-0.png")
    return result


def write_history(path, rng, miou, predicted, pseudo):
    lines = []
    for iteration in range(10, 301, 10):
        rise = 1 - np.exp(-iteration / 70)
        line = {"iteration": iteration, "loss": float(2.0 - 1.5 * rise + rng.normal(0, 0.03))}
        line["accuracy_prediction"] = float(predicted * rise + rng.normal(0, 0.01))
        if pseudo is not None:
            line["accuracy_pseudo"] = float(pseudo * min(1, rise + 0.1) + rng.normal(0, 0.01))
        lines.append(line)
        if iteration % 100 == 0:
            lines.append({"iteration": iteration, "evaluation": {"miou": float(miou * rise)}})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_panel(path, index, seed, quality, pseudo):
    image, truth, sparse = scene(index)
    prediction, low, final = (guess(index, seed, each) for each in quality)
    if pseudo is None:
        low = final = None
    path.parent.mkdir(exist_ok=True)
    panel(image, sparse, prediction, low, final, truth, COLORS).save(path)


def mious(experiment, method):
    row = next(row for row in experiment.rows if row.method == method)
    return {run.seed: run.metrics["miou"] for run in row.runs}


def spoil(**changes):
    def change(folder):
        path = folder / "result.json"
        values = json.loads(path.read_text())
        for name, value in changes.items():
            target = values
            *inner, last = name.split("__")
            for key in inner:
                target = target[key]
            target[last] = value
        path.write_text(json.dumps(values))

    return change
