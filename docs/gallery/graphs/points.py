"""
Points and their nearest neighbours
===================================

Labels of a few points spread over a cloud of all: scikit-learn's handwritten digits as points with
64 coordinates, each joined to its eight nearest neighbours. Five digits of each class are labelled,
and every other one gets the class that reaches it most strongly along the tree.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.spatial import cKDTree
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE

import treefilter as tf

digits = load_digits()
points, truth = digits.data / 16, torch.from_numpy(digits.target)
_, near = cKDTree(points).query(points, 9)
start = np.repeat(np.arange(len(points)), 8)
graph = tf.graph(torch.from_numpy(np.stack([start, near[:, 1:].ravel()])), len(points))
weight = tf.edge_weight(torch.from_numpy(points.T.copy())[None], graph)
tree = tf.mst(weight, graph)

# %%
# One channel for each class, 1 at its labelled points.

seeds = torch.zeros(1, 10, len(points), dtype=torch.float64)
generator = torch.Generator().manual_seed(0)
labelled = []
for k in range(10):
    own = (truth == k).nonzero()[:, 0]
    chosen = own[torch.randperm(len(own), generator=generator)[:5]]
    seeds[0, k, chosen] = 1
    labelled.append(chosen)
labelled = torch.cat(labelled)
votes = tf.filter(seeds, tree, tf.affinity(weight, tree, sigma=0.5), normalize=False)[0]
found = votes.argmax(0)
rest = torch.ones(len(points), dtype=torch.bool)
rest[labelled] = False
right = (found == truth)[rest].double().mean().item()
print(f"{100 * right:.1f} % of {int(rest.sum())} digits are right, from {len(labelled)} labels")

flat = TSNE(random_state=0, init="pca", max_iter=500).fit_transform(points)
figure, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
ends = np.stack([np.arange(len(points)), tree.parent[0].numpy()])
axes[0].plot(*flat[ends].transpose(2, 0, 1), color="0.75", lw=0.5, zorder=0)
axes[0].scatter(*flat.T, s=4, color="0.6")
axes[0].scatter(*flat[labelled].T, c=truth[labelled], s=45, cmap="tab10", edgecolor="k", zorder=2)
axes[0].set_title(f"the tree, and {len(labelled)} labels")
axes[1].scatter(*flat.T, c=found, s=6, cmap="tab10")
wrong = flat[(found != truth).numpy()]
axes[1].scatter(*wrong.T, s=28, facecolor="none", edgecolor="k", lw=0.7)
axes[1].set_title(f"classes: {100 * right:.1f} % right, mistakes circled")
for axis in axes:
    axis.set_axis_off()

# %%
# The plane is that of t-SNE and serves the eye only; the tree is one of 64 dimensions.
