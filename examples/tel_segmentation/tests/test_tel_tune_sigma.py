"""tel tune-sigma: held-out labels choose the σ that carries them."""

import numpy as np
import pytest
import torch
from PIL import Image

from tel_segmentation.cli import main
from tel_segmentation.commands.tune_sigma import Sums
from tel_segmentation.evaluation.tune_sigma import held_out, sigmas_of


def halves(noise, seed=0):
    """Two colours side by side with noise, and eight points of each class on its own half."""
    random = np.random.default_rng(seed)
    image = np.full((24, 32, 3), 60.0)
    image[:, 16:] = 190
    image += random.normal(0, noise, image.shape)
    label = np.full((24, 32), -1)
    for k in range(8):
        label[3 * k, random.integers(0, 14)] = 0
        label[3 * k, random.integers(18, 32)] = 1
    pixels = torch.from_numpy(image.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)
    return pixels, torch.from_numpy(label)


def test_a_sigma_that_reaches_the_other_points_wins():
    image, label = halves(3)
    found = held_out(image, label, torch.tensor([1e-7, 0.01]), 2)
    assert found.objects == 16
    assert found.accuracy[1] == 1
    assert found.likelihood[1] > found.likelihood[0]
    assert np.log(0.5) < found.likelihood[1] < 0


def test_where_nothing_arrives_all_classes_are_equal():
    image, label = halves(30)
    found = held_out(image, label, torch.tensor([1e-9]), 2)
    assert found.likelihood[0] == pytest.approx(np.log(0.5))
    assert found.accuracy[0] == 0


def test_the_smallest_of_those_that_are_about_as_good_is_chosen():
    sums = Sums(4)
    sums.add(torch.zeros(4), torch.tensor([0.2, 0.49, 0.5, 0.3]), 100)  # standard error 0.05
    assert sums.chosen == 1
    sums.add(torch.zeros(4), torch.tensor([0.2, 0.49, 0.5, 0.3]), 99_900)  # 0.0016
    assert sums.chosen == 2


def test_a_single_object_cannot_be_predicted():
    image, label = halves(3)
    label[:] = -1
    label[4, 4] = label[4, 5] = 1
    assert held_out(image, label, torch.tensor([0.1]), 2).objects == 0


def test_masses_grow_with_sigma():
    image, _ = halves(10)
    sigmas = sigmas_of(image, (0.01, 0.05, 0.2))
    assert (sigmas.diff() > 0).all()


def write(folder, labels=True):
    for split in ("train", "val"):
        for k in range(3):
            image, label = halves(6, k)
            for kind, values in (("images", image.permute(1, 2, 0)), ("labels", label)):
                path = folder / split / kind
                path.mkdir(parents=True, exist_ok=True)
                array = values.numpy() if labels or kind == "images" else np.full((24, 32), 255)
                Image.fromarray(array.astype(np.uint8)).save(path / f"{k}.png")
    (folder / "dataset.toml").write_text('classes = ["left", "right"]\nignore = [255]\n')
    return str(folder / "dataset.toml")


def test_the_command(tmp_path, capsys):
    data = write(tmp_path)
    arguments = ["tune-sigma", data, "--annotation", "dense", "--size", "24", "32"]
    assert main([*arguments, "--sigmas", "0.0000001", "0.01"]) == 0
    text = capsys.readouterr().out
    assert "48 objects of 3 images" in text
    (best,) = [line for line in text.split("mass")[0].splitlines() if line.endswith("*")]
    assert best.startswith("0.01 ")
    assert "One for all images: --loss.tel.sigma 0.01" in text
    assert "--loss.tel.sigma auto --loss.tel.mass 0.0" in text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--sigmas", "0"], "sigmas must be above 0 and ascend"),
        (["--masses", "0.2", "0.1"], "masses must be above 0 and ascend"),
        (["--images", "0"], "images must be at least 1"),
    ],
)
def test_errors(tmp_path, capsys, more, message):
    assert main(["tune-sigma", write(tmp_path), "--annotation", "dense", *more]) == 2
    assert message in capsys.readouterr().err


def test_without_objects(tmp_path, capsys):
    data = write(tmp_path, labels=False)
    assert main(["tune-sigma", data, "--annotation", "dense"]) == 2
    assert "two or more labelled objects, got none among 3 images" in capsys.readouterr().err
