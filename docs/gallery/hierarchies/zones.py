"""
Quasi-flat zones
================

Cut at a level, the dendrogram of the tree's edges gives the regions inside of which one can go by
steps no larger than that: quasi-flat zones. Regions of a lower level are inside those of a higher
one. The dendrogram is made once.
"""

import matplotlib.pyplot as plt
import skimage.data
import torch

import treefilter as tf

photo = skimage.data.coffee()[::2, ::2]
image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255

graph = tf.grid(*image.shape[2:])
weight = tf.edge_weight(image, graph, "chebyshev")
h = tf.dendrogram(weight, tf.mst(weight, graph))

figure, axes = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
axes[0, 0].imshow(photo)
axes[0, 0].set_title("photograph")
for axis, level in zip(axes.flat[1:], (4, 8, 12), strict=True):
    zone = tf.cut(h, weight, level / 255)[0].flatten()
    count = int(zone.max()) + 1
    total = torch.zeros(count, 3).index_add(0, zone, image[0].flatten(1).T)
    mean = total / zone.bincount()[:, None]
    axis.imshow(mean[zone].view(*image.shape[2:], 3))
    axis.set_title(f"steps of at most {level} of 255: {count} zones")
for axis in axes.flat:
    axis.set_axis_off()

# %%
# Each zone has the mean colour of its pixels. The many zones of one pixel are noise and edges.
