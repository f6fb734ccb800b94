"""What an experiment of the paper is: a number, or pictures, with what runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tel_segmentation.paper import numbers

Kind = Literal["train", "cost", "test", "panels", "curves"]


@dataclass(frozen=True)
class Experiment:
    """A number, or the pictures, of the paper."""

    id: str
    title: str
    """Of its row."""
    dataset: str
    """``voc``, ``cs``, ``ade``."""
    annotation: str
    network: str
    loss: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``config.Loss`` other than the recipe's."""
    tel: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``config.TreeEnergy`` other than the recipe's."""
    shares: str = ""
    """The id of the experiment whose run this is, too."""
    kind: Kind = "train"
    """``cost`` measures time and memory; ``test`` also segments the test images; ``panels`` and
    ``curves`` are what a run leaves."""
    crf: bool = False
    """A dense CRF behind the network."""
    note: str = ""

    @property
    def table(self) -> str:
        """``T1`` … ``T7``, ``F5`` … ``F7``."""
        return self.id[:2].upper()

    @property
    def run(self) -> str:
        """The id that the run's folder has."""
        return self.shares or self.id

    @property
    def paper(self) -> float | None:
        """The paper's number: mIoU in percent, of ``cost`` gigabytes (T4) or hours (T5)."""
        return numbers.PAPER.get(self.id)

    @property
    def readme(self) -> float | None:
        """The official README's mIoU in percent."""
        return numbers.README.get(self.id)


DATASET_TITLES = {"voc": "Pascal VOC", "cs": "Cityscapes", "ade": "ADE20K"}
NETWORK_TITLES = {
    "dlv3p": "DeepLabV3+", "ltf": "LTF", "hrnet": "HRNet-W48", "dlv2": "DeepLabV2",
}  # fmt: skip
