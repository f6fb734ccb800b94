"""Generated scenes, whose classes differ in texture, not in colour.

A scene is a background with patches of other colours. Objects, some of them thin, are painted over
it and over each other; the light is uneven, and there is noise. A class is a texture. The colour of
an object is drawn at random for all classes alike, and some objects take the colour of what is
behind them. So a network has to use the neighbourhood of a pixel. Edges of colour are no sure sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from tel_segmentation.data.annotations import points, scribbles
from tel_segmentation.data.blocks import blocks
from tel_segmentation.data.regions import VOID
from tel_segmentation.data.sample import UNLABELLED, Sample, Source

FIRST_SEED = {"train": 1_000_000, "val": 2_000_000, "test": 3_000_000}
TWO_TONE = 2.0  # how steeply a texture changes between its two colours; 1 is a sine
MOST = 1_000_000  # the most scenes of a split, so that no two splits share a seed
UNIT = 64  # the shorter side, in pixels, for which the lengths in this file are stated

CLASSES = ("background", "horizontal stripes", "vertical stripes", "checker", "dots", "grain")
COLORS = (
    (70, 78, 90),
    (230, 97, 80),
    (64, 145, 220),
    (245, 190, 65),
    (88, 180, 120),
    (165, 105, 200),
)

Image = NDArray[np.float32]  # (H, W) or (H, W, 3)
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Preset:
    """The options of a scene, which make it easy or hard."""

    camouflage: float = 0.3
    """Probability that an object takes the colour of what is behind it."""
    amplitude: tuple[float, float] = (0.03, 0.10)
    """Range of the contrast of textures, per channel, in units of colours in [0, 1]."""
    noise: float = 0.012
    """Standard deviation of the camera's noise."""
    objects: tuple[int, int] = (4, 7)
    """Range of the number of objects painted."""
    correlation: float = 0.0
    """Fraction of an object's colour that its class determines; the rest is random."""


PRESETS: dict[str, Preset] = {
    "easy": Preset(camouflage=0.1, amplitude=(0.02, 0.07)),
    "default": Preset(),
    "hard": Preset(camouflage=0.5, amplitude=(0.05, 0.12)),
    "adverse": Preset(camouflage=0.9, amplitude=(0.1, 0.2), noise=0.05),
    "colour_correlated": Preset(correlation=0.5),
}


class Scene(NamedTuple):
    """A generated scene."""

    image: NDArray[np.uint8]  # (H, W, 3)
    label: NDArray[np.uint8]  # (H, W): class
    instance: NDArray[np.int32]  # (H, W): 0 background, then its patches, then objects
    patches: int  # number of patches of other colours in the background


def scene(seed: int, preset: str | Preset = "default", size: tuple[int, int] = (64, 64)) -> Scene:
    """Generates a scene: a pure function of the arguments, on one kind of processor.

    Args:
        seed: not negative; positions and shapes depend on nothing else.
        preset: a name in ``PRESETS``, or a preset.
        size: height and width, at least 16; lengths are in proportion to the smaller one.

    Raises:
        ValueError: an argument is out of its range.
    """
    if isinstance(preset, str) and preset not in PRESETS:
        raise ValueError(f"scene: preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    if min(size) < 16:
        raise ValueError(f"scene: size must be at least 16 × 16, got {size}")
    if seed < 0:
        raise ValueError(f"scene: seed must not be negative, got {seed}")
    chosen = PRESETS[preset] if isinstance(preset, str) else preset
    return _Painter(chosen, size, np.random.default_rng(seed)).paint()


class Scenes(Source):
    """A split of generated scenes, which are generated once and kept in memory.

    Args:
        preset: a name in ``PRESETS``.
        split: ``train``, ``val`` or ``test``: no scene is in two of them.
        count: number of scenes.
        size: height and width.
        annotation: ``dense``, ``point``, ``scribble``, ``block10``, ``block20`` or ``block50``.
            Half of the background's patches get no point.
        seed: of the annotations; the scenes are the same for every seed.

    Raises:
        ValueError: an argument is out of its range.
    """

    classes: tuple[str, ...] = CLASSES
    colors: tuple[tuple[int, int, int], ...] = COLORS

    def __init__(
        self, preset: str, split: str, count: int, size: tuple[int, int], annotation: str, seed: int
    ) -> None:
        if split not in FIRST_SEED:
            raise ValueError(f"Scenes: split must be one of {', '.join(FIRST_SEED)}, got {split!r}")
        if not 0 <= count <= MOST:
            raise ValueError(f"Scenes: count must be 0 to {MOST}, got {count}")
        self._split = split
        first = FIRST_SEED[split]
        self._scenes = [scene(first + index, preset, size) for index in range(count)]
        self._labels = [
            annotate(made, annotation, np.random.default_rng((seed, first + index)))
            for index, made in enumerate(self._scenes)
        ]

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> Sample:
        made = self._scenes[index]
        label = torch.from_numpy(self._labels[index].astype(np.int64))
        return Sample(
            name=f"{self._split}_{range(len(self))[index]:05d}",
            image=torch.from_numpy(made.image).permute(2, 0, 1).contiguous(),
            label=torch.where(label == VOID, UNLABELLED, label),
            truth=torch.from_numpy(made.label.astype(np.int64)),
        )


def annotate(made: Scene, annotation: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A scene's labels for training: (H, W), 255 unlabelled.

    Args:
        made: the scene.
        annotation: as for ``Scenes``.
        rng: the source of randomness.

    Raises:
        ValueError: the annotation is unknown.
    """
    if annotation == "dense":
        return made.label
    if annotation == "point":
        seen = made.instance.copy()
        for patch in range(1, made.patches + 1):
            if rng.random() < 0.5:
                seen[seen == patch] = -1
        return points(made.label, seen, rng)
    if annotation == "scribble":
        return scribbles(made.label, made.instance, rng)
    if annotation in ("block10", "block20", "block50"):
        ratio = int(annotation.removeprefix("block")) / 100
        return blocks(made.label, ratio, seed=int(rng.integers(2**63)))
    raise ValueError(
        "Scenes: annotation must be dense, point, scribble, block10, block20 or block50,"
        f" got {annotation!r}"
    )


class _Painter:
    """Paints one scene, from the back to the front."""

    def __init__(self, preset: Preset, size: tuple[int, int], rng: np.random.Generator) -> None:
        self.preset, self.size, self.rng = preset, size, rng
        self.unit = min(size) / UNIT
        self.y, self.x = np.mgrid[: size[0], : size[1]].astype(np.float32)
        self.canvas = np.zeros((*size, 3), np.float32)
        self.label = np.zeros(size, np.uint8)
        self.instance = np.zeros(size, np.int32)
        self.painted = 0

    def paint(self) -> Scene:
        """The whole scene, from the back to the front."""
        rng = self.rng
        self.put(np.ones(self.size, bool), 0, camouflage=0)
        patches = int(rng.integers(1, 2, endpoint=True))
        for _ in range(patches):
            self.put(self.blob(0.25, 0.45) > 0, 0, camouflage=0)
        for _ in range(int(rng.integers(*self.preset.objects, endpoint=True))):
            mask = self.band() if rng.random() < 0.2 else self.blob(0.14, 0.32) > 0
            self.put(mask, int(rng.integers(1, len(CLASSES))), self.preset.camouflage)
        image = self.canvas * self.light()[..., None]
        image += self.preset.noise * rng.standard_normal(image.shape, np.float32)
        eight_bit = np.rint(255 * image.clip(0, 1)).astype(np.uint8)
        return Scene(eight_bit, self.label, self.instance, patches)

    def put(self, mask: Mask, value: int, camouflage: float) -> None:
        """Paints an object over the canvas."""
        rng = self.rng
        base = rng.uniform(0.2, 0.8, 3)
        part = self.preset.correlation
        base = (1 - part) * base + part * (0.2 + 0.6 * np.array(COLORS[value]) / 255)
        hides, error = rng.random() < camouflage, 0.02 * rng.standard_normal(3)
        amplitude = rng.uniform(*self.preset.amplitude)
        direction = rng.standard_normal(3)
        direction *= math.sqrt(3) / np.linalg.norm(direction)
        texture = self.texture(value)
        rim = mask & ~ndimage.binary_erosion(mask, border_value=1)
        if hides and rim.any():
            base = self.canvas[rim].mean(0) + error
        contrast = (amplitude * direction).astype(np.float32)
        self.canvas[mask] = base.astype(np.float32) + texture[mask][:, None] * contrast
        self.label[mask] = value
        self.instance[mask] = self.painted
        self.painted += 1

    def texture(self, value: int) -> Image:
        """The texture of a class, in [-1, 1]."""
        rng = self.rng
        if value == 0:
            return self.noise(rng.uniform(5, 9))
        if value == 5:
            return self.noise(0.4)
        wave = 2 * math.pi / (self.unit * rng.uniform(4.5, 7.5))
        tilt, (phase_u, phase_v) = rng.uniform(-0.25, 0.25), rng.uniform(0, 2 * math.pi, 2)
        cos, sin = math.cos(tilt), math.sin(tilt)
        u = np.sin(wave * (cos * self.x + sin * self.y) + phase_u, dtype=np.float32)
        v = np.sin(wave * (cos * self.y - sin * self.x) + phase_v, dtype=np.float32)
        patterns = {1: v, 2: u, 3: u * v, 4: u + v - 0.7}
        return np.asarray((TWO_TONE * patterns[value]).clip(-1, 1), np.float32)

    def noise(self, blur: float) -> Image:
        """Gaussian noise in [-1, 1], blurred by that many pixels at the size ``UNIT``."""
        shape = [max(1, round(n / self.unit)) for n in self.size]
        white = self.rng.standard_normal(shape, np.float32)
        smooth = ndimage.gaussian_filter(white, blur, mode="reflect")
        smooth = (smooth / (2 * smooth.std())).clip(-1, 1)
        if shape == list(self.size):
            return np.asarray(smooth, np.float32)
        factor = [n / m for n, m in zip(self.size, shape, strict=True)]
        zoomed = ndimage.zoom(smooth, factor, order=1, mode="nearest", grid_mode=True)
        return np.asarray(zoomed, np.float32)

    def blob(self, least: float, most: float) -> Image:
        """The depth of every pixel in a wavy disc, in pixels; negative outside."""
        rng = self.rng
        centre = rng.uniform(0.05, 0.95, 2) * self.size
        radius = rng.uniform(least, most) * min(self.size)
        y, x = self.y - np.float32(centre[0]), self.x - np.float32(centre[1])
        angle = np.arctan2(y, x)
        outline = np.ones(self.size, np.float32)
        for k in range(2, 6):
            size, phase = 0.3 / k * rng.standard_normal(), rng.uniform(0, 2 * math.pi)
            outline += np.float32(size) * np.cos(k * angle + np.float32(phase))
        return np.asarray(radius * outline.clip(0.3) - np.hypot(y, x), np.float32)

    def band(self) -> Mask:
        """A thin wavy band."""
        rng = self.rng
        centre = rng.uniform(0.2, 0.8, 2) * self.size
        turn = rng.uniform(0, math.pi)
        cos, sin = math.cos(turn), math.sin(turn)
        y, x = self.y - np.float32(centre[0]), self.x - np.float32(centre[1])
        along, across = cos * x + sin * y, cos * y - sin * x
        length = rng.uniform(0.5, 1.0) * min(self.size)
        wave = 2 * math.pi / (rng.uniform(0.7, 1.5) * min(self.size))
        height, phase = rng.uniform(0.03, 0.1) * min(self.size), rng.uniform(0, 2 * math.pi)
        slope = wave * height * np.cos(wave * along + phase)
        gap = np.abs(across - height * np.sin(wave * along + phase)) / np.sqrt(1 + slope**2)
        mask: Mask = (gap < self.unit * rng.uniform(3, 5) / 2) & (np.abs(along) < length / 2)
        return mask

    def light(self) -> Image:
        """The light, by which colours are multiplied: a smooth field, sometimes a soft shadow."""
        rng = self.rng
        knots = rng.uniform(0.75, 1.25, (3, 3))
        rows, columns = (_between_knots(n) for n in self.size)
        field = (rows @ knots @ columns.T).astype(np.float32)
        shaded, inside = rng.random() < 0.5, self.blob(0.3, 0.6)
        if shaded:
            soft = 1 / (1 + np.exp(-inside / np.float32(2 * self.unit)))
            field *= 1 - np.float32(0.35) * soft
        return field


def _between_knots(n: int) -> NDArray[np.float64]:
    """(n, 3) weights for smooth interpolation between three equally spaced knots, no overshoot."""
    place = np.linspace(0, 2, n)[:, None]
    part = np.clip(1 - np.abs(place - np.arange(3)), 0, 1)
    return np.asarray(part * part * (3 - 2 * part))


__all__ = ["CLASSES", "COLORS", "PRESETS", "Preset", "Scene", "Scenes", "annotate", "scene"]
