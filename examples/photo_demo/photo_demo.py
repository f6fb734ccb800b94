"""One photograph, one tree: smoothing, segmentation, affinity, distance, and a learned guide.

    python photo_demo.py                                   # the cat
    python photo_demo.py --photo coffee                    # a cup of coffee, five classes
    python photo_demo.py --image me.jpg --scribbles me.json

Prints what it does and how long that takes, and writes one figure. README.md describes the
scribbles' format.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import figure
import numpy as np
import torch
import torch.nn.functional as F
from inputs import SCRIBBLES, InputError, Scribbles, load_photo, load_scribbles
from torch import Tensor
from tqdm import trange  # type: ignore[import-untyped]

import treefilter as tf

FOLDS = 4  # each straight piece of a scribble is left out of the seeds once
SIGMA = (1e-30, 1e30)  # float32 has no room for much smaller or larger values
LEARNING_RATE = 0.05  # at the start; falls to 0 along a cosine


def run(args: argparse.Namespace) -> None:
    """Everything the demo does, in the order of the figure's panels."""
    photo, full_size = load_photo(args.photo, args.image)
    strokes = args.scribbles or SCRIBBLES / f"{args.photo}.json"
    scribbles = load_scribbles(strokes, photo, full_size)
    figure.check_writable(args.output, args.image, strokes)
    image = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float() / 255
    height, width = image.shape[-2:]
    click = scribbles.click[1] * width + scribbles.click[0]  # vertices are numbered row by row
    names = ", ".join(scribbles.names)
    print(f"{args.image or args.photo}: {width} × {height} pixels, scribbles of {names}")

    with stage("0  minimum spanning tree of the photograph"):
        graph = tf.grid(height, width)
        weight = tf.edge_weight(image, graph)
        tree = tf.mst(weight, graph, root=click)
    with stage("1  smooth: filter the photograph along its own tree"):
        smoothed = tf.filter(image, tree, tf.affinity(weight, tree, args.sigma))
    with stage("2a segment: filter the scribbles along the tree"):
        seeds = one_hot(scribbles.label, len(scribbles.names))
        by_filter = segment(seeds, weight, tree, args.sigma)
    with stage("2b segment: nearest scribble by tree distance"):
        _, nearest = tf.distance_transform(weight, tree, scribbles.label[None] >= 0)
        by_distance = scribbles.label.flatten()[nearest[0]].view(height, width)
    with stage("3  affinity of the clicked pixel to all others"):
        delta = torch.zeros(1, 1, height, width)
        delta.view(-1)[click] = 1
        to_click = tf.filter(delta, tree, tf.affinity(weight, tree, args.sigma), normalize=False)
    with stage("4  distance from the clicked pixel"):
        distance = tf.distance(weight, tree, torch.tensor([click])).view(height, width)
    with stage("5  pixels behind each edge of the tree"):
        ones = torch.ones(1, 1, height * width)
        behind = tf.leaf_to_root(ones, tree, torch.ones(1, height * width))
    with stage(f"6  learn the guide, {args.steps} steps"):
        history, by_learning = learn(image, smoothed, scribbles, args.sigma, args.steps)
    print(f"   before: {history[0]}\n   after:  {history[-1]}")

    with stage("   draw the figure"):
        figure.save(
            args.output,
            figure.Panels(
                photo=image[0].permute(1, 2, 0).numpy(),
                scribbles=scribbles,
                smoothed=smoothed[0].permute(1, 2, 0).numpy(),
                by_filter=by_filter.numpy(),
                by_distance=by_distance.numpy(),
                by_learning=by_learning.numpy(),
                affinity=to_click.view(height, width).numpy(),
                distance=distance.numpy(),
                parent=tree.parent[0].numpy(),
                behind=behind.flatten().numpy(),
                history=history,
            ),
        )
    print(f"figure: {args.output.resolve()}")


def segment(seeds: Tensor, weight: Tensor, tree: tf.Tree, sigma: float) -> Tensor:
    """The class whose seeds reach a pixel most strongly: seeds (1, K, H, W) -> (H, W) int64."""
    # In float64, because exp(−distance/σ) of a pixel far from every seed is 0 in float32. As sums,
    # not means: the strongest class is the same, and sums keep their digits however small they are.
    affinity = tf.affinity(weight.double(), tree, sigma)
    return tf.filter(seeds.double(), tree, affinity, normalize=False)[0].argmax(0)


def learn(
    image: Tensor, smoothed: Tensor, scribbles: Scribbles, sigma: float, steps: int
) -> tuple[list[figure.Progress], Tensor]:
    """Gradient descent on the guide and on σ, so that the scribbles predict each other.

    The guide is a linear mix of the photograph, the smoothed and the blurred photograph, and starts
    as the photograph itself. The loss fills in each piece of a scribble from the other pieces. The
    held-out scribbles are not in the loss: they say whether the learned guide is really better.

    Returns:
        Progress before each step and after the last one, and the (H, W) segmentation at the end.
    """
    features = torch.cat([image, smoothed, blur(image)], 1)
    mix = torch.eye(3, features.shape[1], requires_grad=True)
    log_sigma = torch.tensor(sigma).log().requires_grad_()
    optimizer = torch.optim.Adam([mix, log_sigma], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))

    graph = tf.grid(*image.shape[-2:])
    seeds = one_hot(scribbles.label, len(scribbles.names))
    folds, fold = leave_out(seeds, scribbles)
    pixel = (fold >= 0).nonzero()[:, 0]
    target, balance = scribbles.label.flatten()[pixel], 1 / seeds.sum((0, 2, 3))

    history = []
    progress = trange(steps + 1, desc="   learning", leave=False)
    for step in progress:
        weight = tf.edge_weight(torch.einsum("gc,bchw->bghw", mix, features), graph)
        tree = tf.mst(weight, graph)  # gradients flow through the weights, not the choice of edges
        affinity = tf.affinity(weight, tree, log_sigma.exp())
        y = tf.filter(folds, tree, affinity, normalize=False).view(FOLDS + 1, seeds.shape[1], -1)
        loss = F.nll_loss(log_share(y[fold[pixel], :, pixel]), target, balance)
        history.append(check(loss, y[FOLDS].detach(), scribbles.held_out.flatten()))
        progress.set_postfix_str(str(history[-1]))
        if step < steps:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    sigma = log_sigma.exp().item()
    return history, segment(seeds, weight.detach(), tree, sigma)


def leave_out(seeds: Tensor, scribbles: Scribbles) -> tuple[Tensor, Tensor]:
    """Seeds without each fold of the scribbles' pieces in turn; at the end with all of them.

    Returns:
        All sets of seeds as channels of one tensor, (1, (FOLDS + 1)·K, H, W), so that one call
        filters them; and the fold of each pixel, (N,) int64, −1 where there is no scribble.
    """
    fold = torch.where(scribbles.label >= 0, scribbles.piece % FOLDS, -1)
    kept = torch.stack([fold != k for k in range(FOLDS + 1)])  # no pixel is in fold number FOLDS
    return (seeds * kept[:, None]).flatten(0, 1)[None], fold.flatten()


def log_share(y: Tensor) -> Tensor:
    """Logarithm of each class's share in filtered seeds (M, K); equal shares far from all seeds."""
    y = y + 1e-4
    return (y / y.sum(1, keepdim=True)).log()


def check(loss: Tensor, y: Tensor, held_out: Tensor) -> figure.Progress:
    """How well filtered seeds (K, N) agree with the held-out strokes (N,); NaN without any."""
    known = held_out >= 0
    y, target = y[:, known].T, held_out[known]
    return figure.Progress(
        loss=loss.item(),
        held_out_loss=F.nll_loss(log_share(y), target).item(),
        held_out_accuracy=(y.argmax(1) == target).float().mean().item(),
    )


def one_hot(label: Tensor, num_classes: int) -> Tensor:
    """Seeds (1, K, H, W) of a label map (H, W), zero where there is no label."""
    return torch.stack([label == k for k in range(num_classes)])[None].float()


def blur(image: Tensor, radius: int = 2) -> Tensor:
    """Three box filters, nearly a Gaussian."""
    for _ in range(3):
        padded = F.pad(image, (radius,) * 4, mode="replicate")
        image = F.avg_pool2d(padded, 2 * radius + 1, stride=1)
    return image


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Print a stage's name and how long it took."""
    start = time.perf_counter()
    yield
    print(f"{name:<52} {1e3 * (time.perf_counter() - start):9.1f} ms", flush=True)


class Parser(argparse.ArgumentParser):
    """A command line whose mistakes are reported like all others, in one line."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse."""
        raise InputError(message)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description="Tree filtering on one photograph, in one figure.")
    parser.add_argument("--photo", default="chelsea", help="chelsea (default) or coffee")
    parser.add_argument("--image", type=Path, help="your own photograph; needs --scribbles")
    parser.add_argument("--scribbles", type=Path, help="JSON file, see README.md")
    parser.add_argument("--output", type=Path, default=Path("photo_demo.png"))
    parser.add_argument("--sigma", type=float, default=0.003, help="scale of the tree distance")
    parser.add_argument("--steps", type=int, default=50, help="steps of gradient descent")
    args = parser.parse_args()
    if args.image and not args.scribbles:
        raise InputError("--image needs --scribbles")
    if not SIGMA[0] <= args.sigma <= SIGMA[1] or args.steps < 0:
        raise InputError(
            f"--sigma must be positive, {SIGMA[0]:g} to {SIGMA[1]:g}, and --steps not negative"
        )
    return args


def main() -> int:
    """Run the demo; a mistake in its input is one line and exit code 2."""
    try:
        run(parse())
    except InputError as error:
        print(f"photo_demo: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
