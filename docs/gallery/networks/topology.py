"""
A topological loss
==================

A network that finds vessels leaves gaps. :func:`treefilter.persistence` finds the pixels that a gap
consists of: where a component of the bright pixels begins, and where it joins another. The values
there are differentiable, and so they are a loss that closes gaps. Here the score map is optimised
itself, in 30 steps. The vessel is one of scikit-image's *retina*; three gaps were made in it.
"""

import matplotlib.pyplot as plt
import numpy as np
import scipy.ndimage
import skimage.data
import torch
from torch.nn.functional import avg_pool2d

import treefilter as tf

photo = skimage.data.retina()[300:404, 420:840][::2, ::2]
green = scipy.ndimage.gaussian_filter(photo[..., 1] / 255.0, 1)
dark = scipy.ndimage.gaussian_filter(green, 10) - green
score = torch.from_numpy(np.tanh(30 * dark - 0.8))[None]  # positive: a vessel

for column in (60, 100, 150):  # gaps: the score fades to one that is too low
    fade = 0.85 * torch.exp(-(((torch.arange(score.shape[2]) - column) / 5) ** 4))
    score = (1 - fade) * score - 0.5 * fade

# %%
# Each component that begins at a score above 0.5 must join another one at a score above 0.3. The
# change is smooth, so that a gap is closed in the width of a vessel.

graph = tf.grid(*green.shape, connectivity=8)
change = torch.zeros_like(score, requires_grad=True)
optimizer = torch.optim.Adam([change], lr=0.15)


def changed():
    """The score with its change."""
    return score + avg_pool2d(change[None], 3, 1, 1)[0]


history = []
for _ in range(30):
    values = changed()
    birth, death = tf.persistence(values, graph, superlevel=True)
    flat = values.flatten()
    pair = (death >= 0) & (flat[birth] > 0.5)
    missing = (0.3 - flat[death[pair]]).clamp(min=0)
    loss = missing.sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(int((missing > 0.3).sum()) + 1)
print(f"components: {history[0]} at first, {history[-1]} at last")

result = changed().detach()[0]
before = score[0]
figure, axes = plt.subplots(2, 2, figsize=(10, 3.2), layout="constrained")
axes[0, 0].imshow(photo)
axes[0, 0].set_title("photograph")
for axis, title, value in (
    (axes[0, 1], f"score, with gaps: {history[0]} components", before),
    (axes[1, 0], f"after 30 steps: {history[-1]}", result),
):
    axis.imshow(value, cmap="magma", vmin=-1, vmax=1)
    axis.contour(value, [0], colors="white", linewidths=0.8)
    axis.set_title(title)
axes[1, 1].imshow(result - before, cmap="magma", vmin=0)
axes[1, 1].set_title("what changed")
for axis in axes.flat:
    axis.set_axis_off()
