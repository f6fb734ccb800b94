"""
Smoothing
=========

A photograph filtered along its own tree: what is similar and connected becomes one colour, and
borders stay where they are. The same tree serves every σ; a larger one averages over more of the
image.
"""

import matplotlib.pyplot as plt
import skimage.data
import torch

import treefilter as tf

photo = skimage.data.chelsea()
image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255

graph = tf.grid(*image.shape[2:])
weight = tf.edge_weight(image, graph)
tree = tf.mst(weight, graph)

# %%
# σ is chosen by what it does: the share of the image that the median pixel averages over.

shares = 0.001, 0.01, 0.1
figure, axes = plt.subplots(2, 2, figsize=(9, 6.2), layout="constrained")
axes[0, 0].imshow(photo)
axes[0, 0].set_title("photograph")
for axis, share in zip(axes.flat[1:], shares, strict=True):
    sigma = tf.sigma_for_mass(weight, tree, share)[:, None]
    smooth = tf.filter(image, tree, tf.affinity(weight, tree, sigma))
    axis.imshow(smooth[0].permute(1, 2, 0).clamp(0, 1))
    axis.set_title(f"{100 * share:g} % of the image, σ = {sigma.item():.2g}")
for axis in axes.flat:
    axis.set_axis_off()
