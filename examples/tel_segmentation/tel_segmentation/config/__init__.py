"""The configuration of a run: ``run`` has its options, ``loss`` those of its loss."""

from tel_segmentation.config.files import PUBLIC, absolute, build, flat, load, moved, parse, to_json
from tel_segmentation.config.loss import Kernel, Level, Loss, Method, TreeEnergy
from tel_segmentation.config.run import (
    Data,
    Evaluation,
    Labels,
    Model,
    Optimizer,
    Train,
    check,
)

__all__ = [
    "PUBLIC",
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
    "absolute",
    "build",
    "check",
    "flat",
    "load",
    "moved",
    "parse",
    "to_json",
]
