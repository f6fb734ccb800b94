"""
From scribbles to a segmentation
================================

A stroke on each thing is enough: every pixel goes to the class whose strokes reach it most strongly
along the tree. There is no training.
"""

import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw

import treefilter as tf

photo = skimage.data.coffee()
image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].double() / 255
height, width = image.shape[2:]

STROKES = {  # class: strokes, each from (x, y) to (x, y) …
    "table": [
        [(20, 30), (120, 15)],
        [(15, 120), (120, 80), (240, 10)],
        [(20, 190), (50, 260), (90, 330), (160, 385)],
        [(450, 15), (480, 110), (520, 200), (490, 300), (420, 380), (300, 393)],
    ],
    "saucer": [
        [(175, 90), (130, 120), (105, 170), (110, 240), (150, 300), (200, 340)],
        [(150, 180), (175, 230)],
        [(230, 355), (300, 365), (370, 350), (430, 300), (460, 230), (455, 180), (425, 130)],
        [(240, 310), (320, 330)],
    ],
    "cup": [
        [(190, 60), (182, 100), (200, 150), (250, 190), (300, 199), (350, 185), (390, 140)],
        [(400, 100), (370, 55), (320, 30), (260, 25)],
        [(220, 90), (260, 55), (320, 60), (370, 100), (380, 130)],
        [(185, 170), (210, 205), (250, 222), (300, 225), (360, 205), (390, 175)],
        [(240, 225), (215, 265), (207, 290)],
    ],
    "coffee": [
        [(230, 140), (260, 165), (300, 175), (345, 165)],
        [(235, 120), (280, 103), (330, 125), (355, 140)],
    ],
    "spoon": [
        [(340, 265), (350, 300), (375, 310), (392, 280), (375, 245), (382, 215)],
        [(412, 75), (411, 100)],
    ],
}
canvas = Image.new("I", (width, height), -1)
for number, strokes in enumerate(STROKES.values()):
    for points in strokes:
        ImageDraw.Draw(canvas).line(points, fill=number, width=4)
label = np.array(canvas)

# %%
# The strokes as one channel for each class, filtered as sums: votes.

seeds = torch.from_numpy(np.stack([label == k for k in range(len(STROKES))]))[None].double()
graph = tf.grid(height, width)
weight = tf.edge_weight(image, graph)
tree = tf.mst(weight, graph)
votes = tf.filter(seeds, tree, tf.affinity(weight, tree, sigma=0.01), normalize=False)[0]
share = votes.max(0).values / votes.sum(0)

colours = plt.get_cmap("Set2")(np.arange(len(STROKES)))
figure, axes = plt.subplots(1, 3, figsize=(11, 2.8), layout="constrained")
axes[0].imshow(photo)
axes[0].imshow(np.where((label < 0)[..., None], 0, colours[label]))
axes[0].set_title("strokes")
axes[1].imshow(0.35 * photo / 255 + 0.65 * colours[votes.argmax(0)][..., :3])
axes[1].set_title("classes")
shown = axes[2].imshow(share, cmap="viridis", vmin=0, vmax=1)
axes[2].set_title("share of the votes")
figure.colorbar(shown, ax=axes[2], fraction=0.04)
for axis in axes:
    axis.set_axis_off()
