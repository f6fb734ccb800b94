"""The command ``tel predict``: segments images with a trained network."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm
from tyro.conf import Positional

from tel_segmentation.config import Data
from tel_segmentation.data.aspect import size_for
from tel_segmentation.data.datasets.voc import Voc
from tel_segmentation.data.datasets.voc_classes import palette
from tel_segmentation.data.image_files import IMAGE_SUFFIXES, read_image
from tel_segmentation.data.sample import size_of
from tel_segmentation.evaluation.pictures import Rgb, indexed, legend, overlay
from tel_segmentation.evaluation.postprocess import DenseCrf
from tel_segmentation.evaluation.protocols import ProtocolOptions, predict_logits
from tel_segmentation.evaluation.trained import Trained, Which, load_trained
from tel_segmentation.runtime.checkpoint import write_atomically
from tel_segmentation.runtime.distributed import pick_device

VOC_TEST = Path("results/VOC2012/Segmentation/comp6_test_cls")
"""Where the VOC server expects the results of competition 6, which allows any training data."""


@dataclass(frozen=True)
class Predict(ProtocolOptions):
    """Segment images: indexed PNGs (pixel value = class) and overlays."""

    run: Positional[Path]
    """A run's folder, or a checkpoint file."""
    images: Positional[tuple[Path, ...]] = ()
    """Images, or folders of images."""
    output: Path = Path("predictions")
    """Folder for labels/NAME.png and overlays/NAME.jpg; NAME is that of the image without its
    suffix, or with it if there are several of that name."""
    voc_test: Path | None = None
    """Pascal VOC's folder. Its test images are segmented, and the output has the folders that the
    VOC server expects (results/VOC2012/Segmentation/comp6_test_cls)."""
    which: Which = "last"
    """The last iterate, or the best on the validation set (both with averaged weights if the run
    averages them); or the last without averaging (raw)."""
    size: tuple[int, int] | None = None
    """Height and width of the network's input; by default as in training, or the image's own size
    if training does not resize. Images keep their aspect ratio if they did in training
    (--data.keep-aspect). The result always has the image's size."""
    crf: bool = False
    """Refine the prediction with a dense CRF (needs pydensecrf2)."""
    overlay: Literal["jpg", "png", "none"] = "jpg"
    """Format of the overlay: the image with the classes' colours over it."""
    limit: int | None = None
    """Number of images that are segmented, for rehearsals; by default all."""
    opacity: float = 0.5
    """Opacity of these colours, in [0, 1]."""
    outlines: bool = False
    """Draw a line in full colour around every region of the overlay."""
    legend: bool = False
    """Below the overlay, the names of the classes in it."""
    confidence: bool = False
    """Also write confidence/NAME.png: the probability of the class, 0 to 1 as 0 to 255. Networks
    are often too sure of themselves."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``."""


def run(options: Predict) -> int:
    """The command ``tel predict``.

    Returns:
        The exit code: 0, or 1 if an image could not be read. The command names and skips it.

    Raises:
        ValueError: no image is given, or an output would overwrite an input.
    """
    if not 0 <= options.opacity <= 1:
        raise ValueError(f"opacity must be in [0, 1], got {options.opacity}")
    if options.voc_test is not None:
        options = voc_server(options)
    jobs = _jobs(options)
    trained = load_trained(options.run, options.which, options.device)
    postprocess = None
    if options.crf:
        postprocess = DenseCrf()
    failed = 0
    for path, stem in tqdm(jobs, unit="img", desc="predict", disable=None):
        try:
            # Pascal VOC's labels fit the pixels as stored, whatever orientation the EXIF data say.
            image = read(path, upright=options.voc_test is None)
            logits = _logits(trained, image, options)
            if postprocess is not None:
                # As logits again, so that they are of one kind everywhere below.
                logits = postprocess(image, logits.softmax(0).cpu()).log()
            label = logits.max(0).indices.cpu()  # faster than argmax on a CPU
            confidence = _confidence(logits) if options.confidence else None
        except (ValueError, MemoryError, RuntimeError) as error:
            failed += 1
            tqdm.write(f"skipped: {_why(path, error)}", file=sys.stderr)
            continue
        _write(options, stem, image, label, confidence, trained)
    done = len(jobs) - failed
    print(f"{done} of {len(jobs)} images segmented: {options.output}")
    return 1 if failed else 0


def _why(path: Path, error: Exception) -> str:
    """Why an image is skipped. Other errors than of the file and of memory are raised again."""
    if isinstance(error, ValueError):
        return str(error)
    # torch says so in a RuntimeError on a CPU, and in a class of its own on a GPU.
    words = ("allocate", "out of memory", "bad_alloc", "numel", "too large")
    if not isinstance(error, MemoryError) and not any(word in str(error) for word in words):
        raise error
    return (
        f"{path} must fit into memory, is too large; a smaller --size, or --protocol sliding, needs"
        " less"
    )


def voc_server(options: Predict) -> Predict:
    """The same options with the test images of Pascal VOC, and only the output for its server.

    Raises:
        ValueError: other images are given, too, or the test images do not exist.
    """
    if options.images or options.voc_test is None:
        raise ValueError("images must not be given together with --voc-test, which has its own")
    test = Voc(options.voc_test, "test", Data())
    images = tuple(test.images[name] for name in test.names)
    return dataclasses.replace(options, images=images, overlay="none")


def read(path: Path, upright: bool = True) -> Tensor:
    """An image file as (3, H, W) uint8; see ``image_files.read_image``."""
    pixels = np.array(read_image(path, upright=upright))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _jobs(options: Predict) -> list[tuple[Path, str]]:
    """Each input with the stem of its outputs."""
    paths = list(dict.fromkeys(path for given in options.images for path in _expand(given)))
    if not paths:
        given = ", ".join(map(str, options.images))
        raise ValueError(f"images must name images, got none in {given}")
    inputs = {path.resolve() for path in paths}
    jobs = list(zip(paths, _names(paths), strict=True))[: options.limit]
    for _, stem in jobs:
        for target in _targets(options, stem):
            if target.resolve() in inputs:
                raise ValueError(f"output must not overwrite an input, got {target}")
    return jobs


def _names(paths: Sequence[Path]) -> list[str]:
    """Different names for the outputs: stems, or where these are the same, more of the path."""
    names = [path.stem for path in paths]
    for longer in (lambda path: path.name, lambda path: f"{path.parent.name}-{path.name}"):
        twice = _twice(names)
        names = [
            longer(path) if name.casefold() in twice else name
            for path, name in zip(paths, names, strict=True)
        ]
    twice = _twice(names)
    return [
        f"{number}-{name}" if name.casefold() in twice else name
        for number, name in enumerate(names, 1)
    ]


def _twice(names: Sequence[str]) -> set[str]:
    """Names that occur more than once, also where upper and lower case are the same."""
    counts = Counter(name.casefold() for name in names)
    return {name for name, count in counts.items() if count > 1}


def _expand(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for each in sorted(path.iterdir()):  # a link to nothing, too: it is named and skipped
        if each.name[0] != "." and each.suffix.lower() in IMAGE_SUFFIXES and not each.is_dir():
            yield each


def _targets(options: Predict, stem: str) -> list[Path]:
    folder = "labels" if options.voc_test is None else VOC_TEST
    targets = [options.output / folder / f"{stem}.png"]
    if options.overlay != "none":
        targets.append(options.output / "overlays" / f"{stem}.{options.overlay}")
    if options.confidence:
        targets.append(options.output / "confidence" / f"{stem}.png")
    return targets


@torch.no_grad()
def _logits(trained: Trained, image: Tensor, options: Predict) -> Tensor:
    """(K, H, W) at the image's own size."""
    own, data = size_of(image), trained.config.data
    size = size_for(own, options.size or data.size, data.keep_aspect) or own
    given = np.asarray(image.permute(1, 2, 0))
    picture = Image.fromarray(given).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    resized = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    device = pick_device(options.device)
    evaluation = options.evaluation(trained.config)
    return predict_logits(trained.model, resized.to(device), evaluation, own)[0]


def _confidence(logits: Tensor) -> Tensor:
    """The probability of each pixel's class, 0 to 255."""
    probability = (logits.amax(0) - logits.logsumexp(0)).exp()
    return (255 * probability).round().to(torch.uint8).cpu()


def _write(
    options: Predict,
    stem: str,
    image: Tensor,
    label: Tensor,
    confidence: Tensor | None,
    trained: Trained,
) -> None:
    picture = indexed(label, trained.colors)
    if options.voc_test is not None:
        picture.putpalette(palette())
    pictures = [picture]
    if options.overlay != "none":
        pictures.append(Image.fromarray(_overlay(options, image, label, trained)))
    if confidence is not None:
        pictures.append(Image.fromarray(confidence.numpy()))
    for picture, file in zip(pictures, _targets(options, stem), strict=True):
        _save(picture, file)


def _overlay(options: Predict, image: Tensor, label: Tensor, trained: Trained) -> Rgb:
    """The colours over the image, with lines and a legend if they are wanted."""
    height, width = label.shape
    thickness = max(1, max(height, width) // 300) if options.outlines else 0
    drawn = overlay(image, label, trained.colors, options.opacity, thickness)
    if not options.legend:
        return drawn
    found = [int(k) for k in label.unique()]
    names, colors = [trained.classes[k] for k in found], [trained.colors[k] for k in found]
    below = legend(names, colors, width, max(11, max(height, width) // 45))
    return np.concatenate([drawn, below])


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "JPEG" if path.suffix == ".jpg" else "PNG"
    write_atomically(path, lambda file: picture.save(file, format=kind, quality=92))
