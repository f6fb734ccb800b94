"""
Minimax beside product
======================

What spreads along a tree may lose something on every edge (``path="product"``: the product of the
affinities) or only at the highest border (``path="min"``: the smallest of them). Here one stroke on
each object spreads over the photograph, as in methods that make dense labels of sparse ones.

With the product, what is far away gets little, however similar it is. With the minimum, an object
is filled evenly up to its border.
"""

import matplotlib.pyplot as plt
import skimage.data
import torch

import treefilter as tf

photo = skimage.data.coffee()[::2, ::2]
image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].double() / 255
height, width = image.shape[2:]

graph = tf.grid(height, width)
weight = tf.edge_weight(image, graph)
tree = tf.mst(weight, graph)

stroke = torch.zeros(1, 1, height, width, dtype=torch.float64)
stroke[..., 148:152, 60:90] = 1  # on the saucer

# %%
# The sum, not the mean: how much of the stroke reaches each pixel. Each path has a σ that suits it.

spread = {}
for path, sigma in (("product", 0.01), ("min", 0.0005)):
    a = tf.affinity(weight, tree, sigma)
    y = tf.filter(stroke, tree, a, normalize=False, path=path)
    spread[path] = y[0, 0] / y.max()

figure, axes = plt.subplots(1, 3, figsize=(11, 2.7), layout="constrained")
axes[0].imshow(photo)
axes[0].imshow(stroke[0, 0].masked_fill(stroke[0, 0] == 0, torch.nan), cmap="autumn")
axes[0].set_title("a stroke")
for axis, (path, values) in zip(axes[1:], spread.items(), strict=True):
    axis.imshow(values, cmap="magma", vmin=0, vmax=1)
    axis.set_title(f'path="{path}"')
for axis in axes:
    axis.set_axis_off()
