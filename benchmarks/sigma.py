"""How much of an image a pixel averages over, for each σ: the numbers behind docs/sigma.md.

    python sigma.py            # measures: writes results/sigma.json, its page, the table there
    python sigma.py --report   # page and table again, from the file that is there

The *mass* of pixel i is z_i = Σ_j A_ij, what `tf.filter` divides by: the number of pixels that it
averages over, each counted by its affinity. Its median over the pixels, as a share of the image,
says what a σ means on that image, whatever the guide and the metric.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable

import numpy as np
import report
import skimage.color
import torch
from inputs import native_photograph

import treefilter as tf

FILE, PAGE = report.RESULTS / "sigma.json", report.RESULTS / "sigma.md"
GUIDELINE = report.ROOT / "docs/sigma.md"
PHOTOGRAPHS = "astronaut", "chelsea", "coffee", "rocket"
METRICS = "sqeuclidean", "euclidean", "cityblock", "chebyshev", "cosine"
SIGMAS = [float(f"{10 ** (k / 4):.4g}") for k in range(-24, 17)]  # 10⁻⁶ … 10⁴
SHARES = 0.001, 0.01, 0.1
NETWORK = "tf_efficientnet_lite0"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
GUIDES = {
    "RGB": "RGB in [0, 1]",
    "Lab": "CIELAB, L ≤ 100",
    "features": "network features, std 1",
}
EXCERPT = (
    ("RGB", "sqeuclidean"),
    ("RGB", "euclidean"),
    ("Lab", "euclidean"),
    ("features", "cosine"),
)
NOTE = f"""\
Geometric mean over {", ".join(PHOTOGRAPHS)} of scikit-image (smallest to largest). Features of
EfficientNet-Lite0 at a quarter of the resolution. [All metrics](../benchmarks/results/sigma.md).
"""
INTRODUCTION = f"""\
# What a σ means

Made by `make bench-sigma` from `sigma.json` beside this page; nothing here is typed.

The mass of a pixel, `tf.filter` of ones with `normalize=False`, is the number of pixels that it averages
over, each counted by its affinity. The table says at which σ the median mass is so much of the image:
the geometric mean over {", ".join(PHOTOGRAPHS)} of scikit-image, and in parentheses the smallest and the
largest. The trees are 4-connected. Features are those of EfficientNet-Lite0, trained on ImageNet: 24 channels
at a quarter of the resolution, divided by the standard deviation of all their values.

"""  # noqa: E501


def features(image: torch.Tensor) -> torch.Tensor:
    """(1, 3, H, W) in [0, 1] -> (1, 24, H/4, W/4) of a network trained on ImageNet, scaled."""
    from tel_segmentation.networks.pretrained import load_backbone  # isort: skip
    import timm

    network = timm.create_model(NETWORK, pretrained=False, features_only=True, out_indices=(1,))
    load_backbone(network, NETWORK, "package")
    height, width = (side // 32 * 32 for side in image.shape[-2:])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        result = network.eval()(((image - mean) / std)[..., :height, :width])[0]
    return result / result.std()


def guide(name: str, kind: str) -> torch.Tensor:
    """(1, C, H, W)."""
    image = native_photograph(name)
    if kind == "features":
        return features(image)
    if kind == "Lab":
        lab = skimage.color.rgb2lab(image[0].permute(1, 2, 0).numpy())
        return torch.from_numpy(lab).permute(2, 0, 1)[None].float()
    return image


def median_shares(image: torch.Tensor, metric: str, sigmas: Iterable[float]) -> list[float]:
    """The median mass of a pixel as a share of the image, for each σ."""
    graph = tf.grid(*image.shape[-2:])
    weight = tf.edge_weight(image, graph, metric)
    tree = tf.mst(weight, graph)
    ones = torch.ones(1, 1, graph.num_nodes, dtype=torch.float64)
    return [
        tf.filter(ones, tree, tf.affinity(weight.double(), tree, sigma), normalize=False)
        .median()
        .item()
        / graph.num_nodes
        for sigma in sigmas
    ]


def measure() -> dict:
    """Every guide, metric and photograph; four digits."""
    shares: dict = {kind: {metric: {} for metric in METRICS} for kind in GUIDES}
    for kind in GUIDES:
        for name in PHOTOGRAPHS:
            image = guide(name, kind)
            for metric in METRICS:
                values = median_shares(image, metric, SIGMAS)
                shares[kind][metric][name] = [float(f"{value:.4g}") for value in values]
            print(f"measured {kind}, {name}", file=sys.stderr)
    return {"sigma": SIGMAS, "share": shares}


def sigma_for(sigmas: list[float], shares: list[float], share: float) -> float:
    """σ where the curve reaches a share: between its points a straight line in logarithms."""
    if not shares[0] < share < shares[-1]:
        raise ValueError(f"sigma_for: share must be in ({shares[0]}, {shares[-1]}), got {share}")
    return float(np.exp(np.interp(np.log(share), np.log(shares), np.log(sigmas))))


def number(value: float) -> str:
    """Two digits, never an exponent."""
    return np.format_float_positional(value, 2, unique=False, fractional=False, trim="-")


def row(content: dict, kind: str, metric: str) -> list[str]:
    """Guide, metric, and for each share the mean and the range of σ over the photographs."""
    cells = [GUIDES[kind], f"`{metric}`"]
    for share in SHARES:
        curves = content["share"][kind][metric].values()
        sigmas = [sigma_for(content["sigma"], curve, share) for curve in curves]
        mean = float(np.exp(np.log(sigmas).mean()))
        cells.append(f"{number(mean)} ({number(min(sigmas))} to {number(max(sigmas))})")
    return cells


def table(content: dict, rows: Iterable[tuple[str, str]]) -> str:
    head = ["guide", "metric", *(f"σ for {100 * share:g} %" for share in SHARES)]
    return report.table(head, [row(content, kind, metric) for kind, metric in rows])


def excerpt(content: dict) -> str:
    """The table of docs/sigma.md."""
    return f"{table(content, EXCERPT)}\n{NOTE}"


def page(content: dict) -> str:
    """All guides and metrics; the curves are in the file."""
    return INTRODUCTION + table(content, [(kind, metric) for kind in GUIDES for metric in METRICS])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--report", action="store_true", help="do not measure")
    options = parser.parse_args()
    if not options.report:
        text = json.dumps(measure(), indent=1) + "\n"
        FILE.write_text(re.sub(r"\s+(?=[\d\]])", " ", text), encoding="utf-8")  # a curve, a line
    content = json.loads(FILE.read_text(encoding="utf-8"))
    PAGE.write_text(page(content), encoding="utf-8")
    text = GUIDELINE.read_text(encoding="utf-8")
    GUIDELINE.write_text(report.insert(text, excerpt(content), "sigma"), encoding="utf-8")
    for path in (PAGE, GUIDELINE):
        print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
