"""
Learning a guide
================

A tree is as good as its guide. The filter is differentiable in the guide, and so a small network
can learn one: here to remove strong noise. It learns on crops of three photographs, and is tried on
a fourth, beside the tree filter that takes the noisy photograph itself as its guide, with the best
σ of five.
"""

import matplotlib.pyplot as plt
import skimage.data
import torch
from torch import nn

import treefilter as tf

torch.manual_seed(0)
NOISE, SIDE, STEPS = 0.15, 96, 150


def load(photo):
    """(1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255


photos = [load(getattr(skimage.data, name)()) for name in ("astronaut", "coffee", "rocket")]
test = load(skimage.data.chelsea()[20:276, 80:400])


class Denoiser(nn.Module):
    """Features by three convolutions; the noisy image is filtered along their tree."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 16, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 8, 3, padding=1),
        )
        self.smooth = tf.nn.TreeFilter2d()  # σ = 1: the network scales its features

    def forward(self, noisy):
        """Of the shape of its input."""
        return self.smooth(noisy, 4 * self.features(noisy))


def crops(count):
    """Random parts of the photographs."""
    parts = []
    for _ in range(count):
        photo = photos[torch.randint(len(photos), ())]
        y, x = (int(torch.randint(size - SIDE, ())) for size in photo.shape[2:])
        parts.append(photo[..., y : y + SIDE, x : x + SIDE])
    return torch.cat(parts)


model = Denoiser()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(STEPS):
    clean = crops(4)
    loss = (model(clean + NOISE * torch.randn_like(clean)) - clean).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
# The test photograph.


def quality(value):
    """Peak signal-to-noise ratio in dB."""
    return -10 * (value - test).square().mean().log10().item()


noisy = test + NOISE * torch.randn_like(test)
by_itself = [tf.nn.TreeFilter2d(s)(noisy) for s in (0.01, 0.02, 0.04, 0.08, 0.16)]
with torch.no_grad():
    panels = {
        "noisy": noisy,
        "guide: itself": max(by_itself, key=quality),
        "guide: learnt": model(noisy),
    }
figure, axes = plt.subplots(1, 3, figsize=(11, 3.3), layout="constrained")
for axis, (title, value) in zip(axes, panels.items(), strict=True):
    axis.imshow(value[0].permute(1, 2, 0).clamp(0, 1))
    axis.set_title(f"{title}, {quality(value):.1f} dB")
    axis.set_axis_off()
