"""How a whole image is given to a network: at which sizes, in one piece or in windows.

The protocols of ``config.Evaluation``. Of all of them the result has the size that is asked for,
that of the labels, and logits are averaged over scales and mirror images there.

Sources: the official code of the Tree Energy Loss squashes Pascal VOC to 512 × 512, takes
Cityscapes whole, and resizes ADE20K's shorter side to 512 and pads to a multiple of 8; sliding
windows are what the LTF repository has. The paper does not say which protocol its tables have.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tel_segmentation.config import Evaluation, Train
from tel_segmentation.data.augment import MEAN, normalize
from tel_segmentation.data.sample import size_of
from tel_segmentation.networks.segmenter import SMALLEST

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Of the official code's multi-scale evaluation, which mirrors, too."""
MULTIPLE = 8
"""To which the protocol ``short-side`` pads."""
BLACK = (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class ProtocolOptions:
    """How each image is given to the network."""

    protocol: Literal["as-trained", "native", "squash", "short-side", "sliding"] = "as-trained"
    """As in training's evaluations; the image's own size; resized to ``protocol-size`` whatever its
    aspect; its shorter side resized to that; or in windows of that size."""
    protocol_size: tuple[int, int] | None = None
    """Height and width for the protocol; of ``short-side`` the first counts. By default the run's
    own where this is its protocol, else its crop."""
    multiple: int | None = None
    """Of native: pad the input's sides to multiples of this with the mean colour; by default as in
    the run's own evaluation where that is native, else not."""
    overlap: float | None = None
    """Part of a sliding window that its neighbour covers, too; by default a third."""
    scales: tuple[float, ...] | None = None
    """Sizes of the input relative to the image; the logits are averaged. The official multi-scale
    protocol is 0.5 0.75 1 1.25 1.5 1.75 2 with --flip."""
    flip: bool = False
    """Average with the prediction of the mirrored image."""

    def evaluation(self, trained: Train) -> Evaluation:
        """The options with what the run has where nothing is said."""
        own = trained.evaluation
        kind = own.protocol if self.protocol == "as-trained" else self.protocol
        usual = own.size if kind == own.protocol else None
        size = self.protocol_size or usual or trained.data.crop
        return Evaluation(
            protocol=kind,
            size=None if kind == "native" else size,
            multiple=self._multiple(own, kind),
            overlap=own.overlap if self.overlap is None else self.overlap,
            scales=self.scales or own.scales,
            flip=self.flip or own.flip,
        )

    def _multiple(self, own: Evaluation, kind: str) -> int:
        if self.multiple is not None:
            return self.multiple
        return own.multiple if kind == own.protocol else 1


def named(name: str, options: Train) -> Evaluation:
    """A protocol by its name in ``config.Train.protocols``.

    Raises:
        ValueError: there is no such protocol.
    """
    own = options.evaluation
    # The official scripts' last evaluation is multi-scale and mirrored of Pascal VOC alone.
    squashed = own.protocol == "squash"
    single = Evaluation(multiple=options.model.coarsest_stride)
    known = {
        "ss": single,
        "msf": dataclasses.replace(single, scales=SCALES, flip=True),
        "official": dataclasses.replace(own, scales=SCALES, flip=True) if squashed else own,
    }
    if name not in known:
        raise ValueError(f"protocols must be of {', '.join(known)}, got {name!r}")
    return known[name]


def check(options: Evaluation) -> None:
    """Raises a ValueError for what no evaluation can have."""
    if not options.scales or not all(0 < scale < math.inf for scale in options.scales):
        raise ValueError(f"evaluation.scales must be positive, got {options.scales}")
    if options.multiple < 1 or (options.multiple > 1 and options.protocol != "native"):
        raise ValueError(
            "evaluation.multiple must be at least 1, and 1 for other protocols than native, got"
            f" {options.multiple} for {options.protocol}"
        )
    if options.protocol == "native":
        return
    if options.size is None or min(options.size) < SMALLEST:
        raise ValueError(
            f"evaluation.size must be at least {SMALLEST} × {SMALLEST} for the protocol"
            f" {options.protocol}, got {options.size}"
        )
    if not 0 <= options.overlap < 1:
        raise ValueError(f"evaluation.overlap must be in [0, 1), got {options.overlap}")


def predict_logits(
    model: nn.Module,
    images: Tensor,
    options: Evaluation | None = None,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Logits at any size, averaged over scales and mirror images.

    Args:
        model: in eval mode; normalised input → full-resolution logits.
        images: (B, 3, H, W) uint8 on the model's device.
        options: the protocol; by default the images as they are. A side of the input is at least 32
            pixels whatever the scale.
        size: of the result; the images' by default.

    Returns:
        (B, K, *size), float32.

    Raises:
        ValueError: images of another type, or options that no evaluation can have.
    """
    options = options or Evaluation()
    check(options)
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(
            "predict_logits: images must be (B, 3, H, W) uint8,"
            f" got {tuple(images.shape)} {images.dtype}"
        )
    own = size_of(images)
    guide, total = images.float() / 255, torch.zeros((), device=images.device)
    base = _base(own, options)
    # The official code resizes bicubically where it resizes at all.
    mode = "bicubic" if options.protocol in ("squash", "short-side") else "bilinear"
    for scale in options.scales:
        scaled = max(round(base[0] * scale), SMALLEST), max(round(base[1] * scale), SMALLEST)
        inputs = resized(guide, scaled, mode).clamp(0, 1)
        logits = _mirrored(model, inputs, options)
        total = total + resized(logits, size or own, mode)
    return total / len(options.scales)


def _base(own: tuple[int, int], options: Evaluation) -> tuple[int, int]:
    """The size of the network's input at scale 1."""
    if options.protocol == "squash" and options.size is not None:
        return options.size
    if options.protocol == "short-side" and options.size is not None:
        factor = options.size[0] / min(own)
        return round(own[0] * factor), round(own[1] * factor)
    return own


def _mirrored(model: nn.Module, inputs: Tensor, options: Evaluation) -> Tensor:
    """Logits of images in [0, 1], at their size."""

    def run(part: Tensor) -> Tensor:
        logits: Tensor = model(normalize(part)).float()
        if options.flip:
            logits = (logits + model(normalize(part.flip(-1))).float().flip(-1)) / 2
        return logits

    if options.protocol == "sliding" and options.size is not None:
        return _sliding(run, inputs, options.size, options.overlap)
    height, width = size_of(inputs)
    multiple = MULTIPLE if options.protocol == "short-side" else options.multiple
    whole = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
    if whole == (height, width):
        return run(inputs)
    # The official code pads with black; what is of the mean colour is 0 for the network.
    color = BLACK if options.protocol == "short-side" else MEAN
    return run(_padded(inputs, whole, color))[..., :height, :width]


def _sliding(
    run: Callable[[Tensor], Tensor], inputs: Tensor, window: tuple[int, int], overlap: float
) -> Tensor:
    """Logits averaged over windows that cover the image, the last ones at its border."""
    height, width = size_of(inputs)
    inputs = _padded(inputs, (max(height, window[0]), max(width, window[1])))
    total: Tensor | None = None
    count = inputs.new_zeros(1, 1, *size_of(inputs))
    for top in _starts(inputs.shape[-2], window[0], overlap):
        for left in _starts(inputs.shape[-1], window[1], overlap):
            place = (..., slice(top, top + window[0]), slice(left, left + window[1]))
            logits = run(inputs[place])
            if total is None:
                total = logits.new_zeros(*logits.shape[:2], *size_of(inputs))
            total[place] += logits
            count[place] += 1
    assert total is not None  # there is always a window
    return (total / count)[..., :height, :width]


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """Evenly spaced starts of windows that overlap by at least that part."""
    step = max(1, int(window * (1 - overlap)))
    count = -(-(length - window) // step) + 1
    return [round(i * (length - window) / max(count - 1, 1)) for i in range(count)]


def _padded(
    inputs: Tensor, size: tuple[int, int], color: tuple[float, float, float] = BLACK
) -> Tensor:
    """One colour at the right and below; black, as training pads."""
    height, width = size_of(inputs)
    padded = inputs.new_tensor(color).view(3, 1, 1).expand(*inputs.shape[:-2], *size).clone()
    padded[..., :height, :width] = inputs
    return padded


def resized(values: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """Values at another size; where that is smaller, bicubic ones are antialiased."""
    if size_of(values) == size:
        return values
    smooth = mode == "bicubic"
    return F.interpolate(values, size, mode=mode, align_corners=False, antialias=smooth)
