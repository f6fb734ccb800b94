"""An experiment of the paper: a number or pictures, and the settings of the run behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tel_segmentation.paper import numbers

Kind = Literal["train", "cost", "test", "panels", "curves"]


@dataclass(frozen=True)
class Experiment:
    """A number of the paper, or its pictures."""

    id: str
    title: str
    """The title of its row in the table."""
    dataset: str
    """``voc``, ``cs``, ``ade``."""
    annotation: str
    network: str
    loss: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``config.Loss`` that differ from the recipe."""
    tel: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``config.TreeEnergy`` that differ from the recipe."""
    shares: str = ""
    """The id of another experiment, if both have the same run."""
    kind: Kind = "train"
    """``cost`` measures time and memory; ``test`` also segments the test images; ``panels`` and
    ``curves`` show pictures and the history of a run."""
    crf: bool = False
    """Whether a dense CRF follows the network."""
    note: str = ""

    @property
    def table(self) -> str:
        """``T1`` … ``T7``, ``F5`` … ``F7``."""
        return self.id[:2].upper()

    @property
    def run(self) -> str:
        """The id that names the run's folder."""
        return self.shares or self.id

    @property
    def paper(self) -> float | None:
        """The paper's number: mIoU in percent; for ``cost``, gigabytes (T4) or hours (T5)."""
        return numbers.PAPER.get(self.id)

    @property
    def readme(self) -> float | None:
        """The official README's mIoU in percent."""
        return numbers.README.get(self.id)


DATASET_TITLES = {"voc": "Pascal VOC", "cs": "Cityscapes", "ade": "ADE20K"}
NETWORK_TITLES = {
    "dlv3p": "DeepLabV3+", "ltf": "LTF", "hrnet": "HRNet-W48", "dlv2": "DeepLabV2",
}  # fmt: skip
