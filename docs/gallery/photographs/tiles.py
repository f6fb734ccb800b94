"""
Tiles of a gigapixel image
==========================

What does not fit into memory is filtered chunk by chunk, exactly: :mod:`treefilter.dask` gives the
filter of the image in one piece, without borders between chunks. The photograph is small, so that
both can be compared; its chunks are 128 pixels wide.
"""

import dask
import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import torch

import treefilter as tf
import treefilter.dask as tfd

SIGMA, CHUNK = 0.02, 128
photo = np.moveaxis(skimage.data.astronaut()[:384, :384], 2, 0).astype(np.float32) / 255
image = da.from_array(photo, chunks=(3, CHUNK, CHUNK))

layer = tf.nn.TreeFilter2d(SIGMA)
whole = layer(torch.from_numpy(photo)[None])[0].numpy()
with dask.config.set(scheduler="synchronous"):
    tiled = tfd.filter(image, sigma=SIGMA).compute()
    alone = image.map_blocks(
        lambda block: layer(torch.from_numpy(block)[None])[0].numpy(), dtype=np.float32
    ).compute()

print(f"largest difference from the image in one piece: {abs(tiled - whole).max():.1e} over tiles")
print(f"and {abs(alone - whole).max():.2f} if each chunk is filtered alone")

figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
for axis, title, value in zip(
    axes, ("photograph", "each chunk alone", "over tiles"), (photo, alone, tiled), strict=True
):
    axis.imshow(np.moveaxis(value, 0, 2).clip(0, 1))
    axis.set_title(title)
    axis.set(xticks=[CHUNK, 2 * CHUNK], yticks=[CHUNK, 2 * CHUNK], xticklabels=[], yticklabels=[])
    axis.tick_params(length=7, width=2, color="tab:red")

# %%
# :doc:`/tiled` says why this is exact, and ``examples/gigapixel`` does it with zarr and processes.
