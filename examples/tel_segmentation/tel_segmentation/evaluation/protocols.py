"""Evaluation protocols: at which sizes a network sees an image, whole or in windows.

``config.Evaluation`` selects the protocol. The logits are resized to the requested size, usually
that of the labels, and there averaged over scales and mirrored images.

Sources: the official code of the Tree Energy Loss resizes Pascal VOC to 512 × 512 without keeping
the aspect ratio, uses whole images of Cityscapes, and for ADE20K resizes the shorter side to 512
and pads to a multiple of 8. Sliding windows are from the LTF repository. The paper does not say
which protocol its tables use.
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
"""Scales of the official code's multi-scale evaluation, which also mirrors images."""
MULTIPLE = 8
"""The protocol ``short-side`` pads sides to multiples of this."""
BLACK = (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class ProtocolOptions:
    """At which size, and how often, the network sees each image."""

    protocol: Literal["as-trained", "native", "squash", "short-side", "sliding"] = "as-trained"
    """as-trained: as in the evaluations during training; native: the image's own size; squash:
    resized to --protocol-size, without keeping the aspect ratio; short-side: the shorter side
    resized to it; sliding: windows of this size, which are turned for images of the other
    orientation that are smaller."""
    protocol_size: tuple[int, int] | None = None
    """Height and width for the protocol; short-side uses the first. By default the run's own size
    if its evaluations during training use this protocol, else its crop."""
    multiple: int | None = None
    """For native: pad the input with the mean colour until its sides are multiples of this. By
    default as in the run's own evaluation if that is native; otherwise there is no padding."""
    overlap: float | None = None
    """Fraction of a sliding window that overlaps the next one; by default as in the run."""
    scales: tuple[float, ...] | None = None
    """Sizes of the input relative to the image; logits are averaged over them. The official
    multi-scale protocol is 0.5 0.75 1 1.25 1.5 1.75 2 with --flip."""
    flip: bool = False
    """Average with the prediction of the mirrored image."""

    def evaluation(self, trained: Train) -> Evaluation:
        """The protocol; options that are not given are those of the run."""
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
    # Only for Pascal VOC do the official scripts end with scales and mirrored images.
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
    """Raises a ValueError if a value is not possible in any evaluation."""
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
    """Logits at any size, averaged over scales and mirrored images.

    Args:
        model: in eval mode; normalised input → full-resolution logits.
        images: (B, 3, H, W) uint8 on the model's device.
        options: the protocol; by default each image at its own size. At every scale, a side of the
            input has at least 32 pixels.
        size: height and width of the result; by default those of the images.

    Returns:
        (B, K, *size), float32.

    Raises:
        ValueError: images have another shape or dtype, or an option is invalid.
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
    # Where the official code resizes, it does so bicubically.
    mode = "bicubic" if options.protocol in ("squash", "short-side") else "bilinear"
    for scale in options.scales:
        scaled = max(round(base[0] * scale), SMALLEST), max(round(base[1] * scale), SMALLEST)
        inputs = resized(guide, scaled, mode).clamp(0, 1)
        logits = _logits_at_scale(model, inputs, options)
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


def _logits_at_scale(model: nn.Module, inputs: Tensor, options: Evaluation) -> Tensor:
    """Logits of images in [0, 1], at their size, as the protocol asks: in windows, mirrored."""

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
    # The official code pads with black. The mean colour is 0 after normalisation.
    color = BLACK if options.protocol == "short-side" else MEAN
    return run(_padded(inputs, whole, color))[..., :height, :width]


def _sliding(
    run: Callable[[Tensor], Tensor], inputs: Tensor, window: tuple[int, int], overlap: float
) -> Tensor:
    """Logits averaged over windows that cover the image; the last ones end at its border.

    A window that is larger than the image is turned by 90° if there is less to pad then: a portrait
    is looked at by upright windows.
    """
    height, width = size_of(inputs)
    window = min(window, window[::-1], key=lambda x: max(height, x[0]) * max(width, x[1]))
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
    """Evenly spaced starts of windows that overlap by at least the fraction ``overlap``."""
    step = max(1, int(window * (1 - overlap)))
    count = -(-(length - window) // step) + 1
    return [round(i * (length - window) / max(count - 1, 1)) for i in range(count)]


def _padded(
    inputs: Tensor, size: tuple[int, int], color: tuple[float, float, float] = BLACK
) -> Tensor:
    """Pads with a colour on the right and below; by default black, as in training."""
    height, width = size_of(inputs)
    padded = inputs.new_tensor(color).view(3, 1, 1).expand(*inputs.shape[:-2], *size).clone()
    padded[..., :height, :width] = inputs
    return padded


def resized(values: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """Resizes values; bicubic interpolation to a smaller size is antialiased."""
    if size_of(values) == size:
        return values
    smooth = mode == "bicubic"
    return F.interpolate(values, size, mode=mode, align_corners=False, antialias=smooth)
