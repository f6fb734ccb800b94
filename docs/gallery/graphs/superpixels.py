"""
A graph of superpixels
======================

A graph need not be a grid. Superpixels of a photograph, with edges between those that touch, are a
graph of some hundred vertices; strokes spread over it as over pixels.
"""

import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import torch
from matplotlib.collections import LineCollection
from skimage.color import rgb2lab
from skimage.segmentation import mark_boundaries, slic

import treefilter as tf

photo = skimage.data.astronaut()[:400, :400]
part = slic(photo, 700, compactness=12, start_label=0, channel_axis=2)
count = part.max() + 1
size = np.bincount(part.ravel())


def means(values):
    """(H, W, C) → (1, C, superpixels)."""
    columns = [
        np.bincount(part.ravel(), v.ravel(), count) / size for v in np.moveaxis(values, 2, 0)
    ]
    return torch.from_numpy(np.stack(columns))[None]


# %%
# Superpixels that touch are neighbours.

pairs = np.concatenate(
    [
        np.stack([part[:, :-1].ravel(), part[:, 1:].ravel()]),
        np.stack([part[:-1].ravel(), part[1:].ravel()]),
    ],
    1,
)
pairs = np.unique(np.sort(pairs[:, pairs[0] != pairs[1]], 0), axis=1)
graph = tf.graph(torch.from_numpy(pairs), int(count))
weight = tf.edge_weight(means(rgb2lab(photo)), graph, "euclidean")
tree = tf.mst(weight, graph)
smooth = tf.filter(means(photo / 255), tree, tf.affinity(weight, tree, sigma=20.0))
print(f"{count} superpixels, {pairs.shape[1]} edges")

figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
axes[0].imshow(mark_boundaries(photo, part, color=(1, 1, 1)))
axes[0].set_title(f"{count} superpixels")
axes[1].imshow(photo, alpha=0.5)
rows, columns = np.indices(part.shape)
centre = means(np.dstack([columns, rows]))[0].T.numpy()
ends = np.stack([centre, centre[tree.parent[0].numpy()]], 1)
axes[1].add_collection(LineCollection(ends, colors="#1d2733", lw=1.3))
axes[1].set_title("their minimum spanning tree")
axes[2].imshow(smooth[0].T.numpy()[part].clip(0, 1))
axes[2].set_title("colours filtered along it")
for axis in axes:
    axis.set_axis_off()
