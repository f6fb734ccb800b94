"""The configuration of a run: ``run`` has its options, ``loss`` those of its loss."""

from tel_segmentation.config.loss import Kernel, Level, Loss, Method, TreeEnergy
from tel_segmentation.config.run import (
    Data,
    Evaluation,
    Labels,
    Model,
    Optimizer,
    Train,
    build,
    check,
    load,
    moved,
    to_json,
)

__all__ = [
    "Data",
    "Evaluation",
    "Kernel",
    "Labels",
    "Level",
    "Loss",
    "Method",
    "Model",
    "Optimizer",
    "Train",
    "TreeEnergy",
    "build",
    "check",
    "load",
    "moved",
    "to_json",
]
