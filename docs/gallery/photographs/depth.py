"""
Depth completion
================

A laser scanner sees few points, a camera all. One depth in a hundred is kept of the measured
disparity of Middlebury's *motorcycle*, and spread along the tree of the photograph: depth then ends
where the object ends.
"""

import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import torch
from scipy.ndimage import distance_transform_edt

import treefilter as tf

photo, _, truth = skimage.data.stereo_motorcycle()
photo, truth = photo[..., :3], np.where(np.isfinite(truth), truth, 0)
image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].double() / 255
depth = torch.from_numpy(truth)[None, None].double()
there = depth > 0

torch.manual_seed(0)
kept = (there & (torch.rand_like(depth) < 0.01)).double()
print(f"{int(kept.sum())} of {int(there.sum())} depths are kept")

# %%
# The tree, and the nearest kept pixel of the image plane, to compare with.

graph = tf.grid(*image.shape[2:])
weight = tf.edge_weight(image, graph, "euclidean")
tree = tf.mst(weight, graph)
a = tf.affinity(weight, tree, sigma=0.05)
spread = tf.filter(torch.cat([depth * kept, kept], 1), tree, a, normalize=False)
by_tree = spread[0, 0] / spread[0, 1]

rows, columns = distance_transform_edt(kept[0, 0] == 0, return_distances=False, return_indices=True)
nearest = depth[0, 0][rows, columns]

figure, axes = plt.subplots(2, 2, figsize=(10, 6.9), layout="constrained")
axes[0, 0].imshow(photo)
y, x = kept[0, 0].nonzero().T
axes[0, 0].scatter(x, y, c=depth[0, 0][y, x], s=2, cmap="turbo", vmin=0, vmax=80)
axes[0, 0].set_title("photograph, and the depths that are known")
axes[0, 1].imshow(np.where(there[0, 0], truth, np.nan), cmap="turbo", vmin=0, vmax=80)
axes[0, 1].set_title("measured")
for axis, name, value in zip(axes[1], ("nearest", "tree filter"), (nearest, by_tree), strict=True):
    off = (value - depth[0, 0]).abs()[there[0, 0]]
    far = 100 * (off > 4).double().mean()
    text = f"{name}: mean error {off.mean():.2f}, {far:.1f} % off by more than 4"
    print(text)
    axis.imshow(value, cmap="turbo", vmin=0, vmax=80)
    axis.set_title(text, size=10)
for axis in axes.flat:
    axis.set_axis_off()
