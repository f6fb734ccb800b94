"""
Watershed of a volume
=====================

Trees of volumes are made as those of images: ``tf.grid(D, H, W)``. Here a magnetic resonance image
of a head, which comes with nibabel's tests, is marked in one slice: two clicks in the ventricles, a
few in the tissue, and what is dark. The watershed carries the marks through all slices.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import scipy.ndimage
import torch

import treefilter as tf

path = Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz"
volume = nibabel.load(path).get_fdata()[..., 0]
volume = np.moveaxis(volume / np.percentile(volume, 99.5), 2, 0).clip(0, 1)  # slices first
smooth = scipy.ndimage.gaussian_filter(volume, 0.6)

# %%
# The markers are in slice 13 alone: 1 outside of the head, 2 tissue, 3 ventricles.

MARKED = 13
CLICKS = {3: [(59, 62), (70, 62), (64, 33)], 2: [(45, 50), (85, 50), (64, 80), (50, 20), (80, 20)]}
markers = np.zeros(volume.shape, np.int64)
markers[MARKED, :6] = 1
for label, clicks in CLICKS.items():
    for x, y in clicks:
        markers[MARKED, x - 1 : x + 2, y - 1 : y + 2] = label

graph = tf.grid(*volume.shape)  # each voxel has six neighbours
weight = tf.edge_weight(torch.from_numpy(smooth)[None, None], graph)
tree = tf.mst(weight, graph)
label = tf.watershed(weight, tree, torch.from_numpy(markers)[None])[0].numpy()
print({k: int((label == k).sum()) for k in (1, 2, 3)}, "voxels")

colours = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0.2, 0.6, 1, 0.35], [1, 0.4, 0.1, 0.7]])
figure, axes = plt.subplots(2, 5, figsize=(11, 5.6), layout="constrained")
for column, k in zip(axes.T, (7, 10, 13, 15, 18), strict=True):
    for axis in column:
        axis.imshow(volume[k].T[::-1], cmap="gray", vmin=0, vmax=1)
        axis.set_xlim(26, 102)
        axis.set_axis_off()
    column[0].set_title(f"slice {k}" + (", marked" if k == MARKED else ""))
    column[1].imshow(colours[label[k]].transpose(1, 0, 2)[::-1])
    if k == MARKED:
        for number, clicks in CLICKS.items():
            x, y = np.array(clicks).T
            column[0].plot(x, 95 - y, "o", ms=6, color=colours[number][:3], mec="white")
