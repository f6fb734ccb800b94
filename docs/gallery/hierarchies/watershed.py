"""
Watershed
=========

Seeded watershed: each pixel goes to the marker that it reaches over the lowest pass. The tree knows
the passes, so that any number of markers costs one sweep over its sorted edges. The classic of
scikit-image's documentation, coins on an uneven background.
"""

import matplotlib.pyplot as plt
import numpy as np
import scipy.ndimage
import skimage.data
import torch
from skimage.feature import canny
from skimage.filters import sobel
from skimage.segmentation import find_boundaries

import treefilter as tf

photo = skimage.data.coins()
relief = sobel(photo.astype(float))

# %%
# Markers: the inner part of whatever closed line there is, each with a number of its own, and what
# is far from all of them.

inside = scipy.ndimage.binary_fill_holes(canny(photo / 255.0, sigma=2))
core = scipy.ndimage.binary_erosion(inside, iterations=7)
bright, count = scipy.ndimage.label(core)
outside = scipy.ndimage.distance_transform_edt(~core) > 28
markers = np.where(bright > 0, bright + 1, outside.astype(int))

graph = tf.grid(*photo.shape)
height = torch.from_numpy(relief).flatten()
weight = height[graph.edge_index].amax(0)[None]  # an edge is as high as its higher end
tree = tf.mst(weight, graph)
label = tf.watershed(weight, tree, torch.from_numpy(markers)[None])[0].numpy()

figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
colours = np.random.default_rng(3).random((count + 2, 3)) * 0.8 + 0.2
colours[:2] = 0.15
axes[0].imshow(photo, cmap="gray")
axes[0].imshow(np.where((markers > 0)[..., None], np.dstack([colours[markers], markers > 0]), 0))
axes[0].set_title(f"{count} markers, and one for the background")
axes[1].imshow(relief, cmap="magma")
axes[1].set_title("relief: the gradient")
grey = photo[..., None] / 255
axes[2].imshow(np.where(find_boundaries(label)[..., None], 1, 0.5 * grey + 0.5 * colours[label]))
axes[2].set_title("watershed")
for axis in axes:
    axis.set_axis_off()

# %%
# A coin whose outline is open has no marker, and stays background.
