"""Post-processing with the low-level tree filter."""

import pytest
import torch

from tel_segmentation.config import TreeEnergy
from tel_segmentation.evaluation.postprocess import LowTree
from tel_segmentation.losses.tree_energy import tree_energy_loss


def test_is_the_losss_low_pseudo_label():
    image = torch.randint(0, 256, (3, 9, 10), dtype=torch.uint8)
    probabilities = torch.rand(4, 9, 10).softmax(0)
    filtered = LowTree(0.05, stride=1)(image, probabilities)
    label = torch.full((1, 9, 10), -1)
    options = TreeEnergy(level="low", sigma=0.05)
    loss = tree_energy_loss(probabilities.log()[None], image[None] / 255, label, options=options)
    torch.testing.assert_close(filtered, loss.pseudo["low"][0])


@pytest.mark.parametrize("size", [(8, 12), (7, 9), (1, 5)])
def test_any_size(size):
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    probabilities = torch.rand(4, *size).softmax(0)
    filtered = LowTree(0.01)(image, probabilities)
    assert filtered.shape == probabilities.shape
    torch.testing.assert_close(filtered.sum(0), torch.ones(size))


def test_noise_inside_an_object_is_removed_and_the_edge_stays():
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[:, :, 16:] = 200
    truth = (image[0] > 0).long()
    generator = torch.Generator().manual_seed(0)
    noisy = truth ^ (torch.rand(32, 32, generator=generator) < 0.3).long()
    probabilities = torch.nn.functional.one_hot(noisy, 2).movedim(-1, 0).float()
    filtered = LowTree(0.02, stride=1)(image, probabilities).argmax(0)
    assert torch.equal(filtered, truth)
    assert LowTree(0.02).name == "low-level tree: sigma 0.02 at stride 4"
