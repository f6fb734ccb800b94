"""
Stereo matching
===============

The cost of a disparity is how badly the left pixel fits the right one. A pixel alone is ambiguous,
and so costs are averaged. A window mixes what is in front with what is behind; a tree does not
(Yang, CVPR 2012). The pair is Middlebury's *motorcycle*, which comes with scikit-image, with its
measured disparity.
"""

import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import torch
from scipy.ndimage import binary_dilation, median_filter
from torch.nn.functional import avg_pool2d

import treefilter as tf

left_photo, right_photo, truth = skimage.data.stereo_motorcycle()
SCALE, DISPARITIES = 2, 40  # half the resolution


def load(photo):
    """(1, 3, H, W) in [0, 1], at half the resolution."""
    image = torch.from_numpy(photo[..., :3].copy()).permute(2, 0, 1)[None].float() / 255
    return avg_pool2d(image, SCALE)


left, right = load(left_photo), load(right_photo)
truth = torch.from_numpy(truth[: 2 * left.shape[2] : 2, : 2 * left.shape[3] : 2] / SCALE)
known = truth.isfinite() & (truth > 0)

# %%
# Truncated differences of colours and of horizontal gradients, (1, D, H, W).


def slope(image):
    """The horizontal gradient of the grey image."""
    grey = image.mean(1, keepdim=True)
    return torch.gradient(grey, dim=3)[0]


costs = []
for d in range(DISPARITIES):
    moved = torch.roll(right, d, 3)
    colour = (left - moved).abs().mean(1).clamp(max=7 / 255)
    gradient = (slope(left) - slope(moved)).abs()[:, 0].clamp(max=2 / 255)
    cost = 0.11 * colour + 0.89 * gradient
    cost[..., :d] = cost.max()  # the right image has nothing there
    costs.append(cost)
cost = torch.stack(costs, 1)

# %%
# One tree of the left image, its noise removed by a median of 3×3, aggregates all disparities at
# once. It gets costs of small windows. σ and the windows are the best of a few that were tried on
# this pair.


def window(value, side):
    """The mean of a square."""
    return avg_pool2d(value, side, 1, side // 2, count_include_pad=False)


guide = torch.from_numpy(median_filter(left.numpy(), (1, 1, 3, 3)))
graph = tf.grid(*left.shape[2:])
weight = tf.edge_weight(guide, graph, "chebyshev")
tree = tf.mst(weight, graph)
a = tf.affinity(weight, tree, sigma=0.05)
aggregated = {
    "each pixel alone": cost,
    "window of 9×9": window(cost, 9),
    "window of 5×5, then tree": tf.filter(window(cost, 5), tree, a),
}

# %%
# A pixel is wrong if it is off by more than one; "at borders" counts those within 5 pixels of a
# step of the measured disparity.

filled = np.where(known, truth, np.nan)
step = np.zeros(filled.shape, bool)
step[:, 1:] |= np.abs(np.diff(filled, axis=1)) > 2
step[1:] |= np.abs(np.diff(filled, axis=0)) > 2
border = torch.from_numpy(binary_dilation(step, iterations=5)) & known

figure, axes = plt.subplots(2, 3, figsize=(11, 5.4), layout="constrained")
axes[0, 0].imshow(left[0].permute(1, 2, 0))
axes[0, 0].set_title("left image")
axes[0, 1].imshow(filled, cmap="turbo", vmin=0, vmax=DISPARITIES)
axes[0, 1].set_title("measured disparity")
axes[0, 2].imshow(border, cmap="gray_r")
axes[0, 2].set_title("borders")
for axis, (name, value) in zip(axes[1], aggregated.items(), strict=True):
    found = value[0].argmin(0)
    wrong = (found - truth).abs() > 1
    bad, there = (100 * wrong[where].double().mean().item() for where in (known, border))
    print(f"{name}: {bad:.1f} % wrong, at borders {there:.1f} %")
    axis.imshow(found, cmap="turbo", vmin=0, vmax=DISPARITIES)
    axis.set_title(f"{name}\n{bad:.1f} % wrong, at borders {there:.1f} %")
for axis in axes.flat:
    axis.set_axis_off()

# %%
# Pixels that only the left camera sees are counted as well: nothing is done about them here.
