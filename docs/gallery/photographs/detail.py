"""
Detail enhancement
==================

What a filter takes away is the detail: fur, skin, grain. Added once more, it makes texture
stronger. Where the base is a blurred photograph, the borders of things are part of the detail and
are exaggerated, too; along the tree they stay in the base.
"""

import matplotlib.pyplot as plt
import skimage.data
import torch
from torch.nn.functional import avg_pool2d

import treefilter as tf

photo = skimage.data.chelsea()[20:270, 60:400]
image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255

# %%
# Two bases: a blur in a window, and the filter along the tree.

blur = avg_pool2d(image, 15, 1, 7, count_include_pad=False)
base = tf.nn.TreeFilter2d(sigma="auto", mass=0.0005)(image)

panels = {
    "photograph": image,
    "detail of the blur × 2.5": blur + 2.5 * (image - blur),
    "base of the tree filter": base,
    "detail of the tree filter × 2.5": base + 2.5 * (image - base),
}
figure, axes = plt.subplots(2, 2, figsize=(9, 6.9), layout="constrained")
for axis, (title, value) in zip(axes.flat, panels.items(), strict=True):
    axis.imshow(value[0].permute(1, 2, 0).clamp(0, 1))
    axis.set_title(title)
    axis.set_axis_off()
