"""Segmentation learnt from points, scribbles and blocks with the Tree Energy Loss.

The packages in order, each of which imports only from those before it: ``runtime``, ``config``,
``data``, ``networks``, ``losses``, ``evaluation``, ``training``, ``report``, ``paper``,
``commands``. ``cli`` is the command ``tel``, ``presets`` has configurations by name.

Liang, Z., Wang, T., Zhang, X., Sun, J., Shen, J.: Tree Energy Loss: Towards Sparsely Annotated
Semantic Segmentation. CVPR 2022.
"""

import importlib
from typing import TYPE_CHECKING

from tel_segmentation.runtime import (
    torchvision_ops as torchvision_ops,  # before anything imports torchvision
)

if TYPE_CHECKING:
    from tel_segmentation import config, presets
    from tel_segmentation.config import TreeEnergy
    from tel_segmentation.evaluation.evaluate_model import evaluate_model
    from tel_segmentation.evaluation.trained import load_trained
    from tel_segmentation.losses.tree_energy import tree_energy_loss
    from tel_segmentation.training.engine import train

__all__ = [
    "TreeEnergy",
    "config",
    "evaluate_model",
    "load_trained",
    "presets",
    "train",
    "tree_energy_loss",
]
_HOMES = {
    "TreeEnergy": "tel_segmentation.config",
    "evaluate_model": "tel_segmentation.evaluation.evaluate_model",
    "load_trained": "tel_segmentation.evaluation.trained",
    "train": "tel_segmentation.training.engine",
    "tree_energy_loss": "tel_segmentation.losses.tree_energy",
}


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used, so that ``tel --help`` starts quickly."""
    if name in ("config", "presets"):
        return importlib.import_module(f"tel_segmentation.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'tel_segmentation' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
