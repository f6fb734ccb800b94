"""The inputs: photographs, noise, ties, and the patterns that are worst for trees.

Nothing here calls treefilter, so that two versions of it get the same inputs. Photographs ship
with scikit-image's wheel; larger ones are mosaics of them. Everything random has its seed in
``SEEDS``.
"""

from functools import cache

import numpy as np
import skimage.data
import torch
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch.nn.functional import conv2d, interpolate, pad

SEEDS = {
    "random weights": 1,
    "8-bit weights": 2,
    "features": 3,
    "points": 4,
    "volume": 5,
    "seeds": 6,
    "random graph": 7,
    "convolution": 8,
    "tiles": 9,
}
PHOTOGRAPHS = (
    "astronaut",
    "chelsea",
    "coffee",
    "rocket",
    "hubble_deep_field",
    "retina",
    "immunohistochemistry",
    "motorcycle_left",
)
KINDS = ("photograph", "random", "8-bit", "constant", "ramp", "snake")
SIGMA = 0.02
"""Of every affinity; images are in [0, 1]."""


def generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(SEEDS[name])


# --- images, (B, 3, H, W) in [0, 1] ---------------------------------------------------------------


@cache
def native_photograph(name: str) -> torch.Tensor:
    if name == "motorcycle_left":
        image = skimage.data.stereo_motorcycle()[0]
    else:
        image = getattr(skimage.data, name)()
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def _square(name: str, size: int) -> torch.Tensor:
    """The largest centred square, its area averaged to ``size``, in 8 bits."""
    image = native_photograph(name)
    height, width = image.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = image[..., top : top + side, left : left + side]
    return (interpolate(image, (size, size), mode="area") * 255).round() / 255


def photograph(height: int, width: int) -> torch.Tensor:
    """(1, 3, H, W): "astronaut" up to 512 × 512, beyond it a mosaic of all in native resolution."""
    if max(height, width) <= 512:
        return _square("astronaut", max(height, width))[..., :height, :width].contiguous()
    tiles = [native_photograph(name)[..., :300, :400] for name in PHOTOGRAPHS]
    rows = [torch.cat(tiles[i : i + 4], -1) for i in (0, 4)]
    mosaic = torch.cat(rows, -2)
    down, right = -(-height // mosaic.shape[-2]), -(-width // mosaic.shape[-1])
    return mosaic.repeat(1, 1, down, right)[..., :height, :width].contiguous()


def photographs(batch: int, size: int) -> torch.Tensor:
    """(B, 3, size, size): all of them, then their mirror images, then both again."""
    images = torch.cat([_square(name, size) for name in PHOTOGRAPHS])
    images = torch.cat([images, images.flip(-1)])
    return images.repeat(-(-batch // len(images)), 1, 1, 1)[:batch].contiguous()


def features(batch: int, channels: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(batch, channels, height, width, generator=generator("features"))


def convolved(image: torch.Tensor, channels: int) -> torch.Tensor:
    """(B, C, H, W) features of an image, like those of a first layer: random 5 × 5 filters.

    Scaled so that distances between neighbours are about those of the image.
    """
    size = 5
    shape = (channels, image.shape[1], size, size)
    weight = torch.randn(shape, generator=generator("convolution"), device="cpu")
    padded = pad(image, [size // 2] * 4, mode="replicate")
    return conv2d(padded, weight.to(image.device) / (channels * size * size) ** 0.5).relu()


@cache
def volume(size: int) -> torch.Tensor:
    """(1, 1, D, H, W): smooth blobs with noise in 8 bits, like a scan."""
    rng = np.random.default_rng(SEEDS["volume"])
    blobs = gaussian_filter(rng.standard_normal((size,) * 3, np.float32), size / 32, mode="wrap")
    blobs = (blobs - blobs.min()) / np.ptp(blobs)
    noisy = blobs + 0.02 * rng.standard_normal((size,) * 3, np.float32)
    return torch.from_numpy((noisy.clip(0, 1) * 255).round().astype(np.float32) / 255)[None, None]


# --- weights, (B, E) in the edge order of treefilter.grid -----------------------------------------


def differences(image: torch.Tensor) -> torch.Tensor:
    """|f_u − f_v|² along every axis, slowest first, by slicing, the usual expression."""
    parts = []
    for axis in range(2, image.ndim):
        difference = image.diff(dim=axis)
        parts.append(difference.square().sum(1).flatten(1))
    return torch.cat(parts, 1)


def weights(kind: str, height: int, width: int, batch: int = 1) -> torch.Tensor:
    """(B, E) weights of a 4-connected grid."""
    vertical, horizontal = (height - 1) * width, height * (width - 1)
    shape = (batch, vertical + horizontal)
    if kind == "photograph":
        many = batch > 1 and height == width
        return differences(photographs(batch, height) if many else photograph(height, width))
    if kind == "random":
        return torch.rand(shape, generator=generator("random weights"))
    if kind == "8-bit":
        return torch.randint(0, 256, shape, generator=generator("8-bit weights")).float()
    if kind == "constant":
        return torch.full(shape, 0.5)
    if kind == "ramp":  # in float32 its steps are equal but for their rounding
        ramp = torch.arange(height)[:, None] + torch.arange(width)
        image = (ramp / (height + width)).float()[None, None]
        return differences(image).expand(shape).contiguous()
    if kind != "snake":
        raise ValueError(f"weights: kind must be one of {KINDS}, got {kind!r}")
    # Rows have small weights and are joined at alternating ends: one path through all pixels.
    down = torch.full((height - 1, width), 2.0)
    down[0::2, -1] = 1
    down[1::2, 0] = 1
    return torch.cat([down.flatten(), torch.ones(horizontal)]).expand(shape).contiguous()


# --- graphs that are no grids: (edge_index (2, E), number of vertices, weight (1, E)) -------------

EdgeList = tuple[torch.Tensor, int, torch.Tensor]


def _edge_list(ends: np.ndarray, position: np.ndarray) -> EdgeList:
    """Each pair once, without loops; the weight is the squared distance of the ends' positions."""
    ends = np.sort(ends[:, ends[0] != ends[1]], axis=0)
    code = np.unique(ends[0].astype(np.int64) * len(position) + ends[1])
    ends = np.stack(np.divmod(code, len(position)))
    weight = np.square(position[ends[0]] - position[ends[1]]).sum(1).astype(np.float32)
    return torch.from_numpy(ends), len(position), torch.from_numpy(weight)[None]


@cache
def nearest_neighbours(num_points: int, neighbours: int = 8) -> EdgeList:
    """The k-nearest-neighbour graph of points drawn from a cube."""
    points = np.random.default_rng(SEEDS["points"]).random((num_points, 3))
    near = cKDTree(points).query(points, neighbours + 1)[1][:, 1:]
    first = np.repeat(np.arange(num_points), neighbours)
    return _edge_list(np.stack([first, near.ravel()]), points)


@cache
def superpixels(height: int, width: int) -> EdgeList:
    """Which superpixels of the photograph touch, and how their mean colours differ.

    A superpixel is a component of the graph of each pixel's lightest edge.
    """
    image = photograph(height, width)[0].flatten(1).numpy().T
    vertex = np.arange(height * width).reshape(height, width)
    ends = np.concatenate(
        [
            [vertex[:-1].ravel(), vertex[1:].ravel()],
            [vertex[:, :-1].ravel(), vertex[:, 1:].ravel()],
        ],
        axis=1,
    )
    weight = weights("photograph", height, width)[0].numpy()
    by_weight = np.argsort(weight, kind="stable")
    rank = np.empty_like(by_weight)
    rank[by_weight] = np.arange(len(rank))
    lightest = np.full(height * width, len(rank))
    for end in ends:
        np.minimum.at(lightest, end, rank)
    chosen = ends[:, by_weight[np.unique(lightest)]]
    links = coo_array((np.ones(chosen.shape[1], np.int8), chosen), shape=(height * width,) * 2)
    count, label = connected_components(links, directed=False)
    size = np.bincount(label, minlength=count)
    colour = np.stack([np.bincount(label, channel, count) / size for channel in image.T], 1)
    return _edge_list(label[ends], colour)


@cache
def random_graph(num_nodes: int, num_edges: int) -> EdgeList:
    """Edges between any two vertices, with random weights."""
    draw = generator("random graph")
    ends = torch.randint(0, num_nodes, (2, num_edges), generator=draw).numpy()
    edge_index, _, weight = _edge_list(ends, np.zeros((num_nodes, 1)))
    return edge_index, num_nodes, torch.rand(weight.shape, generator=draw)
