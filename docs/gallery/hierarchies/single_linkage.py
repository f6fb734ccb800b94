"""
Single linkage
==============

The dendrogram of a tree of points is single-linkage clustering, and :func:`treefilter.linkage`
gives it in SciPy's form, for everything that SciPy does with it. The points are invented: two
moons, a ring and a blob, with noise.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.cluster.hierarchy import dendrogram
from scipy.spatial import Delaunay
from sklearn.datasets import make_circles, make_moons

import treefilter as tf

rng = np.random.default_rng(0)
moons = make_moons(500, noise=0.05, random_state=0)[0]
ring = make_circles(500, noise=0.03, factor=0.3, random_state=0)[0] + [3.6, 0.2]
points = np.concatenate([moons, ring])

# %%
# Of all pairs of points, the Delaunay triangulation has those that a minimum spanning tree of the
# plane can need: so this is single linkage of all pairs.

corners = Delaunay(points).simplices
pairs = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
pairs = np.unique(np.sort(pairs, 1), axis=0)
graph = tf.graph(torch.from_numpy(pairs.T.astype(np.int64)), len(points))
weight = tf.edge_weight(torch.from_numpy(points.T.copy())[None], graph, "euclidean")
tree = tf.mst(weight, graph)
h = tf.dendrogram(weight, tree)
cluster = tf.cut(h, weight, threshold=0.2)[0].numpy()
print(f"clusters at 0.2: {np.bincount(cluster)} points")

figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
ends = np.stack([np.arange(len(points)), tree.parent[0].numpy()])
axes[0].plot(*points[ends].transpose(2, 0, 1), color="0.6", lw=0.8, zorder=0)
axes[0].scatter(*points.T, c=cluster, s=9, cmap="tab10")
axes[0].set_aspect("equal")
axes[0].set_title("minimum spanning tree, and the clusters at 0.2")
axes[0].set_axis_off()

z = tf.linkage(weight, h)[0].numpy()
dendrogram(z, truncate_mode="lastp", p=40, no_labels=True, color_threshold=0.2, ax=axes[1])
axes[1].axhline(0.2, color="0.4", ls="--", lw=1)
axes[1].set_title("dendrogram: the last 40 merges")
axes[1].set_ylabel("distance")
axes[1].spines[["top", "right"]].set_visible(False)
