"""
A state-space layer along a tree
================================

:class:`treefilter.nn.TreeScan2d` is a selective state-space model whose states travel along a tree
instead of a row of pixels. Every pixel sees the whole image, and mostly the object that it is part
of. The pictures show how much the output at one pixel depends on each input pixel: the derivative,
for new layers that have learnt nothing.
"""

import matplotlib.pyplot as plt
import skimage.data
import torch
from matplotlib.colors import LogNorm
from torch import nn
from torch.nn.functional import avg_pool2d

import treefilter as tf

torch.manual_seed(0)
photo = skimage.data.coffee()
image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255
image = avg_pool2d(image, 4)
PIXEL = 60, 28  # row and column

CHANNELS = 32
stem = nn.Conv2d(3, CHANNELS, 1)
scan = tf.nn.TreeScan2d(CHANNELS, metric="sqeuclidean")
convolutions = nn.Sequential(*(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(4)))


def dependence(layer):
    """(H, W): the norm of the output's derivative in each pixel's features."""
    x = stem(image).detach().requires_grad_()
    y = layer(x)[0, :, PIXEL[0], PIXEL[1]]
    direction = torch.randn(8, CHANNELS, generator=torch.Generator().manual_seed(0))
    total = 0
    for d in direction:
        total = total + torch.autograd.grad(y @ d, x, retain_graph=True)[0][0].square().sum(0)
    total[PIXEL] = 0  # what it owes to itself is the skip connection
    return total.sqrt() / total.sqrt().max()


# %%
# The tree is that of the photograph; all layers of one resolution can share it.

graph = tf.grid(*image.shape[2:])
tree = tf.mst(tf.edge_weight(image, graph), graph, root=PIXEL[0] * image.shape[3] + PIXEL[1])
panels = {
    "four 3×3 convolutions": dependence(convolutions),
    "scan along the tree": dependence(lambda x: scan(x, tree)),
}
figure, axes = plt.subplots(1, 3, figsize=(11, 2.8), layout="constrained")
axes[0].imshow(image[0].permute(1, 2, 0))
axes[0].set_title("one pixel")
for axis, (title, value) in zip(axes[1:], panels.items(), strict=True):
    axis.imshow(value, cmap="inferno", norm=LogNorm(1e-3, 1, clip=True))
    axis.set_title(title)
for axis in axes:
    axis.plot(*PIXEL[::-1], "o", ms=7, mfc="none", mec="white", mew=1.5)
    axis.set_axis_off()
