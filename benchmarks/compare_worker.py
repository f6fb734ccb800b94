"""Measure one version of treefilter; compare.py runs this once for each version.

    python compare_worker.py FOLDER THREADS

``FOLDER`` is where treefilter is installed. Requests and answers are JSON, one a line:
``{"case": name}`` prepares it and answers with a checksum of its result and the time of a call,
``{"case": name, "calls": n}`` answers with the mean time of n calls.
"""

import functools
import hashlib
import itertools
import json
import sys
from collections.abc import Callable
from time import perf_counter, process_time

sys.path.insert(0, sys.argv[1])  # before any version that is installed beside torch
import inputs
import torch

import treefilter as tf

Call = Callable[[], object]
SIZES = [(128, 128), (512, 512), (1024, 2048)]
METRICS = ("sqeuclidean", "euclidean", "cityblock", "chebyshev", "cosine")


def mst(kind: str, size: tuple[int, int], batch: int = 1) -> Call:
    weight, graph = inputs.weights(kind, *size, batch), tf.grid(*size)
    return lambda: tf.mst(weight, graph)


def mst_edges(kind: str, size: tuple[int, int]) -> Call:
    weight, graph = inputs.weights(kind, *size), tf.grid(*size)
    edges = tf._ops.mst_edges
    return lambda: edges(weight, graph._edges, graph._layout, graph.num_nodes)


def mst_of_edge_list() -> Call:
    edge_index, num_nodes, weight = inputs.nearest_neighbours(100_000)
    graph = tf.graph(edge_index, num_nodes)
    return lambda: tf.mst(weight, graph)


def mst_of_volume(size: int) -> Call:
    weight, graph = inputs.differences(inputs.volume(size)), tf.grid(size, size, size)
    return lambda: tf.mst(weight, graph)


@functools.cache
def photograph(size: tuple[int, int]) -> tuple[torch.Tensor, tf.Tree, torch.Tensor]:
    weight = inputs.weights("photograph", *size)
    tree = tf.mst(weight, tf.grid(*size))
    return weight, tree, tf.affinity(weight, tree, inputs.SIGMA)


def filter_(size: tuple[int, int], channels: int, last: bool = False) -> Call:
    _, tree, a = photograph(size)
    x = inputs.features(1, channels, *size)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    return lambda: tf.filter(x, tree, a)


def filter_backward(size: tuple[int, int], channels: int) -> Call:
    _, tree, a = photograph(size)
    needed = inputs.features(1, channels, *size).requires_grad_(), a.clone().requires_grad_()
    y = tf.filter(needed[0], tree, needed[1])
    grad = torch.ones_like(y)
    return lambda: torch.autograd.grad(y, needed, grad, retain_graph=True)


def edge_weight(channels: int, metric: str) -> Call:
    graph = tf.grid(128, 128)
    guide = inputs.features(1, channels, 128, 128).requires_grad_()
    grad = torch.ones(1, graph.num_edges)
    return lambda: torch.autograd.grad(tf.edge_weight(guide, graph, metric), guide, grad)


def affinity(size: tuple[int, int]) -> Call:
    weight, tree, _ = photograph(size)
    return lambda: tf.affinity(weight, tree, inputs.SIGMA)


def distance(size: tuple[int, int]) -> Call:
    weight, tree, _ = photograph(size)
    return lambda: tf.distance(weight, tree, torch.tensor([0]))


def distance_backward(size: tuple[int, int]) -> Call:
    weight, tree, _ = photograph(size)
    needed, source = weight.clone().requires_grad_(), torch.tensor([0])
    grad = torch.ones(1, 1, tree.num_nodes)
    return lambda: torch.autograd.grad(tf.distance(needed, tree, source), needed, grad)


def seeds(size: tuple[int, int]) -> torch.Tensor:
    return torch.rand(1, *size, generator=inputs.generator("seeds")) > 0.999


def distance_transform(size: tuple[int, int], path: str = "sum") -> Call:
    weight, tree, _ = photograph(size)
    starts = seeds(size)
    return lambda: tf.distance_transform(weight, tree, starts, path)


def dendrogram(size: tuple[int, int]) -> Call:
    weight, tree, _ = photograph(size)
    return lambda: tf.dendrogram(weight, tree)


def watershed(size: tuple[int, int]) -> Call:
    weight, tree, _ = photograph(size)
    starts = seeds(size)
    return lambda: tf.watershed(weight, tree, starts.cumsum(2) * starts)


def smallest(size: tuple[int, int], channels: int) -> Call:
    _, tree, a = photograph(size)
    x = inputs.features(1, channels, *size)
    return lambda: tf.filter(x, tree, a, path="min")


def persistence(size: tuple[int, int]) -> Call:
    image, graph = inputs.features(1, 1, *size)[:, 0], tf.grid(*size)
    return lambda: [tf.persistence(image, graph, dim=dim) for dim in (0, 1)]


def step() -> Call:
    """The trees and filters of the tree energy loss, forward and backward."""
    graph, images = tf.grid(128, 128), inputs.photographs(4, 128)
    logits = inputs.features(4, 21, 128, 128).requires_grad_()
    embed = inputs.convolved(images, 256).requires_grad_()

    def call() -> object:
        probability = logits.softmax(1)
        pseudo = probability
        for guide, sigma in ((images, inputs.SIGMA), (embed, 1.0)):
            weight = tf.edge_weight(guide, graph)
            tree = tf.mst(weight.detach(), graph)
            pseudo = tf.filter(pseudo, tree, tf.affinity(weight, tree, sigma))
        loss = (probability - pseudo).abs().mean()
        return torch.autograd.grad(loss, (logits, embed))

    return call


def cases() -> dict[str, Callable[[], Call]]:
    """Every case by its name, in the order of measuring."""

    def case(name: str, prepare: Callable[..., Call], *arguments: object) -> None:
        table[name] = lambda: prepare(*arguments)

    table: dict[str, Callable[[], Call]] = {}
    small, middle, _ = SIZES
    for size, kind in itertools.product(SIZES, ("photograph", "random", "constant")):
        case(f"mst {_name(size)} {kind}", mst, kind, size)
    for size in SIZES:
        case(f"mst edge set {_name(size)} photograph", mst_edges, "photograph", size)
    case("mst 16x128x128 photograph", mst, "photograph", small, 16)
    case("mst 100000 points, 8 neighbours", mst_of_edge_list)
    case("mst 64x64x64 volume", mst_of_volume, 64)
    for size, channels in itertools.product((small, middle), (1, 3, 21, 64)):
        case(f"filter {_name(size)} C={channels}", filter_, size, channels)
    for size in (small, middle):
        case(f"filter {_name(size)} C=64 channels last", filter_, size, 64, True)
    for size, channels in ((small, 21), (middle, 64)):
        case(f"filter backward {_name(size)} C={channels}", filter_backward, size, channels)
    for channels, metric in itertools.product((3, 256), METRICS):
        name = f"edge_weight 128x128 C={channels} {metric} forward+backward"
        case(name, edge_weight, channels, metric)
    for size in (small, middle):
        case(f"affinity {_name(size)}", affinity, size)
        case(f"distance {_name(size)}", distance, size)
        case(f"distance {_name(size)} forward+backward", distance_backward, size)
        case(f"distance_transform {_name(size)}", distance_transform, size)
    case("trees and filters of the tree energy loss, 4x128x128 forward+backward", step)
    return table


def _name(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))


def checksum(result: object) -> str:
    """Of the bits of all tensors in it."""
    digest = hashlib.sha256()
    for tensor in torch.utils._pytree.tree_leaves(result):
        if isinstance(tensor, torch.Tensor):
            digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def timed(call: Call, calls: int) -> float:
    if calls > 1:
        call()  # the other version has replaced what was in the caches
    # The processor's time, where one thread does all: not that of whatever else the machine does.
    clock = process_time if torch.get_num_threads() == 1 else perf_counter
    start = clock()
    for _ in range(calls):
        call()
    return (clock() - start) / calls


def main() -> None:
    torch.set_num_threads(int(sys.argv[2]))
    table = cases()
    print(json.dumps({"cases": list(table), "from": tf.__file__}), flush=True)
    prepared: tuple[str, Call] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "calls" in request and prepared and prepared[0] == request["case"]:
            answer: dict[str, object] = {"seconds": timed(prepared[1], request["calls"])}
        else:
            try:
                call = table[request["case"]]()
                answer = {"checksum": checksum(call()), "seconds": timed(call, 1)}
                prepared = request["case"], call
            except Exception as error:  # this version has no such function or refuses the arguments
                answer = {"skip": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
