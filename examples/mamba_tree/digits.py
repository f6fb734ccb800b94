"""A classifier of digits whose layers talk along trees, beside the same with convolutions.

    python digits.py [--epochs N] [--seed S]

Trains two small networks on scikit-learn's digits (1,797 images of 8×8 pixels) and prints their
accuracy on the last fifth of them. They differ in one layer of their blocks: a
``TreeScan2d``, through which every pixel sees all others, or a 3×3 convolution of each channel.
"""

from __future__ import annotations

import argparse
import time

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import treefilter as tf

CHANNELS, BLOCKS, CLASSES, BATCH = 32, 3, 10, 64


class Block(nn.Module):
    """Mixes pixels, then channels; both are added to what came in."""

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer
        self.before = nn.GroupNorm(1, CHANNELS)
        self.perceptron = nn.Sequential(
            nn.GroupNorm(1, CHANNELS),
            nn.Conv2d(CHANNELS, 2 * CHANNELS, 1),
            nn.GELU(),
            nn.Conv2d(2 * CHANNELS, CHANNELS, 1),
        )

    def forward(self, x: Tensor, tree: tf.Tree | None) -> Tensor:
        """``tree`` for a scan, nothing for a convolution."""
        y = self.before(x)
        x = x + (self.mixer(y) if tree is None else self.mixer(y, tree))
        return x + self.perceptron(x)


class Classifier(nn.Module):
    """A convolution, blocks, a mean over the pixels, a linear layer."""

    def __init__(self, scans: bool) -> None:
        super().__init__()
        self.scans = scans
        self.stem = nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.blocks = nn.ModuleList(
            Block(
                tf.nn.TreeScan2d(CHANNELS)
                if scans
                else nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS)
            )
            for _ in range(BLOCKS)
        )
        self.head = nn.Linear(CHANNELS, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """``image`` (B, 1, 8, 8) → logits (B, 10)."""
        x = self.stem(image)
        tree = None
        if self.scans:  # the stage's tree, made once: all blocks have the same resolution
            graph = tf.grid(*image.shape[2:])
            tree = tf.mst(tf.edge_weight(x.detach(), graph, "cosine"), graph)
        for block in self.blocks:
            x = block(x, tree)
        return self.head(x.mean((2, 3)))


def load() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images (N, 1, 8, 8) in [0, 1] and classes, for training and for testing."""
    digits = load_digits()
    image = torch.from_numpy(digits.images).float().div(16).unsqueeze(1)
    label = torch.from_numpy(digits.target).long()
    first = len(label) * 4 // 5
    return image[:first], label[:first], image[first:], label[first:]


def accuracy(model: nn.Module, image: Tensor, label: Tensor) -> float:
    """The share of images whose class is found."""
    model.eval()
    with torch.no_grad():
        found = model(image).argmax(1)
    model.train()
    return (found == label).float().mean().item()


def train(scans: bool, epochs: int, seed: int) -> float:
    """Trains one network and prints what it reaches; returns its accuracy."""
    torch.manual_seed(seed)
    image, label, test_image, test_label = load()
    model = Classifier(scans)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.05)
    steps = epochs * -(-len(label) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    start = time.perf_counter()
    for _ in range(epochs):
        for part in torch.randperm(len(label)).split(BATCH):
            loss = functional.cross_entropy(model(image[part]), label[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    reached = accuracy(model, test_image, test_label)
    size = sum(p.numel() for p in model.parameters())
    name = "tree scans" if scans else "convolutions"
    seconds = time.perf_counter() - start
    print(f"{name}: {100 * reached:.1f} % of {len(test_label)}, {size} parameters, {seconds:.0f} s")
    return reached


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=15, help="passes over the data (default: 15)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {options.epochs}")
    for scans in (True, False):
        train(scans, options.epochs, options.seed)


if __name__ == "__main__":
    main()
