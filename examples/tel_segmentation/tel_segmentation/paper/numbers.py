"""Every number of the paper's tables, as data; none of them is measured by this package.

Liang, Z., Wang, T., Zhang, X., Sun, J., Shen, J.: Tree Energy Loss: Towards Sparsely Annotated
Semantic Segmentation. CVPR 2022. ``README``: the tables of its official code, whose numbers differ
from the paper's by -0.4 to +1.0. mIoU in percent; as far as the paper says, all are single runs.
"""

from __future__ import annotations

from typing import NamedTuple

PAPER: dict[str, float] = {
    # Tab. 1: Pascal VOC, val
    "t1.point.dlv3p.baseline": 58.5,
    "t1.point.dlv3p.tel": 64.9,
    "t1.point.ltf.tel": 68.4,
    "t1.point.dlv3p.tel_seminar": 74.2,
    "t1.scribble.dlv3p.baseline": 68.8,
    "t1.scribble.dlv3p.tel": 77.1,
    "t1.scribble.ltf.tel": 77.3,
    "t1.full.dlv3p": 80.2,
    "t1.full.ltf": 80.9,
    # Tab. 3: VOC, scribbles; a δ, b levels, c what replaces a tree, d aggregation, e λ, f σ
    "t3a.ce": 76.0,
    "t3a.dot": 76.6,
    "t3a.l2": 75.1,
    "t3a.l1": 77.1,
    "t3b.none": 68.8,
    "t3b.low": 76.3,
    "t3b.high": 71.9,
    "t3b.both": 77.1,
    "t3c.low.bf": 75.0,
    "t3c.low.mst": 76.3,
    "t3c.high.nl": 70.2,
    "t3c.high.mst": 71.9,
    "t3d.lhp": 76.4,
    "t3d.hlc": 75.8,
    "t3d.lhc": 77.1,
    "t3e.lambda.0.1": 74.9,
    "t3e.lambda.0.2": 76.0,
    "t3e.lambda.0.3": 76.4,
    "t3e.lambda.0.4": 77.1,
    "t3e.lambda.0.5": 77.0,
    "t3f.sigma.0.01": 76.6,
    "t3f.sigma.0.02": 77.1,
    "t3f.sigma.0.03": 76.8,
    "t3f.sigma.0.04": 77.0,
    "t3f.sigma.0.05": 76.3,
    # Tab. 4: memory in GB; since it exceeds one GPU's memory, it is the sum over the GPUs
    "t4.dlv3p.none": 32.85,
    "t4.dlv3p.low": 32.86,
    "t4.dlv3p.both": 34.78,
    "t4.ltf.none": 46.65,
    "t4.ltf.low": 46.67,
    "t4.ltf.both": 48.43,
    # Tab. 5: hours of training on four V100
    "t5.dlv3p.none": 9.0,
    "t5.dlv3p.low": 9.2,
    "t5.dlv3p.both": 9.8,
    "t5.ltf.none": 11.7,
    "t5.ltf.low": 12.2,
    "t5.ltf.both": 12.7,
    # Tab. 6: naive online self-training, VOC, scribbles; with τ = 1 it is the baseline
    "t6.tau.0.5": 7.3,
    "t6.tau.0.6": 7.3,
    "t6.tau.0.7": 7.5,
    "t6.tau.0.8": 56.5,
    "t6.tau.0.9": 70.2,
    "t6.tau.0.95": 70.3,
    "t6.tau.1.0": 68.8,
    # Tab. 7: Pascal VOC, test, scribbles
    "t7.dlv2.tel": 74.8,
    "t7.dlv2.tel_crf": 76.0,
    "t7.ltf.tel": 77.5,
}

README: dict[str, float] = {
    "t1.point.dlv3p.tel": 65.4,
    "t1.point.ltf.tel": 68.0,
    "t1.scribble.dlv3p.tel": 77.6,
    "t1.scribble.ltf.tel": 77.4,
}

# Tab. 2: blocks; by data set, network and method, for 10, 20, 50 and 100 % of the pixels
_BLOCKS: dict[tuple[str, str, str], tuple[float, ...]] = {
    ("cs", "hrnet", "baseline"): (52.8, 58.6, 68.8, 78.2),
    ("cs", "hrnet", "densecrf"): (57.4, 61.8, 70.9),
    ("cs", "hrnet", "tel"): (61.9, 66.9, 72.2),
    ("cs", "dlv3p", "baseline"): (48.4, 52.8, 60.5, 80.2),
    ("cs", "dlv3p", "densecrf"): (55.6, 61.5, 69.3),
    ("cs", "dlv3p", "tel"): (64.8, 67.3, 71.5),
    ("ade", "hrnet", "baseline"): (30.2, 33.1, 37.2, 42.5),
    ("ade", "hrnet", "densecrf"): (31.9, 33.8, 38.4),
    ("ade", "hrnet", "tel"): (33.8, 35.5, 40.0),
    ("ade", "dlv3p", "baseline"): (30.8, 33.4, 36.6, 44.6),
    ("ade", "dlv3p", "densecrf"): (31.2, 34.0, 37.4),
    ("ade", "dlv3p", "tel"): (34.3, 36.0, 39.2),
}
_BLOCKS_README: dict[str, tuple[float, ...]] = {"cs": (61.8, 66.8, 72.2), "ade": (34.7, 36.5, 40.3)}
PERCENTS = (10, 20, 50, 100)

for (_data, _network, _method), _values in _BLOCKS.items():
    for _percent, _value in zip(PERCENTS, _values, strict=False):
        PAPER[f"t2.{_data}.{_network}.b{_percent}.{_method}"] = _value
for _data, _values in _BLOCKS_README.items():
    for _percent, _value in zip(PERCENTS, _values, strict=False):
        README[f"t2.{_data}.hrnet.b{_percent}.tel"] = _value


class Quoted(NamedTuple):
    """A competitor's number that the paper's tables quote."""

    table: str
    annotation: str
    method: str
    network: str
    miou: float


QUOTED: tuple[Quoted, ...] = (
    Quoted("T1", "full", "DeepLabV2", "VGG-16", 71.6),
    Quoted("T1", "full", "DeepLabV2", "ResNet-101", 77.7),
    Quoted("T1", "point", "What's the Point", "", 43.4),
    Quoted("T1", "point", "KernelCut", "", 57.0),
    Quoted("T1", "point", "A2GNN", "", 66.8),
    Quoted("T1", "point", "Seminar", "", 72.5),
    Quoted("T1", "point", "SPML", "", 73.2),
    Quoted("T1", "scribble", "ScribbleSup", "", 63.1),
    Quoted("T1", "scribble", "NormCut", "", 74.5),
    Quoted("T1", "scribble", "DenseCRF", "", 75.0),
    Quoted("T1", "scribble", "KernelCut", "", 75.0),
    Quoted("T1", "scribble", "GridCRF", "", 72.8),
    Quoted("T1", "scribble", "BPG", "", 76.0),
    Quoted("T1", "scribble", "SPML", "", 76.1),
    Quoted("T1", "scribble", "URSS", "", 76.1),
    Quoted("T1", "scribble", "PSI", "", 74.9),
    Quoted("T1", "scribble", "Seminar", "", 76.2),
    Quoted("T1", "scribble", "A2GNN", "", 76.2),
    Quoted("T7", "scribble", "SPML", "", 76.4),
    Quoted("T7", "scribble", "A2GNN", "DeepLabV2", 74.0),
    Quoted("T7", "scribble", "A2GNN", "LTF", 76.1),
)
"""Most of these methods add a CRF after the network, several stages or further data."""

CURVES = {"f7.tel": (5.6, 7.3)}
"""Fig. 7, at the end of training: by how many percentage points the precision of the prediction,
and that of the soft label, is above the baseline's on unlabelled pixels. The text says mIoU."""
