"""Step 1: the pipeline on small images, against the CPU's results and the emulation's bits.

    python -m gpu.check.smoke make VALUES          with any build: what its CPU tensors give
    python -m gpu.check.smoke bits BITS VALUES     with an emulation's build: digests of it
    python -m gpu.check.smoke check VALUES [BITS]  on the GPU (an emulation's build: on the CPU)
    python -m gpu.check.smoke kernels              the calls alone, for a sanitizer

Every stage is given what VALUES says that the stage before it gave, so that no difference is
carried on. Trees must be those of the file, other values close to its. Then the whole pipeline is
run eagerly, captured in a CUDA graph, and from two streams at once: always the same bits. Whether
the bits are those of the emulation is told, and is no failure: where they are, device and host
compute in the same order.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import treefilter as tf
from treefilter._native import _C

SIDE, DRY_SIDE = 128, 20
IMAGES, FEATURES, CHANNELS = 2, 8, 21
CLOSE, CLOSE_GRADIENT = 1e-5, 1e-4
"""Largest error over the largest value."""
MOST_OTHER_SEEDS = 1e-3
"""Part of the vertices that may have another nearest seed: one as near but for rounding."""
Results = dict[str, Tensor]
EXACT = (
    *("mst.parent", "mst.edge", "dendrogram.parent", "dendrogram.edge", "watershed", "cut"),
    *("distance_transform.max", "malis_pairs"),
    *(f"persistence.{name}.{dim}" for name in ("birth", "death") for dim in (0, 1)),
)


def inputs(side: int) -> Results:
    """Smooth noise and what is filtered: the same on every machine."""
    draw = torch.Generator().manual_seed(20)
    coarse = torch.rand(IMAGES, FEATURES, side // 4, side // 4, generator=draw)
    guide = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)
    guide = (guide * 200 + 55 * torch.rand(guide.shape, generator=draw)).round() / 255
    x = torch.rand(IMAGES, CHANNELS, side, side, generator=draw)
    seeds = torch.rand(IMAGES, side * side, generator=draw) < 0.01
    seeds[:, 0] = True
    grad = torch.randn(x.shape, generator=draw)
    return {"guide": guide, "x": x, "seeds": seeds, "grad": grad}


def stages(given: Results, device: str, known: Results | None = None) -> Results:
    """The results of all stages, each from ``known`` results of those before it, or its own."""
    made: Results = {}
    there = {name: value.to(device, copy=True) for name, value in given.items()}
    side = given["x"].shape[-1]
    graph = tf.grid(side, side)

    def result(name: str, value: Tensor) -> Tensor:
        made[name] = value.detach().cpu()
        return value.detach() if known is None else known[name].to(device, copy=True)

    guide = there["guide"].requires_grad_()
    weight = tf.edge_weight(guide, graph)
    grads = torch.autograd.grad(weight.sum(), guide)
    result("edge_weight.backward", grads[0])
    weight = result("edge_weight", weight)
    tree = tf.mst(weight, graph)
    for name in ("parent", "edge", "order"):
        result(f"mst.{name}", getattr(tree, name))
    leaf = weight.clone().requires_grad_()
    a = tf.affinity(leaf, tree, 0.5)
    result("affinity.backward", torch.autograd.grad(a.sum(), leaf)[0])
    a = result("affinity", a)
    x, a = there["x"].requires_grad_(), a.requires_grad_()
    for name, call in (("filter", tf.filter), ("leaf_to_root", tf.leaf_to_root)):
        y = call(x, tree, a)
        for part, grad in zip("xa", torch.autograd.grad(y, (x, a), there["grad"]), strict=True):
            result(f"{name}.backward.{part}", grad)
        result(name, y)
    near, nearest = tf.distance_transform(weight, tree, there["seeds"])
    result("distance_transform", near)
    result("distance_transform.nearest", nearest)
    source = torch.zeros(1, dtype=torch.int64).to(device)
    result("distance", tf.distance(weight, tree, source, path="max"))
    result("distance_transform.max", tf.distance_transform(weight, tree, there["seeds"], "max")[1])
    h = tf.dendrogram(weight, tree)
    result("dendrogram.parent", h.parent)
    result("dendrogram.edge", h.edge)
    result("cut", tf.cut(h, num=9))
    labels = tf.watershed(weight, tree, there["seeds"].long().cumsum(1) * there["seeds"])
    result("watershed", labels)
    result("malis_pairs", torch.stack(tf.malis_pairs(h, labels)))
    for dim in (0, 1):
        found = tf.persistence(there["x"][:, 0].detach(), graph, dim=dim)
        for name, value in zip(("birth", "death"), found, strict=True):
            result(f"persistence.{name}.{dim}", value)
    y = tf.filter(x, tree, a, path="min")
    result("filter.min.backward", torch.autograd.grad(y, a, there["grad"])[0])
    result("filter.min", y)
    return made


def step(guide: Tensor, x: Tensor) -> list[Tensor]:
    """The whole pipeline and its gradients, without a wait."""
    graph = tf.grid(*x.shape[2:])
    weight = tf.edge_weight(guide, graph)
    tree = tf.mst(weight, graph)
    y = tf.filter(x, tree, tf.affinity(weight, tree, 0.5))
    grads = torch.autograd.grad((x - y).square().sum(), (guide, x))
    return [tree.parent, tree.order, y.detach(), *grads]


def error_of(found: Tensor, expected: Tensor) -> float:
    if not expected.numel():
        return 0.0
    wide, right = found.double(), expected.double()
    same = (wide == right) | (wide.isnan() & right.isnan())
    off = torch.where(same, 0.0, (wide - right).abs())
    finite = right[right.isfinite()].abs()
    return float(off.max() / max(1e-30, float(finite.max()) if finite.numel() else 0.0))


def _is_wrong(name: str, different: float, error: float) -> bool:
    if name in EXACT:
        return different > 0
    if name.endswith("nearest"):
        return different > MOST_OTHER_SEEDS
    return not error <= (CLOSE_GRADIENT if ".backward" in name else CLOSE)  # so that NaN is wrong


def digests(results: Results) -> dict[str, str]:
    """Of the bits of each: only equality is asked of these."""
    return {
        name: hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
        for name, value in results.items()
    }


def compare(found: Results, expected: Results) -> int:
    """Prints a line for each result; the number of wrong ones."""
    wrong = 0
    for name, value in expected.items():
        if name == "mst.order":  # the CPU's is another one on purpose
            continue
        got = found[name]
        error = error_of(got, value)
        different = int((got != value).sum())
        bad = _is_wrong(name, different / max(1, value.numel()), error)
        wrong += bad
        words = "the same bits" if not different else f"{different} of {value.numel()} differ"
        print(f"{'WRONG ' if bad else ''}{name} against the CPU: {words}, error {error:.1e}")
    return wrong


def compare_bits(found: Results, expected: dict[str, str]) -> int:
    """The number of results that have other bits than the emulation's, and a line for each."""
    others = [name for name, bits in digests(found).items() if bits != expected[name]]
    for name in others:
        print(f"{name}: other bits than the emulation's")
    return len(others)


def modes(device: str) -> dict[str, Callable[[list[Results]], list[list[Tensor]]]]:
    """How the same steps are run: each returns the results of all of them."""

    def eager(many: list[Results]) -> list[list[Tensor]]:
        return [step(each["guide"], each["x"]) for each in many]

    if device == "cpu":
        return {"eager": eager, "captured": eager, "two streams": eager}

    def captured(many: list[Results]) -> list[list[Tensor]]:
        results = []
        for each in many:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                step(each["guide"], each["x"])
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                kept = step(each["guide"], each["x"])
            for value in kept:
                value.zero_()
            graph.replay()
            torch.cuda.synchronize()
            results.append([value.clone() for value in kept])
        return results

    def streams(many: list[Results]) -> list[list[Tensor]]:
        torch.cuda.synchronize()
        queues = [torch.cuda.Stream() for _ in many]
        results: list[list[Tensor]] = [[] for _ in many]
        for _ in range(3):
            for i, (queue, each) in enumerate(zip(queues, many, strict=True)):
                with torch.cuda.stream(queue):
                    results[i] = step(each["guide"], each["x"])
        torch.cuda.synchronize()
        return results

    return {"eager": eager, "captured": captured, "two streams": streams}


def leaves(given: Results, device: str) -> list[Results]:
    """Two sets of inputs on the device: the images, and the same ones the other way round."""
    sets = []
    for flip in (False, True):
        each = {n: (v.flip(0) if flip else v).to(device, copy=True) for n, v in given.items()}
        for name in ("guide", "x"):
            each[name] = each[name].requires_grad_()
        sets.append(each)
    return sets


def check(values: Path, bits_of_emulation: Path | None, device: str) -> int:
    known = torch.load(values, weights_only=True)
    given = known["given"]
    found = stages(given, device, known["made"])
    wrong = compare(found, known["made"])
    bits = "bits not compared with the emulation's"
    if bits_of_emulation is not None:
        others = compare_bits(found, torch.load(bits_of_emulation, weights_only=True))
        bits = f"{others} with other bits than the emulation's"
    first: list[list[Tensor]] = []
    for mode, run in modes(device).items():
        results = run(leaves(given, device))
        first = first or results
        same = all(
            torch.equal(a, b)
            for ours, theirs in zip(results, first, strict=True)
            for a, b in zip(ours, theirs, strict=True)
        )
        print(
            f"{'' if same else 'WRONG '}{mode}: {'the' if same else 'not the'} bits of eager calls"
        )
        wrong += not same
    print(f"RESULT smoke: {wrong} wrong, {bits}")
    return 1 if wrong else 0


def main(arguments: list[str]) -> int:
    what, *paths = arguments
    device = "cpu" if what == "make" or _C.emulated else "cuda"
    if what == "make":
        given = inputs(DRY_SIDE if "--dry" in paths else SIDE)
        torch.save({"given": given, "made": stages(given, "cpu")}, paths[0])
        return 0
    if what == "bits":
        known = torch.load(paths[1], weights_only=True)
        torch.save(digests(stages(known["given"], "cpu", known["made"])), paths[0])
        return 0
    if what == "kernels":
        given = inputs(DRY_SIDE)
        stages(given, device)
        return 0
    return check(Path(paths[0]), Path(paths[1]) if len(paths) > 1 else None, device)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
