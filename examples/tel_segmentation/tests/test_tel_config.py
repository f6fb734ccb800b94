"""Configurations: presets, saving and reading back, mistakes in files."""

import dataclasses
import json
from pathlib import Path

import pytest

from tel_segmentation import config, presets


@pytest.mark.parametrize("name", list(presets.PRESETS))
def test_saved_and_read_back(tmp_path, name):
    options = presets.PRESETS[name][1]
    path = tmp_path / "config.json"
    path.write_text(config.to_json(options), encoding="utf-8")
    assert config.load(path) == options


def test_every_field_survives(tmp_path):
    options = config.Train(
        data=config.Data(size=(3, 4), scale=(0.5, 2.0)),
        model=config.Model(rates=(1, 2, 3)),
        loss=config.Loss(weight=0.1, tel=config.TreeEnergy(guide_range=(0.0, 255.0))),
        output=Path("a b") / "c",
    )
    path = tmp_path / "config.json"
    path.write_text(config.to_json(options), encoding="utf-8")
    assert config.load(path) == options


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(colour=1), "no field called colour"),
        (lambda d: d["loss"].update(method="magic"), "expected one of"),
        (lambda d: d["loss"]["tel"].update(level=3), "expected one of"),
        (lambda d: d.update(loss="tel"), "must be a run's configuration"),
    ],
)
def test_mistakes_in_the_file(tmp_path, change, message):
    values = json.loads(config.to_json(config.Train()))
    change(values)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        config.load(path)
    assert str(path) in str(caught.value)


def test_not_json(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json must be a run's configuration"):
        config.load(path)


def test_configurations_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.Train().seed = 1
