"""Every method that the paper's tables name, and whether this package has it."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["implemented", "inspired by", "quoted only"]


class Method(NamedTuple):
    """A method of the tables."""

    name: str
    state: State
    id: str  # of an experiment that runs it, or the option that selects it
    why: str


METHODS: tuple[Method, ...] = (
    Method("baseline (partial cross entropy)", "implemented", "t1.scribble.dlv3p.baseline", ""),
    Method("full supervision", "implemented", "t1.full.dlv3p", ""),
    Method(
        "TEL (tree energy loss)",
        "implemented",
        "t1.scribble.dlv3p.tel",
        "with its variants: δ, levels, aggregation, λ, σ",
    ),
    Method("LTF (learnable tree filter)", "implemented", "t1.full.ltf", "as the network"),
    Method("DeepLabV3+", "implemented", "t1.full.dlv3p", "as the network"),
    Method("HRNet", "implemented", "t2.cs.hrnet.b100.baseline", "as the network"),
    Method(
        "DeepLabV2",
        "implemented",
        "t7.dlv2.tel",
        "as the network, by the recipe of DeepLabV3+; its own numbers (71.6 with VGG-16, 77.7 with"
        " multi-scale training, COCO and a CRF) are quoted only",
    ),
    Method(
        "TEL with Seminar",
        "inspired by",
        "t1.point.dlv3p.tel_seminar",
        "Seminar's code is private: a first stage with a mean teacher beside TEL (decay 0.99, then"
        " 0.999 from a quarter of the training on), with the seeds s and s + 1; then, as the"
        " result, a fresh network that learns from TEL and from the labels on which both teachers"
        " agree with a confidence above 0.9 (`--loss.teachers`). 74.2 is not to be expected",
    ),
    Method(
        "Seminar",
        "quoted only",
        "",
        "the code is private; what is public of it is in the row above, with TEL",
    ),
    Method(
        "DenseCRF loss",
        "implemented",
        "t2.cs.hrnet.b20.densecrf",
        "normalised, so that the weight does not depend on the number of pixels; the sum over pairs"
        " is exact on a prediction averaged to 4096 pixels, where rloss filters at half resolution",
    ),
    Method(
        "NormCut",
        "implemented",
        "--loss.method norm_cut",
        "not a row that is run: the paper quotes its authors' number",
    ),
    Method(
        "KernelCut",
        "implemented",
        "--loss.method kernel_cut",
        "not a row that is run: the paper quotes its authors' number",
    ),
    Method(
        "GridCRF",
        "inspired by",
        "--loss.method grid_crf",
        "the Potts energy by gradient descent; its authors alternate with graph cuts",
    ),
    Method("BF (bilateral filter in place of the low level)", "implemented", "t3c.low.bf",
           "parameters are rloss's, as the paper says no other"),
    Method("NL (non-local block in place of the high level)", "implemented", "t3c.high.nl",
           "embedded Gaussian on F; the paper does not state the width of the embeddings"),
    Method(
        "naive online self-training",
        "implemented",
        "t6.tau.0.9",
        "weight λ = 0.4, which the paper does not state",
    ),
    Method(
        "DenseCRF (post-processing)",
        "implemented",
        "t7.dlv2.tel_crf",
        "on the image's own bytes; the official code feeds it a normalised image",
    ),
    Method("What's the Point", "quoted only", "", "VGG-16; needs an objectness prior"),
    Method("ScribbleSup", "quoted only", "", "VGG-16; alternates with graph cuts on superpixels"),
    Method("A2GNN", "quoted only", "", "seed labels, one graph network an image, retraining, CRF"),
    Method(
        "SPML",
        "quoted only",
        "",
        "needs an over-segmentation by learnt edges (HED) and retrieval at inference",
    ),
    Method("BPG", "quoted only", "", "learns from the edges of another data set"),
    Method("URSS", "quoted only", "", "random walks on features in three stages, CRF at inference"),
    Method("PSI", "quoted only", "", "iterated propagation of context, then label diffusion"),
)  # fmt: skip
