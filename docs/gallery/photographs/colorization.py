"""
Colorization
============

A grey photograph, and the colour of one pixel in a hundred. Colours spread along the tree of the
grey image: what is filtered are the known colours and where they are known, and their quotient is a
colour for every pixel.
"""

import matplotlib.pyplot as plt
import skimage.data
import torch
from skimage.color import lab2rgb, rgb2lab

import treefilter as tf

photo = skimage.data.astronaut()[:384, :420]
lab = torch.from_numpy(rgb2lab(photo)).permute(2, 0, 1)[None]
grey, colour = lab[:, :1], lab[:, 1:]

torch.manual_seed(0)
known = (torch.rand_like(grey) < 0.01).double()

# %%
# The guide is the brightness, and nothing else.

graph = tf.grid(*grey.shape[2:])
weight = tf.edge_weight(grey / 100, graph, "euclidean")
tree = tf.mst(weight, graph)
a = tf.affinity(weight, tree, sigma=0.02)
spread = tf.filter(torch.cat([colour * known, known], 1), tree, a, normalize=False)
found = torch.cat([grey, spread[:, :2] / spread[:, 2:]], 1)


def rgb(value):
    """For the eye."""
    return lab2rgb(value[0].permute(1, 2, 0).numpy())


sparse = torch.cat([grey, colour * known], 1)
error = (found - lab)[:, 1:].norm(dim=1).mean().item()
without = lab[:, 1:].norm(dim=1).mean().item()
print(f"mean error of (a, b): {error:.1f}; of the grey image: {without:.1f}")

figure, axes = plt.subplots(1, 3, figsize=(11, 3.7), layout="constrained")
for axis, title, value in zip(
    axes,
    ("grey, with 1 % of the colours", "along the tree", "photograph"),
    (sparse, found, lab),
    strict=True,
):
    axis.imshow(rgb(value).clip(0, 1))
    axis.set_title(title)
    axis.set_axis_off()
