"""loss.tel.sigma auto: the loss, the options, a run and its record."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import treefilter as tf
from tel_segmentation import cli, config
from tel_segmentation.commands import measure
from tel_segmentation.config import TreeEnergy
from tel_segmentation.losses import methods
from tel_segmentation.losses.tree_energy import tree_energy_loss

AUTO = TreeEnergy(level="low", sigma="auto", mass=0.1)


def case(batch=2, height=8, width=10):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, 3, height, width, generator=generator)
    guide = torch.rand(batch, 3, height, width, generator=generator)
    return logits, guide, torch.full((batch, height, width), -1)


def sigma_of(guide, mass):
    graph = tf.grid(*guide.shape[-2:])
    weight = tf.edge_weight(guide, graph)
    return tf.sigma_for_mass(weight, tf.mst(weight, graph), mass)


@pytest.mark.parametrize("level", ["low", "low+high"])
def test_the_loss_is_that_of_the_sigma_that_is_found(level):
    logits, guide, label = case(batch=1)
    logits.requires_grad_()
    sigma = sigma_of(guide, 0.1)
    found, given = (
        tree_energy_loss(
            logits, guide, label, 3 * logits, dataclasses.replace(options, level=level)
        )
        for options in (AUTO, TreeEnergy(sigma=sigma.item()))
    )
    assert torch.equal(found.loss, given.loss)
    gradients = [torch.autograd.grad(out.loss, logits)[0] for out in (found, given)]
    assert torch.equal(*gradients)
    assert found.logs["sigma"] == sigma
    assert "sigma" not in given.logs


def test_every_image_has_its_own():
    logits, guide, label = case()
    guide[1] *= 0.1
    out = tree_energy_loss(logits, guide, label, options=AUTO)
    alone = [tree_energy_loss(logits[i : i + 1], guide[i : i + 1], label[:1], options=AUTO)
             for i in range(2)]  # fmt: skip
    torch.testing.assert_close(out.loss, (alone[0].loss + alone[1].loss) / 2)
    torch.testing.assert_close(alone[0].logs["sigma"], sigma_of(guide, 0.1)[0])
    assert alone[1].logs["sigma"] < 0.02 * alone[0].logs["sigma"]


@pytest.mark.parametrize("mask", [False, True])
def test_padding_is_not_counted(mask):
    logits, guide, label = case(batch=1)
    larger = (0, 14, 9, 0)
    options = dataclasses.replace(AUTO, mask_padding=mask)
    out = tree_energy_loss(
        F.pad(logits, larger), F.pad(guide, larger), F.pad(label, larger, value=-2), options=options
    )
    torch.testing.assert_close(out.logs["sigma"], sigma_of(guide, 0.1)[0], rtol=0.02, atol=0)


def test_the_shuffled_guide_has_its_own_padding():
    logits, guide, label = case()
    label[1, :, 3:] = -2
    guide[1, ..., 3:] = 0
    options = dataclasses.replace(AUTO, shuffle_guide=True)
    out = tree_energy_loss(logits, guide, label, options=options)
    by_hand = tree_energy_loss(logits, guide.roll(1, 0), label.roll(1, 0), options=AUTO)
    assert out.logs["sigma"] == by_hand.logs["sigma"]


def test_a_configuration_in_a_file(tmp_path):
    options = config.Train(loss=config.Loss(tel=AUTO))
    path = tmp_path / "config.json"
    path.write_text(config.to_json(options), encoding="utf-8")
    assert config.load(path) == options
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["loss"]["tel"]["mass"]  # as earlier versions wrote it
    values["loss"]["tel"]["sigma"] = 0.01
    path.write_text(json.dumps(values), encoding="utf-8")
    assert config.load(path).loss.tel == TreeEnergy(level="low", sigma=0.01)
    values["loss"]["tel"]["sigma"] = "wide"
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ValueError, match="sigma: expected float or 'auto', got 'wide'"):
        config.load(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["auto", "--loss.tel.mass", "1.5"], "loss.tel.mass must be in (0, 1], got 1.5"),
        (["auto", "--loss.tel.mass", "nan"], "loss.tel.mass must be in (0, 1], got nan"),
        (["0.02", "--loss.tel.mass", "0.1"],
         "loss.tel.mass must be given with loss.tel.sigma auto alone, got 0.1 with sigma 0.02"),
    ],
)  # fmt: skip
def test_refusals(tmp_path, capsys, options, message):
    command = ["train", "smoke", "--output", str(tmp_path / "run"), "--loss.tel.sigma"]
    assert cli.main([*command, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()


def test_a_run_and_its_record(tmp_path):
    run = tmp_path / "run"
    command = ["train", "smoke", "--output", str(run), "--iterations", "4", "--log-every", "2"]
    command += ["--loss.tel.level", "low", "--loss.tel.sigma", "auto", "--loss.tel.mass", "0.02"]
    assert cli.main([*command, "--device", "cpu", "--no-tensorboard", "--pictures", "1"]) == 0
    record = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert record["method"] == "TEL low mass=0.02"
    tel = record["config"]["loss"]["tel"]
    assert (tel["sigma"], tel["mass"]) == ("auto", 0.02)
    lines = (run / "history.jsonl").read_text(encoding="utf-8").splitlines()
    widths = [json.loads(line).get("sigma") for line in lines if "loss" in json.loads(line)]
    assert len(widths) == 2
    assert all(0 < width < 1 for width in widths)


def test_names():
    assert methods.title(config.Loss(tel=AUTO)) == "TEL low mass=0.1"
    high = dataclasses.replace(AUTO, level="high")
    assert methods.title(config.Loss(tel=high)) == "TEL high"  # has no σ
    plan = {str(each.options.output): each for each in measure.photos(1, Path("camvid.toml"))}
    planned = plan["camvid-point-TEL-low-mass0.005-from-20-s0"]
    assert planned.method == "TEL low mass=0.005 from 20%"
    same = plan["camvid-point-TEL-low-from-20-s0"].options
    assert planned.options.loss.tel == dataclasses.replace(same.loss.tel, sigma="auto")
    assert "camvid-point-sweeps-TEL-low-sigma0.02-s0" in plan
