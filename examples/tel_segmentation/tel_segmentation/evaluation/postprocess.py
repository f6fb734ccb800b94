"""Post-processing: a prediction is refined with the help of its image.

A fully connected CRF moves the borders of a prediction to the edges of the image:

Krähenbühl, P., Koltun, V.: Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials. NIPS 2011. The parameters are those usual in evaluations of DeepLab.

The low-level tree filter is what the tree energy loss does to a prediction in training. If it makes
the prediction of a network that was trained without the loss better, σ fits the images. This is a
cheap way to choose σ.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import treefilter as tf


def _library() -> ModuleType:
    try:
        return importlib.import_module("pydensecrf.densecrf")
    except ImportError as error:
        raise ModuleNotFoundError(
            "the dense CRF needs the package pydensecrf2, which Python 3.13 cannot compile; "
            "with an older one, pip install 'tel-segmentation[crf]'"
        ) from error


@dataclass(frozen=True)
class DenseCrf:
    """Probabilities after mean-field inference in a dense CRF.

    ``DenseCrf()(image, probabilities)``: image (3, H, W) uint8 RGB, not normalised, since the width
    of the colour kernel is in grey levels; probabilities (K, H, W). Returns (K, H, W) float32 on
    the CPU.

    Raises:
        ModuleNotFoundError: pydensecrf2 is not installed (on construction).
        ValueError: the image has another shape or dtype.
    """

    iterations: int = 10
    position_weight: float = 3.0
    position_sigma: float = 1.0
    """Standard deviation, in pixels."""
    bilateral_weight: float = 4.0
    bilateral_sigma_xy: float = 67.0
    """Standard deviation, in pixels."""
    bilateral_sigma_rgb: float = 3.0
    """Standard deviation, in grey levels from 0 to 255."""

    def __post_init__(self) -> None:
        _library()

    @property
    def name(self) -> str:
        """How an evaluation's record names it."""
        return (
            f"dense CRF: {self.iterations} iterations, position {self.position_weight:g} ×"
            f" {self.position_sigma:g} px, bilateral {self.bilateral_weight:g} ×"
            f" {self.bilateral_sigma_xy:g} px and {self.bilateral_sigma_rgb:g} grey levels"
        )

    def __call__(self, image: Tensor, probabilities: Tensor) -> Tensor:
        """See the class."""
        classes, height, width = probabilities.shape
        if image.dtype != torch.uint8 or image.shape != (3, height, width):
            raise ValueError(
                f"DenseCrf: image must be (3, {height}, {width}) uint8,"
                f" got {tuple(image.shape)} {image.dtype}"
            )
        rgb = np.ascontiguousarray(image.cpu().permute(1, 2, 0).numpy())
        energy = -probabilities.float().clamp_min(1e-5).log().cpu().reshape(classes, -1)
        crf = _library().DenseCRF2D(width, height, classes)
        crf.setUnaryEnergy(np.ascontiguousarray(energy.numpy(), dtype=np.float32))
        crf.addPairwiseGaussian(sxy=self.position_sigma, compat=self.position_weight)
        crf.addPairwiseBilateral(
            sxy=self.bilateral_sigma_xy,
            srgb=self.bilateral_sigma_rgb,
            rgbim=rgb,
            compat=self.bilateral_weight,
        )
        result = np.array(crf.inference(self.iterations), dtype=np.float32)
        return torch.from_numpy(result.reshape(classes, height, width))


@dataclass(frozen=True)
class LowTree:
    """Probabilities filtered along the image's minimum spanning tree (the paper's Ỹ of "low").

    ``LowTree(sigma)(image, probabilities)``: shapes as in ``DenseCrf``. The filter works at the
    resolution of the loss.
    """

    sigma: float
    """Same as ``config.TreeEnergy.sigma``."""
    stride: int = 4
    """Pixels of the image per pixel of the prediction that the loss gets."""

    @property
    def name(self) -> str:
        """How an evaluation's record names it."""
        return f"low-level tree: sigma {self.sigma:g} at stride {self.stride}"

    def __call__(self, image: Tensor, probabilities: Tensor) -> Tensor:
        """See the class."""
        height, width = probabilities.shape[-2:]
        size = (-(-height // self.stride), -(-width // self.stride))
        guide, coarse = (
            F.interpolate(x[None].float(), size=size, mode="bilinear", align_corners=False)
            for x in (image.cpu() / 255, probabilities.cpu())
        )
        graph = tf.grid(*size)
        weight = tf.edge_weight(guide, graph)
        tree = tf.mst(weight, graph)
        filtered = tf.filter(coarse, tree, tf.affinity(weight, tree, self.sigma))
        full = F.interpolate(filtered, size=(height, width), mode="bilinear", align_corners=False)
        return full[0]
